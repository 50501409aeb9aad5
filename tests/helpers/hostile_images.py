"""Image files made to hurt whoever decodes them, and what a process makes of them.

As a program: decodes every case in one process with little memory, and prints a line of JSON for each: its
name, the shape it got or what the error says, and the bytes and seconds that it took.
"""

from __future__ import annotations

import json
import resource
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from pycaffe_like.data.decode import decode_image

MEMORY_BYTES = 256 << 20  # that the process may take in addition to what it has
NOISE = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
GRAY = np.full((8, 8), 128, np.uint8)

Case = tuple[str, Callable[[], bytes], str | list[int]]
"""Name, the file, and words of the error, or the shape of the image."""


def encoded(extension: str, image: np.ndarray = NOISE, *parameters: int) -> bytes:
    """Encode an image as OpenCV does."""
    done, file = cv2.imencode(extension, image, parameters)
    assert done
    return bytes(file.tobytes())


def chunk(name: bytes, data: bytes, length: int | None = None) -> bytes:
    """Return a chunk of a PNG file; `length` is what it says."""
    said = struct.pack(">I", len(data) if length is None else length)
    return said + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(*chunks: bytes, width: int = 8, height: int = 8, bits: int = 8, color: int = 2) -> bytes:
    """Return a PNG file of a header and these chunks."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks)


PIXELS = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in NOISE)))
END = chunk(b"IEND", b"")


def _zeros(count: int = 64 << 20) -> bytes:
    return zlib.compress(bytes(count), 9)


def _png_cases() -> Iterator[Case]:
    for name in (b"IDAT", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"tEXt", b"fdAT", b"eXIf", b"IEND", b"abCd"):
        for length in (0xFFFFFF00, 0x7FFFFFFF, 1 << 28):
            yield (
                f"png {name.decode()} of {length} bytes",
                lambda name=name, length=length: png(chunk(name, b"", length), PIXELS, END),
                "cut short",
            )
    for name, data in (
        (b"iCCP", lambda: b"p\0\0" + _zeros()),
        (b"zTXt", lambda: b"t\0\0" + _zeros()),
        (b"iTXt", lambda: b"t\0\1\0\0\0" + _zeros()),
    ):
        yield (
            f"png {name.decode()} with zeros",
            lambda name=name, data=data: png(chunk(name, data()), PIXELS, END),
            [8, 8, 3],
        )
    text = chunk(b"zTXt", b"t\0\0" + _zeros(4 << 20))
    yield "png with 500 zTXt", lambda: png(*[text] * 500, PIXELS, END), [8, 8, 3]
    frame = struct.pack(">IIIIIHHBB", 0, 8192, 8192, 0, 0, 1, 1, 0, 0)
    yield (
        "png of a frame that is larger",
        lambda: png(chunk(b"acTL", struct.pack(">II", 9999, 0)), chunk(b"fcTL", frame), PIXELS, END),
        [8, 8, 3],
    )
    bomb = struct.pack(">IIBBBBB", 30000, 30000, 8, 6, 0, 0, 0)
    yield "png of two headers", lambda: png(chunk(b"IHDR", bomb), PIXELS, END), "first chunk"
    yield (
        "png with a chunk before its header",
        lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"a\0b") + png(PIXELS, END)[8:],
        "without a header",
    )
    yield (
        "png with a header of 17 bytes",
        lambda: b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", png()[16:29] + bytes(4)) + PIXELS + END,
        "without a header",
    )
    yield "png of 30000 x 30000", lambda: png(PIXELS, END, width=30000, height=30000), "over the limit"
    yield "png of an unknown chunk", lambda: png(chunk(b"ABCD", b""), PIXELS, END), "unknown chunk ABCD"
    yield (
        "png with more pixels than its header says",
        lambda: png(chunk(b"IDAT", _zeros()), END),
        [8, 8, 3],
    )
    yield "png without pixels", lambda: png(END), "damaged"


def segment(marker: int, data: bytes, length: int | None = None) -> bytes:
    """Return a segment of a JPEG file."""
    return struct.pack(">BBH", 255, marker, 2 + len(data) if length is None else length) + data


def _jpeg(width: int, height: int) -> tuple[bytes, bytes]:
    """Return a JPEG of 8 x 8 that says it is of another size: tables and frame, and the scan."""
    small = encoded(".jpg", GRAY)
    frame = small.index(b"\xff\xc0")
    big = small[: frame + 5] + struct.pack(">HH", height, width) + small[frame + 9 :]
    scan = big.index(b"\xff\xda")
    return big[2:scan], big[scan:]


def _hidden_frame(start: bytes, skipped: int) -> bytes:
    """Return a JPEG that reads as 8 x 8 if the `skipped` bytes behind `start` are taken for a segment's."""
    tables, scan = _jpeg(9000, 9000)
    decoy = encoded(".jpg", GRAY)[2:-2]
    body = start + tables
    padding = skipped - len(body) - 4
    comment = segment(0xFE, bytes(padding) + decoy)
    return body + comment + scan


