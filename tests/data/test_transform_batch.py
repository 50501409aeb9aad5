"""The batch transform against the formula, written out in numpy."""

import numpy as np
import pytest
from data_records import encoded_record, raw_record

from pycaffe_like import _core

SIZES = {
    "full": (28, 28, 28),
    "crop": (40, 37, 21),
    "one_pixel": (1, 1, 1),
    "vector_tail": (33, 65, 17),
    "narrow": (9, 7, 5),
    "streamed": (152, 150, 149),
}
ORDERS = {"plain": (0, 1, 2, 3), "channels_last": (0, 2, 3, 1), "strange": (3, 1, 0, 2)}
ITEMS = 5


def empty_batch(shape, order):
    memory = np.full([shape[axis] for axis in order], np.nan, dtype=np.float32)
    return memory.transpose(np.argsort(order))


def expected_batch(images, crop, h_off, w_off, mirror, scale, mean):
    rows = []
    for image, h, w, flip in zip(images, h_off, w_off, mirror):
        row = (image.astype(np.float32) - mean)[:, h : h + crop, w : w + crop] * np.float32(scale)
        rows.append(row[:, :, ::-1] if flip else row)
    return np.stack(rows)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("mean_kind", ["none", "values", "image"])
@pytest.mark.parametrize("kind", ["record", "float_record", "decoded"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 17])
def test_batch_equals_formula(channels, size, kind, mean_kind, order, rng):
    height, width, crop = SIZES[size]
    images = rng.integers(0, 256, (ITEMS, channels, height, width), dtype=np.uint8)
    values = np.zeros(channels, np.float32) if mean_kind == "none" else rng.normal(100, 9, channels)
    values = values.astype(np.float32)
    mean_image = rng.normal(100, 9, (channels, height, width)).astype(np.float32)
    h_off, w_off = rng.integers(0, height - crop + 1, ITEMS), rng.integers(0, width - crop + 1, ITEMS)
    mirror = rng.integers(0, 2, ITEMS)
    items = {
        "record": lambda: [raw_record(image) for image in images],
        "float_record": lambda: [raw_record(image.astype(np.float32)) for image in images],
        "decoded": lambda: [np.ascontiguousarray(image.transpose(1, 2, 0)) for image in images],
    }[kind]()
    means = (mean_image, np.ascontiguousarray(mean_image.transpose(1, 2, 0))) if mean_kind == "image" else ()
    mean = mean_image if mean_kind == "image" else values[:, None, None]
    out = empty_batch((ITEMS, channels, crop, crop), ORDERS[order])
    assert _core.transform_batch(items, out, h_off, w_off, mirror, 0.25, values, *means) == []
    np.testing.assert_array_equal(out, expected_batch(images, crop, h_off, w_off, mirror, 0.25, mean))


@pytest.mark.parametrize("mirror", [0, 1])
def test_items_go_to_their_places(mirror, rng):
    images = rng.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
    out, crop = empty_batch((6, 3, 5, 5), ORDERS["channels_last"]), np.arange(6) % 3
    zero, flips = np.zeros(6, int), np.arange(6) % 2 ^ mirror
    for i in (4, 0, 2):
        pair = list(images[i : i + 2])
        arguments = (out, zero, crop, flips, 1.0, np.zeros(3, np.float32))
        assert _core.transform_batch(pair, *arguments, first=i) == []
    expected = expected_batch(images.transpose(0, 3, 1, 2), 5, zero, crop, flips, 1, np.float32(0))
    np.testing.assert_array_equal(out, expected)
    for first in (-1, 5):
        with pytest.raises(ValueError, match="an entry for each item"):
            _core.transform_batch(list(images[:2]), *arguments, first=first)


def transform_one(item, shape=(1, 2, 4, 4), h_off=0, means=()):
    out = np.full(shape, 7, np.float32)
    zero = np.zeros(1, int)
    problems = _core.transform_batch(
        [item], out, zero + h_off, zero, zero, 1.0, np.zeros(shape[1], np.float32), *means
    )
    assert (out == 7).all(), "a bad item must leave the batch as it was"
    (problem,) = problems
    assert problem[0] == 0
    return problem[1]


def test_bad_items_are_reported_not_written():
    image = raw_record(np.zeros((2, 4, 4), np.uint8))
    assert "channels" in transform_one(raw_record(np.zeros((3, 4, 4), np.uint8)))
    assert "too small" in transform_one(raw_record(np.zeros((2, 3, 4), np.uint8)))
    assert "too small" in transform_one(image, h_off=1)
    assert "too small" in transform_one(image, h_off=-1)
    assert "not decoded" in transform_one(encoded_record(b"x"))
    assert "8 bits" in transform_one(np.zeros((4, 4, 2), np.uint16))
    means = (np.zeros((2, 5, 5), np.float32), np.zeros((5, 5, 2), np.float32))
    assert "mean image" in transform_one(image, means=means)


def test_arguments_that_do_not_fit_raise():
    record, zero = raw_record(np.zeros((1, 4, 4), np.uint8)), np.zeros(1, int)
    out, values = np.zeros((1, 1, 4, 4), np.float32), np.zeros(1, np.float32)
    with pytest.raises(ValueError, match="an entry for each item"):
        _core.transform_batch([record, record], out, zero, zero, zero, 1.0, values)
    with pytest.raises(ValueError, match="4 axes"):
        _core.transform_batch([record], out[0], zero, zero, zero, 1.0, values)
    with pytest.raises(ValueError, match="value for each channel"):
        _core.transform_batch([record], out, zero, zero, zero, 1.0, values[:0])
    with pytest.raises(TypeError):
        _core.transform_batch([record], out.astype(np.float64), zero, zero, zero, 1.0, values)
