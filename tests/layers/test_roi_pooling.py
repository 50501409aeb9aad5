import math
import re

import numpy as np
import pytest
from helpers.direct import FORMS, assert_near, random_array, rounded, run
from helpers.layer_facts import MAP, Example

from pycaffe_like.errors import ConfigError, DataError
from pycaffe_like.testing import layer_net

GRID = "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 }"
EXAMPLE = Example(
    "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 pad_ratio: 0 }",
    bottoms=(MAP, (4, 5)),
    given={1: [[0, 0, 0, 7, 9], [0, 2, 4, 3, 5], [0, -3, 1, 20, 3], [0, 4, 4, 1, 1]]},
)
BACKWARD = {"alone": [("ROIPooling x b1", GRID)]}
IMPOSSIBLE = [
    (GRID, [(2, 3, 4), (4, 5)], r"\(2, 3, 4\)"),
    (GRID, [MAP, (4, 4)], r"\(4, 4\)"),
    (GRID, [MAP, (5,)], r"\(5\)"),
    ("roi_pooling_param { pooled_h: 2147483647 pooled_w: 2147483647 }", [MAP, (4, 5)], "2147483647"),
]
TOLERANCE = (1e-6, 1e-6)
SANITIZED = True


def arguments(pooled=(2, 3), spatial_scale=1.0, pad_ratio=0.0):
    return {"pooled": list(pooled), "spatial_scale": spatial_scale, "pad_ratio": pad_ratio}


def boxes_of(*rows):
    return np.array(rows, np.float32).reshape(-1, 5)


def span(low, high, number, cells, size):
    """Places of one cell along one side, counted as the original counts them: in float32."""
    start, end = (math.floor(abs(edge) + 0.5) * (1 if edge > 0 else -1) for edge in (low, high))
    cell = np.float32(max(end - start + 1, 1)) / np.float32(cells)
    first, last = math.floor(np.float32(number) * cell), math.ceil(np.float32(number + 1) * cell)
    return range(min(max(start + first, 0), size), min(max(start + last, 0), size))


def oracle(x, boxes, dy, pooled, scale=1.0, pad_ratio=0.0):
    y, dx = np.zeros((len(boxes), x.shape[1], *pooled)), np.zeros(x.shape)
    for r, (map_, *corners) in enumerate(boxes):
        x1, y1, x2, y2 = corners
        pad_w, pad_h = (x2 - x1 + 1) * pad_ratio, (y2 - y1 + 1) * pad_ratio
        for i, j in np.ndindex(*pooled):
            rows = span((y1 - pad_h) * scale, (y2 + pad_h) * scale, i, pooled[0], x.shape[2])
            columns = span((x1 - pad_w) * scale, (x2 + pad_w) * scale, j, pooled[1], x.shape[3])
            places = [(row, column) for row in rows for column in columns]
            for c in range(x.shape[1]) if places else ():
                values = [x[int(map_), c, row, column] for row, column in places]
                y[r, c, i, j] = max(values)
                dx[(int(map_), c, *places[values.index(max(values))])] += dy[r, c, i, j]
    return y, dx


def random_boxes(count, maps, width, height, seed=0):
    random = np.random.default_rng(seed)
    corners = random.uniform(-3, [width + 3, height + 3, width + 3, height + 3], (count, 4))
    return np.column_stack([random.integers(0, maps, count), corners]).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 3, 16, 35])
@pytest.mark.parametrize(("layout", "dtype"), FORMS)
def test_values_and_gradient_match_the_oracle(layout, dtype, channels):
    x = random_array(3, channels, 6, 9, dtype=dtype)
    boxes = random_boxes(20, 3, 9 * 4, 6 * 4)
    dy = random_array(20, channels, 2, 3, dtype=dtype, seed=1)
    result = run(
        "ROIPooling", arguments(spatial_scale=0.25), x, boxes,
        top_diffs=[dy], propagate_down=[True, False], layout=layout, dtype=dtype,
    )  # fmt: skip
    y, dx = oracle(x, boxes, dy, (2, 3), 0.25)
    np.testing.assert_array_equal(result.tops[0], y)
    assert_near(result.bottom_diffs[0], dx, dtype, terms=20)


@pytest.mark.parametrize("layout", ["plain", "channels_last"])
def test_backward_finds_the_maxima_again_when_forward_kept_none(layout):
    x, boxes, dy = random_array(2, 5, 6, 7), random_boxes(9, 2, 7, 6), random_array(9, 5, 2, 3, seed=1)
    diffs = [
        run(
            "ROIPooling", arguments(), x, boxes, top_diffs=[dy], propagate_down=[True, False],
            layout=layout, need_backward=need_backward,
        ).bottom_diffs[0]
        for need_backward in (True, False)
    ]  # fmt: skip
    assert np.abs(diffs[0]).max() > 0
    np.testing.assert_array_equal(*diffs)


def test_maps_of_more_places_than_two_bytes_count():
    x = np.zeros((1, 1, 300, 300), np.float32)
    x[0, 0, 299, 298] = 1
    whole = boxes_of([0, 0, 0, 299, 299])
    dy = np.full((1, 1, 1, 1), 3, np.float32)
    result = run("ROIPooling", arguments((1, 1)), x, whole, top_diffs=[dy], propagate_down=[True, False])
    assert result.tops[0].item() == 1
    np.testing.assert_array_equal(result.bottom_diffs[0], 3 * x)


