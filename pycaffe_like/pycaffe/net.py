"""`Net`: Caffe's Python interface to a net."""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import _core as core
from ..layers.python import PythonLayer
from ..named import Named
from ..net import TEST, TRAIN, Array, PlannedNet
from ..plan.options import NetOptions
from ..prototxt import schema
from ..prototxt.upgrade import read_net


@dataclass(frozen=True)
class LayerView:
    """A layer as `net.layers` shows it: its type name and learned blobs."""

    type: str
    blobs: list[core.Blob]


class Net(PlannedNet):
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
        document = read_net(network_file)
        state = schema.NetState()
        state.CopyFrom(document.message.state)
        state.phase = phase
        state.level = level
        state.stage.extend(stages or [])
        super().__init__(document, state, NetOptions(**options))
        if weights:
            self.copy_from(weights)

    @classmethod
    def from_document(cls, document: Any, state: Any, options: NetOptions) -> Net:
        """Build from a parsed net and a complete NetState, as solvers do."""
        net = cls.__new__(cls)
        PlannedNet.__init__(net, document, state, options)
        return net

    # What the net is made of

    @property
    def params(self) -> Named[list[core.Blob]]:
        """Learned blobs by layer name, only layers that have any."""
        return Named(
            (node.name, [param.blob for param in node.params]) for node in self.graph.nodes if node.params
        )

    @property
    def layers(self) -> list[Any]:
        """One entry a layer, in order; layers written in Python stand for themselves."""
        return [
            node.started.user_layer
            if isinstance(node.started, PythonLayer)
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
