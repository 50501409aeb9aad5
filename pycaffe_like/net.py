"""`Net`: a graph, its plan, and Caffe's Python interface to both."""

from __future__ import annotations

import dataclasses
import logging
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from . import _core as core
from . import schema, trained_weights, upgrade
from .device import default_device, require_room
from .errors import ConfigError
from .graph.build import build_graph, layer_seed
from .graph.locate import errors_of_steps
from .graph.nodes import Graph
from .layers.python import PythonLayer
from .plan.memory import Memory, bytes_to_come, measure
from .plan.placement import log_placement
from .plan.plan import JOINING_PASSES, Plan, make_plan
from .seeds import next_seed

log = logging.getLogger("caffe")

Array = npt.NDArray[np.float32]
TRAIN, TEST = 0, 1


@dataclass(frozen=True)
class NetOptions:
    """How a net is built and planned, beyond what its prototxt says.

    Attributes
    ----------
    seed : int, optional
        Seed of fillers and layers; drawn from `set_random_seed`'s sequence or from entropy when not given.
    precision : {"float32", "tf32", "bfloat16"}
        Element type of activations; "tf32" is float32 whose matrix layers round factors on the GPU.
    device : {"cpu", "cuda"}, optional
        Where the layers run; as `set_mode_gpu` or `set_mode_cpu` said last when not given.
    fill : bool
        False leaves learned blobs without values and memory, to look at shapes and sizes only.
    skip_passes : tuple of str
        Passes of the planner to leave out, of those in `plan.plan.PASSES`.
    keep_data : bool
        False lets the data of intermediate blobs take turns in memory: only inputs, outputs and losses can
        be read after forward, and a net built for phase TEST runs forward only.
    keep_diffs : bool
        False lets the gradients of intermediate blobs take turns in memory: they cannot be read after
        backward.
    max_memory : int, optional
        Bytes the net may need; data is made again in backward where it would need more. Takes keep_data and
        keep_diffs False.
    history_sets : int
        Arrays that a solver will add for each learned blob; they count in `max_memory`.
    """

    seed: int | None = None
    precision: str = "float32"
    device: str | None = None
    fill: bool = True
    skip_passes: tuple[str, ...] = ()
    keep_data: bool = True
    keep_diffs: bool = True
    max_memory: int | None = None
    history_sets: int = 0


@dataclass(frozen=True)
class LayerView:
    """A layer as `net.layers` shows it: its type name and learned blobs."""

    type: str
    blobs: list[core.Blob]


