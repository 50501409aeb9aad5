import numpy as np
import pytest
from helpers import direct
from helpers.direct import DEVICE, assert_near, random_array, rounded, run
from helpers.layer_facts import ELEMENTWISE, Example, Timed
from helpers.oracle import torch

from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import TEST, layer_net

EXAMPLE = Example("pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }")
BACKWARD = {
    "MAX": [("Pooling", "pooling_param { kernel_size: 2 }")],
    "AVE": [("Pooling", "pooling_param { pool: AVE kernel_size: 2 }")],
    "STOCHASTIC": [  # has no gradient in phase TEST
        ("Pooling", "include { phase: TRAIN } pooling_param { pool: STOCHASTIC kernel_size: 2 }")
    ],
}
IMPOSSIBLE = [
    ("pooling_param { kernel_size: 0 }", [(1, 3, 5, 5)], "kernel_size"),
    ("pooling_param { kernel_size: 2 stride: 0 }", [(1, 3, 5, 5)], "stride"),
    ("pooling_param { kernel_size: 6 }", [(1, 3, 5, 5)], "6"),
    ("pooling_param { kernel_size: 2 pad: 2 }", [(1, 3, 5, 5)], "pad"),
    ("pooling_param { kernel_size: 4294967295 pad: 4294967294 }", [(1, 3, 5, 5)], "4294967295"),
    ("pooling_param { kernel_size: 2 }", [(1, 3, 5)], r"\(1, 3, 5\)"),
]
FIELDS = {
    **dict.fromkeys(("kernel_h", "kernel_w"), "pooling_param { kernel_h: 2 kernel_w: 2 }"),
    **dict.fromkeys(("stride_h", "stride_w"), "pooling_param { kernel_size: 2 stride_h: 1 stride_w: 1 }"),
    **dict.fromkeys(("pad_h", "pad_w"), "pooling_param { kernel_size: 2 pad_h: 0 pad_w: 0 }"),
    "global_pooling": "pooling_param { }",
}
TOLERANCE = ELEMENTWISE
SANITIZED = True
TIMED = {
    "3x3 maximum": Timed(
        "pooling_param { pool: MAX kernel_size: 3 stride: 2 }", ((128, 64, 112, 112),), backward=(1, 1)
    ),
    "3x3 average": Timed(
        "pooling_param { pool: AVE kernel_size: 3 stride: 2 }", ((128, 64, 112, 112),), backward=(1, 1)
    ),
    "global average": Timed(
        "pooling_param { pool: AVE global_pooling: true }", ((1024, 2048, 7, 7),), backward=(1, 1)
    ),
}

FLT_MAX = np.finfo(np.float32).max
DTYPES = ["float32", "bfloat16"]


def arguments(method="max", kernel=(2, 2), stride=(1, 1), pad=(0, 0), **changes):
    settings = {"global": False, "round_up": True, "padding_counts": True, "places": False}
    settings |= {"relu_below": False, "training": True, **changes}
    return {"method": method, "kernel": list(kernel), "stride": list(stride), "pad": list(pad), **settings}


def pool(args, x, *top_diffs, dtype="float32", **options):
    """Run the layer in the one layout it takes on a CPU."""
    diffs = list(top_diffs) or None
    options = {"layout": "channels_last", **options}
    return run("Pooling", args, x, top_diffs=diffs, dtype=dtype, **options)


