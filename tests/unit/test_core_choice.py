"""Which build of the C++ core is loaded, by the processor's flags."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

AVX2 = "fma bmi2 f16c avx2"
AVX512 = f"{AVX2} avx512f avx512bw avx512cd avx512dq avx512vl"

# A fresh process, because a module is loaded once, with the file that lists the flags replaced.
LOAD = """
import sys
from importlib.util import find_spec
from pathlib import Path
Path.read_text = lambda self, *args, **kwargs: "processor : 0\\nflags : " + sys.argv[1]
try:
    from pycaffe_like import _core
    print(_core.__name__)
except RuntimeError as error:
    print(type(error).__name__, error)
"""


def load_with(flags):
    done = subprocess.run([sys.executable, "-c", LOAD, flags], check=True, capture_output=True, text=True)
    return done.stdout


def built(isa):
    return find_spec(f"pycaffe_like._core_{isa}") is not None


def test_processor_without_avx2_gets_a_clear_error():
    text = load_with("sse2 avx")
    assert text.startswith("DeviceError this processor lacks the AVX2 instruction set")
    assert "needs an x86-64 processor with AVX2 and FMA" in text


@pytest.mark.parametrize(("isa", "flags"), [("avx2", AVX2), ("avx512", AVX512)])
def test_processor_gets_its_build(isa, flags):
    if not built(isa):
        pytest.skip(f"no build for {isa} here")
    assert load_with(flags).strip() == f"pycaffe_like._core_{isa}"


def test_build_for_a_lesser_processor_is_used_when_its_own_is_left_out():
    wanted = next((isa for isa in ("avx512", "avx2") if built(isa)), None)
    assert load_with(AVX512).strip() == f"pycaffe_like._core_{wanted}"
