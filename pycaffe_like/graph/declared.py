"""Which fields of a net and of its layers have an effect; what is set beside them is refused at its place."""

from __future__ import annotations

import logging

from ..errors import ConfigError
from ..fields import Fields, refusal
from ..layer_type import LayerType
from ..prototxt import schema
from ..prototxt.definition import LayerDefinition
from ..prototxt.upgrade import NetDocument

log = logging.getLogger("caffe")

_TYPES = "NVIDIA's choice of number types; `-precision` says what is computed in"
_SPEED = "tunes speed only"
_NODES = "spreads the work over several machines"

NET = Fields(
    ("name", "layer", "layers", "input", "input_dim", "input_shape", "force_backward", "state",
     "bn_stats_batch_size"),
    {
        "debug_info": "prints a line for every blob; a warning says that nothing is printed",
        **dict.fromkeys(
            ("default_forward_type", "default_backward_type", "default_forward_math",
             "default_backward_math"),
            _TYPES,
        ),
        "global_grad_scale": "scales gradients of 16 bits, and back again; here they have 32",
        "global_grad_scale_adaptive": "as global_grad_scale",
        "default_conv_algos_override": _SPEED,
        "default_cudnn_math_override": _SPEED,
        "reduce_buckets": _SPEED,
        "eltwise_mem_sharing": "saves memory; the plan does so itself",
        "mem_param": "saves memory; the plan does so itself",
        "engine": _SPEED,
        "compile_net_state": "notes of a compiler of nets",
        "multinode": _NODES,
    },
)  # fmt: skip
"""NetParameter; `upgrade.py` turns the fields of older formats into `layer`."""

LAYER = Fields(
    ("name", "type", "bottom", "top", "loss_weight", "param", "blobs", "include", "exclude", "phase",
     "propagate_down"),
    {
        **dict.fromkeys(("forward_type", "backward_type", "forward_math", "backward_math"), _TYPES),
        "debug": "prints the layer's values",
        "cudnn_math_override": _SPEED,
        "engine": _SPEED,
        "multinode": _NODES,
        "mn_activation_param": _NODES,
        "mn_grad_compress_param": _NODES,
        "quantization_param": "a copy of the layer with few bits; the layer is computed in full",
        "reshape_every_iter": "tunes speed only: shapes are looked at when they change",
    },
)  # fmt: skip
"""LayerParameter without the messages of the types."""


def check_net(document: NetDocument) -> None:
    """Refuse fields of a net that would do nothing.

    Raises
    ------
    ConfigError
        At the field.
    """
    message = document.message
    for path, descriptor in NET.unsupported(message):
        problem, hint = refusal(descriptor)
        raise ConfigError(problem, where=document.position(*path), hint=hint)
    if message.debug_info:
        log.warning("%s: debug_info is ignored", document.position("debug_info") or document.file)


def check_layer(layer: LayerDefinition, kind: type[LayerType]) -> None:
    """Refuse fields of a layer that would do nothing.

    A message that belongs to layers of other types, as `pooling_param` in a ReLU, gets a warning: Caffe does
    not look at it either.

    Raises
    ------
    ConfigError
        At the field.
    """
    own = fields_of(kind)
    for path, descriptor in Fields((*LAYER.understood, *own), LAYER.ignored).unsupported(layer.message):
        if not str(descriptor.name).endswith("_param"):
            problem, hint = refusal(descriptor)
            raise layer.error(problem, *path, hint=hint)
        log.warning("%s", layer.error(f"{descriptor.name} has no effect in this type", *path))
    for name, fields in own.items():
        for path, descriptor in fields.unsupported(getattr(layer.message, name)):
            problem, hint = refusal(descriptor)
            raise layer.error(problem, name, *path, hint=hint)


def fields_of(kind: type[LayerType]) -> dict[str, Fields]:
    """What a type makes of each message of its layers, by the name of the message's field."""
    names = [name if "." in name else f"{kind.param}.{name}" for name in kind.fields]
    reasons = {name if "." in name else f"{kind.param}.{name}": why for name, why in kind.ignored.items()}
    messages = dict.fromkeys([kind.param, *(name.split(".")[0] for name in [*names, *reasons])])
    return {message: _fields_of_message(message, names, reasons) for message in messages if message}


def _fields_of_message(message: str, names: list[str], reasons: dict[str, str]) -> Fields:
    whole = schema.LayerParameter.DESCRIPTOR.fields_by_name[message].message_type.fields_by_name
    understood = [field for owner, field in (name.split(".") for name in names) if owner == message]
    ignored = {name.split(".")[1]: why for name, why in reasons.items() if name.split(".")[0] == message}
    return Fields(tuple(whole) if "" in understood else tuple(understood), ignored)
