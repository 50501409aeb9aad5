"""Reads nets and solvers of any age and brings them to today's format.

The steps run in Caffe's order: V0 to V1, pre-processing into `transform_param`, V1 to V2, net inputs into an
Input layer, rates of BatchNorm. Positions follow every field that moves.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError, Position
from . import schema
from . import text as prototext
from .record import Record
from .text import Document, Positions, Source
from .upgrade_forks import upgrade_forks
from .upgrade_v0 import is_v0, upgrade_v0

log = logging.getLogger(__name__)

V1_TYPES = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONADD": "Conadd",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "CROP": "Crop",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DEFORMABLECONVOLUTION": "DeformableConvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "ELTWISE": "Eltwise",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "RELU6": "ReLU6",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "TANH": "TanH",
    "THRESHOLD": "Threshold",
    "WINDOW_DATA": "WindowData",
}
"""Layer types of the V1 format, and today's."""

SOLVER_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
    "SAG": "SAG",
}
"""Values of the old field `solver_type`, and today's `type`."""

_DATA_MESSAGES = {"Data": "data_param", "ImageData": "image_data_param", "WindowData": "window_data_param"}
_TRANSFORM_FIELDS = ("scale", "mean_file", "crop_size", "mirror")

# V1 lists whose i-th entry describes the i-th parameter, and the field of `param` that holds it today.
_PARAM_LISTS = {
    "param": "name",
    "blob_share_mode": "share_mode",
    "blobs_lr": "lr_mult",
    "weight_decay": "decay_mult",
}


@dataclass
class NetDocument:
    """A net in today's format, and where its layers were written."""

    message: Any
    source: Source
    positions: Positions = field(repr=False)

    @property
    def file(self) -> str:
        """Name of the file the net came from."""
        return self.source.file

    def position(self, *path: str | int) -> Position | None:
        """Return where a field of the net was written, None if it was not."""
        return self.source.position(self.positions.find(path))

    def layer_position(self, index: int, *path: str | int) -> Position | None:
        """Return where a field of a layer was written.

        Parameters
        ----------
        index : int
            Place of the layer in `message.layer`.
        *path : str or int
            Field names within the layer; a repeated field is followed by an index.

        Returns
        -------
        Position or None
            Of the field, or of the nearest message around it that the file contains. None if the layer
            did not come from a file.
        """
        if self.positions.find(("layer", index)) < 0:
            return None
        return self.source.position(self.positions.find(("layer", index, *path), nearest=True))


def read_net(path: str | os.PathLike[str]) -> NetDocument:
    """Read a net from a prototxt of any age.

    Raises
    ------
    MissingFileError, DataError
        The file is missing or cannot be read.
    ConfigError
        The text is not a net.
    """
    return _upgraded(prototext.read(path, schema.NetParameter))


def parse_net(text: str | bytes, file: str = "<string>") -> NetDocument:
    """Parse a net of any age; see `read_net`.

    Examples
    --------
    >>> net = parse_net("layers { name: 'relu' type: RELU blobs_lr: 2 }")
    >>> net.message.layer[0].type, net.message.layer[0].param[0].lr_mult
    ('ReLU', 2.0)
    >>> str(net.layer_position(0, "param", 0, "lr_mult"))
    '<string>:1:34'
    """
    return _upgraded(prototext.parse(text, schema.NetParameter, file))


def net_from_message(message: Any, file: str = "<memory>") -> NetDocument:
    """Upgrade a copy of a net that was built in memory or read from a binary file."""
    copy = schema.NetParameter()
    copy.CopyFrom(message)
    return _upgraded(Document(copy, Source("", file), Positions()))


def embedded_net(solver: Document, name: str, index: int = 0) -> NetDocument:
    """Upgrade, in place, a net that is written inside a solver: the field `name`, its entry `index`."""
    record = Record(solver.message, solver.positions)
    net = record.items(name)[index] if record.repeated(name) else record.child(name)
    return _upgraded(Document(net.message, solver.source, net.positions))


def read_solver(path: str | os.PathLike[str]) -> Document:
    """Read a solver from a prototxt, with the old field `solver_type` brought to `type`.

    Raises
    ------
    MissingFileError, DataError
        The file is missing or cannot be read.
    ConfigError
        The text is not a solver.
    """
    return upgrade_solver(prototext.read(path, schema.SolverParameter))


def upgrade_solver(document: Document) -> Document:
    """Bring a solver to today's format, in place."""
    solver = Record(document.message, document.positions)
    if not solver.has("solver_type"):
        return document
    where = solver.where("solver_type")
    if solver.has("type"):
        raise ConfigError(
            "solver_type and type are both given",
            where=document.source.position(where),
            hint="keep type; solver_type is its old form",
        )
    old = schema.SolverParameter.SolverType.Name(solver.message.solver_type)
    solver.put("type", SOLVER_TYPES[old], where)
    solver.clear("solver_type")
    log.info("%s: solver_type %s upgraded to type %r", document.file, old, solver.message.type)
    return document


def _upgraded(document: Document) -> NetDocument:
    net, source = Record(document.message, document.positions), document.source
    if is_v0(net):
        complete = upgrade_v0(net, source)
        log.info("%s: upgraded from V0 to V1%s", source.file, "" if complete else ", with losses")
    if _has_v1_preprocessing(net):
        _move_v1_preprocessing(net)
        log.info("%s: pre-processing moved to transform_param", source.file)
    if net.has("layers"):
        _upgrade_v1(net, source)
        log.info("%s: upgraded from V1 to V2", source.file)
    if net.has("input"):
        _upgrade_inputs(net, source)
        log.info("%s: net inputs upgraded to an Input layer", source.file)
    _move_v2_preprocessing(net, source)
    upgrade_forks(net, source)
    return NetDocument(document.message, source, document.positions)


