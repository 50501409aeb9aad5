"""What every layer type promises, checked for all of them."""

import doctest
import inspect
import math
import re

import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from helpers.golden import GOLDEN
from helpers.layer_examples import between_matrix_layers, build, message_of, net_text, run
from helpers.layer_facts import example, told

import caffe
from pycaffe_like.errors import ConfigError
from pycaffe_like.layer_type import layer_types
from pycaffe_like.prototxt import schema
from pycaffe_like.prototxt import text as prototext
from pycaffe_like.testing import net_from_text

TYPES = list(layer_types())
PHASES = [caffe.TRAIN, caffe.TEST]


@pytest.fixture(autouse=True)
def _golden_folder(monkeypatch):
    """Let the Data example find its database."""
    monkeypatch.chdir(GOLDEN)


def sections(kind):
    """Text of each section of a type's docstring by heading; the start is under ''."""
    text = inspect.getdoc(layer_types()[kind])
    parts = re.split(r"^(\w+)\n-+\n", text, flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], parts[::2]))


@pytest.mark.parametrize("kind", TYPES)
def test_docstring_has_all_sections(kind):
    found = sections(kind)
    wanted = {"Returns", "Notes", "References", "Examples"}
    if layer_types()[kind].param:
        wanted |= {"Parameters", "Raises"}
    assert not wanted - set(found), "sections are missing"
    assert all(found[heading].strip() for heading in wanted), "a section is empty"
    summary = found[""].split("\n\n")[0]
    assert len(summary) > 20
    assert summary.rstrip()[-1] in ".:"


@pytest.mark.parametrize("kind", [kind for kind in TYPES if told(kind, "FORMULA")])
def test_docstring_has_a_formula(kind):
    words = inspect.getdoc(layer_types()[kind]).split("Examples\n")[0]
    assert re.search(r"``[^`]*=[^`]*``|``[^`]*log[^`]*``", words)


@pytest.mark.parametrize("kind", TYPES)
def test_docstring_explains_every_field_that_has_a_rule(kind):
    explained = sections(kind).get("Parameters", "")
    stems = {field: re.sub("_[hw]$", "", field) for field in layer_types()[kind].constraints}
    assert [field for field, stem in stems.items() if stem not in explained] == []


@pytest.mark.parametrize("kind", TYPES)
def test_docstring_shows_a_prototxt_of_the_type(kind):
    block = re.search(r"^::\n\n((?:    .*\n|\n)+)", sections(kind)["Examples"] + "\n", re.MULTILINE)
    layers = prototext.parse(block[1], schema.NetParameter).message.layer
    assert kind in [layer.type for layer in layers]


@pytest.mark.parametrize("kind", [kind for kind in TYPES if told(kind, "RUN")])
def test_docstring_example_gives_what_it_says(kind):
    [test] = doctest.DocTestFinder(recurse=False).find(layer_types()[kind], kind, globs={})
    assert len(test.examples) > 1
    report: list[str] = []
    outcome = doctest.DocTestRunner().run(test, out=report.append)
    assert outcome.failed == 0, "".join(report)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", TYPES)
def test_running_leaves_the_bottoms_as_they_are(kind, phase):
    net = build(kind, phase)
    before = {name: net.blobs[name].data.copy() for name in net.inputs if name.startswith("b")}
    run(net)
    for name, values in before.items():
        np.testing.assert_array_equal(net.blobs[name].data, values)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", TYPES)
def test_same_input_gives_the_same_bits(kind, phase):
    first, second = (run(build(kind, phase)) for _ in range(2))
    assert list(first) == list(second)
    for name, values in first.items():
        assert values.tobytes() == second[name].tobytes(), name


@pytest.mark.parametrize("kind", TYPES)
def test_params_survive_save_and_load(kind, tmp_path):
    net = build(kind)
    net.forward()
    net.save(tmp_path / "net.caffemodel")
    other = build(kind, seed=2)
    other.copy_from(tmp_path / "net.caffemodel")
    assert list(other.params) == list(net.params)
    for layer, blobs in net.params.items():
        for mine, theirs in zip(blobs, other.params[layer]):
            assert mine.data.tobytes() == theirs.data.tobytes()


@pytest.mark.parametrize("kind", [kind for kind in TYPES if told(kind, "ANY_LAYOUT")])
def test_layout_makes_no_difference(kind):
    last, plain = run(build(kind)), run(build(kind, plain=True))
    for name, values in last.items():
        wanted = plain.get(name, plain.get(name.replace(" b", " source")))
        largest = max(1.0, np.max(np.abs(wanted), initial=0.0))
        assert not np.any(~(np.abs(values - wanted) <= 1e-5 * largest)), name


@pytest.mark.parametrize("kind", TYPES)
def test_bfloat16_comes_close_to_float32(kind):
    wanted, got = (
        run(between_matrix_layers(kind, precision=precision)) for precision in ("float32", "bfloat16")
    )
    assert list(got) == list(wanted)
    for name, values in got.items():
        largest = max(1.0, np.max(np.abs(wanted[name]), initial=0.0))
        assert not np.any(~(np.abs(values - wanted[name]) <= 2**-5 * largest)), name


def bad_values():
    """Type, field and value for every bound of every rule; NaN for real fields."""
    return list(_bad_values())


def _bad_values():
    for kind, layer_type in layer_types().items():
        for field, rule in layer_type.constraints.items():
            message = schema.LayerParameter.DESCRIPTOR.fields_by_name[layer_type.param].message_type
            real = message.fields_by_name[field].cpp_type == FieldDescriptor.CPPTYPE_FLOAT
            for value in [*rule.bad_values(), *([math.nan] if real else [])]:
                yield pytest.param(kind, field, value, id=f"{kind}-{field}-{value:g}")


@pytest.mark.parametrize(("kind", "field", "value"), bad_values())
def test_rule_rejects_what_is_out_of_bounds(kind, field, value):
    message = message_of(kind)
    param = layer_types()[kind].param
    getattr(message, param).ClearField(field)
    lines = net_text(message, example(kind).bottoms).split("\n")
    start = next((number for number, line in enumerate(lines) if line.startswith(f"{param} {{")), None)
    if start is None:
        start = len(lines) - 1
        lines[start:start] = [f"{param} {{", "}"]
    lines.insert(start + 1, f"{field}: {value:g}")
    with pytest.raises(ConfigError) as caught:
        net_from_text("\n".join(lines), caffe.TEST)
    assert caught.value.line == start + 2
    assert field in caught.value.problem
    assert f"{value:g}" in caught.value.problem
    assert caught.value.layer in (
        "layer",
        None if value < 0 else "layer",
    )  # -1 for an unsigned field: not parsed


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (kind, field)
        for kind, t in layer_types().items()
        for field, rule in t.constraints.items()
        if rule.required
    ],
)
def test_required_field_must_be_given(kind, field):
    message = message_of(kind)
    getattr(message, layer_types()[kind].param).ClearField(field)
    with pytest.raises(ConfigError, match=field) as caught:
        net_from_text(net_text(message, example(kind).bottoms), caffe.TEST)
    assert caught.value.layer == "layer"
    assert caught.value.hint
