"""A task run by this package."""

from __future__ import annotations

from collections import deque

from pycaffe_like import _core as core
from pycaffe_like.net import NetOptions
from pycaffe_like.pycaffe.net import Net

from .settings import MOMENTUM, RATE, WEIGHT_DECAY
from .synthetic import SEED, fill_params, make_document, make_inputs, make_state
from .task import Task


class OurNet:
    """The net of a task, filled with random inputs."""

    def __init__(self, task: Task) -> None:
        self.net = Net.from_document(
            make_document(task),
            make_state(task),
            NetOptions(
                seed=SEED,
                precision=task.precision,
                device=task.our_device,
                keep_data=False,
                keep_diffs=False,
            ),
        )
        self.graph = self.net.graph
        for name, values in make_inputs(self.graph).items():
            self.net.blobs[name].data[...] = values


def sgd_settings(rate: float, iteration: int) -> core.UpdateSettings:
    """Make those of one update."""
    return core.UpdateSettings(
        rate=rate,
        momentum=MOMENTUM,
        momentum2=0,
        rms_decay=0,
        delta=0,
        weight_decay=WEIGHT_DECAY,
        l1=False,
        gradient_scale=1,
        iteration=iteration,
    )


class OurTraining(OurNet):
    """Steps as the solver takes them: forward, backward, update."""

    def __init__(self, task: Task, rate: float = RATE) -> None:
        super().__init__(task)
        self.rate = rate
        learnable = self.graph.learnable
        self.updater = core.Updater(
            "SGD",
            [param.blob for param in learnable],
            [param.lr_mult for param in learnable],
            [param.decay_mult for param in learnable],
        )
        self.iteration = 0

    def step(self) -> float:
        """One iteration; returns the loss."""
        loss = self.compute_gradients()
        self.updater.update(sgd_settings(self.rate, self.iteration))
        self.iteration += 1
        return loss

    def compute_gradients(self) -> float:
        """Forward and backward; returns the loss."""
        self.updater.clear_gradients()
        loss = self.net.forward_loss()
        self.net.backward()
        return loss


class OurQueuedTraining(OurTraining):
    """Steps as the solver takes them on a GPU: recorded once, queued ahead, losses taken in later.

    Attributes
    ----------
    ahead : int
        Steps that may be queued while the loss of an earlier one is not known yet; the solver has one.
    """

    def __init__(self, task: Task, rate: float = RATE, ahead: int = 1) -> None:
        super().__init__(task, rate)
        self.ahead = ahead
        self._recorded = core.TrainingStep(self.net.plan.executor, self.updater)
        self._queued: deque[int] = deque()
        self._loss = float("nan")

    def step(self) -> float:
        """Queue an iteration; returns the latest loss that is known."""
        self._queued.append(self._recorded.run(sgd_settings(self.rate, self.iteration)))
        self.iteration += 1
        return self._wait(self.ahead)

    def finish(self) -> float:
        """Wait for all that is queued; returns the last loss."""
        return self._wait(0)

    def device_bytes(self) -> dict[str, int]:
        """What the plan and the history of the update take."""
        history = sum(blob.bytes for blob in self.updater.history)
        return {"planned": self.net.memory().total + history}

    def reset_peak(self) -> None:
        """Do nothing: a plan has no other peak than itself."""

    @property
    def repeated(self) -> bool:
        """Whether the last step repeated a recording."""
        return self._recorded.repeated

    def _wait(self, keep: int) -> float:
        while len(self._queued) > keep:
            self._loss, _ = self._recorded.wait(self._queued.popleft())
        return self._loss


class OurInference(OurNet):
    """Forward passes of a deploy net."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        fill_params(self.graph)

    def step(self) -> None:
        """One pass."""
        self.net.forward()


def make_engine(task: Task) -> OurTraining | OurInference:
    """Build what runs the task."""
    if task.mode == "infer":
        return OurInference(task)
    return OurTraining(task) if task.device == "cpu" else OurQueuedTraining(task)
