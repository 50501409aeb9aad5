import numpy as np
import pytest
from helpers.direct import random_array, rounded, run
from helpers.layer_facts import EXACT, Example

from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import layer_net, net_from_text

EXAMPLE = Example("flatten_param { axis: 1 end_axis: -1 }")
BACKWARD = {"alone": [("Flatten", "")]}
IMPOSSIBLE = [
    ("flatten_param { axis: 3 }", [(2, 3)], "axis 3"),
    ("flatten_param { axis: 2 end_axis: 1 }", [(2, 3, 4)], "end_axis"),
]
TOLERANCE = EXACT
FORMULA = False


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("axis", "end_axis", "shape"),
    [
        (1, -1, (2, 60)),
        (0, -1, (120,)),
        (0, 1, (6, 4, 5)),
        (-3, -2, (2, 12, 5)),
        (2, 2, (2, 3, 4, 5)),
        (3, 3, (2, 3, 4, 5)),
    ],
)
def test_axes_are_folded_and_values_keep_their_order(dtype, axis, end_axis, shape):
    x = random_array(2, 3, 4, 5, dtype=dtype)
    diff = random_array(*shape, dtype=dtype, seed=1)
    result = run("Flatten", {"axis": axis, "end_axis": end_axis}, x, top_diffs=[diff], dtype=dtype)
    assert np.array_equal(result.tops[0], x.reshape(shape))
    assert np.array_equal(result.bottom_diffs[0], diff.reshape(x.shape))


def test_values_of_a_channels_last_blob_come_in_logical_order():
    x = random_array(2, 3, 4, 5)
    net = layer_net('type: "Flatten"', x)
    assert net.blobs["b0"].layout == "channels_last"
    net.forward()
    assert np.array_equal(net.blobs["t0"].data, x.reshape(2, 60))
    net.blobs["t0"].diff[...] = rounded(np.arange(120).reshape(2, 60), "float32")
    net.backward()
    assert np.array_equal(net.blobs["b0"].diff, np.arange(120).reshape(2, 3, 4, 5))


def test_a_plain_bottom_is_shared():
    net = layer_net('type: "Flatten"', random_array(2, 3, 4))
    assert net.blobs["t0"].data_id == net.blobs["b0"].data_id
    assert net.blobs["t0"].diff_id == net.blobs["b0"].diff_id


def test_a_bottom_that_changes_shape_is_flattened_anew():
    net = layer_net('type: "Flatten"', random_array(2, 3, 2))
    net.forward()
    net.blobs["b0"].reshape(4, 5, 6)
    net.blobs["b0"].data[...] = np.arange(120).reshape(4, 5, 6)
    assert np.array_equal(net.forward()["t0"], np.arange(120).reshape(4, 30))


def test_an_empty_blob_is_flattened():
    assert run("Flatten", {"axis": 1, "end_axis": -1}, random_array(0, 3, 2)).tops[0].shape == (0, 6)


@pytest.mark.parametrize(
    ("param", "problem"),
    [
        ("axis: 2 end_axis: 1", "axis 2 comes after end_axis 1"),
        ("axis: 3", "axis 3 is out of range"),
        ("end_axis: -4", "axis -4 is out of range"),
    ],
)
def test_bad_axes_are_rejected(param, problem):
    with pytest.raises(ShapeError, match=problem) as error:
        layer_net(f'type: "Flatten" flatten_param {{ {param} }}', random_array(2, 3, 4))
    assert (error.value.layer, error.value.line) == ("layer", 3)


def test_in_place_use_is_rejected():
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 2 } } }
    layer { name: "flat" type: "Flatten" bottom: "x" top: "x" }"""
    with pytest.raises(ConfigError, match="in place"):
        net_from_text(text)
