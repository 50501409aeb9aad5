import re

import numpy as np
import pytest
from helpers.direct import FORMS, assert_near, random_array, run
from helpers.layer_facts import EXACT, MAP, Example

from pycaffe_like.errors import ConfigError, DataError
from pycaffe_like.testing import layer_net

EXAMPLE = Example(bottoms=(MAP, (3,)), given={1: [0, 0, 0]})
BACKWARD = {"alone": [("BatchReindex x b1", "")]}
IMPOSSIBLE = [
    ("", [MAP, (3, 1)], r"\(3, 1\)"),
    ("", [(), (3,)], "scalar"),
    ("", [(1, 1000000), (3000,)], "3000, 1000000"),
]
TOLERANCE = EXACT
SANITIZED = True


def indices_of(*values):
    return np.array(values, np.float32)


@pytest.mark.parametrize("size", [(), (1,), (127,), (300, 2), (3, 5, 4)])
@pytest.mark.parametrize(("layout", "dtype"), FORMS)
def test_items_are_picked_and_their_gradients_added_up(layout, dtype, size):
    indices = np.random.default_rng(0).integers(0, 5, 40)
    x = random_array(6, *size, dtype=dtype)
    dy = random_array(40, *size, dtype=dtype, seed=1)
    result = run(
        "BatchReindex", {}, x, indices.astype(np.float32),
        top_diffs=[dy], propagate_down=[True, False], layout=layout, dtype=dtype,
    )  # fmt: skip
    dx = np.zeros(x.shape)
    np.add.at(dx, indices, dy)
    np.testing.assert_array_equal(result.tops[0], x[indices])
    assert_near(result.bottom_diffs[0], dx, dtype, terms=40)
    np.testing.assert_array_equal(result.bottom_diffs[0][5], 0)


def test_bfloat16_gradients_are_added_in_float():
    """In bfloat16 256 + 1 is 256."""
    dy = np.concatenate([[256], np.ones(256)]).astype(np.float32)
    result = run(
        "BatchReindex", {}, np.zeros(1, np.float32), np.zeros(257, np.float32),
        top_diffs=[dy], propagate_down=[True, False], dtype="bfloat16",
    )  # fmt: skip
    assert result.bottom_diffs[0].item() == 512


def test_fractions_are_cut_off():
    x = random_array(3, 2)
    np.testing.assert_array_equal(run("BatchReindex", {}, x, indices_of(1.9, -0.5)).tops[0], x[[1, 0]])


@pytest.mark.parametrize("index", [3, -1, 1e30, -np.inf, np.nan])
def test_index_out_of_range_is_refused(index):
    problem = f"index {re.escape(f'{index:g}')} at position 2 is not in the range 0 to 2"
    with pytest.raises(DataError, match=problem):
        run("BatchReindex", {}, random_array(3, 4), indices_of(2, 0, index))


def test_indices_stay_exact_in_a_bfloat16_plan():
    """1001 is no bfloat16 number."""
    net = layer_net('type: "BatchReindex"', np.arange(1002) % 100, [1001.0], precision="bfloat16")
    net.forward()
    assert net.blobs["t0"].data.item() == 1


@pytest.mark.parametrize(("items", "size", "count"), [(3, 4, 0), (3, 0, 2), (0, 4, 0)])
def test_empty_batches(items, size, count):
    dy = np.ones((count, size), np.float32)
    result = run(
        "BatchReindex", {}, np.ones((items, size), np.float32), np.zeros(count, np.float32),
        top_diffs=[dy], propagate_down=[True, False],
    )  # fmt: skip
    assert result.tops[0].shape == (count, size)
    np.testing.assert_array_equal(result.bottom_diffs[0], np.zeros((items, size)))


def test_no_gradient_of_the_indices():
    with pytest.raises(ConfigError, match="indices"):
        run("BatchReindex", {}, random_array(3), indices_of(1), top_diffs=[indices_of(1)])
