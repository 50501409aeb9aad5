"""Every field of every message of the schema has its effect, is refused at its place, or stands on a list.

The fields come from the descriptors, so that one which is new in `proto/` is tried without being named here.
Each is set alone to values that are not its default. Two nets are the same if their layers have the same
arguments, learned values, rates and connections.
"""

from __future__ import annotations

from typing import Any

import pytest
from helpers.fields import check_verdicts, is_set, values_of, walk, with_value
from helpers.golden import GOLDEN
from helpers.layer_examples import fill, message_of, net_text
from helpers.layer_facts import Example, example, told

from pycaffe_like.errors import ConfigError, DataError
from pycaffe_like.fields import INNER, Fields
from pycaffe_like.graph.declared import LAYER, NET, fields_of
from pycaffe_like.layer_type import layer_types
from pycaffe_like.net import TEST, TRAIN
from pycaffe_like.prototxt import schema
from pycaffe_like.prototxt import text as prototext
from pycaffe_like.prototxt.upgrade import parse_net
from pycaffe_like.solver.checks import SOLVER
from pycaffe_like.testing import net_from_text

TYPES = layer_types()

PATHS: dict[str, tuple[Any, ...]] = {
    "NetParameter": (),
    "LayerParameter": ("layer", 1),
    "ParamSpec": ("layer", 1, "param", 0),
    "NetStateRule": ("layer", 3, "include", 0),
    "BlobProto": ("layer", 1, "blobs", 0),
    "BlobShape": ("layer", 0, "input_param", "shape", 0),
    "FillerParameter": ("layer", 1, "inner_product_param", "weight_filler"),
}
"""Messages that stand in every net, and where in `net`."""


@pytest.fixture(autouse=True)
def _golden_folder(monkeypatch):
    """Let the Data example find its database."""
    monkeypatch.chdir(GOLDEN)


# What comes of a message


def signature(net: Any) -> list[Any]:
    """What must be equal in nets that are the same."""
    if any(node.started for node in net.graph.nodes):
        fill(net, Example())
        net.forward()
    found: list[Any] = [net.name]
    for node in net.graph.nodes:
        layer, started = node.definition, node.started
        found += [node.name, layer.type, layer.training, layer.bottoms, layer.tops, node.arguments]
        found += [[list(top.shape) for top in node.tops], node.loss_weights]
        found += [node.need_backward, node.propagate_down]
        if started:  # what it does is not in its arguments
            found += [net.blobs[top].data.tobytes() for top in layer.tops]
            found.append(started.private_bytes(layer.training))
        for param in node.params:
            owner = (param.owner or param).layer
            values = param.blob.data.tobytes()
            found.append((param.name, param.lr_mult, param.decay_mult, param.learned, owner, values))
    return found


def outcome(text: str) -> Any:
    """Signature of a net in both phases, or the error it ends with."""
    try:
        return [signature(net_from_text(text, phase, seed=1)) for phase in (TRAIN, TEST)]
    except (ConfigError, DataError) as error:
        return error


def verdict(base: str, text: str, field: str) -> str:
    """How setting a field changes what comes of a net: "effect", "refused" or "nothing"."""
    before, after = outcome(base), outcome(text)
    if not isinstance(after, Exception):
        return "effect" if before != after else "nothing"
    assert after.line is not None, after
    if after.problem.startswith("field "):
        assert field in text.splitlines()[after.line - 1], f"{after}\n{text}"
        assert after.hint, after
    return "refused"


# Layers


def fields_of_layers() -> list[str]:
    """`type.message.field` for all fields of all messages that a type reads, and of messages within them."""
    places = []
    for kind in TYPES:
        for message, declared in fields_of(TYPES[kind]).items():
            for field in schema.LayerParameter.DESCRIPTOR.fields_by_name[message].message_type.fields:
                places.append(f"{kind}.{message}.{field.name}")
                inner = field.message_type
                if inner and inner.name not in PATHS and field.name in declared.understood:
                    places += [f"{places[-1]}.{other.name}" for other in inner.fields]
    return places


