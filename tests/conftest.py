"""Settings for all tests; this file also makes the folder `helpers` importable."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from pycaffe_like.device import set_mode_gpu

# Threads that wait for each other on a busy machine would multiply the time of small layers.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# For `benchmarks`; last, so that what is tested is the package that is installed, not the sources.
sys.path.append(str(Path(__file__).parents[1]))

# The same tests run layers on a GPU, a real or an emulated one.
if os.environ.get("CAFFE_TEST_DEVICE") == "cuda":
    set_mode_gpu()

settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _caffe_logger() -> Iterator[None]:
    """Take back what a command under test does to the package's logger."""
    logger = logging.getLogger("caffe")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)