def out_size(size, kernel, stride, pad, round_up, padded):
    room = size + 2 * pad - kernel
    out = (-(-room // stride) if round_up else room // stride) + 1
    return out - 1 if padded and (out - 1) * stride >= size + pad else out


def windows(args, height, width):
    """Yield the output place, the rows and columns of its window, and the divisor of its average."""
    kernel, stride, pad = args["kernel"], args["stride"], args["pad"]
    sizes = (height, width)
    outs = [
        out_size(*one, args["round_up"], any(pad)) for one in zip(sizes, kernel, stride, pad, strict=True)
    ]
    for place in np.ndindex(*outs):
        spans, area = [], 1
        for index, size, k, s, p in zip(place, sizes, kernel, stride, pad, strict=True):
            start = index * s - p
            spans.append(range(max(start, 0), max(min(start + k, size), max(start, 0))))
            area *= min(start + k, size + p) - start if args["padding_counts"] else len(spans[-1])
        yield place, *spans, area


def oracle(args, x, diff):
    """Top, places of the maxima and gradient in float64, element by element."""
    x = x.astype(np.float64)
    y, places, dx = np.zeros(diff.shape), np.full(diff.shape, -1.0), np.zeros(x.shape)
    for n, c in np.ndindex(*x.shape[:2]):
        for (oh, ow), rows, columns, area in windows(args, *x.shape[2:]):
            cells = [(h, w) for h in rows for w in columns]
            at = n, c, oh, ow
            if args["method"] == "average":
                y[at] = sum(x[n, c, h, w] for h, w in cells) / area if cells else 0
                for h, w in cells:
                    dx[n, c, h, w] += diff[at] / area
                continue
            y[at] = -FLT_MAX
            for h, w in cells:
                if x[n, c, h, w] > y[at]:
                    y[at], places[at] = x[n, c, h, w], h * x.shape[3] + w
            if places[at] >= 0:
                dx[n, c].flat[int(places[at])] += diff[at]
    return y, places, dx


SHAPES = {
    "plain": ((2, 3, 6, 6), {"kernel": (2, 2), "stride": (2, 2)}),
    "overlapping": ((2, 3, 7, 8), {"kernel": (3, 3), "stride": (2, 2)}),
    "overhang": ((1, 5, 8, 6), {"kernel": (3, 3), "stride": (2, 2)}),
    "rounded_down": ((1, 5, 8, 6), {"kernel": (3, 3), "stride": (2, 2), "round_up": False}),
    "padded": ((2, 2, 7, 8), {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 1)}),
    "padded_one_way": ((1, 2, 8, 6), {"kernel": (3, 2), "stride": (2, 2), "pad": (1, 0)}),
    "padding_does_not_count": ((2, 2, 7, 8), {"kernel": (3, 2), "pad": (2, 1), "padding_counts": False}),
    "wide_padding": ((2, 2, 4, 5), {"kernel": (3, 3), "stride": (3, 3), "pad": (2, 2)}),
    "not_square": ((1, 3, 5, 9), {"kernel": (2, 4), "stride": (1, 3), "pad": (1, 2)}),
    "stride_over_kernel": ((1, 2, 8, 9), {"kernel": (2, 2), "stride": (3, 4)}),
    "window_outside": ((1, 2, 5, 5), {"kernel": (1, 1), "stride": (3, 3)}),
    "kernel_over_image": ((2, 1, 2, 3), {"kernel": (3, 4), "stride": (2, 2)}),
    "single": ((1, 1, 1, 1), {"kernel": (1, 1)}),
    "many_places": ((1, 2, 20, 18), {"kernel": (17, 16), "stride": (1, 1)}),
    "twos": ((2, 16, 6, 7), {"kernel": (2, 2), "stride": (2, 2)}),
    "twos_padded": ((1, 8, 7, 5), {"kernel": (2, 2), "stride": (2, 2), "pad": (1, 0)}),
    "threes": ((2, 16, 5, 6), {"kernel": (3, 3), "stride": (1, 1), "pad": (1, 1)}),
    "threes_inside": ((1, 24, 6, 4), {"kernel": (3, 3), "stride": (1, 1), "pad": (0, 2)}),
    "threes_by_two": ((2, 16, 8, 9), {"kernel": (3, 3), "stride": (2, 2)}),
    "threes_by_two_padded": ((1, 8, 7, 8), {"kernel": (3, 3), "stride": (2, 2), "pad": (1, 2)}),
    "channels_15": ((2, 15, 4, 4), {"kernel": (3, 3), "stride": (1, 1), "pad": (1, 1)}),
    "channels_127": ((1, 127, 3, 4), {"kernel": (2, 2)}),
    "channels_128": ((1, 128, 3, 4), {"kernel": (2, 2)}),
    "channels_129": ((1, 129, 3, 4), {"kernel": (2, 2)}),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["max", "average"])
@pytest.mark.parametrize("name", SHAPES)
def test_windows_are_caffes(name, method, dtype):
    shape, settings = SHAPES[name]
    args = arguments(method, **settings)
    x = random_array(*shape, dtype=dtype)
    tops = pool(args, x, dtype=dtype).tops[0].shape
    diff = random_array(*tops, dtype=dtype, seed=1)
    y, _, dx = oracle(args, x, diff)
    result = pool(args, x, diff, dtype=dtype)
    lowest = y == -FLT_MAX
    assert np.all(result.tops[0][lowest] <= rounded(-3.3e38, dtype))
    if method == "max":
        assert np.array_equal(result.tops[0][~lowest], y[~lowest])
    else:
        assert_near(result.tops[0], y, dtype, terms=args["kernel"][0] * args["kernel"][1])
    assert_near(result.bottom_diffs[0], dx, dtype, terms=9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["twos", "threes", "threes_by_two"])
def test_of_equal_values_the_first_is_taken_and_nan_and_infinity_below_never(name, dtype):
    shape, settings = SHAPES[name]
    choice = np.random.default_rng(0).integers(5, size=shape)
    x = np.array([-np.inf, np.nan, -1, 2, 3], np.float32)[choice]
    x[0] = np.where(choice[0] < 3, x[0], -np.inf)
    args = arguments(**settings)
    diff = random_array(*pool(args, x, dtype=dtype).tops[0].shape, dtype=dtype, seed=1)
    y, _, dx = oracle(args, x, diff)
    result = pool(args, x, diff, dtype=dtype)
    lowest = -FLT_MAX if dtype == "float32" else rounded(-3.3895e38, dtype)
    assert np.array_equal(result.tops[0], np.where(y == -FLT_MAX, lowest, y))
    assert_near(result.bottom_diffs[0], dx, dtype, terms=9)


@pytest.mark.parametrize("kernel", [(3, 3), (17, 16)])
def test_places_of_maxima_count_within_the_map(kernel):
    x = random_array(2, 3, 20, 18)
    args = arguments(kernel=kernel, stride=(2, 2), pad=(1, 2), places=True)
    diff = np.zeros(pool(args, x).tops[0].shape, np.float32)
    result = pool(args, x)
    assert np.array_equal(result.tops[1], oracle(args, x, diff)[1])


@pytest.mark.skipif(DEVICE == "cpu", reason="the CPU's kernels take channels-last maps only")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["max", "average", "stochastic"])
@pytest.mark.parametrize(
    "name",
    ["overlapping", "not_square", "many_places", "channels_128", "twos", "threes", "threes_by_two_padded"],
)
def test_plain_maps_are_pooled_as_well(name, method, dtype):
    shape, settings = SHAPES[name]
    args = arguments(method, **settings, training=method != "stochastic")
    x = np.abs(random_array(*shape, dtype=dtype))
    diffs = [random_array(*pool(args, x, dtype=dtype).tops[0].shape, dtype=dtype, seed=1)]
    diffs = diffs if args["training"] else []
    wanted, got = (pool(args, x, *diffs, dtype=dtype, layout=each) for each in ("channels_last", "plain"))
    assert_near(got.tops[0], wanted.tops[0], dtype)
    if diffs:
        assert_near(got.bottom_diffs[0], wanted.bottom_diffs[0], dtype, terms=9)