@pytest.mark.parametrize("place", fields_of_layers())
def test_field_of_a_layer(place):
    kind, *path = place.split(".")
    message, field = path[0], path[-1]
    name = ".".join(path[1:] if message == TYPES[kind].param else path)
    layer, bottoms, (base, values) = message_of(kind), example(kind).bottoms, told_of(kind, name)
    if base:
        declared_layer = prototext.parse(f"layer {{ {base} }}", schema.NetParameter).message.layer[0]
        layer = with_names(declared_layer, layer)
    before = net_text(layer, bottoms)
    owner = walk(layer, path[:-1]).DESCRIPTOR
    descriptor, declared = owner.fields_by_name[field], INNER.get(owner.name, fields_of(TYPES[kind])[message])
    verdicts = {}
    for text in values or values_of(descriptor):
        changed = with_value(layer, path, text)
        if changed != layer and (is_set(changed, path) or is_set(layer, path)):
            verdicts[text] = verdict(before, net_text(changed, bottoms), field)
    if told(kind, "FIELDS").get(name, "") is None:
        assert set(verdicts.values()) == {"refused"}
        return
    check_verdicts(verdicts, declared, descriptor)
    assert not isinstance(outcome(before), Exception) or "effect" in verdicts.values(), outcome(before)


def told_of(kind: str, name: str) -> tuple[str, list[str]]:
    """What the tests of a type tell of a field: fields of the layer, values to try."""
    found = told(kind, "FIELDS").get(name) or ""
    return (found, []) if isinstance(found, str) else (found[0], [found[1]])


def with_names(layer: Any, example_layer: Any) -> Any:
    """A layer with the name, type and blobs of another."""
    layer.name, layer.type = example_layer.name, example_layer.type
    layer.bottom.extend(example_layer.bottom)
    layer.top.extend(example_layer.top)
    return layer


# Messages that stand in every net


def net(
    head: str = "", layer: str = "", *, kind: str = "InnerProduct", names: str = 'name: "ip" bottom: "x"',
    param: str = "", rule: str = "phase: TRAIN", filler: str = "", blobs: str = "",
) -> str:  # fmt: skip
    """A net of an input, a layer that learns and one that only some states have, with room for fields."""
    blobs = blobs and f"blobs {{\n{blobs}\n}} blobs {{ data: [0, 0] shape {{ dim: 2 }} }}"
    filler = filler or 'type: "gaussian"'
    return f"""
{head}
layer {{ name: "x" type: "Input" top: "x" top: "z" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
layer {{ {names} type: "{kind}" top: "y" param {{ {param} }} {blobs}
{layer}
inner_product_param {{ num_output: 2 weight_filler {{ {filler} }} }} }}
layer {{ name: "two" type: "InnerProduct" bottom: "x" top: "w" inner_product_param {{ num_output: 2 }} }}
layer {{ name: "at_times" type: "Dropout" bottom: "z" top: "u" include {{ {rule} }} }}
"""


def shared(fields: str) -> str:
    """A net of two layers with one weight, which they see in different shapes."""
    return f"""
layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
layer {{ name: "a" type: "InnerProduct" bottom: "x" top: "a" param {{ name: "w" }}
inner_product_param {{ num_output: 2 bias_term: false }} }}
layer {{ name: "b" type: "InnerProduct" bottom: "x" top: "b" param {{ name: "w" {fields} }}
inner_product_param {{ num_output: 2 bias_term: false transpose: true }} }}
"""


_BATCH_NORM = 'layer { name: "bn" type: "BatchNorm" bottom: "y" top: "bn" }'
_OLD_INPUT = 'input: "x"\nlayer { name: "r" type: "ReLU" bottom: "x" top: "y" }\n'
_RAW = "raw_data_type: FLOAT raw_data: '" + 24 * "\\001" + "' shape { dim: 6 }"
_AXES = "num: 1 channels: 1 height: 2 width: 3"
_VALUES = "data: [1, 2, 3, 4, 5, 6]"