class Net:
    """A net built for one phase.

    Parameters
    ----------
    network_file : str
        Path of a net prototxt.
    phase : {TRAIN, TEST}
        Phase to build for.
    level, stages
        Further state that include and exclude rules ask for.
    weights : str, optional
        File of trained weights to load.
    **options
        Fields of `NetOptions`.

    Raises
    ------
    MissingFileError, ConfigError, ShapeError, DataError
        Each with file, line and layer where there is one.

    Notes
    -----
    Caffe's older argument order ``Net(network_file, weights_file, phase)`` is understood.
    """

    def __init__(
        self,
        network_file: str | os.PathLike[str],
        *args: Any,
        phase: int | None = None,
        level: int = 0,
        stages: Sequence[str] | None = None,
        weights: str | None = None,
        **options: Any,
    ) -> None:
        phase, level, stages, weights = _classic_arguments(args, phase, level, stages, weights)
        document = upgrade.read_net(network_file)
        state = schema.NetState()
        state.CopyFrom(document.message.state)
        state.phase = phase
        state.level = level
        state.stage.extend(stages or [])
        self._build(document, state, NetOptions(**options))
        if weights:
            self.copy_from(weights)

    @classmethod
    def from_document(cls, document: Any, state: Any, options: NetOptions) -> Net:
        """Build from a parsed net and a complete NetState, as solvers do."""
        net = cls.__new__(cls)
        net._build(document, state, options)
        return net

    def _build(self, document: Any, state: Any, options: NetOptions) -> None:
        self.seed = next_seed() if options.seed is None else options.seed
        self._options = options
        self.device = options.device or default_device()
        self.graph: Graph = build_graph(
            document, state, seed=self.seed, device=self.device, fill=options.fill
        )
        if self.device != "cpu":
            log_placement(self.graph)
        self._order = {node.members[0]: index for index, node in enumerate(self.graph.nodes)}
        self._hooks: dict[str, list[Callable[[int], None]]] = {}
        self.iteration = 0
        self._make_plan()
        if self.device != "cpu" and options.fill:
            require_room(f"net '{self.name}'", bytes_to_come(self.plan, self.device))
        log.info("Network initialization done.")

    def _make_plan(self) -> None:
        keep = {} if not hasattr(self, "plan") else dict(self.blobs)
        with errors_of_steps(self.graph):
            self.plan: Plan = make_plan(
                self.graph,
                precision=self._options.precision,
                device=self.device,
                skip_passes=self._options.skip_passes,
                keep_data=self._options.keep_data,
                keep_diffs=self._options.keep_diffs,
                max_memory=self._options.max_memory,
                reserved=self._options.history_sets * sum(p.blob.bytes for p in self.graph.learnable),
                seed=self.seed,
                keep=keep,
            )
        self.blobs: OrderedDict[str, core.Blob] = self._visible_blobs()

    def _visible_blobs(self) -> OrderedDict[str, core.Blob]:
        """All declared blobs; those the plan does not make say so when they are read."""
        made = self.plan.graph.blobs()
        blobs: OrderedDict[str, core.Blob] = OrderedDict()
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
        for node in self.plan.graph.nodes:
            node.layer.stream = layer_seed(seed, node.definition.name)
            if hasattr(node.layer, "reseed"):
                node.layer.reseed(node.layer.stream)

    # What the net is made of

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

    @property
    def params(self) -> OrderedDict[str, list[core.Blob]]:
        """Learned blobs by layer name, only layers that have any."""
        return OrderedDict(
            (node.name, [param.blob for param in node.params]) for node in self.graph.nodes if node.params
        )

    @property
    def layers(self) -> list[Any]:
        """One entry a layer, in order; layers written in Python stand for themselves."""
        return [
            node.layer.user_layer
            if isinstance(node.layer, PythonLayer)
            else LayerView(node.definition.type, [param.blob for param in node.params])
            for node in self.graph.nodes
        ]

    @property
    def layer_dict(self) -> OrderedDict[str, Any]:
        """`layers` by name."""
        return OrderedDict(zip(self._layer_names, self.layers))

    @property
    def _layer_names(self) -> list[str]:
        return [node.name for node in self.graph.nodes]

    @property
    def _blob_names(self) -> list[str]:
        return list(self.blobs)

    @property
    def top_names(self) -> OrderedDict[str, list[str]]:
        """Names of each layer's tops."""
        return OrderedDict((node.name, [top.name for top in node.tops]) for node in self.graph.nodes)

    @property
    def bottom_names(self) -> OrderedDict[str, list[str]]:
        """Names of each layer's bottoms."""
        return OrderedDict((node.name, node.definition.bottoms) for node in self.graph.nodes)

    @property
    def blob_loss_weights(self) -> OrderedDict[str, float]:
        """Loss weight of every blob, 0 for most."""
        weights = OrderedDict((name, 0.0) for name in self.blobs)
        for node in self.graph.nodes:
            for top, weight in zip(node.tops, node.loss_weights):
                if not top.hidden:
                    weights[top.name] = weight
        return weights

    # Running

    def forward(
        self,
        blobs: Iterable[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **inputs: Any,
    ) -> dict[str, Array]:
        """Run forward.

        Parameters
        ----------
        blobs
            Names of further blobs to return.
        start, end
            First and last layer to run, both included; the whole net when not given.
        **inputs
            Values of all the net's inputs, by name; assigned before running.

        Returns
        -------
        dict of str to ndarray
            Views of the outputs (of the tops of `end` when it is given) and of `blobs`.
        """
        if inputs:
            self._assign(inputs, self.inputs, _set_data)
        first = self._index_of(start) if start is not None else 0
        last = self._index_of(end) if end is not None else len(self.graph.nodes) - 1
        self._forward(first, last)
        names = self.top_names[end] if end is not None else self.outputs
        return {name: self.blobs[name].data for name in [*names, *(blobs or [])]}

    def backward(
        self,
        diffs: Iterable[str] | None = None,
        start: str | None = None,
        end: str | None = None,
        **top_diffs: Any,
    ) -> dict[str, Array]:
        """Run backward, from layer `start` (default: the last) down to and with `end` (the first).

        Parameters
        ----------
        diffs
            Names of further blobs whose diffs to return.
        **top_diffs
            Diffs of all the net's outputs, by name; assigned before running.

        Returns
        -------
        dict of str to ndarray
            Views of the diffs of the inputs (of the bottoms of `end` when it is given) and of `diffs`.
        """
        if top_diffs:
            self._assign(top_diffs, self.outputs, _set_diff)
        first = self._index_of(start) if start is not None else len(self.graph.nodes) - 1
        last = self._index_of(end) if end is not None else 0
        self._backward(first, last)
        names = self.bottom_names[end] if end is not None else self.inputs
        return {name: self.blobs[name].diff for name in [*names, *(diffs or [])]}

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
        joining = [name for name in JOINING_PASSES if name not in self._options.skip_passes]
        if joining:
            skipped = (*self._options.skip_passes, *joining)
            self._options = dataclasses.replace(self._options, skip_passes=skipped)
            self._make_plan()

    def _index_of(self, layer: str) -> int:
        if layer not in self._order:
            raise ValueError(f"{layer!r} is not a layer of the net")
        return self._order[layer]

    def _assign(
        self, values: dict[str, Any], names: list[str], put: Callable[[core.Blob, Any], None]
    ) -> None:
        if set(values) != set(names):
            raise Exception(f"expected values for exactly {sorted(names)}, got {sorted(values)}")
        for name, value in values.items():
            blob = self.blobs[name]
            if np.shape(value)[:1] != tuple(blob.shape[:1]):
                raise Exception(
                    f"blob {name!r} has shape {tuple(blob.shape)}, the value has {np.shape(value)}"
                )
            put(blob, value)

    def forward_all(self, blobs: Iterable[str] | None = None, **inputs: Any) -> dict[str, Array]:
        """Run any number of samples through the net, batch by batch; returns copies of the outputs."""
        names = [*self.outputs, *(blobs or [])]
        parts: dict[str, list[Array]] = {name: [] for name in names}
        total = len(next(iter(inputs.values())))
        batch = self.blobs[next(iter(inputs))].shape[0]
        for begin in range(0, total, batch):
            used = min(batch, total - begin)
            rows = slice(begin, begin + used)
            padded: dict[str, Any] = {
                name: _padded(np.asarray(value)[rows], batch) for name, value in inputs.items()
            }
            out = self.forward(blobs=blobs, **padded)
            for name in names:
                parts[name].append(out[name][:used].copy())
        return {name: np.concatenate(part) for name, part in parts.items()}

    def reshape(self) -> None:
        """Bring all shapes up to date after an input blob was reshaped."""
        with errors_of_steps(self.graph):
            self.plan.executor.reshape()

    def clear_param_diffs(self) -> None:
        """Set all gradients of learned blobs to zero."""
        for param in self.graph.learnable:
            param.blob.clear_diff()

    # Listening in

    def before_forward(self, function: Callable[[int], None]) -> None:
        """Call `function(layer_index)` before each layer runs forward."""
        self._hooks.setdefault("before_forward", []).append(function)

    def after_forward(self, function: Callable[[int], None]) -> None:
        """Call `function(layer_index)` after each layer ran forward."""
        self._hooks.setdefault("after_forward", []).append(function)

    def before_backward(self, function: Callable[[int], None]) -> None:
        """Call `function(layer_index)` before each layer runs backward."""
        self._hooks.setdefault("before_backward", []).append(function)

    def after_backward(self, function: Callable[[int], None]) -> None:
        """Call `function(layer_index)` after each layer ran backward."""
        self._hooks.setdefault("after_backward", []).append(function)

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

    def copy_from(self, path: str | os.PathLike[str]) -> None:
        """Load trained weights by layer name; see `trained_weights.load`."""
        trained_weights.load(self.graph, path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the net with its weights as a binary caffemodel."""
        trained_weights.save(self.graph, path)

    def share_with(self, other: Net) -> None:
        """Use the learned blobs of the same-named layers of another net from now on."""
        trained_weights.share(self.graph, other.graph)

    # Data

    def data_positions(self) -> dict[str, int]:
        """Number of the record that each data layer delivers next, by layer name."""
        return {
            node.name: node.layer.position for node in self.graph.nodes if hasattr(node.layer, "position")
        }

    def set_data_positions(self, positions: dict[str, int]) -> None:
        """Let data layers go on at these records."""
        for node in self.graph.nodes:
            if node.name in positions and hasattr(node.layer, "position"):
                node.layer.position = positions[node.name]

    def close(self) -> None:
        """Stop data threads and close databases."""
        for node in self.graph.nodes:
            if hasattr(node.layer, "close"):
                node.layer.close()


def _classic_arguments(
    args: tuple[Any, ...], phase: int | None, level: int, stages: Sequence[str] | None, weights: str | None
) -> tuple[int, int, Sequence[str] | None, str | None]:
    """Sort out positional arguments: (phase, level, stages, weights), or the old (weights, phase)."""
    if args and isinstance(args[0], (str, os.PathLike)):
        warnings.warn("Net(file, weights, phase): pass weights= by keyword", DeprecationWarning, stacklevel=3)
        weights = os.fspath(args[0])
        args = args[1:]
    given = dict(zip(("phase", "level", "stages", "weights"), args))
    phase = given.get("phase", phase)
    if phase not in (TRAIN, TEST):
        raise TypeError(f"phase must be caffe.TRAIN or caffe.TEST, got {phase!r}")
    return phase, given.get("level", level), given.get("stages", stages), given.get("weights", weights)


def _set_data(blob: core.Blob, value: npt.ArrayLike) -> None:
    blob.data[...] = value


def _set_diff(blob: core.Blob, value: npt.ArrayLike) -> None:
    """Set a gradient of any element type; NumPy cannot write bfloat16."""
    values = core.Blob(blob.shape, "float32", blob.layout)
    values.data[...] = value
    blob.assign_diff(values)


def _padded(values: npt.NDArray[Any], batch: int) -> npt.NDArray[Any]:
    """Fill a short batch up with zeros."""
    if len(values) == batch:
        return values
    return np.concatenate([values, np.zeros((batch - len(values), *values.shape[1:]), values.dtype)])
