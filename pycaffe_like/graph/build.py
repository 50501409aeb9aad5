"""Builds the graph: connects blobs, creates layers, infers shapes, makes params. Allocates no blob memory."""

from __future__ import annotations

import logging
import zlib
from typing import Any

from .. import _core as core
from ..errors import ShapeError
from ..facts import Learned, count_of
from ..layer_type import LayerType, find_layer_type
from ..prototxt import schema
from ..prototxt.definition import LayerDefinition
from .backward import mark_backward
from .declared import check_layer, check_net
from .filter import filter_layers
from .locate import errors_of_layer
from .nodes import Graph, Node, Param, Value
from .params import share_params
from .splits import insert_splits

log = logging.getLogger("caffe")


def build_graph(document: Any, state: Any, *, seed: int, device: str = "cpu", fill: bool = True) -> Graph:
    """Build the graph of a net for one state.

    Parameters
    ----------
    document : upgrade.NetDocument
        The parsed and upgraded net.
    state : NetState
        Phase, level and stages to build for.
    seed : int
        Seed of the fillers.
    device : {"cpu", "cuda"}
        Where layers run.
    fill : bool
        Give learned blobs their initial values; False allocates nothing, for nets that are only looked at.

    Raises
    ------
    ConfigError, ShapeError
        For whatever does not fit, with file, line, column and layer.
    """
    message = document.message
    check_net(document)
    layers = [LayerDefinition(layer, document, index) for index, layer in enumerate(message.layer)]
    layers = filter_layers(layers, state)
    for layer in layers:
        if not layer.message.HasField("phase"):
            layer.message.phase = state.phase
    builder = _Builder(seed, device, fill)
    for layer in insert_splits(layers):
        with errors_of_layer(layer):
            builder.add(layer)
    share_params(builder.nodes)
    mark_backward(builder.nodes, force=message.force_backward)
    outputs = sorted(builder.available, key=lambda name: name.encode())
    for name in outputs:
        log.info("This network produces output %s", name)
    return Graph(message.name, state.phase == 0, builder.nodes, builder.params, builder.inputs, outputs)


class _Builder:
    """Adds layers one by one; holds what the next one may connect to."""

    def __init__(self, seed: int, device: str, fill: bool) -> None:
        self.seed = seed
        self.device = device
        self.fill = fill
        self.nodes: list[Node] = []
        self.params: list[Param] = []
        self.inputs: list[str] = []
        self.current: dict[str, Value] = {}  # last version of every blob made so far
        self.available: dict[str, None] = {}  # blobs nobody has read yet, in order
        self.learning: set[str] = set()  # names of layers with learned blobs

    def add(self, layer: LayerDefinition) -> None:
        """Create one layer and connect it."""
        kind = find_layer_type(layer)
        log.info("Creating Layer %s", layer.name)
        _check_propagate_down(layer)
        check_layer(layer, kind)
        kind.check(layer)
        bottoms = [self._take(layer, name) for name in layer.bottoms]
        bottom_shapes = [value.shape for value in bottoms]
        device = kind.device_of(layer, bottom_shapes, self.device)
        started = kind.start(layer, bottom_shapes, device, layer_seed(self.seed, layer.name))
        arguments = {} if started else kind.arguments(layer, bottom_shapes)
        shapes = core.layer_shapes(started or kind.type, arguments, bottom_shapes)
        _check_sizes(shapes.tops)
        tops = self._make_tops(layer, kind, bottoms, shapes.tops, device)
        node = Node(layer, kind, device, arguments, bottoms, tops, members=[layer.name], started=started)
        node.stream = layer_stream(layer.name)
        facts = kind.learned(layer)
        brought = started.params if started else []
        learned = brought or _make_learned(facts, shapes.params, device)
        if learned:
            self._claim_name(layer)
        node.params = _make_params(layer, kind, facts, learned)
        node.state = [core.Blob(shape, device=device) for shape in shapes.state]
        if self.fill and not brought:  # a layer that brings its learned blobs has given them values
            self._give_values(layer, facts, node.params)
        node.loss_weights = _loss_weights(layer, kind, len(tops))
        self.nodes.append(node)
        self.params += node.params
        log.info("Setting up %s", layer.name)
        for top, weight in zip(tops, node.loss_weights):
            log.info("Top shape: %s", shape_string(top.shape))
            if weight:
                log.info("    with loss weight %g", weight)

    def _claim_name(self, layer: LayerDefinition) -> None:
        """Refuse a second layer of a name with learned blobs: weights are saved and loaded by that name."""
        if layer.name in self.learning:
            raise layer.error(
                "another layer with learned blobs has this name; a file of weights could not tell them apart",
                "name", hint="give each its own name; equal names in `param` share weights",
            )  # fmt: skip
        self.learning.add(layer.name)

    def _take(self, layer: LayerDefinition, name: str) -> Value:
        log.info("%s <- %s", layer.name, name)
        self.available.pop(name, None)
        return self.current[name]

    def _make_tops(
        self,
        layer: LayerDefinition,
        kind: type[LayerType],
        bottoms: list[Value],
        shapes: list[list[int]],
        device: str,
    ) -> list[Value]:
        tops = []
        for index, name in enumerate(layer.tops):
            in_place = index < len(bottoms) and layer.bottoms[index] == name
            if in_place and not kind.allows_in_place(layer):
                raise layer.error(
                    f"{kind.type} cannot work in place (top '{name}' is its bottom)", "top", index,
                    hint="give the top a name of its own",
                )  # fmt: skip
            if not in_place and name in self.current:
                raise layer.error(
                    f"duplicate top: blob '{name}' is already made by another layer", "top", index
                )
            log.info("%s -> %s%s", layer.name, name, " (in-place)" if in_place else "")
            value = Value(name, shapes[index], device=device, memory_of=bottoms[index] if in_place else None)
            self.current[name] = value
            self.available[name] = None
            if layer.type == "Input":
                self.inputs.append(name)
            tops.append(value)
        tops += [Value("(automatic)", shape, device=device) for shape in shapes[len(tops) : _least(kind)]]
        return tops

    def _give_values(self, layer: LayerDefinition, facts: list[Learned], params: list[Param]) -> None:
        """Fill learned blobs, or take the values that the layer's own message holds."""
        given = layer.message.blobs
        if given and len(given) != len(params):
            raise layer.error(f"{len(given)} blobs given, the layer has {len(params)}", "blobs")
        for index, param in enumerate(params):
            if given:
                _load_given(layer, index, given[index], param.blob)
            else:
                _fill(param.blob, facts[index].filler, self.seed, f"{layer.name}/{index}")


