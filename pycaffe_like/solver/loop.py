"""The training loop; `types.py` has one class for each update rule.

The loop is Python, so that it can be read and hooked into; all arithmetic is C++ (`core.Executor`,
`core.Updater`). On a GPU, iterations that nobody looks at are queued one ahead (`core.TrainingStep`).
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from .. import _core as core
from ..device import require_room
from ..errors import ConfigError, WriteError
from ..graph.locate import errors_of_steps
from ..logs import progress as progress_bar
from ..net import Array
from ..plan.memory import bytes_to_come
from ..plan.options import NetOptions
from ..prototxt import schema
from ..prototxt import text as prototext
from ..prototxt.text import Document
from ..prototxt.upgrade import read_solver
from ..pycaffe.net import Net
from ..rules import Rule
from ..seeds import next_seed
from .checks import check_max_iter, check_solver
from .display import DisplayClock, SmoothedLoss, output_values, show_test, show_training
from .divergence import diverged, require_finite_outputs, require_finite_weights
from .lr_policy import Progress, learning_rate
from .nets import build_test_nets, build_train_net, warn_of_zero_weights
from .signals import Action
from .snapshot import (
    SnapshotPaths,
    check_history,
    get_positions,
    get_states,
    probe,
    read_snapshot,
    set_positions,
    set_states,
    snapshot_error_policy,
    write_snapshot,
)

log = logging.getLogger("caffe")

Callback = Callable[[], object]


class Solver:
    """Trains a net as a solver file says. Use a subclass, or `get_solver`.

    Parameters
    ----------
    solver : str or Document
        Path of a solver prototxt, or a parsed one.
    allow_unused_weights : bool
        Accept files of `weights` of which no layer fits the net.
    **options
        Fields of `net.NetOptions` for all nets: `precision`, `skip_passes`, `keep_data`, `keep_diffs`, and
        `max_memory`, which is for the train net and its history.

    Attributes
    ----------
    document : Document
        The solver file with its positions.
    net : Net
        The net that is trained.
    test_nets : list of Net
    param : SolverParameter
        What the file says; a change of `base_lr` takes effect at once.
    poll_action : callable
        Asked after every iteration and before every test batch; `SignalActions.poll` fits.
    stopped_early : bool
        Whether the last `solve` or `step` was stopped by an action.

    Raises
    ------
    ConfigError
        For every mistake in solver and nets, before training.
    """

    type: ClassVar[str] = ""
    rules: ClassVar[Mapping[str, Rule]] = {}
    """Values that fields of the solver file may have for this type, beside what holds for all."""

    def __init__(
        self,
        solver: str | os.PathLike[str] | Document,
        *,
        allow_unused_weights: bool = False,
        **options: Any,
    ) -> None:
        document = solver if isinstance(solver, Document) else read_solver(os.fspath(solver))
        check_solver(document, self.type, self.rules)
        snapshot_error_policy()  # a mistake in it is told before training
        self.document = document
        self.param = document.message
        log.info("Initializing solver from parameters: \n%s", prototext.format(self.param).rstrip())
        if self.param.snapshot:
            probe(self.param.snapshot_prefix)
        self.seed = self._choose_seed()
        net_options = NetOptions(seed=self.seed, history_sets=core.history_sets(self.type), **options)
        self.net = build_train_net(document, net_options, allow_unused_weights=allow_unused_weights)
        self.test_nets = build_test_nets(document, dataclasses.replace(net_options, max_memory=None))
        self._updater = _make_updater(self.type, self.net)
        self._require_room()
        self._step: core.TrainingStep | None = None
        self._queued: deque[tuple[int, int]] = deque()  # iterations whose loss is not known yet, with numbers
        self._progress = Progress()
        self._smoothed = SmoothedLoss(self.param.average_loss)
        self._keep_window = False  # the next step goes on with the losses of a restored state
        # At the start of a test that is not finished: where data layers are, what layers carry.
        self._test_positions: list[dict[str, int]] | None = None
        self._test_states: list[dict[str, list[Array]]] | None = None
        self._callbacks: list[tuple[Callback, Callback]] = []
        self._clock = DisplayClock(0)
        self.poll_action: Callable[[], Action] = lambda: Action.NONE
        self.stopped_early = False
        self._snapshot_due = False  # the last one that training wanted could not be written
        log.info("Solver scaffolding done.")

    def _choose_seed(self) -> int:
        if self.param.random_seed >= 0:
            return int(self.param.random_seed)
        return next_seed() >> 1  # 63 bits: the field of the solver state is signed

    def _require_room(self) -> None:
        """See that the GPU has room for all nets and the history, before anything is trained."""
        if self.net.device == "cpu":
            return
        history = sum(blob.bytes for blob in self._updater.history if blob.device == self.net.device)
        nets = sum(bytes_to_come(net.plan, net.device) for net in (self.net, *self.test_nets))
        require_room(f"training of net '{self.net.name}', with its test nets and history,", history + nets)

    def _reseed(self, seed: int) -> None:
        """Go on with the random numbers of the run that is resumed."""
        self.seed = seed
        for net in (self.net, *self.test_nets):
            net.reseed(seed)

    # State

    @property
    def iter(self) -> int:
        """Updates done."""
        return self._progress.iteration

    @property
    def lr(self) -> float:
        """Rate of the next update; reading it evaluates the policy, which moves "multistep" on."""
        return learning_rate(self.param, self._progress)

    @property
    def history(self) -> list[core.Blob]:
        """History blobs in the order of a solver state."""
        return list(self._updater.history)

    def add_callback(self, on_start: Callback, on_gradients_ready: Callback) -> None:
        """Call `on_start()` before, and `on_gradients_ready()` after, the passes of each iteration."""
        self._callbacks.append((on_start, on_gradients_ready))

    def share_weights(self, net: Net) -> None:
        """Let another net use the data of the train net's weights."""
        net.share_with(self.net)

    def close(self) -> None:
        """Stop the data threads of all nets."""
        for net in (self.net, *self.test_nets):
            net.close()

    # Training

    def solve(self, resume_file: str | None = None) -> None:
        """Train up to max_iter, from the beginning or from a solver state."""
        check_max_iter(self.document)
        log.info("Solving %s", self.net.name)
        log.info("Learning Rate Policy: %s", self.param.lr_policy)
        if resume_file:
            log.info("Restoring previous solver status from %s", resume_file)
            self.restore(resume_file)
        warn_of_zero_weights(self.net)
        if self.param.snapshot_after_train:
            probe(self.param.snapshot_prefix)
        self.step(self.param.max_iter - self.iter)
        require_finite_weights(self.net, self.iter)
        if self.param.snapshot_after_train and (
            self._snapshot_due or not _is_due(self.param.snapshot, self.iter)
        ):
            self.snapshot()
        if self.stopped_early:
            log.info("Optimization stopped early.")
            return
        self._show_final_results()
        log.info("Optimization Done.")

    def _show_final_results(self) -> None:
        if _is_due(self.param.display, self.iter):
            self._smoothed.add(self._forward(0))
            log.info("Iteration %d, loss = %g", self.iter, self._smoothed.value)
        if _is_due(self.param.test_interval, self.iter):
            self.test_all()

    def step(self, iterations: int) -> None:
        """Do so many iterations, with their tests, displays and snapshots."""
        if not self._keep_window:
            self._smoothed.losses.clear()
        self._keep_window = self.stopped_early = False
        self._clock = DisplayClock(self.iter)
        stop = self.iter + iterations
        while self.iter < stop and not self.stopped_early:
            self._iterate()
        self._drain()
        progress_bar.clear()

    def _iterate(self) -> None:
        param = self.param
        self._updater.clear_gradients()
        if _is_due(param.test_interval, self.iter) and (self.iter or param.test_initialization):
            self.test_all()
            if self.stopped_early:
                return
        if self._is_quiet():
            self._queue_iteration()
        else:
            self._drain()
            self._run_iteration()
        progress_bar.update(self.iter, param.max_iter, self._smoothed.value)
        self._act_after_update()

    def _run_iteration(self) -> None:
        """Do an iteration step by step, with all that wants to look at it."""
        param = self.param
        for on_start, _ in self._callbacks:
            on_start()
        self._smoothed.add(self._forward_backward())
        if _is_due(param.display, self.iter):
            show_training(self.net, self.iter, param.display, self._clock, self._smoothed.value)
        for _, on_gradients_ready in self._callbacks:
            on_gradients_ready()
        self.apply_update()

    def _is_quiet(self) -> bool:
        """Whether nobody looks at the net during this iteration, so that the GPU may run ahead."""
        param = self.param
        return (
            self.net.device != "cpu"
            and not self.net.has_hooks
            and not self._callbacks
            and not _is_due(param.display, self.iter)
        )

    def _queue_iteration(self) -> None:
        """Queue an iteration on the GPU, and take in the loss of the one before."""
        if self._step is None or self._step.executor is not self.net.plan.executor:
            self._drain()
            self._step = core.TrainingStep(self.net.plan.executor, self._updater)
        with errors_of_steps(self.net.graph):
            number = self._step.run(self._update_settings(self.lr), int(self.param.iter_size))
        self._queued.append((self.iter, number))
        self._progress.iteration += 1
        self._drain(1)

    def _drain(self, keep: int = 0) -> None:
        """Wait for all queued iterations but the last `keep`, and take in their losses."""
        while len(self._queued) > keep:
            iteration, number = self._queued.popleft()
            assert self._step is not None
            with errors_of_steps(self.net.graph):
                loss, norm = self._step.wait(number)
            if not math.isfinite(loss):
                raise diverged(self.net, loss, iteration)
            self._smoothed.add(loss)
            self._show_clipping(norm)

    def _forward_backward(self) -> float:
        """Run iter_size passes; returns their mean loss."""
        passes = int(self.param.iter_size)
        loss = 0.0
        for number in range(passes):
            loss += self._forward(number)
            self.net.backward()
        return loss / passes

    def _forward(self, number: int) -> float:
        """Run pass `number` of this iteration; random numbers depend on nothing but its count."""
        self.net.iteration = self.iter * self.param.iter_size + number
        loss = self.net.forward_loss()
        if not math.isfinite(loss):
            raise diverged(self.net, loss, self.iter)
        return loss

    def apply_update(self) -> None:
        """Update the weights from the gradients as they are; counts as one iteration."""
        param = self.param
        rate = self.lr
        if _is_due(param.display, self.iter):
            log.info("Iteration %d, lr = %g", self.iter, rate)
        self._show_clipping(self._updater.update(self._update_settings(rate)))
        self._progress.iteration += 1

    def _update_settings(self, rate: float) -> core.UpdateSettings:
        param = self.param
        return core.UpdateSettings(
            rate=rate,
            momentum=param.momentum,
            momentum2=param.momentum2,
            rms_decay=param.rms_decay,
            delta=param.delta,
            weight_decay=param.weight_decay,
            l1=param.regularization_type == "L1",
            gradient_scale=1 / int(param.iter_size),
            iteration=self.iter,
            clip_gradients=param.clip_gradients,
        )

    def _show_clipping(self, norm: float) -> None:
        """Say so if gradients of this joint norm were clipped."""
        limit = float(self.param.clip_gradients)
        if 0 <= limit < norm:
            log.info("Clipping gradients: L2 norm %g > %g, scaled by %g", norm, limit, limit / norm)

    def _act_after_update(self) -> None:
        action = self.poll_action()
        if _is_due(self.param.snapshot, self.iter) or action is Action.SNAPSHOT:
            self._try_snapshot()
        self.stopped_early = action is Action.STOP

    # Testing

    def test_all(self) -> None:
        """Run all test nets and print their mean outputs."""
        self._drain()
        self._test_positions = [net.data_positions() for net in self.test_nets]
        self._test_states = [_copies(net.states()) for net in self.test_nets]
        for number in range(len(self.test_nets)):
            if not self.stopped_early:
                self._test(number)
        if not self.stopped_early:
            self._test_positions = self._test_states = None

    def _test(self, number: int) -> None:
        net, passes = self.test_nets[number], self.param.test_iter[number]
        log.info("Iteration %d, Testing net (#%d)", self.iter, number)
        net.share_with(self.net)
        loss = 0.0
        sums: np.ndarray[Any, Any] | None = None
        for batch in range(passes):
            self._act_during_test()
            if self.stopped_early:
                log.info("Test interrupted.")
                return
            batch_loss = net.forward_loss()
            values = output_values(net)
            require_finite_outputs(net, batch_loss, values, f"iteration {self.iter}, batch {batch}")
            loss += batch_loss
            if sums is not None and len(values) != len(sums):
                raise ConfigError(f"the outputs of test net #{number} change their shapes between passes")
            sums = values if sums is None else sums + values
        if self.param.test_compute_loss:
            log.info("Test loss: %g", loss / passes)
        if sums is not None:
            show_test(net, sums / passes)

    def _act_during_test(self) -> None:
        while (action := self.poll_action()) is not Action.NONE:
            if action is Action.SNAPSHOT:
                self._try_snapshot()
            else:
                self.stopped_early = True

    # Snapshots

    def snapshot(self) -> None:
        """Write weights and solver state under snapshot_prefix."""
        self._drain()
        state = schema.SolverState(
            iter=self.iter,
            current_step=self._progress.current_step,
            solver_type=self.type,
            thread_count=core.thread_count(),
            random_seed=self.seed,
            loss_window=self._smoothed.losses,
        )
        set_positions(state, self._positions())
        set_states(state, self._states())
        paths = SnapshotPaths.of(self.param.snapshot_prefix, self.iter)
        history = [blob.data for blob in self._updater.history]
        write_snapshot(paths, self.net.graph, state, history, diffs=self.param.snapshot_diff)
        self._snapshot_due = False

    def _try_snapshot(self) -> None:
        """Write a snapshot during training, which goes on without one if the disk refuses."""
        try:
            self.snapshot()
        except WriteError as error:
            if snapshot_error_policy() == "stop":
                raise
            self._snapshot_due = True
            log.error("%s\nTraining goes on and tries again at the next snapshot.", error)

    def _positions(self) -> dict[str, int]:
        """Where all data layers are; an unfinished test will be run again from its beginning."""
        positions = self.net.data_positions()
        tests = self._test_positions or [net.data_positions() for net in self.test_nets]
        for number, test in enumerate(tests):
            positions.update({_test_layer(layer, number): record for layer, record in test.items()})
        return positions

    def _states(self) -> dict[str, list[Array]]:
        """What the layers of all nets carry; of an unfinished test, what they did at its beginning."""
        states = self.net.states()
        for number, test in enumerate(self._test_states or [net.states() for net in self.test_nets]):
            states.update({_test_layer(layer, number): arrays for layer, arrays in test.items()})
        return states

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Go on where a solver state was written.

        Raises
        ------
        MissingFileError, DataError
            State or weights are missing or damaged, or do not belong together.
        ConfigError, ShapeError
            They are those of another net or another kind of solver.
        """
        path = os.fspath(path)
        state = read_snapshot(path)
        check_history(state.history, self._updater.history, path)
        if self.param.random_seed < 0 and state.message.HasField("random_seed"):
            self._reseed(state.message.random_seed)
        self._warn_of_differences(state.message)
        if state.weights:
            self.net.copy_from(state.weights)
        log.info("SGDSolver: restoring history")
        for blob, array in zip(self._updater.history, state.history):
            blob.data[...] = array.reshape(blob.shape)
        self._progress = Progress(state.message.iter, state.message.current_step)
        self._smoothed = SmoothedLoss(self.param.average_loss, state.message.loss_window)
        self._keep_window = True
        self._set_positions(get_positions(state.message))
        self._set_states(get_states(state.message))

    def _set_positions(self, positions: dict[str, int]) -> None:
        self.net.set_data_positions(positions)
        for number, net in enumerate(self.test_nets):
            own = {layer: positions.get(_test_layer(layer, number)) for layer in net.data_positions()}
            net.set_data_positions({layer: record for layer, record in own.items() if record is not None})

    def _set_states(self, states: dict[str, list[Array]]) -> None:
        self.net.set_states(states)
        for number, net in enumerate(self.test_nets):
            own = {layer: states.get(_test_layer(layer, number)) for layer in net.states()}
            net.set_states({layer: arrays for layer, arrays in own.items() if arrays is not None})

    def _warn_of_differences(self, state: Any) -> None:
        """Say what keeps the resumed run from ending with the same bits. Caffe's own states tell nothing."""
        mine = {"solver_type": self.type, "thread_count": core.thread_count(), "random_seed": self.seed}
        for field, value in mine.items():
            if state.HasField(field) and getattr(state, field) != value:
                log.warning(
                    "the state was written with %s %s, this run has %s: the bits of the result will differ",
                    field, getattr(state, field), value,
                )  # fmt: skip


def _make_updater(kind: str, net: Net) -> core.Updater:
    learnable = net.graph.learnable
    return core.Updater(
        kind,
        [param.blob for param in learnable],
        [param.lr_mult for param in learnable],
        [param.decay_mult for param in learnable],
    )


def _is_due(interval: int, iteration: int) -> bool:
    """Whether something that happens every `interval` iterations, 0 for never, happens now."""
    return interval > 0 and iteration % interval == 0


def _copies(states: dict[str, list[Array]]) -> dict[str, list[Array]]:
    return {layer: [array.copy() for array in arrays] for layer, arrays in states.items()}


def _test_layer(layer: str, number: int) -> str:
    """Name under which a solver state keeps what a test net's layer does not share with the train net's."""
    return f"{layer}@test{number}"
