"""From the first format of a net (V0: `layers { layer { type: "conv" ... } }`) to the second (V1).

A V0 layer keeps the parameters of all types in one record. Here they are dealt out to the messages of the
types, pre-processing goes to `transform_param`, and padding layers become the padding of their consumers.
"""

from __future__ import annotations

import logging

from ..errors import ConfigError, nearest
from .record import Record
from .text import Source

log = logging.getLogger(__name__)

TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}

_MESSAGES = {
    "conv": "convolution_param",
    "innerproduct": "inner_product_param",
    "pool": "pooling_param",
    "dropout": "dropout_param",
    "lrn": "lrn_param",
    "data": "data_param",
    "hdf5_data": "hdf5_data_param",
    "images": "image_data_param",
    "window_data": "window_data_param",
    "infogain_loss": "infogain_loss_param",
    "concat": "concat_param",
}

# V0 field -> (types that have it, its new name in their message)
_FIELDS: dict[str, tuple[tuple[str, ...], str]] = {
    "num_output": (("conv", "innerproduct"), "num_output"),
    "biasterm": (("conv", "innerproduct"), "bias_term"),
    "weight_filler": (("conv", "innerproduct"), "weight_filler"),
    "bias_filler": (("conv", "innerproduct"), "bias_filler"),
    "pad": (("conv", "pool"), "pad"),
    "kernelsize": (("conv", "pool"), "kernel_size"),
    "stride": (("conv", "pool"), "stride"),
    "group": (("conv",), "group"),
    "pool": (("pool",), "pool"),
    "dropout_ratio": (("dropout",), "dropout_ratio"),
    "local_size": (("lrn",), "local_size"),
    "alpha": (("lrn",), "alpha"),
    "beta": (("lrn",), "beta"),
    "k": (("lrn",), "k"),
    "source": (("data", "hdf5_data", "images", "window_data", "infogain_loss"), "source"),
    "batchsize": (("data", "hdf5_data", "images", "window_data"), "batch_size"),
    "rand_skip": (("data", "images"), "rand_skip"),
    "shuffle_images": (("images",), "shuffle"),
    "new_height": (("images",), "new_height"),
    "new_width": (("images",), "new_width"),
    "concat_dim": (("concat",), "concat_dim"),
    "det_fg_threshold": (("window_data",), "fg_threshold"),
    "det_bg_threshold": (("window_data",), "bg_threshold"),
    "det_fg_fraction": (("window_data",), "fg_fraction"),
    "det_context_pad": (("window_data",), "context_pad"),
    "det_crop_mode": (("window_data",), "crop_mode"),
}

_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
_LISTS = ("blobs", "blobs_lr", "weight_decay")


def is_v0(net: Record) -> bool:
    """Tell whether a net has layers in the first format."""
    return any(layer.HasField("layer") for layer in net.message.layers)


def upgrade_v0(net: Record, source: Source) -> bool:
    """Turn all V0 layers of a net into V1 ones; returns False if something had no counterpart.

    Raises
    ------
    ConfigError
        An unknown type, or a padding layer that cannot be folded into its consumers.
    """
    old = _fold_padding(net.items("layers"), source)
    net.clear("layers")
    complete = True
    for connection in old:
        layer = net.add("layers", connection.offset)
        layer.message.CopyFrom(connection.message)
        layer.positions.fields.update(connection.positions.fields)
        if layer.has("layer"):
            complete &= _upgrade_layer(layer, source)
    return complete


def _fold_padding(layers: list[Record], source: Source) -> list[Record]:
    """Give the pad of padding layers to the layers that read them; returns the others."""
    makers: dict[str, Record] = {}
    kept = []
    for layer in layers:
        for bottom in layer.message.bottom:
            maker = makers.get(bottom)
            if maker and _type(maker) == "padding":
                _pad(layer, maker, source)
        if _type(layer) != "padding":
            kept.append(layer)
        makers.update(dict.fromkeys(layer.message.top, layer))
    return kept


def _type(layer: Record) -> str:
    return str(layer.message.layer.type)


def _pad(consumer: Record, padding: Record, source: Source) -> None:
    if _type(consumer) not in ("conv", "pool") or len(consumer.message.bottom) != 1:
        raise ConfigError(
            f"a padding layer must be followed by conv or pool with one bottom, not by {_type(consumer)}",
            where=source.position(consumer.offset),
            layer=consumer.message.layer.name,
        )
    if len(padding.message.bottom) != 1 or len(padding.message.top) != 1:
        raise ConfigError(
            "a padding layer must have one bottom and one top",
            where=source.position(padding.offset),
            layer=padding.message.layer.name,
        )
    consumer.child("layer").put("pad", padding.message.layer.pad, padding.child("layer").where("pad"))
    consumer.message.bottom[0] = padding.message.bottom[0]
    consumer.positions.fields["bottom"] = [padding.where("bottom")]


def _upgrade_layer(layer: Record, source: Source) -> bool:
    old = layer.child("layer")
    kind = old.message.type
    if old.has("name"):
        old.move("name", layer)
    if old.has("type"):
        _upgrade_type(old, layer, source)
    for name in _LISTS:
        if old.has(name):
            old.move(name, layer)
    for descriptor, _ in old.message.ListFields():
        _move_parameter(old, descriptor.name, layer, kind)
    dropped = [descriptor.name for descriptor, _ in old.message.ListFields()]
    for name in dropped:
        where = source.position(old.where(name))
        log.error("%s: layer %r: type %s has no %s; dropped", where, layer.message.name, kind, name)
    layer.clear("layer")
    return not dropped


def _upgrade_type(old: Record, layer: Record, source: Source) -> None:
    kind, offset = old.message.type, old.where("type")
    if kind not in TYPES:
        raise ConfigError(
            f"unknown layer type {kind!r} of the old format",
            where=source.position(offset),
            layer=layer.message.name,
            hint=nearest(kind, TYPES) or None,
        )
    layer.put("type", layer.message.LayerType.Value(TYPES[kind]), offset)
    old.clear("type")


def _move_parameter(old: Record, name: str, layer: Record, kind: str) -> None:
    """Move one parameter to the message of the layer's type; one the type does not have stays behind."""
    kinds, new_name = _FIELDS.get(name, ((), ""))
    if kind in kinds:
        old.move(name, layer.child(_MESSAGES[kind]), new_name)
    elif name in _TRANSFORM:
        old.move(name, layer.child("transform_param"), _TRANSFORM[name])
    elif name == "hdf5_output_param" and kind == "hdf5_output":
        old.move(name, layer)