def test_padding_widens_a_box_beyond_the_map():
    x, boxes = random_array(1, 2, 8, 8), boxes_of([0, 2, 2, 5, 4], [0, 0, 0, 7, 7])
    dy = random_array(2, 2, 3, 3, seed=1)
    result = run(
        "ROIPooling",
        arguments((3, 3), pad_ratio=0.25),
        x,
        boxes,
        top_diffs=[dy],
        propagate_down=[True, False],
    )
    y, dx = oracle(x, boxes, dy, (3, 3), pad_ratio=0.25)
    np.testing.assert_array_equal(result.tops[0], y)
    assert_near(result.bottom_diffs[0], dx, terms=4)


@pytest.mark.parametrize("far", [np.inf, 3e38, 1e20, 2.0**31])
def test_corners_may_lie_anywhere(far):
    x = random_array(1, 2, 4, 5)
    everywhere, before, behind = (
        [0, -far, -far, far, far],
        [0, -far, -far, -far, -far],
        [0, far, far, far, far],
    )
    boxes = boxes_of(everywhere, before, behind, [0, 0, 0, far, 3])
    y = run("ROIPooling", arguments((1, 1)), x, boxes).tops[0]
    np.testing.assert_array_equal(y[0, :, 0, 0], x[0].max((1, 2)))
    np.testing.assert_array_equal(y[1:3], 0)
    np.testing.assert_array_equal(y[3], y[0])


@pytest.mark.parametrize("corner", [1, 2, 3, 4])
def test_box_with_a_nan_covers_nothing(corner):
    x, box = random_array(1, 3, 4, 5), boxes_of([0, 0, 0, 4, 3])
    box[0, corner] = np.nan
    dy = np.ones((1, 3, 2, 3), np.float32)
    result = run("ROIPooling", arguments(), x, box, top_diffs=[dy], propagate_down=[True, False])
    np.testing.assert_array_equal(result.tops[0], 0)
    np.testing.assert_array_equal(result.bottom_diffs[0], 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_nan_and_minus_infinity_are_never_taken(dtype):
    x = np.full((1, 1, 2, 2), np.nan, np.float32)
    x[0, 0, 0] = -np.inf
    dy = np.ones((1, 1, 1, 1), np.float32)
    result = run(
        "ROIPooling", arguments((1, 1)), x, boxes_of([0, 0, 0, 1, 1]),
        top_diffs=[dy], propagate_down=[True, False], dtype=dtype,
    )  # fmt: skip
    assert np.isfinite(result.tops[0]).all()
    assert result.tops[0].item() < -3.3e38
    np.testing.assert_array_equal(result.bottom_diffs[0], 0)


@pytest.mark.parametrize("map_", [2, -1, 1e30, np.nan])
def test_box_on_no_map_is_refused(map_):
    boxes = boxes_of([0, 0, 0, 1, 1], [map_, 0, 0, 1, 1])
    with pytest.raises(DataError, match=rf"box 1 lies on map {re.escape(f'{map_:g}')}, .* range 0 to 1"):
        run("ROIPooling", arguments(), random_array(2, 3, 4, 4), boxes)


def test_boxes_stay_exact_in_a_bfloat16_plan():
    """257 is no bfloat16 number: rounded, the box would begin one place to the left."""
    x = np.arange(300, dtype=np.float32).reshape(1, 1, 1, 300)[..., ::-1] % 128
    box = [[0.0, 257.0, 0.0, 257.0, 0.0]]
    net = layer_net(
        'type: "ROIPooling" roi_pooling_param { pooled_h: 1 pooled_w: 1 }',
        rounded(x, "bfloat16"), box, precision="bfloat16",
    )  # fmt: skip
    net.forward()
    assert net.blobs["t0"].data.item() == x[0, 0, 0, 257]


@pytest.mark.parametrize(
    ("maps", "boxes"), [((2, 3, 4, 5), 0), ((0, 3, 4, 5), 0), ((2, 0, 4, 5), 3), ((2, 3, 0, 5), 3)]
)
def test_empty_batches(maps, boxes):
    rows = random_boxes(boxes, max(maps[0], 1), 5, 5)
    dy = np.ones((boxes, maps[1], 2, 3), np.float32)
    result = run(
        "ROIPooling",
        arguments(),
        np.ones(maps, np.float32),
        rows,
        top_diffs=[dy],
        propagate_down=[True, False],
    )
    np.testing.assert_array_equal(result.tops[0], np.zeros((boxes, maps[1], 2, 3)))
    np.testing.assert_array_equal(result.bottom_diffs[0], np.zeros(maps))


def test_no_gradient_of_the_boxes():
    with pytest.raises(ConfigError, match="boxes"):
        run(
            "ROIPooling", arguments(), random_array(1, 1, 4, 4), boxes_of([0, 0, 0, 1, 1]),
            top_diffs=[np.ones((1, 1, 2, 3), np.float32)],
        )  # fmt: skip
