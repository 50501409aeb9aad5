"""Settings for all tests; this file also makes the folder `helpers` importable."""

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Threads that wait for each other on a busy machine would multiply the time of small layers.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

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
