import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from data_records import image_file

from pycaffe_like import _core


def png_file(width, height, bit_depth=8, color_type=2):
    """Make a PNG that says it is of a size, with next to no pixels in it."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def jpeg_of_scans(scans, width=64, height=64):
    """Make a progressive JPEG of many scans, each of them empty."""
    frame = struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00"
    scan = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x00" + b"\x12\x34"
    return b"\xff\xd8\xff\xc2" + frame + scan * scans + b"\xff\xd9"


@pytest.mark.parametrize("extension", [".png", ".jpg"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (300, 200)])
def test_header_says_what_the_decoder_finds(size, channels, extension, rng):
    image = rng.integers(0, 256, (*size, channels), dtype=np.uint8)
    header = _core.read_image_header(image_file(image, extension))
    got = (header["height"], header["width"], header["channels"], header["bit_depth"], header["scans"])
    assert got == (*size, channels, 8, 1)


def test_progressive_scans_are_counted():
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = image_file(image, ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert _core.read_image_header(file)["scans"] == file.count(b"\xff\xda")


def test_limits_are_exact():
    assert _core.read_image_header(png_file(8192, 8192))["width"] == 8192
    assert _core.read_image_header(png_file(32768, 1))["width"] == 32768
    assert _core.read_image_header(jpeg_of_scans(100))["scans"] == 100
    for file in (png_file(8192, 8193), png_file(32769, 1), png_file(1, 32769), png_file(2**31, 2**31)):
        with pytest.raises(ValueError, match="over the limit"):
            _core.read_image_header(file)
    with pytest.raises(ValueError, match="more than 100 scans"):
        _core.read_image_header(jpeg_of_scans(101))
    with pytest.raises(ValueError, match="over the limit"):
        _core.read_image_header(png_file(8, 8) + bytes(64 << 20))


def test_bombs_are_refused_by_header_alone():
    """Neither decoded nor read through: within 10 ms, of which nearly all is slack."""
    for file in (png_file(30000, 30000), jpeg_of_scans(80000)):
        start = time.perf_counter()
        with pytest.raises(ValueError, match=r"limit|scans"):
            _core.read_image_header(file)
        assert time.perf_counter() - start < 0.01


@pytest.mark.parametrize("file", [b"", b"GIF89a", b"BM" + bytes(60), b"II*\0" + bytes(60)])
def test_other_formats_are_refused(file):
    with pytest.raises(ValueError, match="neither JPEG nor PNG"):
        _core.read_image_header(file)


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_cut_files_are_refused(extension, rng):
    file = image_file(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8), extension)
    for length in range(0, len(file) - 8, max(1, len(file) // 200)):
        with pytest.raises(ValueError):
            _core.read_image_header(file[:length])