CASES: dict[str, tuple[str, str]] = {
    "NetParameter.name": (net(), net('name: "n"')),
    "NetParameter.layer": (net(), net() + 'layer { name: "r" type: "ReLU" bottom: "y" top: "r" }'),
    "NetParameter.layers": (
        "",
        'layers { name: "d" type: DUMMY_DATA top: "d"\ndummy_data_param { shape { } } }',
    ),
    "NetParameter.input": (
        _OLD_INPUT + "input_dim: [2, 3, 1, 1]",
        _OLD_INPUT + 'input_dim: [2, 3, 1, 1] input: "w" input_dim: [1, 1, 1, 1]',
    ),
    "NetParameter.input_dim": (
        _OLD_INPUT + "input_dim: [2, 3, 1, 1]",
        _OLD_INPUT + "input_dim: [2, 3, 1, 2]",
    ),
    "NetParameter.input_shape": (
        _OLD_INPUT + "input_shape { dim: 2 }",
        _OLD_INPUT + "input_shape { dim: 3 }",
    ),
    "NetParameter.bn_stats_batch_size": (net() + _BATCH_NORM, net("bn_stats_batch_size: 1") + _BATCH_NORM),
    "NetParameter.force_backward": (net(), net("force_backward: true")),
    "NetParameter.state": (net(rule='stage: "s"'), net('state { stage: "s" }', rule='stage: "s"')),
    "NetState.stage": (net(rule='stage: "s"'), net('state { stage: "s" }', rule='stage: "s"')),
    "NetStateRule.phase": (net(rule=""), net(rule="phase: TEST")),
    "NetStateRule.min_level": (net(rule=""), net(rule="min_level: 1")),
    "NetStateRule.max_level": (net(rule=""), net(rule="max_level: -1")),
    "NetStateRule.stage": (net(rule=""), net(rule='stage: "s"')),
    "NetStateRule.not_stage": (
        net('state { stage: "s" }', rule=""),
        net('state { stage: "s" }', rule='not_stage: "s"'),
    ),
    "LayerParameter.name": (net(), net(names='name: "other" bottom: "x"')),
    "LayerParameter.type": (net(kind="InnerProduct"), net(kind="ReLU")),
    "LayerParameter.bottom": (net(), net(names='name: "ip" bottom: "z"')),
    "LayerParameter.top": (net(), net(layer='top: "second"')),
    "LayerParameter.loss_weight": (net(), net(layer="loss_weight: 2")),
    "LayerParameter.param": (net(), net(layer="param { lr_mult: 2 }")),
    "LayerParameter.blobs": (net(), net(blobs=_VALUES + " shape { dim: 6 }")),
    "LayerParameter.include": (net(), net(layer="include { phase: TRAIN }")),
    "LayerParameter.exclude": (net(), net(layer="exclude { phase: TRAIN }")),
    "LayerParameter.phase": (net(), net(layer="phase: TRAIN")),
    "LayerParameter.propagate_down": (
        net(layer="loss_weight: 1"),
        net(layer="loss_weight: 1 propagate_down: true"),
    ),
    "ParamSpec.name": (net(), net(param='name: "w"')),
    "ParamSpec.lr_mult": (net(), net(param="lr_mult: 2")),
    "ParamSpec.decay_mult": (net(), net(param="decay_mult: 2")),
    "ParamSpec.share_mode": (shared(""), shared("share_mode: PERMISSIVE")),
    "BlobShape.dim": (net(), net().replace("dim: 2 dim: 3", "dim: 2 dim: 4")),
    "BlobProto.data": (
        net(blobs="data: [6, 5, 4, 3, 2, 1] shape { dim: 6 }"),
        net(blobs=_VALUES + " shape { dim: 6 }"),
    ),
    "BlobProto.double_data": (
        net(blobs=_VALUES + " shape { dim: 6 }"),
        net(blobs=_VALUES + " shape { dim: 6 } double_data: [6, 5, 4, 3, 2, 1]"),
    ),
    "BlobProto.shape": (net(blobs=_VALUES + " shape { dim: 6 }"), net(blobs=_VALUES + " shape { dim: 5 }")),
    "BlobProto.raw_data": (net(blobs=_RAW.replace("001", "002")), net(blobs=_RAW)),
    "BlobProto.raw_data_type": (net(blobs=_RAW), net(blobs=_RAW.replace("FLOAT", "DOUBLE"))),
    **{
        f"BlobProto.{axis}": (net(blobs=f"{_VALUES} {_AXES}"), net(blobs=f"{_VALUES} {_AXES} {axis}: 5"))
        for axis in ("num", "channels", "height", "width")
    },
    "FillerParameter.type": (net(filler="value: 2"), net(filler='type: "xavier"')),
    "FillerParameter.value": (net(filler="value: 2"), net(filler="value: 3")),
    "FillerParameter.min": (net(filler='type: "uniform"'), net(filler='type: "uniform" min: -1')),
    "FillerParameter.max": (net(filler='type: "uniform"'), net(filler='type: "uniform" max: 2')),
    "FillerParameter.mean": (net(), net(filler='type: "gaussian" mean: 2')),
    "FillerParameter.std": (net(), net(filler='type: "gaussian" std: 2')),
    "FillerParameter.sparse": (net(), net(filler='type: "gaussian" sparse: 1')),
    "FillerParameter.variance_norm": (
        net(filler='type: "xavier"'),
        net(filler='type: "xavier" variance_norm: FAN_OUT'),
    ),
}
"""Texts without and with a field of effect; of those that others refuse or ignore they are made."""

DECLARED = {"NetParameter": NET, "LayerParameter": LAYER, **INNER}


def fields_of_nets() -> list[str]:
    """`message.field` for the messages that stand in every net."""
    return [
        f"{message}.{field.name}"
        for message in PATHS
        for field in schema.message_class(message).DESCRIPTOR.fields
    ]


