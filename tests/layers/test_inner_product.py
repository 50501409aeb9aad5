import numpy as np
import pytest
from helpers.direct import DEVICE, assert_near, random_array, run
from helpers.layer_facts import SUMS, Example

from pycaffe_like import _core as core
from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import layer_net

EXAMPLE = Example(
    'inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 0.5 } '
    'bias_filler { type: "uniform" min: -1 max: 1 } }'
)
_FIELDS = 'inner_product_param { num_output: 5 weight_filler { type: "gaussian" } }'
BACKWARD = {"alone": [("InnerProduct", _FIELDS)], "ReLU": [("InnerProduct", _FIELDS), ("ReLU", "")]}
IMPOSSIBLE = [
    ("inner_product_param { num_output: 0 }", [(2, 3)], "num_output"),
    ("inner_product_param { num_output: 3 axis: -3 }", [(2, 3)], "axis -3"),
    ("inner_product_param { num_output: 2147483647 }", [(1, 2)], "2147483647"),
    ("inner_product_param { num_output: 2147483647 axis: 0 }", [(2147483647,)], "2147483647"),
]
TOLERANCE = SUMS
SANITIZED = True

DTYPES = ["float32", "bfloat16"]
both_types = pytest.mark.parametrize("dtype", DTYPES)
both_transposes = pytest.mark.parametrize("transpose", [False, True])

# Shape of the bottom, axis, num_output
SIZES = {
    "one_item": ((1, 20), 1, 7),
    "one_input": ((5, 1), 1, 3),
    "one_output": ((6, 20), 1, 1),
    "single": ((1, 1), 1, 1),
    "tail_127": ((3, 127), 1, 129),
    "even_128": ((128, 128), 1, 128),
    "tail_129": ((2, 129), 1, 127),
    "many_items": ((300, 17), 1, 10),
    "many_outputs": ((300, 3), 1, 1100),
    "map": ((2, 3, 4, 5), 1, 6),
    "axis_2": ((2, 3, 4, 5), 2, 6),
    "axis_last": ((2, 3, 4, 5), -1, 6),
    "axis_0": ((3, 4), 0, 5),
    "axis_negative": ((2, 3, 4, 5), -3, 6),
    "one_axis": ((9,), 0, 4),
}


def arguments(num_output, axis=1, transpose=False, bias_term=True, relu=False):
    return {
        "num_output": num_output, "axis": axis, "transpose": transpose, "bias_term": bias_term, "relu": relu,
        "tf32": False,
    }  # fmt: skip


