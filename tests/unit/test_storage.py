"""Memory of blobs on the CPU: where it lies."""

from pathlib import Path

import pytest

from pycaffe_like import _core as core

HUGE_PAGE = 2 << 20
MAPPINGS = Path("/proc/self/smaps")


def flags_at(address):
    """What the kernel was told about the pages at an address."""
    inside = False
    for line in MAPPINGS.read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):  # begins a mapping, with its range of addresses
            begin, end = (int(part, 16) for part in words[0].split("-"))
            inside = begin <= address < end
        elif inside and words[0] == "VmFlags:":
            return words[1:]
    raise AssertionError("the address is not mapped")


@pytest.mark.skipif(
    not (MAPPINGS.exists() and Path("/sys/kernel/mm/transparent_hugepage").exists()),
    reason="the system has no huge pages on demand, or does not tell",
)
def test_large_arrays_ask_for_huge_pages():
    large = core.Blob([3 * HUGE_PAGE // 4 + 5]).data
    assert large.ctypes.data % HUGE_PAGE == 0
    assert "hg" in flags_at(large.ctypes.data)


def test_small_arrays_begin_at_cache_lines():
    for count in (1, 15, 17, 4097):
        assert core.Blob([count]).data.ctypes.data % 64 == 0