@pytest.mark.parametrize("place", fields_of_nets())
def test_field_of_a_net(place, caplog):
    message, field = place.split(".")
    declared, descriptor = DECLARED[message], schema.message_class(message).DESCRIPTOR.fields_by_name[field]
    if place in CASES:
        assert field in declared.understood
        assert isinstance(outcome(CASES[place][0]), Exception) == (place == "ParamSpec.share_mode")
        assert verdict(*CASES[place], field) in ("effect", "refused")
        return
    base = prototext.parse(net(blobs=_VALUES + " shape { dim: 6 }"), schema.NetParameter).message
    verdicts = {}
    for text in values_of(descriptor):
        changed = with_value(base, (*PATHS[message], field), text)
        if changed != base and is_set(changed, (*PATHS[message], field)):
            verdicts[text] = verdict(prototext.format(base), prototext.format(changed), field)
    if message == "LayerParameter" and field.endswith("_param") and field not in declared.ignored:
        owners = [kind for kind in TYPES if field in fields_of(TYPES[kind])]
        assert set(verdicts.values()) <= {"nothing"} or "InnerProduct" in owners
        warning = f"(InnerProduct): {field} has no effect in this type"
        assert warning in caplog.text or "InnerProduct" in owners
    else:
        check_verdicts(verdicts, declared, descriptor)


# What older formats say


def upgraded(text: str, caplog: Any) -> Any:
    """A net in today's format, and what was logged on the way; or the error it ends with."""
    caplog.clear()
    try:
        return parse_net(text, "net.prototxt").message, [record.getMessage() for record in caplog.records]
    except ConfigError as error:
        return error


def old_fields(message: str) -> list[str]:
    """Names of the fields of a message of an older format."""
    return [field.name for field in schema.message_class(message).DESCRIPTOR.fields]


@pytest.mark.parametrize("field", [name for name in old_fields("V1LayerParameter") if name != "layer"])
def test_field_of_a_v1_layer_goes_into_todays_format(field, caplog):
    descriptor = schema.V1LayerParameter.DESCRIPTOR.fields_by_name[field]
    for value in values_of(descriptor)[:1]:
        kind = "" if field == "type" else "type: SPLIT"
        before = upgraded(f"layers {{ {kind} }}", caplog)
        after = upgraded(f"layers {{ {kind} {field}: {value} }}", caplog)
        assert before != after
        assert not isinstance(after, ConfigError) or after.where


@pytest.mark.parametrize("field", old_fields("V0LayerParameter"))
def test_field_of_a_v0_layer_goes_into_todays_format_or_is_named(field, caplog):
    descriptor = schema.V0LayerParameter.DESCRIPTOR.fields_by_name[field]
    for value in values_of(descriptor)[:1]:
        kind = "" if field == "type" else 'type: "split"'
        before = upgraded(f"layers {{ layer {{ {kind} }} }}", caplog)
        after = upgraded(f"layers {{ layer {{ {kind} {field}: {value} }} }}", caplog)
        assert before != after
        assert not isinstance(after, ConfigError) or after.where


# Nothing is forgotten


def test_every_message_that_is_read_is_tried():
    """All messages that fields of effect lead to, from a net and a solver, are among those above."""
    tried = {*DECLARED, "SolverParameter", "V1LayerParameter", "V0LayerParameter"}
    for kind in TYPES:
        for name in fields_of(TYPES[kind]):
            tried.add(schema.LayerParameter.DESCRIPTOR.fields_by_name[name].message_type.name)
    for message, declared in declared_messages():
        for field in message.fields:
            if field.message_type and field.name in declared.understood:
                assert field.message_type.name in tried, field.full_name


def declared_messages() -> list[tuple[Any, Fields]]:
    """All messages that something is declared of."""
    layers = [
        (schema.LayerParameter.DESCRIPTOR.fields_by_name[name].message_type, fields)
        for kind in TYPES
        for name, fields in fields_of(TYPES[kind]).items()
    ]
    shared = [(schema.message_class(name).DESCRIPTOR, fields) for name, fields in DECLARED.items()]
    return [*layers, *shared, (schema.SolverParameter.DESCRIPTOR, SOLVER)]


@pytest.mark.parametrize(
    ("message", "declared"), declared_messages(), ids=lambda value: getattr(value, "name", "")
)
def test_only_fields_of_the_schema_are_declared(message, declared):
    names = {field.name for field in message.fields}
    assert {*declared.understood, *declared.ignored} <= names
    assert not set(declared.understood) & set(declared.ignored)
