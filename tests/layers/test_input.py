import numpy as np
import pytest
from helpers.layer_facts import EXACT, Example

from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import net_from_text

EXAMPLE = Example("input_param { shape { dim: 2 dim: 3 dim: 5 dim: 4 } }", bottoms=())
BACKWARD = None
IMPOSSIBLE = [
    ("input_param { shape { dim: -1 } }", [], "-1"),
    ("input_param { shape { dim: 65536 dim: 32768 } }", [], "65536"),
    ("input_param { shape { dim: 4294967296 dim: 4294967296 } }", [], "4294967296"),
]
TOLERANCE = EXACT
FORMULA = False


def input_net(param, tops=1):
    names = "".join(f' top: "t{index}"' for index in range(tops))
    return net_from_text(f'layer {{ name: "in" type: "Input"\n{names} {param} }}')


def test_one_shape_serves_all_tops():
    net = input_net("input_param { shape { dim: 2 dim: 3 } }", tops=3)
    assert [list(net.blobs[name].shape) for name in net.inputs] == [[2, 3]] * 3


def test_each_top_has_its_own_shape():
    net = input_net("input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } shape { dim: 2 } }", tops=2)
    assert net.inputs == ["t0", "t1"]
    assert [list(net.blobs[name].shape) for name in net.inputs] == [[2, 3, 4, 5], [2]]


def test_a_top_without_shape_is_a_scalar_until_it_is_reshaped():
    net = input_net("")
    assert list(net.blobs["t0"].shape) == []
    net.blobs["t0"].reshape(2, 2)
    net.reshape()
    net.blobs["t0"].data[...] = [[1, 2], [3, 4]]
    assert np.array_equal(net.forward()["t0"], [[1, 2], [3, 4]])


def test_an_empty_input_is_allowed():
    assert input_net("input_param { shape { dim: 0 dim: 3 } }").forward()["t0"].shape == (0, 3)


def test_values_stay_from_one_forward_to_the_next():
    net = input_net("input_param { shape { dim: 3 } }")
    net.blobs["t0"].data[...] = [1, 2, 3]
    net.forward()
    assert np.array_equal(net.forward()["t0"], [1, 2, 3])


def test_two_shapes_for_three_tops_are_rejected():
    with pytest.raises(ConfigError, match="once for each of 3, got 2") as error:
        input_net("input_param { shape { dim: 2 } shape { dim: 3 } }", tops=3)
    assert (error.value.layer, error.value.line) == ("in", 2)


@pytest.mark.parametrize("dims", ["dim: -1", "dim: 65536 dim: 65536", " ".join(["dim: 1"] * 33)])
def test_an_impossible_shape_is_rejected(dims):
    with pytest.raises(ShapeError) as error:
        input_net(f"input_param {{ shape {{ {dims} }} }}")
    assert error.value.layer == "in"


def test_a_bottom_is_rejected():
    text = 'layer { name: "a" type: "Input" top: "a" } layer { name: "b" type: "Input" bottom: "a" top: "b" }'
    with pytest.raises(ConfigError, match="takes exactly 0 bottom"):
        net_from_text(text)
