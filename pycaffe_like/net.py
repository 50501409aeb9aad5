"""`PlannedNet`: a graph and its plan, and what runs, saves and feeds them.

Caffe's Python interface to it is `pycaffe.net.Net`, which is what solvers and tools make.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from . import _core as core
from .device import default_device, require_room
from .errors import ConfigError
from .graph import trained_weights
from .graph.build import build_graph, layer_seed
from .graph.locate import errors_of_steps
from .graph.nodes import Graph
from .layers.data_layer import DataLayer
from .named import Named
from .plan.chain import joining_passes
from .plan.make import make_plan
from .plan.memory import Memory, bytes_to_come, measure
from .plan.options import NetOptions
from .plan.plan import Plan
from .seeds import next_seed

log = logging.getLogger("caffe")

Array = npt.NDArray[np.float32]
TRAIN, TEST = 0, 1


class PlannedNet:
    """A net built for one phase, planned and ready to run.

    Parameters
    ----------
    document : prototxt.upgrade.NetDocument
        The parsed net.
    state : NetState
        Phase, level and stages to build for, complete.
    options : NetOptions
    """

    def __init__(self, document: Any, state: Any, options: NetOptions) -> None:
        self.seed = next_seed() if options.seed is None else options.seed
        self.device = options.device or default_device()
        self._options = dataclasses.replace(options, device=self.device)
        self.graph: Graph = build_graph(
            document, state, seed=self.seed, device=self.device, fill=options.fill
        )
        if self.device != "cpu":
            self._log_placement()
        self._order = {node.members[0]: index for index, node in enumerate(self.graph.nodes)}
        self._hooks: dict[str, list[Callable[[int], None]]] = {}
        self.iteration = 0
        self._make_plan()
        if self.device != "cpu" and options.fill:
            require_room(f"net '{self.name}'", bytes_to_come(self.plan, self.device))
        log.info("Network initialization done.")

    def _log_placement(self) -> None:
        """Say which layers of a net on the GPU run on the CPU; sources of data do so as a rule."""
        names = [node.name for node in self.graph.nodes if node.device == "cpu" and node.bottoms]
        if names:
            log.info("No GPU kernel, runs on the CPU: %s", ", ".join(names))

    def _make_plan(self, earlier: Plan | None = None) -> None:
        history = self._options.history_sets * sum(p.blob.bytes for p in self.graph.learnable)
        with errors_of_steps(self.graph):
            self.plan: Plan = make_plan(
                self.graph, self._options, reserved=history, seed=self.seed, earlier=earlier
            )
        self.blobs: Named[core.Blob] = self._visible_blobs()

    def _visible_blobs(self) -> Named[core.Blob]:
        """All declared blobs; those the plan does not make say so when they are read."""
        made = self.plan.graph.blobs()
        blobs: Named[core.Blob] = Named()
        for name, value in self.graph.blobs().items():
            if name in made:
                blobs[name] = self.plan.blob(made[name])
            else:
                blobs[name] = core.Blob(value.shape, device=self.device)
                blobs[name].place_data(self.plan.arena, 0)
        return blobs

    @property
    def precision(self) -> str:
        """Element type of activations."""
        return self._options.precision

    def reseed(self, seed: int) -> None:
        """Draw random numbers (dropout, crops, mirrors) from another seed; learned blobs stay."""
        self.seed = seed
        self.plan.executor.seed = seed
        for name, layer in self._data_layers():
            layer.reseed(layer_seed(seed, name))

    @property
    def name(self) -> str:
        """Name given in the prototxt."""
        return self.graph.name

    @property
    def phase(self) -> int:
        """TRAIN or TEST."""
        return TRAIN if self.graph.training else TEST

    @property
    def inputs(self) -> list[str]:
        """Blobs the user fills: tops of Input layers."""
        return list(self.graph.inputs)

    @property
    def outputs(self) -> list[str]:
        """Blobs no layer reads, sorted by name."""
        return list(self.graph.outputs)

    # Running

    def forward_loss(self) -> float:
        """Run the whole net forward; returns the total loss."""
        return self._forward(0, len(self.graph.nodes) - 1)

    def _forward(self, first: int, last: int) -> float:
        """Run declared layers `first` to `last`, both included; returns their loss."""
        loss = 0.0
        for begin, end, layer in self._pieces(first, last, reverse=False):
            self._call_hooks("before_forward", layer)
            self.plan.executor.iteration = self.iteration
            with errors_of_steps(self.graph):
                loss += self.plan.executor.forward(begin, end)
            self._call_hooks("after_forward", layer)
        if self.graph.training and last == len(self.graph.nodes) - 1:
            self.iteration += 1
        return loss

    def _backward(self, first: int, last: int) -> None:
        """Run declared layers `first` down to `last`, both included."""
        if not (self._options.keep_data or self.graph.training):
            raise ConfigError(
                "a net for testing whose data is not kept runs forward only", hint="build with keep_data=True"
            )
        for begin, end, layer in self._pieces(last, first, reverse=True):
            self._call_hooks("before_backward", layer)
            with errors_of_steps(self.graph):
                self.plan.executor.backward(begin, end)
            self._call_hooks("after_backward", layer)

    def _pieces(self, first: int, last: int, *, reverse: bool) -> list[tuple[int, int, int]]:
        """Step ranges to run: one for all, or one a layer when somebody listens in."""
        if not self._hooks:
            return [(*self._steps(first, last), first)]
        self._unfuse()
        layers = range(last, first - 1, -1) if reverse else range(first, last + 1)
        return [(*self._steps(layer, layer), layer) for layer in layers]

    def _steps(self, first: int, last: int) -> tuple[int, int]:
        steps = self.plan.steps(first, last, self._order)
        if steps is None:  # the range cuts through a fused step: every layer on its own from now on
            self._unfuse()
            steps = self.plan.steps(first, last, self._order)
        return cast("tuple[int, int]", steps)

    def _unfuse(self) -> None:
        joining = [name for name in joining_passes() if name not in self._options.skip_passes]
        if joining:
            skipped = (*self._options.skip_passes, *joining)
            self._options = dataclasses.replace(self._options, skip_passes=skipped)
            self._make_plan(self.plan)

    def reshape(self) -> None:
        """Bring all shapes up to date after an input blob was reshaped."""
        with errors_of_steps(self.graph):
            self.plan.executor.reshape()

    def clear_param_diffs(self) -> None:
        """Set all gradients of learned blobs to zero."""
        for param in self.graph.learnable:
            param.blob.clear_diff()

    # Listening in

    @property
    def has_hooks(self) -> bool:
        """Whether anybody listens in."""
        return bool(self._hooks)

    def _call_hooks(self, moment: str, layer: int) -> None:
        for function in self._hooks.get(moment, ()):
            function(layer)

    @property
    def timing(self) -> bool:
        """Whether each step is timed; see `layer_times`."""
        return bool(self.plan.executor.timing)

    @timing.setter
    def timing(self, on: bool) -> None:
        self.plan.executor.timing = on

    def layer_times(self) -> list[tuple[str, float, float]]:
        """Name, forward and backward milliseconds of each step of the last run, with `timing` on."""
        executor = self.plan.executor
        names = [node.name for node in self.plan.graph.nodes]
        return list(zip(names, executor.forward_ms, executor.backward_ms))

    def recomputed(self) -> list[str]:
        """Names of the steps that run forward once more during backward, to fit into `max_memory`."""
        steps = sorted({step for steps in self.plan.again.values() for step in steps})
        return [self.plan.graph.nodes[step].name for step in steps]

    def memory(self) -> Memory:
        """Bytes the net needs, by purpose."""
        return measure(self.plan)

    # Weights

    def copy_from(self, path: str | os.PathLike[str], *, allow_unused: bool = False) -> None:
        """Load trained weights by layer name; see `trained_weights.load`."""
        trained_weights.load(self.graph, path, allow_unused=allow_unused)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the net with its weights as a binary caffemodel."""
        trained_weights.save(self.graph, path)

    def share_with(self, other: PlannedNet) -> None:
        """Use the learned blobs of the same-named layers of another net from now on."""
        trained_weights.share(self.graph, other.graph)

    # State

    def states(self) -> dict[str, list[Array]]:
        """What layers carry from one forward to the next, by layer name; only layers that carry something."""
        return {node.name: [blob.data for blob in node.state] for node in self.graph.nodes if node.state}

    def set_states(self, states: Mapping[str, Sequence[Array]]) -> None:
        """Let layers go on from these states.

        Raises
        ------
        ConfigError
            A layer carries something else.
        """
        for node in self.graph.nodes:
            stored = states.get(node.name, [blob.data for blob in node.state])
            forms = [array.shape for array in stored], [tuple(blob.shape) for blob in node.state]
            if forms[0] != forms[1]:
                raise node.definition.located(
                    ConfigError(f"the layer's state has shapes {forms[1]}, the stored one {forms[0]}")
                )
            for blob, array in zip(node.state, stored):
                blob.data[...] = array

    # Data

    def _data_layers(self) -> list[tuple[str, DataLayer]]:
        """Running data layers, with their names."""
        return [(node.name, node.started) for node in self.graph.nodes if isinstance(node.started, DataLayer)]

    def data_positions(self) -> dict[str, int]:
        """Number of records that each data layer has delivered, by layer name."""
        return {name: layer.position for name, layer in self._data_layers()}

    def set_data_positions(self, positions: dict[str, int]) -> None:
        """Let data layers go on as if they had delivered so many records."""
        for name, layer in self._data_layers():
            if name in positions:
                layer.position = positions[name]

    def close(self) -> None:
        """Stop data threads and close databases."""
        for _, layer in self._data_layers():
            layer.close()
