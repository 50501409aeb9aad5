"""What forks write into Caffe's own layers, brought to Caffe's form: fused ReLUs, rates of BatchNorm."""

from __future__ import annotations

import logging
from typing import Any

from .record import Record
from .text import Positions, Source

log = logging.getLogger(__name__)

_WITH_RELU = {
    "BatchNorm": "batch_norm_param",
    "Convolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "InnerProduct": "inner_product_param",
}
"""Types that Intel's Caffe lets end in a ReLU, and their messages."""


def upgrade_forks(net: Record, source: Source) -> None:
    """Bring layers of forks to Caffe's form, in place."""
    changed = []
    for layer in net.items("layer"):
        if layer.message.type == "BatchNorm":
            _share_batch_size(net, layer)
            changed += _set_rates(layer)
    if changed:
        where = source.position(changed[0]) or source.file
        log.warning(
            "%s: a BatchNorm with scale and shift has rates 0, 0, 0, 1, 1 whatever the file says", where
        )
    _split_off_relus(net)


def learns_scale(param: Any) -> bool:
    """Whether a BatchNormParameter asks for a learned scale and shift, as NVIDIA's Caffe reads it."""
    return bool(param.scale_bias or param.HasField("scale_filler") or param.HasField("bias_filler"))


def _share_batch_size(net: Record, layer: Record) -> None:
    """Intel's `bn_stats_batch_size` of the net holds for every BatchNorm that does not say otherwise."""
    if net.message.bn_stats_batch_size and not layer.message.batch_norm_param.HasField("stats_batch_size"):
        size, where = net.message.bn_stats_batch_size, net.where("bn_stats_batch_size")
        layer.child("batch_norm_param", layer.offset).put("stats_batch_size", size, where)


def _set_rates(layer: Record) -> list[int]:
    """Keep the solver away from the three statistics, as the layer's own set-up does.

    With a learned scale and shift NVIDIA's Caffe sets all five rates, whatever the file says; returns the
    offsets of entries that this changes.
    """
    learned = learns_scale(layer.message.batch_norm_param)
    if not learned and len(layer.message.param) != 3:
        return []
    changed = []
    for index, param in enumerate(layer.message.param):
        rate = float(learned and index > 2)
        if learned and (param.lr_mult, param.decay_mult) != (rate, rate):
            changed.append(layer.where("param", index))
        param.lr_mult = param.decay_mult = rate
    return changed


def _split_off_relus(net: Record) -> None:
    """`relu: true` in a layer becomes a ReLU layer in place behind it."""
    names = {layer.name for layer in net.message.layer}
    records = []
    for layer in net.items("layer"):
        records.append(layer)
        message = _WITH_RELU.get(layer.message.type)
        if message and getattr(layer.message, message).relu:
            records += _relus(layer, layer.child(message), names)
    if len(records) > len(net.message.layer):
        del net.message.layer[:]
        net.message.layer.extend(record.message for record in records)
        net.positions.fields["layer"] = [record.positions for record in records]


def _relus(layer: Record, param: Record, names: set[str]) -> list[Record]:
    """One ReLU for each top; it has the layer's rules, and its loss weights."""
    where, relus = param.where("relu"), []
    for top in layer.message.top:
        relu = Record(type(layer.message)(type="ReLU", bottom=[top], top=[top]), Positions(where))
        relu.message.name = _new_name(f"{layer.message.name}_relu", names)
        for field in ("include", "exclude"):
            getattr(relu.message, field).extend(getattr(layer.message, field))
        if layer.has("phase"):
            relu.message.phase = layer.message.phase
        relus.append(relu)
    for relu, weight in zip(relus, layer.message.loss_weight):
        relu.put("loss_weight", weight, where)
    layer.clear("loss_weight")
    if any(field.name == "negative_slope" for field, _ in param.message.ListFields()):
        slope, place = param.message.negative_slope, param.where("negative_slope")
        for relu in relus:
            relu.child("relu_param", where).put("negative_slope", slope, place)
        param.clear("negative_slope")
    param.clear("relu")
    return relus


def _new_name(wanted: str, names: set[str]) -> str:
    """The wanted name, with a number if another layer has it."""
    name, number = wanted, 1
    while name in names:
        number += 1
        name = f"{wanted}{number}"
    names.add(name)
    return name
