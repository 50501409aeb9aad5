"""One side of a duel: what it tells of its memory, on systems that tell less than Linux, too."""

import numpy as np
import pytest

from benchmarks import contender


def test_peak_is_that_since_it_was_forgotten():
    big = np.ones(1 << 27, np.uint8)
    before = contender._peak_memory()
    del big
    contender._reset_peak_memory()
    assert contender._peak_memory() < before - (1 << 26)


@pytest.mark.parametrize("status", ["VmSize:\t900 kB\n", "VmSize:\t900 kB\nVmHWM:\t700 kB\n"])
def test_peak_is_told_where_the_kernel_forgets_none_or_knows_none(monkeypatch, tmp_path, status):
    (tmp_path / "status").write_text(status)
    (tmp_path / "clear_refs").mkdir()  # cannot be written
    monkeypatch.setattr(contender, "PROCESS", tmp_path)
    contender._reset_peak_memory()
    if "VmHWM" in status:
        assert contender._peak_memory() == 700 << 10
    else:
        assert contender._peak_memory() > 10 << 20
