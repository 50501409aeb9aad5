"""Makes `pycaffe_like/_core.pyi`, the types of the C++ core, from the module that is installed.

Run `python tests/helpers/make_stub.py` after a change of the bindings.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from pycaffe_like import _core

STUB = Path(__file__).parents[2] / "pycaffe_like" / "_core.pyi"

# What pybind11's signatures leave open, and strict type checkers want to be said.
_COMPLETIONS = {
    r"typing\.SupportsInt \| typing\.SupportsIndex": "int",
    r"typing\.SupportsFloat \| typing\.SupportsIndex": "float",
    r"\*args\b": "*args: int",
    r"\bdict\b(?!\[)": "dict[str, typing.Any]",
    r"\blist\b(?!\[)": "list[typing.Any]",
    r"\bnumpy\.ndarray\b(?!\[)": "numpy.typing.NDArray[typing.Any]",
    r"\bos\.PathLike\b(?!\[)": "os.PathLike[str]",
}


def make_stub() -> str:
    """Text of the stub file."""
    module = _core.__name__
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", module, "--output-dir", folder, "--exit-code"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        text = (Path(folder) / f"{module.replace('.', '/')}.pyi").read_text()
    # Whichever build of the core was loaded, Python code knows it by one name.
    text = text.replace(module, "pycaffe_like._core")
    return "".join(_complete(line) if "def " in line else line for line in text.splitlines(keepends=True))


def _complete(signature: str) -> str:
    for pattern, replacement in _COMPLETIONS.items():
        signature = re.sub(pattern, replacement, signature)
    return signature


if __name__ == "__main__":
    STUB.write_text(make_stub())