def _jpeg_cases() -> Iterator[Case]:
    for marker in (0x01, *range(0xD0, 0xD8)):  # without a length: the next marker is taken for one
        start = b"\xff\xd8\xff" + bytes([marker])
        yield (
            f"jpeg marker {marker:02x} without a length",
            lambda start=start: _hidden_frame(start, 4 + 0xFFE0),
            "over the limit",
        )
    for marker in (0x02, 0x4F, 0xBF, 0xC3, 0xC5, 0xC8, 0xCB, 0xCF, 0xD8, 0xDC, 0xDE, 0xDF, 0xF0, 0xF7, 0xFD):
        tables, scan = _jpeg(9000, 9000)
        decoy = encoded(".jpg", GRAY)[2:-2]
        yield (
            f"jpeg marker {marker:02x}",
            lambda m=marker, t=tables, s=scan, d=decoy: b"\xff\xd8" + segment(m, d) + t + s,
            f"marker ff{marker:02x}",
        )
    tables, scan = _jpeg(9000, 9000)
    small_tables, small_scan = _jpeg(8, 8)
    yield "jpeg 9000 x 9000", lambda: b"\xff\xd8" + tables + scan, "over the limit"
    yield "jpeg with filling", lambda: b"\xff\xd8\xff\xff\xff" + tables[1:] + scan, "over the limit"
    yield "jpeg with a stray zero", lambda: b"\xff\xd8\xff\0" + tables + scan, "over the limit"
    yield (
        "jpeg with stray bytes",
        lambda: b"\xff\xd8" + tables[:18] + b"\0\1\2" + tables[18:] + scan,
        "over the limit",
    )
    yield (
        "jpeg with a segment of no length",
        lambda: b"\xff\xd8" + segment(0xFE, b"", 0) + tables + scan,
        "over the limit",
    )
    yield "jpeg of two frames", lambda: b"\xff\xd8" + small_tables + tables + scan, "two frames"
    whole = b"\xff\xd8" + small_tables + small_scan
    yield "jpeg of two images", lambda: whole + b"\xff\xd8" + tables + scan, [8, 8, 3]
    for marker in (0xC4, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xEE, 0xFE):
        yield (
            f"jpeg segment {marker:02x} longer than the file",
            lambda m=marker: b"\xff\xd8" + segment(m, b"", 0xFFFF) + small_tables + small_scan,
            "without an image",
        )
    exif = (
        b"Exif\0\0II*\0\x08\0\0\0"
        + struct.pack("<H", 0xFFFF)
        + struct.pack("<HHII", 0x10F, 2, 0xFFFFFFF0, 8) * 9
    )
    yield "jpeg with long EXIF texts", lambda: b"\xff\xd8" + segment(0xE1, exif) + whole[2:], [8, 8, 3]
    for channels in (2, 10, 255):
        frame = struct.pack(">BHHB", 8, 8, 8, channels) + b"\1\x44\0" * channels
        yield (
            f"jpeg of {channels} channels",
            lambda f=frame: b"\xff\xd8" + segment(0xC0, f) + small_scan,
            "channels",
        )


def _bmp(
    width: int, height: int, bits: int = 24, compression: int = 0, colors: int = 0, pixels: int = 54
) -> bytes:
    head = struct.pack(
        "<2sIIIIiiHHIIiiII", b"BM", 0, 0, pixels, 40, width, height, 1, bits, compression, 0, 0, 0, colors, 0
    )
    return head + bytes(400)


