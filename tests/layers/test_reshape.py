import numpy as np
import pytest
from helpers.direct import random_array, run
from helpers.layer_facts import EXACT, Example

from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import layer_net, net_from_text

EXAMPLE = Example("reshape_param { shape { dim: 0 dim: -1 dim: 2 } num_axes: -1 }")
BACKWARD = {"alone": [("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }")]}
IMPOSSIBLE = [
    ("reshape_param { shape { dim: 4 dim: 2 } }", [(2, 3)], r"4, 2"),
    ("reshape_param { shape { dim: -1 dim: 4 } }", [(2, 3)], "4"),
    ("reshape_param { shape { dim: -1 dim: -1 } }", [(2, 3)], "-1"),
    ("reshape_param { shape { dim: 3037000500 dim: 3037000500 } }", [(2, 3)], "3037000500"),
    ("reshape_param { shape { dim: 6 } axis: 3 }", [(2, 3)], "axis"),
]
FIELDS = {"num_axes": "reshape_param { shape { dim: -1 } axis: 1 }"}
TOLERANCE = EXACT
FORMULA = False


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("dims", "axis", "num_axes", "shape"),
    [
        ([0, -1], 0, -1, (2, 60)),
        ([-1], 0, -1, (120,)),
        ([0, 0, 20, 1], 0, -1, (2, 3, 20, 1)),
        ([4, 3], 1, 2, (2, 4, 3, 5)),
        ([1], 1, 0, (2, 1, 3, 4, 5)),
        ([1], -1, 0, (2, 3, 4, 5, 1)),
        ([5, -1], -3, -1, (2, 3, 5, 4)),
        ([0, 5, 1], 2, -1, None),
        ([], 4, -1, (2, 3, 4, 5)),
    ],
)
def test_values_keep_their_order_in_the_new_shape(dtype, dims, axis, num_axes, shape):
    x = random_array(2, 3, 4, 5, dtype=dtype)
    shape = shape or (2, 3, 4, 5, 1)
    diff = random_array(*shape, dtype=dtype, seed=1)
    arguments = {"dims": dims, "axis": axis, "num_axes": num_axes}
    result = run("Reshape", arguments, x, top_diffs=[diff], dtype=dtype)
    assert np.array_equal(result.tops[0], x.reshape(shape))
    assert np.array_equal(result.bottom_diffs[0], diff.reshape(x.shape))


def test_values_of_a_channels_last_blob_come_in_logical_order():
    x = random_array(2, 3, 4, 5)
    net = layer_net('type: "Reshape" reshape_param { shape { dim: 5 dim: 4 dim: 3 dim: 2 } }', x)
    net.forward()
    assert np.array_equal(net.blobs["t0"].data, x.reshape(5, 4, 3, 2))
    net.blobs["t0"].diff[...] = np.arange(120).reshape(5, 4, 3, 2)
    net.backward()
    assert np.array_equal(net.blobs["b0"].diff, np.arange(120).reshape(2, 3, 4, 5))


def test_a_scalar_gets_axes_and_loses_them():
    assert run("Reshape", {"dims": [1, 1], "axis": 0, "num_axes": -1}, random_array()).tops[0].shape == (1, 1)
    assert run("Reshape", {"dims": [], "axis": 0, "num_axes": -1}, random_array(1, 1)).tops[0].shape == ()


def test_a_plain_bottom_is_shared():
    net = layer_net('type: "Reshape" reshape_param { shape { dim: 3 dim: 2 } }', random_array(2, 3))
    assert net.blobs["t0"].data_id == net.blobs["b0"].data_id
    assert net.blobs["t0"].diff_id == net.blobs["b0"].diff_id


@pytest.mark.parametrize(
    ("dims", "axis", "num_axes", "bottom", "top"),
    [
        ([0, 6], 0, -1, (0, 3, 2), (0, 6)),
        ([0, -1], 0, -1, (0, 3, 2), (0, 6)),
        ([0, -1, 2], 0, -1, (0, 3, 5, 4), (0, 30, 2)),
        ([-1, 0], 0, 2, (3, 0, 2), (3, 0, 2)),
        ([-1, 2], 1, 2, (0, 3, 2), (0, 3, 2)),
        ([4, -1], 0, -1, (0, 3), (4, 0)),
        ([0, -1], 0, -1, (2, 0, 4), (2, 0)),
    ],
)
def test_an_empty_blob_keeps_its_zero(dims, axis, num_axes, bottom, top):
    arguments = {"dims": dims, "axis": axis, "num_axes": num_axes}
    assert run("Reshape", arguments, random_array(*bottom)).tops[0].shape == top


def test_a_dim_that_stays_and_is_copied_counts_once_more():
    """The span is axis 0 alone, and dim: 0 at the second place copies axis 1, which stays too."""
    arguments = {"dims": [-1, 0], "axis": 0, "num_axes": 1}
    assert run("Reshape", arguments, random_array(6, 3, 2)).tops[0].shape == (2, 3, 3, 2)


@pytest.mark.parametrize(
    ("param", "problem"),
    [
        ("shape { dim: 7 }", r"of 6 values cannot become \(7\) of 7"),
        ("shape { dim: 4 dim: -1 }", "do not divide by 4"),
        ("shape { dim: 6 } axis: 3", "axis 3 is out of range"),
        ("shape { dim: 6 } axis: -4", "axis -4 is out of range"),
        ("shape { dim: 6 } axis: 1 num_axes: 2", "reach past the last axis"),
        ("shape { dim: 2 dim: 3 dim: 0 }", "dim: 0 copies axis 2"),
    ],
)
def test_shapes_that_do_not_fit_are_rejected(param, problem):
    with pytest.raises(ShapeError, match=problem) as error:
        layer_net(f'type: "Reshape" reshape_param {{ {param} }}', random_array(2, 3))
    assert (error.value.layer, error.value.line) == ("layer", 3)


@pytest.mark.parametrize(
    ("param", "problem"),
    [
        ("shape { dim: -1\ndim: -1 }", "only one dim can be -1"),
        ("shape { dim: 2\ndim: -2 }", "dim must be an int >= -1, got -2"),
        ("shape { dim: 6 }\nnum_axes: -2", "num_axes must be an int >= -1, got -2"),
    ],
)
def test_impossible_values_are_rejected_at_their_line(param, problem):
    with pytest.raises(ConfigError, match=problem) as error:
        layer_net(f'type: "Reshape" reshape_param {{ {param} }}', random_array(2, 3))
    assert (error.value.layer, error.value.line) == ("layer", 4)


def test_in_place_use_is_rejected():
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 2 } } }
    layer { name: "r" type: "Reshape" bottom: "x" top: "x" reshape_param { shape { dim: 6 } } }"""
    with pytest.raises(ConfigError, match="in place"):
        net_from_text(text)