def test_the_first_of_equal_maxima_wins():
    x = np.zeros((1, 17, 3, 3), np.float32)
    diff = random_array(1, 17, 1, 1)
    dx = pool(arguments(kernel=(3, 3)), x, diff).bottom_diffs[0]
    assert np.array_equal(dx[:, :, 0, 0], diff[:, :, 0, 0])
    assert np.count_nonzero(dx) == 17


def test_nan_is_never_a_maximum():
    x = np.full((1, 1, 1, 4), np.nan, np.float32)
    x[0, 0, 0, 3] = -np.inf
    x[0, 0, 0, 1] = 2
    result = pool(arguments(kernel=(1, 2), stride=(1, 2), places=True), x, np.ones((1, 1, 1, 2), np.float32))
    assert result.tops[0].tolist() == [[[[2.0, -FLT_MAX]]]]
    assert result.tops[1].tolist() == [[[[1.0, -1.0]]]]


def test_infinity_is_a_maximum():
    x = np.array([[[[1.0, np.inf, -np.inf]]]], np.float32)
    assert pool(arguments(kernel=(1, 3)), x).tops[0].tolist() == [[[[np.inf]]]]


def test_an_empty_window_passes_no_gradient():
    """With stride over kernel the last windows lie outside the image; Caffe writes beyond its memory."""
    x = random_array(1, 1, 5, 5)
    for method, empty in (("max", -FLT_MAX), ("average", 0.0)):
        args = arguments(method, kernel=(1, 1), stride=(3, 3))
        result = pool(args, x, np.ones((1, 1, 3, 3), np.float32))
        assert result.tops[0][0, 0, 2].tolist() == [empty] * 3
        assert result.bottom_diffs[0].sum() == 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["max", "average"])
