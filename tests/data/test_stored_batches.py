"""Batches of records that are not encoded: made in one call, with the same bits as image by image."""

import random

import numpy as np
import pytest
from data_records import encoded_record, image_file, raw_record

from pycaffe_like import _core
from pycaffe_like.data.batch_maker import BatchMaker
from pycaffe_like.data.counter_random import draw_below
from pycaffe_like.data.database_images import DatabaseImages
from pycaffe_like.data.lmdb_database import Reader, create_database, open_database
from pycaffe_like.data.loader import image_loader
from pycaffe_like.data.transformer import Transformer
from pycaffe_like.prototxt import schema

TRANSFORMS = {
    "nothing": {},
    "scale": {"scale": 0.00390625},
    "crop": {"crop_size": 17, "mean_value": [3, 4, 5]},
    "crop_mirror": {"crop_size": 20, "mirror": True, "mean_value": [120], "scale": 0.1},
    "mirror": {"mirror": True},
}
# Of images: some fit into a leaf page, some do not, and the last ones into no run of several values.
SHAPES = [(1, 28, 28), (3, 20, 21), (3, 32, 32), (3, 256, 180)]


def make_loader(path, param, batch_size=7, **options):
    transformer = Transformer(schema.TransformationParameter(**param), schema.TRAIN, 3)
    return image_loader(DatabaseImages(open_database(path)), transformer, batch_size, **options)


def batches(path, param, count=9, **options):
    with make_loader(path, param, **options) as loader:
        made = (loader.next() for _ in range(count))
        return [(*(array.copy() for array in batch.arrays), batch.start) for batch in made]


def assert_same(got, want):
    for (data, label, record), (want_data, want_label, want_record) in zip(got, want, strict=True):
        assert record == want_record
        np.testing.assert_array_equal(label, want_label)
        np.testing.assert_array_equal(data, want_data)


def image_by_image(monkeypatch):
    monkeypatch.setattr(BatchMaker, "_make_of_stored", lambda *_: None)


@pytest.mark.parametrize("layout", ["channels_last", "plain"])
@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("shape", SHAPES)
def test_bits_are_those_of_single_images(shape, name, layout, rng, make_database, monkeypatch):
    param = dict(TRANSFORMS[name])
    if "mean_value" in param:
        param["mean_value"] = param["mean_value"][: shape[0]]
    images = rng.integers(0, 256, (23, *shape), dtype=np.uint8)
    path = make_database(raw_record(image, label) for label, image in enumerate(images))
    singles = []
    monkeypatch.setattr(BatchMaker, "_make_of_any", lambda *_: singles.append(1))
    got = batches(path, param, layout=layout, threads=2)
    assert not singles
    monkeypatch.undo()
    image_by_image(monkeypatch)
    assert_same(got, batches(path, param, layout=layout))
    if name == "nothing":
        np.testing.assert_array_equal(got[2][0], images[14:21])


def test_records_of_all_kinds_may_follow_each_other(rng, make_database, monkeypatch):
    """Size and kind change within batches, and from batch to batch."""

    def record(label):
        image = rng.integers(0, 256, (3, *((30, 24) if label % 50 < 20 else (24, 40))), dtype=np.uint8)
        if label % 13 == 4:
            return encoded_record(image_file(np.ascontiguousarray(image.transpose(1, 2, 0))), label)
        return raw_record(image.astype(np.float32) if label % 11 == 9 else image, label)

    path = make_database(record(label) for label in range(100))
    param = {"crop_size": 20, "mirror": True}
    got = batches(path, param, 40)
    image_by_image(monkeypatch)
    assert_same(got, batches(path, param, 40))


def test_records_may_be_scattered_in_the_file(tmp_path, rng):
    """Written in any order and with gaps, values do not stand in the order of their keys."""
    images = rng.integers(0, 256, (300, 1, 25, 25), dtype=np.uint8)
    order = list(range(300))
    random.Random(1).shuffle(order)
    with create_database(tmp_path / "db") as writer:
        for place in order:
            writer.put(b"%03d" % place, raw_record(images[place], place))
            if place % 3 == 0:
                writer.put(b"%03d more" % place, raw_record(images[place], 1000))
        writer.commit()
    for data, label, _ in batches(tmp_path / "db", {}, 60):
        wanted = [label[i] if label[i] < 1000 else label[i - 1] for i in range(1, 7)]
        np.testing.assert_array_equal(data[1:], images[np.array(wanted, int)])


def transform(database, places, size=(1, 5, 4)):
    out, labels = np.full((len(places), *size), np.nan, np.float32), np.zeros(len(places), np.float32)
    zero = np.zeros(len(places), np.int32)
    means = np.zeros(size[0], np.float32)
    return _core.transform_stored(database.file, places, size, out, labels, zero, zero, zero, 1.0, means)


def test_anything_unexpected_is_left_to_the_slow_way(make_database):
    good = raw_record(np.zeros((1, 5, 4), np.uint8))
    others = {
        "another_size": raw_record(np.zeros((1, 4, 5), np.uint8)),
        "encoded": encoded_record(b"x"),
        "damaged": good[:-1],
        "empty": b"",
    }
    for name, other in others.items():
        database = open_database(make_database([good, good, other], name))
        _, places = Reader(database).locate(3)
        assert transform(database, places[:2]), name
        assert not transform(database, places), name
    places[1, 0] = 1 << 40
    assert not transform(database, places[:2])


def test_arguments_that_do_not_fit_raise(make_database):
    database = open_database(make_database([raw_record(np.zeros((1, 5, 4), np.uint8))]))
    with pytest.raises(ValueError, match="two columns"):
        transform(database, np.zeros((1, 3), np.uint64))
    _, places = Reader(database).locate(1)
    out, zero, one = np.zeros((1, 1, 5, 4), np.float32), np.zeros(1, np.int32), np.ones(1, np.float32)
    with pytest.raises(ValueError, match="an entry for each record"):
        _core.transform_stored(database.file, places, (1, 5, 4), out, one[:0], zero, zero, zero, 1.0, one)


def test_draws_are_splitmix_of_seed_and_counter():
    mask = 2**64 - 1

    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & mask
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB & mask
        return x ^ (x >> 31)

    golden = 0x9E3779B97F4A7C15
    counters, bounds = np.array([0, 1, 77, 2**40]), np.array([1, 9, 1000, 7])
    for seed in (0, 5, 2**63 + 1, -1):
        for draw in range(3):
            bits = [
                mix((mix(c ^ mix(seed + golden & mask)) + golden * (draw + 1)) & mask)
                for c in counters.tolist()
            ]
            assert draw_below(bounds, seed, counters, draw).tolist() == [
                b % n for b, n in zip(bits, bounds.tolist())
            ]
            assert draw_below(30, seed, counters, draw).tolist() == [b % 30 for b in bits]
    for bound in (0, [1, 2]):
        with pytest.raises(ValueError, match="bound"):
            draw_below(bound, 1, counters, 0)
