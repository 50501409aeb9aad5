"""Images made to hurt: refused, or decoded to the size their headers say, in little memory and time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.hostile_images import cases

TESTS = Path(__file__).parents[1]
CASES = list(cases())
MOST_BYTES, MOST_SECONDS = 16 << 20, 2.0


@pytest.fixture(scope="module")
def outcomes():
    """What one process with little memory made of each case, by its name."""
    paths = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    child = subprocess.run(
        [sys.executable, "-m", "helpers.hostile_images"],
        cwd=TESTS, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    assert child.returncode == 0, f"died with {child.returncode} after {lines[-1:]}\n{child.stderr[-2000:]}"
    return {name: outcome for name, *outcome in lines}


@pytest.mark.parametrize(
    ("name", "wanted"), [(name, wanted) for name, _, wanted in CASES], ids=lambda v: str(v)
)
def test_hostile_image_is_refused_or_has_the_size_that_was_checked(name, wanted, outcomes):
    result, used_bytes, seconds = outcomes[name]
    if isinstance(wanted, list):
        assert result == wanted
    else:
        assert isinstance(result, str)
        assert wanted in result
        assert not any(word in result.lower() for word in ("memory", "alloc")), "the decoder asked for it"
    assert used_bytes < MOST_BYTES
    assert seconds < MOST_SECONDS


def test_every_case_has_a_name_of_its_own(outcomes):
    assert len({name for name, *_ in CASES}) == len(CASES) == len(outcomes)
