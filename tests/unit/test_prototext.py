import math
import time

import pytest
from google.protobuf import struct_pb2, text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from pycaffe_like.errors import ConfigError, DataError, MissingFileError
from pycaffe_like.prototxt import schema
from pycaffe_like.prototxt import text as prototext


def net(text):
    return prototext.parse(text, schema.NetParameter, "net.prototxt").message


def error(text, message_class=schema.NetParameter):
    with pytest.raises(ConfigError) as caught:
        prototext.parse(text, message_class, "net.prototxt")
    return str(caught.value)


# Any message of the schema, by its descriptor


INT_RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint32": (0, 2**32 - 1),
    "uint64": (0, 2**64 - 1),
}


def scalars(field):
    if field.enum_type:
        return st.sampled_from([value.number for value in field.enum_type.values])
    kind = {1: "int32", 2: "int64", 3: "uint32", 4: "uint64", 5: "double", 6: "float", 7: "bool"}.get(
        field.cpp_type
    )
    if kind in INT_RANGES:
        return st.integers(*INT_RANGES[kind])
    if kind in ("float", "double"):
        return st.floats(width=32 if kind == "float" else 64, allow_nan=False)
    if kind == "bool":
        return st.booleans()
    return st.binary(max_size=20) if field.type == field.TYPE_BYTES else st.text(max_size=20)


@st.composite
def messages(draw, message_class, depth=0):
    message = message_class()
    fields = list(message.DESCRIPTOR.fields)
    for field in (
        draw(st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda f: f.name)) if fields else []
    ):
        repeated = prototext.is_repeated(field)
        for _ in range(draw(st.integers(1, 3)) if repeated else 1):
            if field.message_type:
                if depth < 3:
                    inner = draw(messages(schema.message_class(field.message_type.name), depth + 1))
                    target = getattr(message, field.name)
                    (target.add() if repeated else target).CopyFrom(inner)
            elif repeated:
                getattr(message, field.name).append(draw(scalars(field)))
            else:
                setattr(message, field.name, draw(scalars(field)))
    return message


ROOTS = st.sampled_from([schema.NetParameter, schema.SolverParameter, schema.LayerParameter]).flatmap(
    messages
)


@given(ROOTS, st.booleans())
@settings(max_examples=200, deadline=None)
def test_what_protobuf_prints_is_read_back(message, one_line):
    text = text_format.MessageToString(message, as_one_line=one_line, as_utf8=one_line)
    assert prototext.parse(text, type(message)).message == message


@given(ROOTS)
@settings(max_examples=50, deadline=None)
def test_what_is_printed_protobuf_reads_back(message):
    assert text_format.Parse(prototext.format(message), type(message)()) == message


def test_all_text_features():
    parsed = net("""\ufeff# a comment with latin letters: \xe4
        name: 'Le' "Net\\n\\x41\\101\\u00e4"; force_backward: t,
        layer: < name: "a" loss_weight: [1, -2.5e-1, 3f, .5, inf] >
        layer { include: [{ phase: TEST }, { phase: 0 min_level: -0x10 max_level: 017 }] }
        input_dim: [] input_dim: [1, 2] debug_info: False""")
    assert parsed.name == "LeNet\nAA\u00e4"
    assert parsed.force_backward
    assert not parsed.debug_info
    assert list(parsed.layer[0].loss_weight) == [1, -0.25, 3, 0.5, math.inf]
    assert [rule.phase for rule in parsed.layer[1].include] == [schema.TEST, schema.TRAIN]
    assert (parsed.layer[1].include[1].min_level, parsed.layer[1].include[1].max_level) == (-16, 15)
    assert list(parsed.input_dim) == [1, 2]


def test_not_a_number_and_minus_infinity():
    weights = net("layer { loss_weight: nan loss_weight: -inf loss_weight: - Infinity }").layer[0].loss_weight
    assert math.isnan(weights[0])
    assert list(weights[1:]) == [-math.inf, -math.inf]


@pytest.mark.parametrize("text", ["true", "True", "t", "1"])
def test_true_is_spelled_in_four_ways(text):
    assert net(f"debug_info: {text}").debug_info


