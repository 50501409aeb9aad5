"""Sixty-odd bad records: each one is an error that names its key, or is skipped; none ends the process."""

import logging

import cv2
import numpy as np
import pytest
from data_records import encoded_record, image_file, raw_record
from test_image_header import jpeg_of_scans, png_file

from pycaffe_like.data import database_images
from pycaffe_like.data.database_images import DatabaseImages
from pycaffe_like.data.lmdb_database import open_database
from pycaffe_like.data.loader import image_loader
from pycaffe_like.data.transformer import Transformer
from pycaffe_like.errors import DataError
from pycaffe_like.prototxt import schema

SIZE = (16, 20)
NOISE = np.random.default_rng(1).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
PLANES = np.ascontiguousarray(NOISE.transpose(2, 0, 1))
JPEG, PNG = image_file(NOISE, ".jpg"), image_file(NOISE)
PROGRESSIVE = image_file(NOISE, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)


def datum(**fields):
    return schema.Datum(**fields).SerializeToString()


def cuts(file, count):
    return [file[: len(file) * i // count] for i in range(count)]


def damaged_png():
    at = PNG.index(b"IDAT") + 10
    return PNG[:at] + bytes(40) + PNG[at + 40 :]


@pytest.mark.parametrize(("file", "words"), [(PNG, "a PNG image"), (JPEG, "a JPEG image")])
def test_image_file_in_a_record_that_is_not_marked_is_named(file, words):
    images = database_images._inspect([memoryview(datum(data=file, label=1)), memoryview(raw_record(PLANES))])
    assert images.problems == {0: f"its data is {words}, but the record does not set `encoded`"}


def bad_records():
    yield "empty", b""
    yield "no_image", datum(label=1)
    yield "text", b"this is not a record at all"
    yield "cut_record", raw_record(PLANES)[:500]
    yield "short_data", datum(channels=3, height=16, width=20, data=PLANES.tobytes()[:-1])
    yield "long_data", datum(channels=3, height=16, width=20, data=PLANES.tobytes() + b"x")
    yield "zero_by_zero", datum(channels=3, height=0, width=0)
    yield "negative", datum(channels=-3, height=-16, width=20, data=PLANES.tobytes())
    yield "huge", datum(channels=2**31 - 1, height=2**31 - 1, width=2**31 - 1, data=b"x")
    yield "floats_missing", datum(channels=1, height=2, width=2, float_data=[1.0, 2.0])
    yield "one_by_one", raw_record(PLANES[:, :1, :1])
    yield "other_size", raw_record(np.ascontiguousarray(PLANES[:, :-1]))
    yield "other_channels", raw_record(np.ascontiguousarray(PLANES[:1]))
    yield "encoded_empty", datum(encoded=True)
    yield "encoded_text", encoded_record(b"not an image")
    yield "encoded_other_size", encoded_record(image_file(NOISE[:, :-1]))
    yield "encoded_gray", encoded_record(image_file(NOISE[:, :, 0]))
    yield "encoded_rgba", encoded_record(image_file(np.dstack([NOISE, NOISE[:, :, 0]])))
    yield "encoded_16_bit", encoded_record(image_file(NOISE.astype(np.uint16) * 256))
    yield "bmp", encoded_record(image_file(NOISE, ".bmp"))
    yield "progressive_bomb", encoded_record(jpeg_of_scans(80000))
    yield "jpeg_without_pixels", encoded_record(jpeg_of_scans(0))
    yield "jpeg_of_no_size", encoded_record(jpeg_of_scans(1, width=0, height=0))
    yield "png_bomb", encoded_record(png_file(30000, 30000))
    yield "png_of_no_size", encoded_record(png_file(0, 0))
    yield "png_without_data", encoded_record(PNG[:33] + PNG[-12:])
    yield "png_damaged", encoded_record(damaged_png())
    yield "png_color_type_5", encoded_record(png_file(20, 16, color_type=5))
    for i, file in enumerate(cuts(JPEG, 20)):
        yield f"jpeg_cut_{i}", encoded_record(file)
    for i, file in enumerate(cuts(PNG, 10)):
        yield f"png_cut_{i}", encoded_record(file)
    for i, file in enumerate(cuts(PROGRESSIVE, 5)):
        yield f"progressive_cut_{i}", encoded_record(file)


BAD = dict(bad_records())
GOOD = {"raw": raw_record(PLANES), "png": encoded_record(PNG)}


def make_loader(path, **options):
    transformer = Transformer(schema.TransformationParameter(), schema.TEST)
    return image_loader(DatabaseImages(open_database(path)), transformer, 4, **options)


def test_there_are_sixty():
    assert len(BAD) >= 60


@pytest.mark.parametrize("name", BAD)
def test_bad_record_is_an_error_that_names_its_key(name, make_database):
    path = make_database([GOOD["raw"]] * 5 + [BAD[name]] + [GOOD["png"]] * 5)
    with make_loader(path) as loader:
        loader.next()
        with pytest.raises(DataError, match=r"test_lmdb, key '00000005': ."):
            loader.next()


@pytest.mark.parametrize("name", BAD)
def test_bad_record_is_skipped(name, make_database, caplog):
    records = [GOOD["raw"]] * 200
    records[5] = BAD[name]
    with make_loader(make_database(records), on_bad_record="skip") as loader:
        for _ in range(60):
            np.testing.assert_array_equal(loader.next().arrays[0], np.stack([PLANES] * 4))
    skipped = [record for record in caplog.records if "Skipping record" in record.message]
    assert len(skipped) == 1
    assert skipped[0].levelno == logging.WARNING
    assert "key '00000005'" in skipped[0].message


def numbered_database(make_database, bad, count=200):
    image = np.zeros((1, 4, 4), np.uint8)
    return make_database(b"" if i in bad else raw_record(image, label=i) for i in range(count))


def labels(loader, batches):
    with loader:
        return np.concatenate([loader.next().arrays[1] for _ in range(batches)]).astype(int).tolist()


def test_the_next_good_record_takes_the_place(make_database):
    path = numbered_database(make_database, bad={7, 8})
    got = labels(make_loader(path, on_bad_record="skip"), 3)
    assert got == [0, 1, 2, 3, 4, 5, 6, 9, 9, 9, 10, 11]


def test_after_the_last_record_comes_the_first(make_database):
    path = numbered_database(make_database, bad={199})
    got = labels(make_loader(path, on_bad_record="skip", start_record=196), 2)
    assert got == [196, 197, 198, 0, 0, 1, 2, 3]


def test_first_record_may_be_skipped(make_database):
    path = numbered_database(make_database, bad={0})
    assert labels(make_loader(path, on_bad_record="skip"), 1) == [1, 1, 2, 3]


def test_skipping_does_not_depend_on_threads_or_resume(make_database):
    path = numbered_database(make_database, bad={3, 40})
    want = labels(make_loader(path, on_bad_record="skip"), 40)
    assert labels(make_loader(path, on_bad_record="skip", threads=4), 40) == want
    assert labels(make_loader(path, on_bad_record="skip", start_record=36), 31) == want[36:]


def test_more_than_one_percent_is_an_error(make_database):
    path = numbered_database(make_database, bad={20, 60, 100})
    with make_loader(path, on_bad_record="skip") as loader:
        for _ in range(25):
            loader.next()
        with pytest.raises(DataError, match=r"3 of the 200 records .* more than 1%.*'00000100'"):
            loader.next()


def test_all_bad_is_an_error(make_database):
    with pytest.raises(DataError, match="more than 1%"):
        make_loader(make_database([b""] * 5), on_bad_record="skip")
