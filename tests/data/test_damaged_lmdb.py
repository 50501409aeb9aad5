"""No damage to a database ends the process or goes by as a wrong number of records."""

import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("damage.py")
RECORDS = {"fmnist_lmdb": 200, "fmnist_enc_lmdb": 200}


def damage(golden, tmp_path, name, kind, trials):
    arguments = [str(golden / name), str(tmp_path), kind, str(trials), str(RECORDS[name])]
    child = subprocess.run(
        [sys.executable, str(CHILD), *arguments], capture_output=True, text=True, timeout=600, check=False
    )
    lines = child.stdout.splitlines()
    assert child.returncode == 0, (
        f"child ended with {child.returncode} after {len(lines)} trials: {child.stderr}"
    )
    assert len(lines) == trials
    counts = {line.split(" ", 1)[1] for line in lines if "error:" not in line}
    assert counts <= {f"read {RECORDS[name]}"}, "a wrong number of records was read"
    for line in lines:
        assert "error:" not in line or "data" in line
        assert "error:" not in line or str(tmp_path) in line, f"error does not name the database: {line}"
    return lines


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("kind", ["truncate", "flip_meta", "flip_page_headers", "flip_bits"])
def test_damage_is_an_error_or_harmless(golden, tmp_path, kind, name):
    damage(golden, tmp_path, name, kind, trials=60)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["truncate", "flip_meta", "flip_page_headers", "flip_bits"])
def test_damage_is_an_error_or_harmless_a_thousand_times(golden, tmp_path, kind):
    damage(golden, tmp_path, "fmnist_lmdb", kind, trials=1000)


def test_every_truncation_is_found(golden, tmp_path):
    lines = damage(golden, tmp_path, "fmnist_lmdb", "truncate", trials=60)
    assert all("error:" in line for line in lines)