def integers(*shape, dtype="float32", seed=0):
    """Small whole numbers: their products and sums are exact, so that zeros are zeros for everybody."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float32)


def inputs_of(name, args, dtype, draw=random_array):
    """Bottom, params and gradient of the top; weights are numbers that `dtype` can hold."""
    shape, axis, outputs = SIZES[name]
    axis %= len(shape)
    features = int(np.prod(shape[axis:]))
    weights = (features, outputs) if args["transpose"] else (outputs, features)
    params = [draw(*weights, dtype=dtype, seed=2), draw(outputs, seed=3)][: 1 + args["bias_term"]]
    return draw(*shape, dtype=dtype), params, draw(*shape[:axis], outputs, dtype=dtype, seed=1)


def oracle(args, x, params, diff):
    """Top and gradients of bottom and params in float64."""
    outputs = diff.shape[-1]
    rows = x.reshape(-1, x.size * outputs // diff.size).astype(np.float64)
    weights, *bias = (each.astype(np.float64) for each in params)
    weights = weights if args["transpose"] else weights.T
    y = rows @ weights + sum(bias)
    dy = diff.reshape(-1, outputs) * ((y > 0) | (not args["relu"]))
    dw = rows.T @ dy
    gradients = [(dy @ weights.T).reshape(x.shape), dw if args["transpose"] else dw.T, dy.sum(0)]
    return (np.maximum(y, 0) if args["relu"] else y).reshape(diff.shape), gradients[: 2 + len(bias)]


def check(name, dtype, draw=random_array, **options):
    _, axis, outputs = SIZES[name]
    args = arguments(outputs, axis, **options)
    x, params, diff = inputs_of(name, args, dtype, draw)
    y, (dx, *gradients) = oracle(args, x, params, diff)
    before = [0.5, -2.0]
    result = run("InnerProduct", args, x, params=params, param_diffs=before, top_diffs=[diff], dtype=dtype)
    terms = 4 * max(x.size, diff.size) + 4
    assert_near(result.tops[0], y, dtype, terms)
    assert_near(result.bottom_diffs[0], dx, dtype, terms)
    assert len(result.param_diffs) == len(gradients)
    for got, wanted, start in zip(result.param_diffs, gradients, before):
        assert_near(got - start, wanted, "float32", terms)


@both_types
@both_transposes
@pytest.mark.parametrize("bias_term", [True, False])
@pytest.mark.parametrize("name", SIZES)
def test_values_and_gradients(name, bias_term, transpose, dtype):
    check(name, dtype, transpose=transpose, bias_term=bias_term)


@both_types
@both_transposes
@pytest.mark.parametrize("bias_term", [True, False])
@pytest.mark.parametrize("name", ["one_item", "tail_127", "map", "axis_2"])
def test_a_fused_relu_clips_values_and_gradients(name, bias_term, transpose, dtype):
    check(name, dtype, integers, transpose=transpose, bias_term=bias_term, relu=True)


@pytest.mark.skipif(DEVICE == "cpu", reason="the CPU has no TF32")
def test_rounded_factors_change_no_more_than_their_last_bits():
    args = arguments(128)
    x, params, diff = inputs_of("even_128", args, "float32")
    exact, rounded = (
        run("InnerProduct", {**args, "tf32": tf32}, x, params=params, top_diffs=[diff])
        for tf32 in (False, True)
    )
    for got, wanted in zip([rounded.tops[0], *rounded.param_diffs], [exact.tops[0], *exact.param_diffs]):
        assert_near(got, wanted, "bfloat16")


@both_types
@both_transposes
@pytest.mark.parametrize("name", ["one_item", "tail_127", "many_items"])
def test_gradients_of_params_are_added_to_what_is_there(name, transpose, dtype):
    args = arguments(SIZES[name][2], transpose=transpose)
    x, params, diff = inputs_of(name, args, dtype, integers)
    options = {"params": params, "top_diffs": [diff], "dtype": dtype}
    clean = run("InnerProduct", args, x, **options)
    dirty = run("InnerProduct", args, x, **options, param_diffs=[0.5, -2.0])
    assert clean.param_diffs[0].any()
    assert np.array_equal(dirty.param_diffs[0], clean.param_diffs[0] + np.float32(0.5))
    assert np.array_equal(dirty.param_diffs[1], clean.param_diffs[1] + np.float32(-2))


@both_types
def test_a_gradient_of_the_bias_and_its_opposite_leave_nothing(dtype):
    args = arguments(SIZES["many_items"][2])
    x, params, diff = inputs_of("many_items", args, dtype)
    options = {"params": params, "dtype": dtype}
    once = run("InnerProduct", args, x, **options, top_diffs=[diff]).param_diffs[1]
    both = run("InnerProduct", args, x, **options, top_diffs=[-diff], param_diffs=[0.0, once]).param_diffs[1]
    assert once.any()
    assert not both.any()


def net_of(param, *bottoms, more="", **options):
    filler = 'weight_filler { type: "gaussian" }'
    return layer_net(
        f'type: "InnerProduct" {more} inner_product_param {{ {param} {filler} }}', *bottoms, **options
    )


@both_types
@both_transposes
def test_cleared_gradients_start_again_and_others_go_on(transpose, dtype):
    param = f"num_output: 20 transpose: {str(transpose).lower()}"
    net = net_of(param, integers(4, 30), more="loss_weight: 1", precision=dtype)
    net.forward()
    made = []
    for _ in range(2):
        net.clear_param_diffs()
        for _ in range(2):
            net.backward()
            made.append([blob.diff.copy() for blob in net.params["layer"]])
    for once, twice, again, twice_again in zip(*made):
        assert once.any()
        assert np.array_equal(twice, 2 * once)
        assert np.array_equal(again, once)
        assert np.array_equal(twice_again, twice)


@pytest.mark.parametrize("learn", [(True, False), (False, True), (False, False)])
@both_types
def test_only_params_that_learn_get_a_gradient(learn, dtype):
    args = arguments(127)
    x, params, diff = inputs_of("tail_129", args, dtype)
    options = {"params": params, "top_diffs": [diff], "dtype": dtype}
    every = run("InnerProduct", args, x, **options)
    some = run("InnerProduct", args, x, **options, learn=learn)
    for got, wanted, learns in zip(some.param_diffs, every.param_diffs, learn):
        assert np.array_equal(got, wanted if learns else np.zeros_like(wanted))
    assert np.array_equal(some.bottom_diffs[0], every.bottom_diffs[0])


@both_types
def test_a_gradient_that_is_not_wanted_is_not_written(dtype):
    net = net_of("num_output: 2", random_array(3, 4), more="loss_weight: 1", backward=False, precision=dtype)
    net.forward()
    net.blobs["b0"].diff[...] = 7
    net.backward()
    assert np.array_equal(net.blobs["b0"].diff, np.full((3, 4), 7))
    assert net.params["layer"][0].diff.any()


@both_types
def test_the_same_input_gives_the_same_bits(dtype):
    args = arguments(128)
    x, params, diff = inputs_of("even_128", args, dtype)
    once, again = (
        run("InnerProduct", args, x, params=params, top_diffs=[diff], dtype=dtype) for _ in range(2)
    )
    for first, second in zip(
        [*once.tops, *once.bottom_diffs, *once.param_diffs],
        [*again.tops, *again.bottom_diffs, *again.param_diffs],
    ):
        assert first.tobytes() == second.tobytes()


@both_types
def test_an_empty_batch_gives_an_empty_batch_and_no_gradient(dtype):
    x, top = np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32)
    params = [random_array(3, 4), random_array(3)]
    result = run(
        "InnerProduct", arguments(3), x, params=params, param_diffs=[0.5, -2.0], top_diffs=[top], dtype=dtype
    )
    assert result.tops[0].shape == top.shape
    assert np.array_equal(result.param_diffs[0], np.full((3, 4), 0.5))
    assert np.array_equal(result.param_diffs[1], np.full(3, -2.0))


# Packed weights (bfloat16) follow the learned ones


def write(blob):
    blob.data[...] = 0


def share(blob):
    blob.share_data(core.Blob(blob.shape, device=blob.device))


@both_types
@both_transposes
@pytest.mark.parametrize("change", [write, share])
def test_changed_weights_are_noticed_forward_and_backward(change, transpose, dtype):
    param = f"num_output: 20 transpose: {str(transpose).lower()}"
    net = net_of(param, random_array(4, 30), more="loss_weight: 1", precision=dtype)
    net.forward()
    net.backward()
    assert net.blobs["t0"].data.any()
    assert net.blobs["b0"].diff.any()
    change(net.params["layer"][0])
    net.forward()
    net.backward()
    assert not net.blobs["t0"].data.any(), "the old weights were used"
    assert not net.blobs["b0"].diff.any(), "the old weights were used"


def test_weights_are_copied_in_bfloat16_only():
    sizes = {}
    for dtype in DTYPES:
        layer = net_of("num_output: 64", random_array(96, 32), precision=dtype).plan.layers[-1]
        sizes[dtype] = layer.private_bytes(False), layer.private_bytes(True)
    copies = 2 if DEVICE == "cpu" else 1  # forward and backward pack differently on a CPU
    assert sizes["float32"] == (0, 0)
    assert sizes["bfloat16"][0] >= 2 * 64 * 32
    assert sizes["bfloat16"][1] >= copies * 2 * 64 * 32


@pytest.mark.skipif(DEVICE != "cpu", reason="about the CPU's kernels")
@pytest.mark.parametrize(("rows", "dtype"), [(95, "float32"), (96, "bfloat16")])
def test_few_rows_that_learn_stay_float32(rows, dtype):
    net = net_of("num_output: 8", random_array(rows, 4), precision="bfloat16")
    assert net.blobs["t0"].dtype == dtype


# Shapes and parameters


@both_transposes
def test_learned_blobs_have_caffes_shapes(transpose):
    net = net_of(f"num_output: 5 transpose: {str(transpose).lower()}", random_array(2, 3, 4))
    weights, bias = net.params["layer"]
    assert list(weights.shape) == ([12, 5] if transpose else [5, 12])
    assert list(bias.shape) == [5]


def test_a_map_is_read_in_logical_order():
    x = random_array(2, 3, 4, 5)
    net = net_of("num_output: 6", x)
    weights = net.params["layer"][0].data.astype(np.float64)
    assert_near(net.forward()["t0"], x.reshape(2, 60) @ weights.T, terms=60)
    assert [node.name for node in net.plan.graph.nodes] == ["b0", "layer/reorder_b0", "layer"]


def test_a_new_batch_size_gives_what_a_new_net_gives():
    x, small = random_array(5, 4), random_array(2, 4, seed=1)
    net, fresh = (net_of("num_output: 3", each, seed=3) for each in (x, small))
    net.forward()
    net.blobs["b0"].reshape(2, 4)
    net.blobs["b0"].data[...] = small
    assert np.array_equal(net.forward()["t0"], fresh.forward()["t0"])


def test_another_input_size_than_the_weights_have_is_rejected():
    net = net_of("num_output: 3", random_array(5, 4))
    net.forward()
    net.blobs["b0"].reshape(5, 6)
    with pytest.raises(ShapeError, match=r"weights are \(3, 4\), the bottom has shape \(5, 6\)") as error:
        net.forward()
    assert error.value.layer == "layer"


@pytest.mark.parametrize(
    ("param", "problem"),
    [
        ("", "num_output must be >= 1, got nothing"),
        ("num_output: 0", "num_output must be an int >= 1, got 0"),
        ("num_output: 2 axis: 2", "axis 2 is out of range"),
        ("num_output: 2 axis: -3", "axis -3 is out of range"),
    ],
)
def test_bad_parameters_are_rejected(param, problem):
    with pytest.raises(ConfigError, match=problem) as error:
        layer_net(f'type: "InnerProduct" inner_product_param {{\n{param} }}', random_array(2, 3))
    assert error.value.layer == "layer"
    assert error.value.line in (3, 4)


def test_a_second_bottom_is_rejected():
    with pytest.raises(ConfigError, match="InnerProduct takes exactly 1 bottom"):
        net_of("num_output: 2", random_array(2, 3), random_array(2, 3))
