"""A task run by this package."""

from __future__ import annotations

from pycaffe_like import _core as core
from pycaffe_like.net import Net, NetOptions

from .settings import MOMENTUM, RATE, WEIGHT_DECAY
from .synthetic import SEED, fill_params, make_document, make_inputs, make_state
from .task import Task


class OurNet:
    """The net of a task, filled with random inputs."""

    def __init__(self, task: Task) -> None:
        self.net = Net.from_document(
            make_document(task),
            make_state(task),
            NetOptions(seed=SEED, precision=task.precision, keep_data=False, keep_diffs=False),
        )
        self.graph = self.net.graph
        for name, values in make_inputs(self.graph).items():
            self.net.blobs[name].data[...] = values


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
        self.updater.update(
            core.UpdateSettings(
                rate=self.rate,
                momentum=MOMENTUM,
                momentum2=0,
                rms_decay=0,
                delta=0,
                weight_decay=WEIGHT_DECAY,
                l1=False,
                gradient_scale=1,
                iteration=self.iteration,
            )
        )
        self.iteration += 1
        return loss

    def compute_gradients(self) -> float:
        """Forward and backward; returns the loss."""
        self.updater.clear_gradients()
        loss = self.net.forward_loss()
        self.net.backward()
        return loss


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
    return OurTraining(task) if task.mode == "train" else OurInference(task)