# Pre-processing, which data layers used to hold in their own message


def _v1_data_layers(net: Record) -> Iterator[tuple[Record, str]]:
    """Yield the V1 layers that read data, and the name of their message."""
    names = schema.V1LayerParameter.LayerType
    for layer in net.items("layers"):
        message = _DATA_MESSAGES.get(V1_TYPES[names.Name(layer.message.type)])
        if message:
            yield layer, message


def _set_fields(record: Record, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if record.has(name)]


def _has_v1_preprocessing(net: Record) -> bool:
    return any(
        layer.has(message) and _set_fields(layer.child(message), _TRANSFORM_FIELDS)
        for layer, message in _v1_data_layers(net)
    )


def _move_v1_preprocessing(net: Record) -> None:
    for layer, message in _v1_data_layers(net):
        transform = layer.child("transform_param")
        if layer.has(message):
            data = layer.child(message)
            for name in _set_fields(data, _TRANSFORM_FIELDS):
                data.move(name, transform)


def _move_v2_preprocessing(net: Record, source: Source) -> None:
    """Move what Caffe would accept and ignore. WindowData reads its own `scale`."""
    for layer in net.items("layer"):
        message = _DATA_MESSAGES.get(layer.message.type)
        if not message or not layer.has(message):
            continue
        data = layer.child(message)
        for name in _set_fields(data, _TRANSFORM_FIELDS):
            if (message, name) != ("window_data_param", "scale"):
                _move_ignored(data, name, layer, source)


def _move_ignored(data: Record, name: str, layer: Record, source: Source) -> None:
    where = source.position(data.where(name)) or source.file
    if layer.has("transform_param") and layer.child("transform_param").has(name):
        log.warning("%s: %s is ignored: transform_param sets it, too", where, name)
        data.clear(name)
        return
    log.warning("%s: %s belongs into transform_param; moved there (Caffe ignores it here)", where, name)
    data.move(name, layer.child("transform_param", data.offset))


# V1 to V2


def _upgrade_v1(net: Record, source: Source) -> None:
    if net.has("layer"):
        raise ConfigError(
            "the net has both `layer` and `layers`",
            where=source.position(net.where("layers")),
            hint="`layers` is the old form; write every layer as `layer`",
        )
    for old in net.items("layers"):
        _upgrade_v1_layer(old, net.add("layer", old.offset), source)
    net.clear("layers")


def _upgrade_v1_layer(old: Record, layer: Record, source: Source) -> None:
    if old.has("type"):
        name = schema.V1LayerParameter.LayerType.Name(old.message.type)
        layer.put("type", V1_TYPES[name], old.where("type"))
        old.clear("type")
    if old.has("layer"):
        log.error("%s: V0 record in a V1 layer dropped", source.position(old.where("layer")) or source.file)
        old.clear("layer")
    for list_name, field_name in _PARAM_LISTS.items():
        for i, value in enumerate(getattr(old.message, list_name)):
            offset = old.where(list_name, i)
            layer.item("param", i, offset).put(field_name, value, offset)
        old.clear(list_name)
    for descriptor, _ in old.message.ListFields():
        old.move(descriptor.name, layer)


# Net inputs


def _upgrade_inputs(net: Record, source: Source) -> None:
    if net.has("input_shape") or net.has("input_dim"):
        _add_input_layer(net, source)
    for name in ("input", "input_shape", "input_dim"):
        net.clear(name)


def _add_input_layer(net: Record, source: Source) -> None:
    layer = Record(schema.LayerParameter(name="input", type="Input"), Positions(net.where("input")))
    for i, name in enumerate(net.message.input):
        layer.put("top", name, net.where("input", i))
    parameters = layer.child("input_param")
    for i in range(len(net.message.input)):
        _add_input_shape(net, i, parameters, source)
    _put_first(net, layer)


def _add_input_shape(net: Record, i: int, parameters: Record, source: Source) -> None:
    name, offset = net.message.input[i], net.where("input", i)
    if net.has("input_shape"):
        shapes = net.items("input_shape")
        if i >= len(shapes):
            raise ConfigError(
                f"input {name!r} has no input_shape",
                where=source.position(offset),
                hint=f"give {len(net.message.input)} input_shape, one for each input",
            )
        shape = parameters.add("shape", shapes[i].offset)
        shape.message.CopyFrom(shapes[i].message)
        shape.positions.fields.update(shapes[i].positions.fields)
        return
    dims = net.message.input_dim[4 * i : 4 * i + 4]
    if len(dims) < 4:
        raise ConfigError(
            f"input {name!r} has {len(dims)} of its 4 input_dim",
            where=source.position(offset),
            hint=f"give {4 * len(net.message.input)} input_dim, or use input_shape",
        )
    shape = parameters.add("shape", net.where("input_dim", 4 * i))
    for k, dim in enumerate(dims):
        shape.put("dim", dim, net.where("input_dim", 4 * i + k))


def _put_first(net: Record, layer: Record) -> None:
    places = [other.positions for other in net.items("layer")]
    net.message.layer.insert(0, layer.message)
    net.positions.fields["layer"] = [layer.positions, *places]
