"""What image files of the lesser kinds say about themselves, checked before any pixel is decoded.

BMP, WebP, TIFF, PGM and PPM; JPEG and PNG, which records hold, are checked by the core. A decoder is given
no more than what was checked: where a format can say the same thing twice, or hold what no pixel needs, the
file is written anew with its essential part.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .. import _core

Bytes = memoryview


class CheckedImage(NamedTuple):
    """A file that a decoder can be trusted with, and the size that it will have."""

    file: bytes | memoryview
    width: int
    height: int


def check_image(file: bytes | memoryview) -> CheckedImage:
    """Check the header of an image file of any kind that is supported.

    Raises
    ------
    ValueError
        It is of another kind, damaged, or over a limit.
    """
    data = memoryview(file).cast("B")
    for mark, check in _CHECKS:
        if mark.match(data):
            return check(data)
    kinds = "JPEG, PNG, BMP, WebP, TIFF, PGM and PPM"
    raise ValueError(f"image file is of none of the kinds {kinds}; convert it to one of them")


def _check_common(file: Bytes) -> CheckedImage:
    header = _core.read_image_header(file)
    return CheckedImage(_core.checked_image(file), header["width"], header["height"])


def _unpack(layout: str, file: Bytes, offset: int) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, file, offset)
    except struct.error:
        raise ValueError("image file ends within its header") from None


def _require(good: bool, problem: str) -> None:
    if not good:
        raise ValueError(problem)


# BMP: uncompressed rows of a length that the header gives, so that memory cannot exceed the file by much.

_BMP_CORE_BYTES, _BMP_LEAST_BYTES = 12, 36
_BMP_BITS = (1, 4, 8, 16, 24, 32)
_BMP_PLAIN, _BMP_MASKS = 0, 3


def _check_bmp(file: Bytes) -> CheckedImage:
    pixels, header_bytes = _unpack("<II", file, 10)
    if header_bytes == _BMP_CORE_BYTES:
        width, height, _, bits = _unpack("<HHHH", file, 18)
        compression = colors = 0
    else:
        _require(header_bytes >= _BMP_LEAST_BYTES, f"BMP file with a header of {header_bytes} bytes")
        width, height, _, bits, compression, _, _, _, colors = _unpack("<iiHHIIiiI", file, 18)
    height = abs(height)  # negative: from the top
    _core.check_image_size(min(max(width, 0), 2**32 - 1), height)
    plain = bits in _BMP_BITS and (compression == _BMP_PLAIN or (compression == _BMP_MASKS and bits >= 16))
    _require(plain, f"BMP file of {bits} bits and compression {compression}; convert it to PNG")
    _require(colors <= 256, f"BMP file with a palette of {colors} colors")
    row_bytes = (width * bits + 31) // 32 * 4
    _require(pixels + row_bytes * height <= len(file), "image file is cut short: it ends within its pixels")
    return CheckedImage(file, width, height)


# PGM and PPM: a header in text, then binary or decimal numbers.

_PNM_HEADER_BYTES = 4096
_PNM_NUMBER = rb"(?:\s|#[^\n]*\n)+([0-9]{1,9})"
_PNM = re.compile(rb"P([2356])" + 3 * _PNM_NUMBER + rb"\s")


def _check_pnm(file: Bytes) -> CheckedImage:
    header = _PNM.match(file[:_PNM_HEADER_BYTES])
    if header is None:
        raise ValueError("PGM or PPM file with a damaged header")
    kind, width, height, largest = (int(number) for number in header.groups())
    _core.check_image_size(width, height)
    _require(1 <= largest <= 65535, f"PGM or PPM file with values up to {largest}")
    values = width * height * (3 if kind in (3, 6) else 1)
    # A decimal number takes a digit and a blank, but for the last one.
    least = values * (2 if largest > 255 else 1) if kind in (5, 6) else 2 * values - 1
    body = file[header.end() :]
    _require(len(body) >= least, "image file is cut short: it ends within its pixels")
    return CheckedImage(b"P%d\n%d %d\n%d\n" % (kind, width, height, largest) + body, width, height)


# WebP: chunks {name, length, data} in a RIFF file. Only those of one picture are kept.

_WEBP_ALPHA = 0x10


def _check_webp(file: Bytes) -> CheckedImage:
    chunks: dict[bytes, Bytes] = {}
    for name, data in _webp_chunks(file):
        _require(name not in (b"ANIM", b"ANMF"), "WebP file of several frames; store one of them")
        if name in (b"VP8 ", b"VP8L", b"VP8X", b"ALPH"):
            _require(name not in chunks, "WebP file of several pictures")
            chunks[name] = data
    kinds = [kind for kind in (b"VP8 ", b"VP8L") if kind in chunks]
    _require(len(kinds) == 1, "WebP file without a picture, or with two")
    kind, picture = kinds[0], chunks[kinds[0]]
    width, height = _vp8_size(picture) if kind == b"VP8 " else _vp8l_size(picture)
    _core.check_image_size(width, height)
    kept = _riff(kind, picture)
    if kind == b"VP8 " and b"ALPH" in chunks:
        canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        extended = _riff(b"VP8X", struct.pack("<I", _WEBP_ALPHA) + canvas)
        kept = extended + _riff(b"ALPH", chunks[b"ALPH"]) + kept
    return CheckedImage(_riff(b"RIFF", b"WEBP" + kept), width, height)


def _webp_chunks(file: Bytes) -> Iterator[tuple[bytes, Bytes]]:
    offset = 12
    while offset < len(file):
        (length,) = _unpack("<I", file, offset + 4)
        data = file[offset + 8 : offset + 8 + length]
        _require(len(data) == length, "image file is cut short: a chunk of the WebP file is longer than it")
        yield bytes(file[offset : offset + 4]), data
        offset += 8 + length + length % 2


def _riff(name: bytes, data: bytes | memoryview) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _vp8_size(data: Bytes) -> tuple[int, int]:
    first, mark, width, height = _unpack("<H1x3sHH", data, 0)
    good = mark == b"\x9d\x01\x2a" and first % 2 == 0
    _require(good, "WebP file without a picture's start")
    return width & 0x3FFF, height & 0x3FFF


def _vp8l_size(data: Bytes) -> tuple[int, int]:
    mark, bits = _unpack("<BI", data, 0)
    _require(mark == 0x2F, "WebP file without a picture's start")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


# TIFF: a directory of tags. It is replaced by one with the tags that make the pixels, all of them checked.

_TIFF_SIZES = {1: 1, 3: 2, 4: 4}  # bytes of a value, by its type: byte, short, long
_TIFF_LAYOUTS = {1: "B", 3: "H", 4: "I"}
_TIFF_MOST_PARTS = 1 << 20
_TIFF_COMPRESSIONS = (1, 5, 8, 32773, 32946)  # none, LZW, deflate, PackBits, deflate's old number
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _MEANING, _ORIENTATION, _SAMPLES = 256, 257, 258, 259, 262, 274, 277
_STRIP_OFFSETS, _STRIP_ROWS, _STRIP_BYTES, _PLANES, _PREDICTOR, _PALETTE = 273, 278, 279, 284, 317, 320
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES, _EXTRA, _FORMAT = 322, 323, 324, 325, 338, 339
_TIFF_KEPT = {
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _MEANING, _ORIENTATION, _SAMPLES, _STRIP_OFFSETS, _STRIP_ROWS,
    _STRIP_BYTES, _PLANES, _PREDICTOR, _PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES,
    _EXTRA, _FORMAT,
}  # fmt: skip

Tags = dict[int, tuple[int, ...]]


def _check_tiff(file: Bytes) -> CheckedImage:
    order = "<" if file[0] == ord("I") else ">"
    tags = _tiff_tags(file, order)
    width, height, samples = _tag(tags, _WIDTH, 0), _tag(tags, _HEIGHT, 0), _tag(tags, _SAMPLES, 1)
    _core.check_image_size(width, height)
    bits = set(tags.get(_BITS, (1,)))
    _require(
        len(bits) == 1 and bits <= {1, 8, 16} and 1 <= samples <= 4 and len(tags.get(_BITS, (1,))) <= samples,
        f"TIFF file of {samples} samples of {sorted(bits)} bits, not 1 to 4 of 1, 8 or 16; convert it to PNG",
    )
    compression, space = _tag(tags, _COMPRESSION, 1), _tag(tags, _MEANING, 1)
    _require(
        compression in _TIFF_COMPRESSIONS and space <= 3,
        f"TIFF file of compression {compression} and color space {space}; convert it to PNG",
    )
    _require(
        set(tags.get(_FORMAT, (1,))) == {1}, "TIFF file whose samples are not unsigned; convert it to PNG"
    )
    _check_parts(tags, len(file), width, height)
    return CheckedImage(_tiff_file(file, order, tags), width, height)


def _tag(tags: Tags, number: int, default: int) -> int:
    return tags.get(number, (default,))[0]


def _tiff_tags(file: Bytes, order: str) -> Tags:
    """Read the values that are kept, of the first directory."""
    (start,) = _unpack(order + "I", file, 4)
    (count,) = _unpack(order + "H", file, start)
    tags: Tags = {}
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        number, kind, values = _unpack(order + "HHI", file, entry)
        if number not in _TIFF_KEPT:
            continue
        good = number not in tags and kind in _TIFF_SIZES and 1 <= values <= _TIFF_MOST_PARTS
        _require(good, f"TIFF file with a damaged tag {number}")
        place = entry + 8 if values * _TIFF_SIZES[kind] <= 4 else _unpack(order + "I", file, entry + 8)[0]
        tags[number] = _unpack(f"{order}{values}{_TIFF_LAYOUTS[kind]}", file, place)
    return tags


def _check_parts(tags: Tags, file_bytes: int, width: int, height: int) -> None:
    """See that strips or tiles lie in the file, and are no larger than the image, or than a usual tile."""
    tiled = _TILE_WIDTH in tags
    if tiled:
        tile = _tag(tags, _TILE_WIDTH, 0), _tag(tags, _TILE_HEIGHT, 0)
        _core.check_image_size(*tile)
        _require(tile[0] * tile[1] <= max(4 * width * height, 1 << 20), f"TIFF file with tiles of {tile}")
    else:
        tags[_STRIP_ROWS] = (min(_tag(tags, _STRIP_ROWS, height), height),)
        _require(tags[_STRIP_ROWS][0] >= 1, "TIFF file with strips of 0 rows")
    for number in (_TILE_OFFSETS, _TILE_BYTES) if not tiled else (_STRIP_OFFSETS, _STRIP_BYTES, _STRIP_ROWS):
        tags.pop(number, None)
    offsets = tags.get(_TILE_OFFSETS if tiled else _STRIP_OFFSETS, ())
    sizes = tags.get(_TILE_BYTES if tiled else _STRIP_BYTES, ())
    _require(0 < len(offsets) == len(sizes), "TIFF file that does not say where its pixels are")
    _require(
        all(offset + size <= file_bytes for offset, size in zip(offsets, sizes)),
        "image file is cut short: it ends within its pixels",
    )


def _tiff_file(file: Bytes, order: str, tags: Tags) -> bytes:
    """Put a directory of these tags behind the file, and let its head name that one."""
    start = len(file) + len(file) % 2
    values_at = start + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for number, numbers in sorted(tags.items()):
        kind = 4 if number in _TIFF_LONG else 3
        data = struct.pack(f"{order}{len(numbers)}{_TIFF_LAYOUTS[kind]}", *numbers)
        if len(data) > 4:
            place = struct.pack(order + "I", values_at + len(values))
            values += data + b"\0" * (len(data) % 2)
        else:
            place = data.ljust(4, b"\0")
        entries += struct.pack(order + "HHI", number, kind, len(numbers)) + place
    head = bytes(file[:4]) + struct.pack(order + "I", start) + bytes(file[8:]) + b"\0" * (start - len(file))
    return head + struct.pack(order + "H", len(tags)) + entries + bytes(4) + values


_TIFF_LONG = {
    _WIDTH, _HEIGHT, _STRIP_OFFSETS, _STRIP_ROWS, _STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS,
    _TILE_BYTES,
}  # fmt: skip


_CHECKS: list[tuple[re.Pattern[bytes], Callable[[Bytes], CheckedImage]]] = [
    (re.compile(rb"\x89PNG|\xff\xd8\xff"), _check_common),
    (re.compile(rb"BM"), _check_bmp),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _check_webp),
    (re.compile(rb"II\*\0|MM\0\*"), _check_tiff),
    (re.compile(rb"P[2356]\s"), _check_pnm),
]
