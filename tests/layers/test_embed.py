import re

import numpy as np
import pytest
from helpers.direct import assert_near, random_array, run
from helpers.layer_facts import Example

from pycaffe_like.errors import ConfigError, DataError
from pycaffe_like.testing import layer_net

FILLED = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "uniform" min: -1 }'
EXAMPLE = Example(f"embed_param {{ input_dim: 3 num_output: 4 {FILLED} }}", bottoms=((2, 5),), labels=(0,))
BACKWARD = {
    "alone": [("Embed label", f"embed_param {{ input_dim: 3 num_output: 4 {FILLED} }}")],
    "without bias": [
        ("Embed label", f"embed_param {{ input_dim: 3 num_output: 4 bias_term: false {FILLED} }}")
    ],
}
IMPOSSIBLE = [
    ("embed_param { input_dim: 0 num_output: 4 }", [(2,)], "input_dim"),
    ("embed_param { input_dim: 4 num_output: 0 }", [(2,)], "num_output"),
    ("embed_param { input_dim: 65536 num_output: 65536 }", [(2,)], "65536"),
    ("embed_param { input_dim: 2 num_output: 2147483647 }", [(2,)], "2147483647"),
]
TOLERANCE = (1e-5, 1e-6)
SANITIZED = True


def arguments(input_dim, num_output, bias_term=True):
    return {"input_dim": input_dim, "num_output": num_output, "bias_term": bias_term}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("columns", [1, 7, 16, 300])
@pytest.mark.parametrize("shape", [(50,), (5, 10), (2, 5, 5), (50, 1, 1, 1)])
def test_values_and_gradients(shape, columns, bias):
    indices = np.random.default_rng(0).integers(0, 6, shape)
    params = [random_array(8, columns), random_array(columns, seed=1)][: 1 + bias]
    dy = random_array(*shape, columns, seed=2)
    result = run(
        "Embed", arguments(8, columns, bias), indices.astype(np.float32),
        params=params, param_diffs=[3.0, 4.0][: 1 + bias], top_diffs=[dy], propagate_down=[False],
    )  # fmt: skip
    gradient = np.full((8, columns), 3.0)
    np.add.at(gradient, indices, dy)
    np.testing.assert_array_equal(result.tops[0], params[0][indices] + (params[1] if bias else 0))
    assert_near(result.param_diffs[0], gradient, terms=50)
    if bias:
        assert_near(result.param_diffs[1], 4.0 + dy.reshape(-1, columns).sum(0, np.float64), terms=50)


def test_frozen_params_get_no_gradient():
    dy = np.ones((2, 3), np.float32)
    result = run(
        "Embed", arguments(4, 3), np.zeros(2, np.float32), params=[random_array(4, 3), random_array(3)],
        param_diffs=[1.0, 2.0], top_diffs=[dy], propagate_down=[False], learn=[False, True],
    )  # fmt: skip
    np.testing.assert_array_equal(result.param_diffs[0], 1)
    np.testing.assert_array_equal(result.param_diffs[1], 4)


def test_fractions_are_cut_off():
    table = random_array(3, 2)
    got = run("Embed", arguments(3, 2, False), np.array([1.9, -0.5], np.float32), params=[table]).tops[0]
    np.testing.assert_array_equal(got, table[[1, 0]])


@pytest.mark.parametrize("index", [3, -1, 1e30, np.inf, np.nan])
def test_index_out_of_range_is_refused(index):
    problem = f"index {re.escape(f'{index:g}')} at position 2 is not in the range 0 to 2"
    with pytest.raises(DataError, match=problem):
        run(
            "Embed", arguments(3, 4, False), np.array([[2, 0], [index, 0]], np.float32),
            params=[random_array(3, 4)],
        )  # fmt: skip


def test_indices_stay_exact_in_a_bfloat16_plan():
    """1001 is no bfloat16 number."""
    net = layer_net(
        'type: "Embed" propagate_down: false embed_param { input_dim: 1002 num_output: 1 }', [1001.0],
        precision="bfloat16", backward=False,
    )  # fmt: skip
    net.params["layer"][0].data[...] = np.arange(1002).reshape(-1, 1)
    net.forward()
    assert net.blobs["t0"].data.item() == 1001


def test_empty_batch():
    result = run(
        "Embed", arguments(3, 4), np.zeros((0, 2), np.float32), params=[random_array(3, 4), random_array(4)],
        param_diffs=[1.0, 1.0], top_diffs=[np.zeros((0, 2, 4), np.float32)], propagate_down=[False],
    )  # fmt: skip
    assert result.tops[0].shape == (0, 2, 4)
    assert all((diff == 1).all() for diff in result.param_diffs)


def test_no_gradient_of_the_indices():
    with pytest.raises(ConfigError, match="indices"):
        run(
            "Embed", arguments(3, 1, False), np.zeros(1, np.float32), params=[random_array(3, 1)],
            top_diffs=[np.ones((1, 1), np.float32)],
        )  # fmt: skip