def _make_learned(facts: list[Learned], shapes: list[list[int]], device: str) -> list[core.Blob]:
    return [
        core.Blob(shape, "float32", fact.layout if device == "cuda" else "plain", device)
        for fact, shape in zip(facts, shapes, strict=True)
    ]


def _make_params(
    layer: LayerDefinition, kind: type[LayerType], facts: list[Learned], blobs: list[core.Blob]
) -> list[Param]:
    specs = layer.message.param
    if len(specs) > len(blobs):
        raise layer.error(f"{len(specs)} param entries for {len(blobs)} learned blobs", "param", len(blobs))
    params = []
    for index, blob in enumerate(blobs):
        spec = specs[index] if index < len(specs) else schema.ParamSpec()
        param = Param(layer.name, index, spec.name, blob, spec.lr_mult, spec.decay_mult)
        if facts and not facts[index].trained:
            if index < len(specs) and spec.lr_mult != 0:
                raise layer.error(
                    f"blob {index} of a {kind.type} layer is not learned: "
                    f"lr_mult must be 0, got {spec.lr_mult:g}",
                    "param", index, "lr_mult",
                )  # fmt: skip
            param.lr_mult = 0.0
            param.learned = False
        params.append(param)
    return params


def _check_sizes(shapes: list[list[int]]) -> None:
    """Refuse blobs of more than 2^31 - 1 elements, by making some; they take no memory before use."""
    for shape in shapes:
        core.Blob(shape)


def _fill(blob: core.Blob, filler: Any, seed: int, stream: str) -> None:
    core.fill(
        blob, type=filler.type, value=filler.value, min=filler.min, max=filler.max, mean=filler.mean,
        std=filler.std, sparse=filler.sparse, variance_norm=filler.VarianceNorm.Name(filler.variance_norm),
        seed=seed, stream=zlib.crc32(stream.encode()),
    )  # fmt: skip


def layer_seed(seed: int, name: str) -> int:
    """Seed of a layer that draws its random numbers itself, in a net of this seed."""
    return seed ^ layer_stream(name)


def layer_stream(name: str) -> int:
    """Tell a layer's random numbers from those of others, which have the net's seed as well."""
    return zlib.crc32(name.encode())


def _least(kind: type[LayerType]) -> int:
    return count_of(kind.tops).least if kind.loss else 0


def _load_given(layer: LayerDefinition, index: int, proto: Any, blob: core.Blob) -> None:
    """Take a learned blob's values from the layer's own message."""
    from ..weights.blobs import blobproto_to_array

    values = blobproto_to_array(proto)
    if values.size != blob.count:
        raise ShapeError(
            f"blob {index} has {values.size} values, the layer's has shape {tuple(blob.shape)}",
            where=layer.position("blobs", index), layer=layer.name, layer_type=layer.type,
        )  # fmt: skip
    blob.data[...] = values.reshape(blob.shape)


def _check_propagate_down(layer: LayerDefinition) -> None:
    given = len(layer.message.propagate_down)
    if given not in (0, len(layer.bottoms)):
        problem = f"propagate_down needs one value for each of {len(layer.bottoms)} bottoms, got {given}"
        raise layer.error(problem, "propagate_down")


def _loss_weights(layer: LayerDefinition, kind: type[LayerType], tops: int) -> list[float]:
    """Loss weight of every top; the implicit one of a loss layer goes into its message, as Caffe saves it."""
    given = list(layer.message.loss_weight)
    if given and len(given) != tops:
        raise layer.error(
            f"loss_weight needs one value for each of {tops} tops, got {len(given)}", "loss_weight"
        )
    if not given and kind.loss:
        given = kind.default_loss_weights(tops)
        layer.message.loss_weight.extend(given)
    return given or [0.0] * tops


def shape_string(shape: list[int]) -> str:
    """Word a shape as Caffe's logs do: every dim and a blank, then the count in parentheses."""
    count = 1
    for dim in shape:
        count *= dim
    return "".join(f"{dim} " for dim in shape) + f"({count})"
