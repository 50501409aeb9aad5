import numpy as np
import pytest
from helpers.direct import DEVICE, assert_near, every_form, random_array, run
from helpers.layer_facts import EXACT, Example

from pycaffe_like.errors import ConfigError
from pycaffe_like.testing import layer_net, net_from_text

EXAMPLE = Example(tops=2)
BACKWARD = {"alone": [("Split", "")]}
IMPOSSIBLE = []  # takes every shape
TOLERANCE = EXACT


@every_form
@pytest.mark.parametrize("tops", [1, 2, 3, 5, 150])
def test_tops_are_the_bottom_and_its_diff_is_their_sum(layout, dtype, tops):
    x = random_array(2, 129, 3, 5, dtype=dtype)
    diffs = [random_array(*x.shape, dtype=dtype, seed=seed) for seed in range(1, tops + 1)]
    result = run("Split", {"tops": tops, "shared_diffs": []}, x, top_diffs=diffs, layout=layout, dtype=dtype)
    for top in result.tops:
        assert np.array_equal(top, x)
    assert_near(result.bottom_diffs[0], np.sum(diffs, axis=0, dtype=np.float64), dtype, terms=tops)


@pytest.mark.skipif(DEVICE == "cpu", reason="the GPU's plans ask for it")
@every_form
@pytest.mark.parametrize("own", [0, 1, 40])
def test_tops_that_share_the_diff_of_the_bottom_count_once(layout, dtype, own):
    x = random_array(2, 129, 3, 5, dtype=dtype)
    shared, *others = (random_array(*x.shape, dtype=dtype, seed=seed) for seed in range(1, own + 2))
    arguments = {"tops": own + 2, "shared_diffs": [0, own + 1]}
    result = run("Split", arguments, x, top_diffs=[shared, *others, shared], layout=layout, dtype=dtype)
    wanted = np.sum([shared, *others], axis=0, dtype=np.float64)
    assert_near(result.bottom_diffs[0], wanted, dtype, terms=own + 1)


def test_long_blobs_are_summed_in_blocks_without_gaps():
    x = random_array(40_007)
    diffs = [random_array(40_007, seed=seed) for seed in (1, 2, 3)]
    result = run("Split", {"tops": 3, "shared_diffs": []}, x, top_diffs=diffs)
    assert_near(result.bottom_diffs[0], np.sum(diffs, axis=0, dtype=np.float64), terms=3)


def test_tops_share_the_bottoms_data():
    net = layer_net('type: "Split"', [1.0, 2.0], tops=2)
    net.blobs["b0"].data[...] = [5, 6]
    assert net.blobs["t0"].data_id == net.blobs["t1"].data_id == net.blobs["b0"].data_id
    assert net.blobs["t0"].diff_id != net.blobs["t1"].diff_id


def test_a_diff_nobody_wrote_counts_as_zero():
    net = layer_net('type: "Split"', [1.0, 2.0], tops=3)
    net.forward()
    net.blobs["t1"].diff[...] = [3, 4]
    net.backward()
    assert np.array_equal(net.blobs["b0"].diff, [3, 4])


def test_without_any_diff_the_gradient_is_zero():
    net = layer_net('type: "Split"', [1.0, 2.0], tops=2)
    net.blobs["b0"].diff[...] = 9
    net.forward()
    net.backward()
    assert np.array_equal(net.blobs["b0"].diff, [0, 0])


def test_a_blob_with_two_readers_gets_both_gradients():
    net = net_from_text("""
        force_backward: true
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 } } }
        layer { name: "a" type: "ReLU" bottom: "x" top: "a" }
        layer { name: "b" type: "ReLU" bottom: "x" top: "b" }
    """)
    net.blobs["x"].data[...] = [1, 2, -1]
    net.forward()
    net.blobs["a"].diff[...] = [1, 2, 3]
    net.blobs["b"].diff[...] = [10, 20, 30]
    net.backward()
    assert np.array_equal(net.blobs["x"].diff, [11, 22, 0])


def test_an_empty_blob_is_split():
    result = run(
        "Split", {"tops": 2, "shared_diffs": []}, random_array(0, 3), top_diffs=[random_array(0, 3)] * 2
    )
    assert result.bottom_diffs[0].shape == (0, 3)


def test_in_place_use_is_rejected():
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 } } }
    layer { name: "s" type: "Split" bottom: "x"
      top: "x" }"""
    with pytest.raises(ConfigError, match="in place") as error:
        net_from_text(text)
    assert (error.value.layer, error.value.line) == ("s", 3)