def _small_cases() -> Iterator[Case]:
    yield "bmp 20000 x 20000", lambda: _bmp(20000, 20000), "over the limit"
    yield "bmp 8000 x 8000 of 400 bytes", lambda: _bmp(8000, 8000), "cut short"
    yield "bmp upside down", lambda: _bmp(8000, -(2**31)), "over the limit"
    yield "bmp of negative width", lambda: _bmp(-8, 8), "no pixels"
    yield "bmp of run lengths", lambda: _bmp(8000, 8000, 8, 1), "compression 1"
    yield "bmp with a palette of 2^31 colors", lambda: _bmp(8, 8, 8, colors=2**31), "palette"
    yield "bmp with pixels at 2^32 - 1", lambda: _bmp(8, 8, pixels=2**32 - 1), "cut short"
    for kind in (b"P5", b"P6", b"P2", b"P3"):
        name = kind.decode()
        yield f"{name} 8000 x 8000", lambda k=kind: k + b"\n8000 8000\n255\n" + bytes(100), "cut short"
        yield f"{name} 99999 x 99999", lambda k=kind: k + b" 99999 99999 255 ", "over the limit"
        yield f"{name} with a long number", lambda k=kind: k + b" 8 8" + b"0" * 1000 + b" 255 ", "header"
        yield f"{name} with a long comment", lambda k=kind: k + b"\n#" + b"#\n" * 9999, "header"
        yield f"{name} of 0 x 0", lambda k=kind: k + b" 0 0 255 ", "no pixels"
    for name, mark in (
        ("gif", b"GIF89a"),
        ("hdr", b"#?RADIANCE\n"),
        ("pbm", b"P4 99 99\n"),
        ("pam", b"P7\n"),
    ):
        yield name, lambda m=mark: m + bytes(60), "none of the kinds"
    for name, mark in (("sun", b"\x59\xa6\x6a\x95"), ("exr", b"\x76\x2f\x31\x01"), ("pfm", b"PF\n9 9\n")):
        yield name, lambda m=mark: m + bytes(60), "none of the kinds"
    for name, mark in (
        ("jp2", b"\0\0\0\x0cjP  \r\n\x87\n"),
        ("avif", b"\0\0\0\x1cftypavif"),
        ("tiff64", b"II+\0"),
    ):
        yield name, lambda m=mark: m + bytes(60), "none of the kinds"
    yield "nothing", lambda: b"", "none of the kinds"


def _webp_cases() -> Iterator[Case]:
    lossless = encoded(".webp", NOISE, cv2.IMWRITE_WEBP_QUALITY, 101)
    lossy = encoded(".webp", NOISE, cv2.IMWRITE_WEBP_QUALITY, 50)
    yield "webp", lambda: lossy, [8, 8, 3]
    yield "webp lossless", lambda: lossless, [8, 8, 3]
    canvas = riff(b"VP8X", struct.pack("<I", 0) + b"\xff\xff\xff" * 2)
    moving = riff(b"VP8X", struct.pack("<I", 2) + b"\xff\xff\xff" * 2)
    picture = lossy[12:]
    yield "webp canvas of 2^24 x 2^24", lambda: riff(b"RIFF", b"WEBP" + canvas + picture), [8, 8, 3]
    frames = riff(b"ANIM", bytes(6)) + riff(b"ANMF", bytes(16) + picture)
    yield "webp of frames", lambda: riff(b"RIFF", b"WEBP" + moving + frames), "several frames"
    yield "webp of two pictures", lambda: riff(b"RIFF", b"WEBP" + picture + picture), "several pictures"
    yield "webp of both kinds", lambda: riff(b"RIFF", b"WEBP" + picture + lossless[12:]), "with two"
    big = bytearray(lossless)
    big[21:25] = struct.pack("<I", 0x0FFFFFFF)
    yield "webp 16384 x 16384", lambda: bytes(big), "over the limit"
    yield "webp chunk of 4 GB", lambda: lossy[:16] + b"\xff\xff\xff\xff" + lossy[20:], "cut short"
    profile = riff(b"ICCP", bytes(100))
    yield "webp with a profile", lambda: riff(b"RIFF", b"WEBP" + profile + picture), [8, 8, 3]


