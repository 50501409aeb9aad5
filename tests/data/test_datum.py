"""Records as protobuf writes them, and records that are not."""

import random

import numpy as np
import pytest
from data_records import encoded_record, image_file, raw_record

from pycaffe_like import _core
from pycaffe_like.prototxt import schema


def parse(record):
    infos, problems = _core.parse_datums([record])
    return infos[0], problems[0][1] if problems else None


def test_fields_are_read_as_protobuf_wrote_them():
    image = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    info, problem = parse(raw_record(image, label=-5))
    assert problem is None
    assert (info["channels"], info["height"], info["width"], info["label"]) == (2, 3, 4, -5)
    record = raw_record(image)
    start, size = info["data_offset"], info["data_size"]
    assert record[start : start + size] == image.tobytes()


def test_encoded_record_has_the_size_of_its_image():
    info, problem = parse(encoded_record(image_file(np.zeros((5, 7, 3), np.uint8)), label=3))
    assert problem is None
    assert (info["encoded"], info["channels"], info["height"], info["width"]) == (1, 3, 5, 7)


def test_unknown_fields_are_skipped():
    record = raw_record(np.zeros((1, 2, 2), np.uint8), label=9)
    unknown = b"\x78\x05" + b"\x7d1234" + b"\x79" + bytes(8) + b"\x82\x01\x03abc"
    info, problem = parse(unknown + record + unknown)
    assert problem is None
    assert info["label"] == 9


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"", "no pixels"),
        (raw_record(np.zeros((1, 2, 2), np.uint8))[:-3], "ends early"),
        (schema.Datum(channels=1, height=2, width=2, data=b"123").SerializeToString(), "does not match"),
        (schema.Datum(channels=1, height=2, width=2, data=b"12345").SerializeToString(), "does not match"),
        (schema.Datum(channels=1, height=0, width=2).SerializeToString(), "no pixels"),
        (schema.Datum(channels=-1, height=-1, width=1, data=b"1").SerializeToString(), "no pixels"),
        (
            schema.Datum(
                channels=2**31 - 1, height=2**31 - 1, width=2**31 - 1, data=b"1"
            ).SerializeToString(),
            "does not match",
        ),
        (b"\x08" + b"\xff" * 11, "more than 10 bytes"),
        (b"\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "ends early"),
        (b"\x0b", "wire type 3"),
        (b"\x00\x00", "field number 0"),
    ],
)
def test_bad_records_are_named(record, message):
    _, problem = parse(record)
    assert problem is not None
    assert message in problem


def test_mutated_records_never_read_out_of_bounds():
    rng = random.Random(1)
    good = [
        raw_record(np.zeros((3, 8, 8), np.uint8)),
        encoded_record(image_file(np.zeros((8, 8, 3), np.uint8), ".jpg")),
    ]
    for _ in range(20000):
        record = bytearray(rng.choice(good))
        for _ in range(rng.randrange(1, 5)):
            record[rng.randrange(len(record))] = rng.randrange(256)
        info, problem = parse(bytes(record[: rng.choice([len(record), rng.randrange(len(record))])]))
        if problem is None:
            assert 0 <= info["data_offset"] <= info["data_offset"] + info["data_size"] <= len(record)
