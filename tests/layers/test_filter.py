import numpy as np
import pytest
from helpers.direct import FORMS, random_array, run
from helpers.layer_facts import EXACT, MAP, Example

from pycaffe_like.errors import ConfigError
from pycaffe_like.testing import layer_net, net_from_text

EXAMPLE = Example(bottoms=(MAP, (2, 3), (2,)), tops=2, given={2: [1, 1]})
BACKWARD = {"alone": [("Filter x b2", "")]}
IMPOSSIBLE = [
    ("", [MAP, (2, 1, 2)], r"\(2, 1, 2\)"),
    ("", [MAP, ()], r"\(\)"),
    ("", [MAP, (3,)], "3 items"),
    ("", [(), (1,)], "1 items"),
    ("", [MAP], "at least 2"),
    ("", [MAP, MAP, (2,)], "1 for 3 bottoms"),
]
TOLERANCE = EXACT

SELECTOR = np.array([0, 1, -2, 0, 0.1, 1e-40], np.float32)


@pytest.mark.parametrize("shape", [(6,), (6, 1, 1, 1)])
@pytest.mark.parametrize(("layout", "dtype"), FORMS)
def test_selected_items_are_kept_and_the_others_get_no_gradient(layout, dtype, shape):
    maps, rows = random_array(6, 3, 5, 4, dtype=dtype), random_array(6, 7, dtype=dtype, seed=1)
    kept = SELECTOR != 0
    dy = [random_array(4, *x.shape[1:], dtype=dtype, seed=2) for x in (maps, rows)]
    result = run(
        "Filter", {}, maps, rows, SELECTOR.reshape(shape),
        top_diffs=dy, propagate_down=[True, True, False], layout=layout, dtype=dtype,
    )  # fmt: skip
    for x, top, given, dx in zip((maps, rows), result.tops, dy, result.bottom_diffs):
        np.testing.assert_array_equal(top, x[kept])
        np.testing.assert_array_equal(dx[kept], given)
        np.testing.assert_array_equal(dx[~kept], 0)


def test_only_the_wanted_gradients_are_written():
    x = random_array(6, 2)
    result = run(
        "Filter", {}, x, x, SELECTOR, top_diffs=[np.ones((4, 2), np.float32)] * 2,
        bottom_diffs=[x, x, SELECTOR], propagate_down=[False, True, False],
    )  # fmt: skip
    assert result.bottom_diffs[0] is None
    np.testing.assert_array_equal(result.bottom_diffs[1], np.broadcast_to(SELECTOR[:, None] != 0, (6, 2)))


def test_nan_selects():
    assert run("Filter", {}, random_array(2, 3), np.array([np.nan, 0], np.float32)).tops[0].shape == (1, 3)


def test_selector_stays_exact_in_a_bfloat16_plan():
    """1e-45 is 0 in bfloat16."""
    net = layer_net('type: "Filter"', random_array(2, 3), [1e-45, 0.0], precision="bfloat16")
    net.forward()
    assert net.blobs["t0"].data.shape == (1, 3)


@pytest.mark.parametrize("selector", [[0, 0, 0], []])
def test_nothing_selected(selector):
    x = np.ones((len(selector), 4, 3, 2), np.float32)
    result = run(
        "Filter", {}, x, np.array(selector, np.float32),
        top_diffs=[np.zeros((0, 4, 3, 2), np.float32)], propagate_down=[True, False],
    )  # fmt: skip
    assert result.tops[0].shape == (0, 4, 3, 2)
    np.testing.assert_array_equal(result.bottom_diffs[0], np.zeros(x.shape))


def test_what_reads_the_top_follows_its_shape():
    weights = 'inner_product_param { num_output: 2 weight_filler { type: "gaussian" } }'
    text = f"""
        layer {{ name: "x" type: "Input" top: "x" top: "s"
                 input_param {{ shape {{ dim: 4 dim: 3 }} shape {{ dim: 4 }} }} }}
        layer {{ name: "filter" type: "Filter" bottom: "x" bottom: "s" top: "f" }}
        layer {{ name: "ip" type: "InnerProduct" bottom: "f" top: "y" {weights} }}"""
    net = net_from_text(text)
    net.blobs["x"].data[...] = x = random_array(4, 3)
    for selector in ([1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0], [1, 1, 1, 1]):
        net.blobs["s"].data[...] = selector
        kept = x[np.array(selector) != 0]
        net.forward()
        np.testing.assert_allclose(
            net.blobs["y"].data, kept @ net.params["ip"][0].data.T, rtol=1e-5, atol=1e-6
        )


def test_no_gradient_of_the_selector():
    with pytest.raises(ConfigError, match="selector"):
        run("Filter", {}, random_array(1, 2), np.ones(1, np.float32), top_diffs=[random_array(1, 2)])
