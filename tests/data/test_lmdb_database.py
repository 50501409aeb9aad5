import bisect
import os
import random

import lmdb
import numpy as np
import pytest
from data_records import raw_record

from pycaffe_like.data.lmdb_database import Reader, create_database, open_database
from pycaffe_like.errors import ConfigError, DataError, MissingFileError

SIZES = {"one": (1, 30, 10), "inline": (300, 30, 900), "overflow": (60, 30, 70000), "deep": (20000, 400, 10)}


def random_records(rng, count, key_bytes, value_bytes):
    return {
        rng.randbytes(rng.randrange(1, key_bytes)): rng.randbytes(rng.randrange(value_bytes))
        for _ in range(count)
    }


@pytest.fixture(params=SIZES)
def random_database(request, tmp_path):
    rng = random.Random(request.param)
    count, key_bytes, value_bytes = SIZES[request.param]
    with lmdb.open(str(tmp_path), map_size=1 << 28) as environment:
        for _ in range(2):
            with environment.begin(write=True) as transaction:
                for key, value in random_records(rng, count, key_bytes, value_bytes).items():
                    transaction.put(key, value)
            with environment.begin(write=True) as transaction:
                for key in [bytes(key) for key, _ in transaction.cursor()][1::3]:
                    transaction.delete(key)
        with environment.begin() as transaction:
            records = [(bytes(key), bytes(value)) for key, value in transaction.cursor()]
    return open_database(tmp_path), records


def test_records_are_those_lmdb_reads(random_database):
    database, records = random_database
    assert len(database) == len(records)
    assert list(database) == records


def test_reader_continues_at_any_record_and_wraps(random_database):
    database, records = random_database
    for start in (0, 1, len(records) - 1, 5 * len(records) + len(records) // 2):
        reader = Reader(database, start)
        for counter in range(start, start + min(len(records), 200) + 3):
            assert reader.position == counter
            assert reader.next() == records[counter % len(records)]


def test_located_records_are_read_across_the_end(random_database):
    database, records = random_database
    start, count = 2 * len(records) - 1, min(len(records), 200) + 2
    reader = Reader(database, start)
    keys, places = reader.locate(count)
    expected = [records[(start + i) % len(records)] for i in range(count)]
    memory = np.zeros(int(places[:, 1].sum()) + 3, np.uint8)
    database.read(places, memory)
    assert keys == [key for key, _ in expected]
    assert memory.tobytes() == b"".join(value for _, value in expected) + bytes(3)
    assert reader.position == start + count
    assert reader.next() == records[(start + count) % len(records)]


def test_places_must_be_in_the_file_and_fit_the_memory(tmp_path):
    with create_database(tmp_path / "a_lmdb") as writer:
        writer.put(b"k", b"value")
    database = open_database(tmp_path / "a_lmdb")
    _, places = Reader(database).locate(1)
    with pytest.raises(ValueError, match="do not fit"):
        database.read(places, np.zeros(4, np.uint8))
    with pytest.raises(DataError, match="cannot be read: it ends at byte"):
        database.read(places + np.array([1 << 40, 0], np.uint64), np.zeros(5, np.uint8))


def test_record_after_a_key(random_database):
    database, records = random_database
    keys = [key for key, _ in records]
    rng, reader = random.Random(1), Reader(database)
    for key in [*rng.choices(keys, k=50), *(rng.randbytes(3) for _ in range(50)), b"\xff" * 500]:
        assert reader.after(key) == records[bisect.bisect_right(keys, key) % len(keys)]


def test_database_may_be_open_twice(tmp_path):
    with create_database(tmp_path / "a_lmdb") as writer:
        writer.put(b"k", b"v")
    with lmdb.open(str(tmp_path / "a_lmdb"), readonly=True):
        first, second = open_database(tmp_path / "a_lmdb"), open_database(tmp_path / "a_lmdb")
        assert list(first) == list(second) == [(b"k", b"v")]


def test_map_grows_with_the_records(tmp_path):
    records = [(f"{i:08d}".encode(), os.urandom(1 << 20)) for i in range(35)]
    with create_database(tmp_path / "a_lmdb") as writer:
        for key, value in records:
            writer.put(key, value)
    assert list(open_database(tmp_path / "a_lmdb")) == records
    with (
        lmdb.open(str(tmp_path / "a_lmdb"), readonly=True) as environment,
        environment.begin() as transaction,
    ):
        assert [(bytes(key), bytes(value)) for key, value in transaction.cursor()] == records


def test_records_that_were_not_committed_are_lost_with_an_exception(tmp_path):
    with pytest.raises(ZeroDivisionError), create_database(tmp_path / "a_lmdb") as writer:  # noqa: PT012
        writer.put(b"1", b"1")
        writer.commit()
        writer.put(b"2", b"2")
        1 / 0  # noqa: B018
    assert list(open_database(tmp_path / "a_lmdb")) == [(b"1", b"1")]


def test_existing_database_is_not_overwritten(tmp_path):
    with pytest.raises(DataError, match="exists already"):
        create_database(tmp_path)


def test_missing_database_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"no LMDB database at .*nowhere"):
        open_database(tmp_path / "nowhere")


def test_empty_database_is_refused(make_database):
    with pytest.raises(DataError, match="is empty"):
        open_database(make_database([]))


def test_leveldb_is_explained(tmp_path):
    (tmp_path / "CURRENT").write_text("MANIFEST-000002\n")
    with pytest.raises(ConfigError, match="LevelDB") as error:
        open_database(tmp_path)
    assert "backend: LMDB" in str(error.value)
    with pytest.raises(ConfigError, match="LEVELDB"):
        open_database(tmp_path, backend="LEVELDB")
    with pytest.raises(ConfigError, match="'sqlite'"):
        open_database(tmp_path, backend="sqlite")


def test_special_tables_are_refused(make_database):
    path = make_database([b"v"])
    with open(path / "data.mdb", "r+b") as file:
        for meta in (0, 4096):
            file.seek(meta + 92)
            file.write(b"\x04")  # several values a key
    with pytest.raises(DataError, match="special kind"):
        open_database(path)


def test_unwritten_last_pages_are_no_damage(make_database):
    """LMDB may count last pages that it did not need in the end, and that the file then lacks."""
    path = make_database([raw_record(np.zeros((1, 28, 28), np.uint8))] * 100)
    records = list(open_database(path))
    with open(path / "data.mdb", "r+b") as file:
        for meta in (0, 4096):
            file.seek(meta + 136)
            last_page = int.from_bytes(file.read(8), "little")
            file.seek(meta + 136)
            file.write((last_page + 3).to_bytes(8, "little"))
    assert list(open_database(path)) == records


def test_file_that_shrinks_while_it_is_read_is_an_error(make_database):
    path = make_database([raw_record(np.zeros((1, 28, 28), np.uint8))] * 100)
    database = open_database(path)
    reader = Reader(database)
    reader.next()
    os.truncate(path / "data.mdb", 3 * 4096)
    with pytest.raises(DataError, match="shorter"):
        reader.skip(99)
