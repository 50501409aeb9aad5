import numpy as np
import pytest
from helpers.direct import every_form, random_array, run
from helpers.layer_facts import EXACT, MAP, Example, Timed

from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import layer_net

EXAMPLE = Example("concat_param { axis: 1 }", bottoms=(MAP, (2, 2, 5, 4)))
BACKWARD = {"alone": [("Concat x x2", "")]}
IMPOSSIBLE = [
    ("concat_param { axis: 4 }", [(2, 3), (2, 3)], "axis 4"),
    ("", [(2, 3), (3, 3)], r"\(3, 3\)"),
    ("", [(46340, 46340), (46340, 46340)], "92680"),
]
FIELDS = {"concat_dim": None}
TOLERANCE = EXACT
FORMULA = False
SANITIZED = True
TIMED = {"": Timed("", ((128, 64, 56, 56),) * 4, backward=(1, 1))}

SHAPE = (2, 5, 3, 7)


def parts(axis, sizes, shape=SHAPE, dtype="float32"):
    arrays = []
    for seed, size in enumerate(sizes):
        dims = list(shape)
        dims[axis] = size
        arrays.append(random_array(*dims, dtype=dtype, seed=seed))
    return arrays


@every_form
@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1, -3])
@pytest.mark.parametrize("sizes", [(4, 3), (8, 24), (4, 12), (1, 127, 0, 129)])
def test_bottoms_are_joined_and_their_diffs_cut_apart(layout, dtype, axis, sizes):
    arrays = parts(axis, sizes, dtype=dtype)
    wanted = np.concatenate(arrays, axis)
    diff = random_array(*wanted.shape, dtype=dtype, seed=9)
    result = run("Concat", {"axis": axis}, *arrays, top_diffs=[diff], layout=layout, dtype=dtype)
    assert np.array_equal(result.tops[0], wanted)
    for got, piece in zip(result.bottom_diffs, np.split(diff, np.cumsum(sizes)[:-1], axis)):
        assert np.array_equal(got, piece)


@pytest.mark.parametrize("shape", [(6,), (3, 4), (2, 3, 4, 2, 3), (2, 1, 2, 1, 2, 2)])
@pytest.mark.parametrize("layout", ["plain", "channels_last"])
def test_any_number_of_axes_can_be_joined(shape, layout):
    for axis in range(len(shape)):
        arrays = parts(axis, (2, 3), shape)
        assert np.array_equal(
            run("Concat", {"axis": axis}, *arrays, layout=layout).tops[0], np.concatenate(arrays, axis)
        )


def test_only_wanted_gradients_are_written():
    arrays = parts(1, (2, 3))
    diff = random_array(*np.concatenate(arrays, 1).shape)
    result = run("Concat", {"axis": 1}, *arrays, top_diffs=[diff], propagate_down=[False, True])
    assert result.bottom_diffs[0] is None
    assert np.array_equal(result.bottom_diffs[1], diff[:, 2:])


def test_a_hundred_bottoms_are_joined():
    arrays = parts(1, [1 + index % 3 for index in range(100)])
    wanted = np.concatenate(arrays, 1)
    diff = random_array(*wanted.shape, seed=200)
    result = run("Concat", {"axis": 1}, *arrays, top_diffs=[diff], layout="channels_last")
    assert np.array_equal(result.tops[0], wanted)
    assert np.array_equal(np.concatenate(result.bottom_diffs, 1), diff)


def test_many_slabs_are_joined_by_all_threads():
    arrays = parts(1, (3, 5), shape=(4, 1, 90, 90))
    result = run("Concat", {"axis": 1}, *arrays, layout="channels_last")
    assert np.array_equal(result.tops[0], np.concatenate(arrays, 1))


def test_a_single_bottom_is_shared():
    net = layer_net('type: "Concat"', [[1.0, 2.0]])
    net.forward()
    assert net.blobs["t0"].data_id == net.blobs["b0"].data_id
    assert net.blobs["t0"].diff_id == net.blobs["b0"].diff_id


def test_concat_dim_is_an_older_name_of_axis():
    net = layer_net('type: "Concat" concat_param { concat_dim: 0 }', [[1.0]], [[2.0]])
    assert net.forward()["t0"].tolist() == [[1.0], [2.0]]


def test_bottoms_that_change_shape_are_joined_anew():
    net = layer_net('type: "Concat"', [[1.0]], [[2.0]])
    net.forward()
    net.blobs["b1"].reshape(1, 2)
    net.blobs["b1"].data[...] = [[3, 4]]
    assert net.forward()["t0"].tolist() == [[1.0, 3.0, 4.0]]


def test_axis_and_concat_dim_together_are_rejected():
    with pytest.raises(ConfigError, match=r"got both \(1 and 0\)") as error:
        layer_net('type: "Concat" concat_param { axis: 1\nconcat_dim: 0 }', [[1.0]], [[2.0]])
    assert (error.value.layer, error.value.line) == ("layer", 5)


@pytest.mark.parametrize("param", ["axis: 2", "axis: -3", "concat_dim: 2"])
def test_an_axis_that_does_not_exist_is_rejected(param):
    with pytest.raises(ShapeError, match="out of range") as error:
        layer_net(f'type: "Concat" concat_param {{ {param} }}', [[1.0]], [[2.0]])
    assert error.value.layer == "layer"


@pytest.mark.parametrize("other", [[[1.0], [2.0]], [1.0]])
def test_bottoms_that_differ_elsewhere_are_rejected(other):
    with pytest.raises(ShapeError, match="may differ along axis 1 only"):
        layer_net('type: "Concat"', [[1.0]], other)
