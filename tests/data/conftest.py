from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from data_records import GOLDEN

from pycaffe_like.data.lmdb_database import create_database


@pytest.fixture
def golden() -> Path:
    return GOLDEN


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


@pytest.fixture
def make_database(tmp_path: Path) -> Callable[[Iterable[bytes]], Path]:
    """Write records under the keys 00000000, 00000001, ..."""

    def make(records: Iterable[bytes], name: str = "test_lmdb") -> Path:
        path = tmp_path / name
        with create_database(path) as database:
            for index, record in enumerate(records):
                database.put(f"{index:08d}".encode(), record)
        return path

    return make
