"""PyTorch as an oracle, for those who have it: a test that asks it is skipped where it is not installed.

``from helpers.oracle import torch`` takes the place of ``import torch``, which takes a second and hundreds of
megabytes, and which a module that other tests are made of must not need.
"""

from __future__ import annotations

from typing import Any

import pytest

MISSING = "asks PyTorch, which is not installed: pip install 'pycaffe-like[torch]'"


class _Torch:
    """Imports PyTorch when something of it is used for the first time.

    What has an underscore is looked for by pytest, in every object that a module has.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(pytest.importorskip("torch", reason=MISSING), name)


torch: Any = _Torch()