def test_comments_may_be_in_any_encoding_but_strings_may_not():
    assert net(b"# caf\xe9\nname: 'a'").name == "a"
    assert "1:7: name is not UTF-8" in error(b"name: 'caf\xe9'")
    assert "not UTF-8" in error(b"name: '\\351'")
    assert "1:1: text is not UTF-8" in error(b"\xe9")


TEXT = """name: "n"
layer {
  name: "conv"
  param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param {
    kernel_size: [3,
      5]
    weight_filler { std: 0.1 } } }
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((), (1, 1)),
        (("name",), (1, 1)),
        (("layer",), (2, 1)),
        (("layer", 0), (2, 1)),
        (("layer", 0, "param", 1), (4, 24)),
        (("layer", 0, "param", 1, "lr_mult"), (4, 32)),
        (("layer", 0, "convolution_param"), (5, 3)),
        (("layer", 0, "convolution_param", "kernel_size"), (6, 19)),
        (("layer", 0, "convolution_param", "kernel_size", 1), (7, 7)),
        (("layer", 0, "convolution_param", "weight_filler", "std"), (8, 21)),
    ],
)
def test_positions_of_fields(path, expected):
    position = prototext.parse(TEXT, schema.NetParameter, "net.prototxt").position(path)
    assert (position.file, position.line, position.column) == ("net.prototxt", *expected)


@pytest.mark.parametrize(
    "path", [("state",), ("layer", 1), ("layer", 0, "type"), ("name", "x"), ("layer", "x"), (0,)]
)
def test_fields_that_are_not_set_have_no_position(path):
    assert prototext.parse(TEXT, schema.NetParameter).position(path) is None


def test_positions_survive_carriage_returns_and_tabs():
    document = prototext.parse("name: 'n'\r\n\tforce_backward: true", schema.NetParameter)
    assert (document.position(("force_backward",)).line, document.position(("force_backward",)).column) == (
        2,
        2,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("layer {\n  convolution_param { kernel_sze: 3 } }",
         "net.prototxt:2:23: unknown field kernel_sze in ConvolutionParameter\n  did you mean kernel_size"),
        ("layer {\n  name: 'a'\nlayer { }",
         "3:1: the brace behind layer of line 1 is not closed: layer is a field of NetParameter, not"),
        ("layer {\n pooling_param { pool: MAX\n bottom: 'a' }",
         "3:2: the brace behind pooling_param of line 2 is not closed: bottom is a field of LayerParameter"),
        ("layer {\n  name: 'a'", "the brace behind layer of line 1 is not closed: the text ends before"),
        ("layers {\n type: \"Convolution\" }",
         "2:8: `layers` is the old form of a layer (V1), whose type is no string, got \"Convolution\"\n"
         "  write every layer as `layer { type: \"Convolution\" ... }`"),
        ("layer { clip_param { q: 3 } }", "1:22: unknown field q in ClipParameter\n  ClipParameter has min"),
        ("layer { conadd_param { q: 1 } }", "field q in ConaddParameter\n  ConaddParameter has no fields"),
        ("layer { pooling_param { pool: SUM } }", "1:31: pool has no value SUM\n  PoolMethod has MAX, AVE"),
        ("layer { pooling_param { pool: STOCASTIC } }", "did you mean STOCHASTIC?"),
        ("layer { pooling_param { pool: 7 } }", "1:31: pool has no value 7"),
        ("name: 'a'\nname: 'b'", "2:1: name is given twice in NetParameter\n  first given at line 1"),
        ("state { } state { }", "1:11: state is given twice"),
        ("name: 3", "1:7: name must be a string in quotes, got 3"),
        ("input_dim: 'a'", "1:12: expected a value of input_dim, got 'a'"),
        ("input_dim: 1.5", "1:12: input_dim must be an integer, got 1.5"),
        ("input_dim: 1x", "must be an integer, got 1x"),
        ("input_dim: 08", "must be an integer, got 08"),
        ("input_dim: 1_000", "must be an integer, got 1_000"),
        ("input_dim: 2147483648", "must fit 32 bits (-2147483648 to 2147483647), got 2147483648"),
        ("input_dim: -2147483649", "must fit 32 bits"),
        ("layer { clip_param { min: 0x10 } }", "min must be a decimal number, got 0x10"),
        ("layer { pooling_param { pad: -1 } }", "pad must fit 32 bits without a sign"),
        ("force_backward: yes", "force_backward must be true or false, got yes"),
        ("force_backward: [true]", "force_backward takes one value, got a list"),
        ("name 'a'", "1:6: expected ':' after name, got 'a'"),
        ("layer 3", "1:7: expected '{' after layer, got 3"),
        ("layer {", "1:8: the brace behind layer of line 1 is not closed: the text ends before"),
        ("layer { >", "expected a field or '}', got >"),
        ("}", "1:1: expected a field, got }"),
        ("input_dim: [1 2]", "1:15: expected ',' or ']', got 2"),
        ("input_dim: [1,]", "expected a value of input_dim, got ]"),
        ("name: 'a\n'", "1:7: string without its closing quote"),
        ("name: '\\q'", "1:7: name has an unknown escape \\q in its string"),
        ("name: \u00e9", "1:7: unexpected character"),
        ("name:", "1:6: name must be a string in quotes, got the end of the text"),
        ("[caffe.name]: 'a'", "1:1: expected a field, got ["),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_place(text, expected):
    assert expected in error(text)


def test_nesting_is_limited():
    deep = "list_value { values { " * 50
    assert prototext.parse(deep + "} } " * 50, struct_pb2.Value).message.HasField("list_value")
    assert "nested more than 100 deep" in error(deep + "list_value { }" + "} } " * 50, struct_pb2.Value)
    assert "nested more than 100 deep" in error("list_value { values { " * 100_000, struct_pb2.Value)


def test_size_is_limited():
    assert net("#" * prototext.MAX_BYTES).name == ""
    assert "1:1: more than 16777216 bytes" in error("#" * (prototext.MAX_BYTES + 1))


def test_layers_are_limited():
    assert len(net("layer{}" * prototext.MAX_ENTRIES).layer) == prototext.MAX_ENTRIES
    started = time.monotonic()
    assert "1:700007: more than 100000 entries of layer" in error("layer {}" + "layer{}" * 2_000_000)
    assert time.monotonic() - started < 10


def test_messages_are_limited(monkeypatch):
    monkeypatch.setattr(prototext, "MAX_MESSAGES", 5)
    assert len(net("layer { include {} include {} } layer { include {} }").layer) == 2
    assert "more than 5 messages" in error("layer { include {} include {} } layer { include {} include {} }")


def parse_or_refuse(text, message_class):
    """Any other exception fails the test."""
    try:
        document = prototext.parse(text, message_class)
    except ConfigError as refusal:
        where = refusal.where
    else:
        where = document.position(())
    assert where.line >= 1
    assert where.column >= 1


@given(st.text(alphabet=st.sampled_from(list("layernmp:{}[]<>,;#'\"\\-.01eExf \n\u00e9\udc80")), max_size=60))
@settings(max_examples=500, deadline=None)
def test_any_text_parses_or_is_refused(text):
    parse_or_refuse(text, schema.NetParameter)


@given(ROOTS, st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_texts_parse_or_are_refused(message, data):
    text = bytearray(prototext.format(message).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=3))
    parse_or_refuse(bytes(text), type(message))


def test_time_grows_with_the_text_and_no_faster():
    layer = "layer { name: 'c' type: 'Convolution' bottom: 'a' top: 'b' param { lr_mult: 1 }\n"
    layer += "  convolution_param { num_output: 64 kernel_size: 3 weight_filler { type: 'xavier' } } }\n"

    def seconds(layers):
        started = time.thread_time()
        net(layer * layers)
        return time.thread_time() - started

    seconds(100)
    assert min(seconds(1600) for _ in range(3)) < 12 * min(seconds(200) for _ in range(3))


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        prototext.read(tmp_path / "missing.prototxt", schema.NetParameter)
    with pytest.raises(DataError, match="cannot be read"):
        prototext.read(tmp_path, schema.NetParameter)
    with pytest.raises(DataError, match="cannot be read"):
        prototext.read("a\0b", schema.NetParameter)


def test_errors_name_the_file(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text("\n  nme: 'a'")
    with pytest.raises(ConfigError) as caught:
        prototext.read(path, schema.NetParameter)
    assert (caught.value.file, caught.value.line, caught.value.where.column) == (str(path), 2, 3)
    assert caught.value.hint.startswith("did you mean name")
