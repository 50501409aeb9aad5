"""The one decoder: ordinary files come out as OpenCV decodes them."""

import contextlib
import os
import zlib

import cv2
import numpy as np
import pytest
from data_records import image_file
from helpers.hostile_images import chunk, encoded, png, riff

from pycaffe_like.data.decode import decode_image, read_image
from pycaffe_like.errors import DataError, MissingFileError

FLAGS = {"color": cv2.IMREAD_COLOR, "gray": cv2.IMREAD_GRAYSCALE}
COLOR = cv2.resize(np.random.default_rng(2).integers(0, 256, (6, 5, 3), dtype=np.uint8), (47, 33))
GRAY = np.ascontiguousarray(COLOR[:, :, 0])
ALPHA = np.dstack([COLOR, GRAY])
DEEP = COLOR.astype(np.uint16) * 251

ORDINARY = {
    "jpg": encoded(".jpg", COLOR),
    "jpg progressive": encoded(".jpg", COLOR, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "jpg with restarts": encoded(".jpg", COLOR, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "jpg gray": encoded(".jpg", GRAY),
    "png": encoded(".png", COLOR),
    "png gray": encoded(".png", GRAY),
    "png alpha": encoded(".png", ALPHA),
    "png of 16 bits": encoded(".png", DEEP),
    "png of 2 colors": encoded(".png", GRAY & 128, cv2.IMWRITE_PNG_BILEVEL, 1),
    "bmp": encoded(".bmp", COLOR),
    "bmp gray": encoded(".bmp", GRAY),
    "bmp alpha": encoded(".bmp", ALPHA),
    "webp": encoded(".webp", COLOR, cv2.IMWRITE_WEBP_QUALITY, 60),
    "webp alpha": encoded(".webp", ALPHA, cv2.IMWRITE_WEBP_QUALITY, 60),
    "webp lossless": encoded(".webp", ALPHA, cv2.IMWRITE_WEBP_QUALITY, 101),
    "tiff": encoded(".tiff", COLOR),
    "tiff gray": encoded(".tiff", GRAY),
    "tiff alpha": encoded(".tiff", ALPHA),
    "tiff of 16 bits": encoded(".tiff", DEEP),
    "tiff plain": encoded(".tiff", COLOR, cv2.IMWRITE_TIFF_COMPRESSION, 1),
    "tiff deflate": encoded(".tiff", COLOR, cv2.IMWRITE_TIFF_COMPRESSION, 8),
    "tiff packbits": encoded(".tiff", COLOR, cv2.IMWRITE_TIFF_COMPRESSION, 32773),
    "ppm": encoded(".ppm", COLOR),
    "ppm of 16 bits": encoded(".ppm", DEEP),
    "ppm text": encoded(".ppm", COLOR, cv2.IMWRITE_PXM_BINARY, 0),
    "pgm": encoded(".pgm", GRAY),
    "pgm text": encoded(".pgm", GRAY, cv2.IMWRITE_PXM_BINARY, 0),
}


@pytest.mark.parametrize("flag", FLAGS.values(), ids=FLAGS)
@pytest.mark.parametrize("file", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_file_decodes_as_opencv_decodes_it(file, flag):
    wanted = cv2.imdecode(np.frombuffer(file, np.uint8), flag)
    assert wanted.std() > 10
    np.testing.assert_array_equal(decode_image(file, flag), wanted.reshape(*wanted.shape[:2], -1))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"gAMA", (45455).to_bytes(4, "big")),
        chunk(b"sRGB", b"\0"),
        chunk(b"tEXt", b"Title\0a picture"),
        chunk(b"pHYs", bytes(9)),
        chunk(b"bKGD", bytes(6)),
        chunk(b"tIME", bytes(7)),
    ],
    ids=lambda extra: extra[4:8].decode(),
)
def test_png_without_its_extras_has_the_same_pixels(extra):
    plain = encoded(".png", COLOR)
    file = plain[:33] + extra + plain[33:]
    wanted = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decode_image(file), wanted)


def test_palette_and_its_transparency_are_kept():
    rows = b"".join(b"\0" + bytes([0, 1, 2, 3] * 2) for _ in range(8))
    file = png(
        chunk(b"PLTE", bytes(range(12))), chunk(b"tRNS", b"\0\x80"), chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""), color=3,
    )  # fmt: skip
    for flag in (cv2.IMREAD_COLOR, cv2.IMREAD_UNCHANGED):
        np.testing.assert_array_equal(
            decode_image(file, flag), cv2.imdecode(np.frombuffer(file, np.uint8), flag)
        )


@pytest.mark.parametrize("flag", FLAGS.values(), ids=FLAGS)
def test_exif_orientation_is_applied_to_jpeg_and_png(flag):
    exif = b"II*\0\x08\0\0\0\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + bytes(4)  # turned by 90 degrees
    jpeg, plain = encoded(".jpg", COLOR), encoded(".png", COLOR)
    segment = b"\xff\xe1" + (8 + len(exif)).to_bytes(2, "big") + b"Exif\0\0" + exif
    for file in (jpeg[:2] + segment + jpeg[2:], plain[:33] + chunk(b"eXIf", exif) + plain[33:]):
        wanted = cv2.imdecode(np.frombuffer(file, np.uint8), flag)
        got = decode_image(file, flag)
        np.testing.assert_array_equal(got, wanted.reshape(*wanted.shape[:2], -1))
    jpeg_turned = decode_image(jpeg[:2] + segment + jpeg[2:], flag)
    assert jpeg_turned.shape[:2] == COLOR.shape[1::-1]


def test_webp_profile_does_not_change_the_pixels():
    plain = ORDINARY["webp"]
    canvas = riff(b"VP8X", b"\x20\0\0\0" + (46).to_bytes(3, "little") + (32).to_bytes(3, "little"))
    file = riff(b"RIFF", b"WEBP" + canvas + riff(b"ICCP", bytes(128)) + plain[12:])
    np.testing.assert_array_equal(decode_image(file), decode_image(plain))


@pytest.mark.parametrize("name", ORDINARY)
def test_cut_file_is_refused_or_has_the_size_of_its_header(name):
    """Only a lossy decoder may fill up what is missing."""
    file = ORDINARY[name]
    for length in range(0, len(file), max(1, len(file) // 60)):
        try:
            got = decode_image(file[:length])
        except ValueError:
            continue
        assert got.shape == (*GRAY.shape, 3)


@pytest.mark.parametrize("name", ORDINARY)
def test_flipped_bits_never_change_the_size_that_was_checked(name, rng):
    """None ends the process or raises anything but ValueError."""
    file = ORDINARY[name]
    for _ in range(60):
        damaged = bytearray(file)
        for place in rng.integers(0, min(len(file), 400), 3):
            damaged[place] ^= 1 << int(rng.integers(8))
        with contextlib.suppress(ValueError):
            assert decode_image(bytes(damaged)).ndim == 3


def test_file_is_named_in_errors(tmp_path):
    path = tmp_path / "a.jpg"
    with pytest.raises(MissingFileError, match=r"no image '.*a\.jpg'"):
        read_image(path)
    path.write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"'.*a\.jpg' cannot be decoded: .*none of the kinds"):
        read_image(path)
    path.write_bytes(image_file(COLOR))
    np.testing.assert_array_equal(read_image(path), COLOR)


def test_file_over_the_limit_is_not_read(tmp_path):
    path = tmp_path / "big.png"
    with path.open("wb") as file:
        os.truncate(file.fileno(), (64 << 20) + 1)
    with pytest.raises(DataError, match="more than 67108864 bytes"):
        read_image(path)
