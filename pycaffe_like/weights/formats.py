"""Tells what a file is by its first bytes, for errors about files of another format."""

from __future__ import annotations

_SIGNATURES = {
    b"\x89HDF\r\n\x1a\n": (
        "an HDF5 file",
        "HDF5 is not supported here yet; save the file in binary protobuf",
    ),
    b"\x89PNG\r\n\x1a\n": ("a PNG image", ""),
    b"\xff\xd8\xff": ("a JPEG image", ""),
    b"\x1f\x8b\x08": ("a gzip archive", "unpack it"),
    b"PK\x03\x04": ("a zip archive", "unpack it; weights of PyTorch have to be converted"),
    b"version https://git-lfs": ("a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    b"<!DOCTYPE": ("a web page", "download the file itself"),
    b"<html": ("a web page", "download the file itself"),
}


def format_of(data: bytes) -> tuple[str, str] | None:
    """Return what begins with these bytes, and a hint what to do about it; None if it is not known."""
    return next((known for start, known in _SIGNATURES.items() if data.startswith(start)), None)


def image_in(data: bytes) -> str:
    """Return which image file lies in the first bytes of a record, empty for none."""
    found = (known for start, (known, _) in _SIGNATURES.items() if known.endswith("image") and start in data)
    return next(found, "")