def test_global_pooling_takes_the_whole_map(method, dtype):
    x, diff = random_array(3, 20, 17, 16, dtype=dtype), random_array(3, 20, 1, 1, dtype=dtype, seed=1)
    result = pool(arguments(method, **{"global": True}), x, diff, dtype=dtype)
    y, _, dx = oracle(arguments(method, kernel=(17, 16)), x, diff)
    assert_near(result.tops[0], y, dtype, terms=17 * 16)
    assert_near(result.bottom_diffs[0], dx, dtype)


def test_the_maximum_agrees_with_pytorch():
    x = torch.tensor(random_array(2, 9, 11, 12), dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.max_pool2d(x, 3, 2, 1)
    diff = random_array(*y.shape, seed=1)
    y.backward(torch.tensor(diff, dtype=torch.float64))
    args = arguments(kernel=(3, 3), stride=(2, 2), pad=(1, 1), round_up=False)
    result = pool(args, x.detach().numpy().astype(np.float32), diff)
    assert np.array_equal(result.tops[0], y.detach().numpy())
    assert_near(result.bottom_diffs[0], x.grad.numpy(), terms=4)


@pytest.mark.parametrize("channels", [5, 8])
def test_the_gradient_in_phase_test_finds_the_maxima_again(channels):
    x, diff = random_array(2, channels, 7, 7), random_array(2, channels, 3, 3, seed=1)
    settings = {"kernel": (3, 3), "stride": (2, 2)}
    kept = pool(arguments(**settings), x, diff)
    found = pool(arguments(**settings, training=False), x, diff)
    assert np.array_equal(kept.bottom_diffs[0], found.bottom_diffs[0])
    assert np.array_equal(kept.tops[0], found.tops[0])


# Stochastic pooling


def test_stochastic_pooling_draws_in_proportion_to_the_values():
    x = np.tile(np.array([1.0, 2.0, 0.0, 5.0], np.float32), (1, 20, 50, 1)).reshape(1, 20, 50, 4)
    args = arguments("stochastic", kernel=(1, 4), stride=(1, 4))
    y = pool(args, x, seed=3).tops[0]
    shares = [np.mean(y == value) for value in (1.0, 2.0, 0.0, 5.0)]
    assert shares[2] == 0.0
    assert np.allclose(shares, [1 / 8, 2 / 8, 0, 5 / 8], atol=0.05)


def test_stochastic_pooling_gives_the_gradient_to_what_it_drew():
    x = np.abs(random_array(2, 18, 6, 6)) + 0.1
    args = arguments("stochastic", kernel=(2, 2), stride=(2, 2))
    diff = random_array(2, 18, 3, 3, seed=1)
    result = pool(args, x, diff)
    taken = result.bottom_diffs[0] != 0
    assert np.array_equal(taken.reshape(2, 18, 3, 2, 3, 2).sum((3, 5)), np.ones((2, 18, 3, 3)))
    up = result.tops[0].repeat(2, 2).repeat(2, 3)
    assert np.array_equal(x[taken], up[taken])
    assert np.array_equal(result.bottom_diffs[0][taken], diff.repeat(2, 2).repeat(2, 3)[taken])


def test_stochastic_draws_follow_seed_and_iteration():
    x = np.abs(random_array(2, 8, 8, 8))
    args = arguments("stochastic", kernel=(2, 2), stride=(2, 2))
    first = pool(args, x, seed=1, iteration=4).tops[0]
    assert np.array_equal(first, pool(args, x, seed=1, iteration=4).tops[0])
    assert not np.array_equal(first, pool(args, x, seed=2, iteration=4).tops[0])
    assert not np.array_equal(first, pool(args, x, seed=1, iteration=5).tops[0])


@pytest.mark.skipif(DEVICE == "cpu", reason="compares the two")
def test_draws_are_those_of_the_cpu(monkeypatch):
    x = np.abs(random_array(2, 7, 9, 8))
    args = arguments("stochastic", kernel=(3, 2), stride=(2, 2))
    mine = pool(args, x, seed=1, iteration=4).tops[0]
    monkeypatch.setattr(direct, "DEVICE", "cpu")
    assert np.array_equal(mine, pool(args, x, seed=1, iteration=4).tops[0])


def test_stochastic_pooling_averages_in_phase_test():
    x = np.array([[[[1.0, 3.0], [0.0, 0.0]]]], np.float32)
    args = arguments("stochastic", kernel=(1, 2), training=False)
    assert pool(args, x).tops[0].tolist() == [[[[2.5], [0.0]]]]
    with pytest.raises(ConfigError, match="gradient in phase TRAIN only"):
        pool(args, x, np.ones((1, 1, 2, 1), np.float32))


# Shapes and parameters


def test_an_empty_batch_is_pooled_to_an_empty_batch():
    x = np.zeros((0, 3, 4, 4), np.float32)
    result = pool(arguments(), x, np.zeros((0, 3, 3, 3), np.float32))
    assert result.tops[0].shape == (0, 3, 3, 3)


@pytest.mark.parametrize(
    ("param", "width"),
    [
        ("", 57),
        ("round_mode: CEIL", 57),
        ("round_mode: FLOOR", 56),
        ("ceil_mode: true", 57),
        ("ceil_mode: false", 56),
        ("ceil_mode: false round_mode: FLOOR", 56),
        ("torch_pooling: true", 56),
    ],
)
def test_every_fork_says_in_its_own_way_that_sizes_are_rounded_down(param, width):
    text = f'type: "Pooling" pooling_param {{ kernel_size: 3 stride: 2 pad: 1 {param} }}'
    net = layer_net(text, np.zeros((1, 1, 113, 112)))
    assert tuple(net.blobs["t0"].shape) == (1, 1, 57, width)


def test_padding_that_does_not_count_agrees_with_pytorch():
    x = random_array(2, 3, 7, 8)
    text = (
        'type: "Pooling" pooling_param { pool: AVE kernel_size: 3 pad: 1 ceil_mode: false avg_include_pad: '
    )
    for counts in (True, False):
        net = layer_net(f"{text}{str(counts).lower()} }}", x, backward=False)
        wanted = torch.nn.functional.avg_pool2d(torch.tensor(x), 3, 1, 1, count_include_pad=counts)
        assert_near(net.forward()["t0"], wanted.numpy(), "float32", terms=9)


def test_a_bottom_without_four_axes_is_rejected():
    with pytest.raises(ShapeError, match=r"must have 4 axes .* got \(2, 3\)") as error:
        layer_net('type: "Pooling" pooling_param { kernel_size: 1 }', random_array(2, 3))
    assert (error.value.layer, error.value.line) == ("layer", 3)


def test_a_window_that_does_not_fit_is_rejected():
    with pytest.raises(ShapeError, match="a window of 9 x 9 does not fit"):
        layer_net(
            'type: "Pooling" pooling_param { kernel_size: 9 round_mode: FLOOR }', random_array(1, 1, 4, 4)
        )


@pytest.mark.parametrize(
    ("param", "problem"),
    [
        ("", "size of the window is not given"),
        ("kernel_size: 0", "kernel_size must be an int >= 1, got 0"),
        ("kernel_size: 2 stride: 0", "stride must be an int >= 1, got 0"),
        ("kernel_h: 2", "kernel_h is given alone"),
        ("kernel_size: 2 kernel_w: 2", "kernel_size and kernel_w are both given"),
        ("kernel_size: 2 stride_h: 2", "stride_h is given alone"),
        ("kernel_size: 2 stride: 2 stride_h: 2 stride_w: 2", "stride and stride_h are both given"),
        ("kernel_size: 2 pad: 1 pad_h: 1 pad_w: 1", "pad and pad_h are both given"),
        ("kernel_size: 2 pad: 2", r"pad must be smaller than the kernel, got pad \[2, 2\]"),
        ("kernel_h: 3 kernel_w: 1 pad: 1", "pad must be smaller than the kernel"),
        ("kernel_size: 2 pad: 1 pool: STOCHASTIC", "takes no padding"),
        ("kernel_size: 2 ceil_mode: false round_mode: CEIL", "round_mode and ceil_mode contradict"),
        ("global_pooling: true kernel_size: 2", "kernel_size cannot be combined with global_pooling"),
        ("global_pooling: true stride: 2", "with global_pooling stride must be 1, got 2"),
        ("global_pooling: true pad_w: 1", "with global_pooling pad_w must be 0, got 1"),
    ],
)
def test_bad_parameters_are_rejected(param, problem):
    with pytest.raises(ConfigError, match=problem) as error:
        layer_net(f'type: "Pooling" pooling_param {{\n{param} }}', random_array(1, 1, 4, 4))
    assert error.value.layer == "layer"
    assert error.value.line in (3, 4)


@pytest.mark.parametrize("method", ["AVE", "STOCHASTIC"])
def test_only_the_maximum_has_places(method):
    with pytest.raises(ConfigError, match="only MAX pooling has a second top"):
        layer_net(
            f'type: "Pooling" pooling_param {{ pool: {method} kernel_size: 1 }}',
            random_array(1, 1, 2, 2),
            tops=2,
        )


def test_places_are_not_rounded_to_bfloat16():
    x = random_array(1, 3, 20, 20, dtype="bfloat16")
    places = [pool(arguments(places=True), x, dtype=dtype).tops[1] for dtype in DTYPES]
    assert places[0].max() > 256  # from there on not every whole number is a bfloat16
    np.testing.assert_array_equal(*places)


@pytest.mark.parametrize(("kernel", "bytes_each"), [(3, 1), (16, 4)])
def test_training_keeps_one_small_number_an_output(kernel, bytes_each):
    text = f'type: "Pooling" pooling_param {{ kernel_size: {kernel} }}'
    x = random_array(2, 5, 20, 20)
    net = layer_net(text, x, phase=TEST, backward=False)
    net.forward()
    outputs = net.blobs["t0"].data.size
    layer = net.plan.layers[-1]
    assert layer.private_bytes(True) == outputs * bytes_each
    assert layer.private_bytes(False) == 0