def riff(name: bytes, data: bytes) -> bytes:
    """Return a chunk of a WebP file."""
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def tiff(tags: dict[int, tuple[str, list[int]]], pixels: bytes = bytes(1000)) -> bytes:
    """Return a TIFF file with its pixels at 8 and these tags, by their types, behind them."""
    start = 8 + len(pixels)
    after = start + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for number, (kind, numbers) in sorted(tags.items()):
        data = struct.pack(f"<{len(numbers)}{kind}", *numbers)
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", after + len(values))
        values += data if len(data) > 4 else b""
        entries += struct.pack("<HHI", number, {"B": 1, "H": 3, "I": 4}[kind], len(numbers)) + place
    return (
        b"II*\0"
        + struct.pack("<I", start)
        + pixels
        + struct.pack("<H", len(tags))
        + entries
        + bytes(4)
        + values
    )


TIFF = {
    256: ("I", [8]), 257: ("I", [8]), 258: ("H", [8, 8, 8]), 259: ("H", [1]), 262: ("H", [2]),
    273: ("I", [8]), 277: ("H", [3]), 278: ("I", [8]), 279: ("I", [192]),
}  # fmt: skip


def _tiff_cases() -> Iterator[Case]:
    yield "tiff", lambda: tiff(TIFF), [8, 8, 3]
    for number, kind, numbers, words in (
        (256, "I", [2**32 - 1], "over the limit"),
        (257, "I", [2**31], "over the limit"),
        (258, "H", [64] * 3, "64"),
        (258, "H", [8] * 60000, "samples"),
        (277, "H", [60000], "60000 samples"),
        (259, "H", [7], "compression 7"),
        (259, "H", [34712], "compression 34712"),
        (262, "H", [6], "color space 6"),
        (273, "I", [2**32 - 1], "cut short"),
        (279, "I", [2**31], "cut short"),
        (273, "I", [8] * 100000, "where its pixels"),
        (278, "I", [0], "0 rows"),
        (322, "I", [2**31 - 16], "over the limit"),
        (339, "H", [3] * 3, "unsigned"),
    ):
        changed = {**TIFF, number: (kind, numbers)}
        if number == 322:
            changed[323] = ("I", [16])
        yield f"tiff tag {number} = {numbers[0]}, {len(numbers)} times", lambda t=changed: tiff(t), words
    tiles = {**TIFF, 322: ("I", [8192]), 323: ("I", [8192]), 324: ("I", [8]), 325: ("I", [192])}
    yield "tiff with a tile of 8192 x 8192", lambda: tiff(tiles), "tiles"
    rows = {**TIFF, 278: ("I", [2**32 - 1])}
    yield "tiff with a strip of 2^32 - 1 rows", lambda: tiff(rows), [8, 8, 3]
    whole = tiff(TIFF)
    entry = whole.index(struct.pack("<HHI", 273, 4, 1))
    yield (
        "tiff tag of 2^32 - 1 values",
        lambda: whole[: entry + 4] + b"\xff\xff\xff\xff" + whole[entry + 8 :],
        "damaged tag",
    )
    yield "tiff of 65535 tags", lambda: whole[:1008] + b"\xff\xff" + whole[1010:], "ends within"
    other = {**TIFF, 700: ("I", [1] * 10), 347: ("B", [255] * 10), 34675: ("B", [1] * 10), 330: ("I", [8])}
    yield "tiff with tags that nobody needs", lambda: tiff(other), [8, 8, 3]


def cases() -> Iterator[Case]:
    """All hostile images, and some good ones beside them."""
    for part in (_png_cases, _jpeg_cases, _small_cases, _webp_cases, _tiff_cases):
        yield from part()


def _peak_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise AssertionError("no VmHWM")


def _data_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def main() -> None:
    """Run all cases."""
    decode_image(encoded(".jpg"))
    limit = _data_bytes() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    for name, make, _ in cases():
        file = make()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, start = _peak_bytes(), time.perf_counter()
        try:
            result: object = list(decode_image(file).shape)
        except ValueError as error:
            result = str(error)
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        print(json.dumps([name, result, _peak_bytes() - before, time.perf_counter() - start]), flush=True)


if __name__ == "__main__":
    main()
