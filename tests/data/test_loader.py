import gc
import logging
import threading
import weakref

import numpy as np
import pytest
from data_records import encoded_record, image_file, raw_record

from pycaffe_like.data.database_images import DatabaseImages
from pycaffe_like.data.lmdb_database import open_database
from pycaffe_like.data.loader import Batch, DataLoader, image_loader
from pycaffe_like.data.transformer import Transformer
from pycaffe_like.errors import ConfigError, DataError
from pycaffe_like.prototxt import schema

RECORDS = 23
BATCH = 4


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (RECORDS, 3, 12, 10), dtype=np.uint8)


@pytest.fixture
def database(images, make_database):
    return open_database(make_database(raw_record(image, label) for label, image in enumerate(images)))


@pytest.fixture
def encoded_database(images, make_database):
    files = (image_file(np.ascontiguousarray(image.transpose(1, 2, 0))) for image in images)
    return open_database(make_database((encoded_record(file, i) for i, file in enumerate(files)), "encoded"))


def make_loader(database, batch_size=BATCH, phase=schema.TRAIN, seed=5, param=None, **options):
    param = {"crop_size": 7, "mirror": True, "scale": 0.5} if param is None else param
    transformer = Transformer(schema.TransformationParameter(**param), phase, seed)
    return image_loader(DatabaseImages(database), transformer, batch_size, **options)


def take(loader, count):
    """Copies of the next batches, and close the loader."""
    with loader:
        batches = []
        for _ in range(count):
            batch = loader.next()
            data, label = batch.arrays
            batches.append((data.copy(), label, batch.start))
    return batches


def assert_same(got, want):
    assert len(got) == len(want) > 0
    for (data, label, record), (want_data, want_label, want_record) in zip(got, want):
        assert record == want_record
        np.testing.assert_array_equal(label, want_label)
        np.testing.assert_array_equal(data, want_data)


def test_batches_are_full_and_go_across_the_end(database, images):
    batches = take(make_loader(database, param={}), 15)
    stream = np.concatenate([data for data, _, _ in batches])
    labels = np.concatenate([label for _, label, _ in batches])
    order = np.arange(15 * BATCH) % RECORDS
    np.testing.assert_array_equal(labels, order)
    np.testing.assert_array_equal(stream, images[order])
    assert [record for _, _, record in batches] == list(range(0, 15 * BATCH, BATCH))


def test_encoded_and_raw_records_give_the_same_batches(database, encoded_database):
    assert_same(take(make_loader(encoded_database), 12), take(make_loader(database), 12))


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_batches_do_not_depend_on_the_number_of_threads(encoded_database, threads):
    want = take(make_loader(encoded_database), 30)
    assert_same(take(make_loader(encoded_database, threads=threads, prefetch=2), 30), want)


def test_layouts_hold_the_same_numbers(database):
    plain, last = make_loader(database, layout="plain"), make_loader(database, layout="channels_last")
    with plain, last:
        for _ in range(8):
            a, b = plain.next().arrays[0], last.next().arrays[0]
            assert a.flags.c_contiguous
            assert b.transpose(0, 2, 3, 1).flags.c_contiguous
            assert a.ctypes.data % 64 == b.ctypes.data % 64 == 0
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("stop", [0, 1, 5, 6, 40])
def test_loader_resumes_at_the_exact_record(database, stop):
    want = take(make_loader(database), 50)
    with make_loader(database, threads=2) as loader:
        for _ in range(stop):
            loader.next()
        position = loader.position
    assert_same(take(make_loader(database, start_record=position), 50 - stop), want[stop:])


def test_batch_is_valid_until_the_following_next(database):
    with make_loader(database, prefetch=1, threads=3) as loader:
        for _ in range(40):
            data, _ = loader.next().arrays
            before = data.copy()
            threading.Event().wait(0.001)
            np.testing.assert_array_equal(data, before)


def test_crops_and_mirrors_change_from_pass_to_pass(database):
    batches = take(make_loader(database, batch_size=RECORDS), 2)
    assert not np.array_equal(batches[0][0], batches[1][0])


def test_seeds_give_other_crops(database):
    (a, _, _), (b, _, _) = (take(make_loader(database, seed=seed), 1)[0] for seed in (1, 2))
    assert not np.array_equal(a, b)


def test_solvers_share_the_records(database):
    want = take(make_loader(database, batch_size=1), 60)
    for rank in range(3):
        got = take(make_loader(database, batch_size=2, solver_rank=rank, solver_count=3), 10)
        mine = want[rank::3]
        assert [record for _, _, record in got] == [record for _, _, record in mine[::2]]
        np.testing.assert_array_equal(
            np.concatenate([d for d, _, _ in got]), np.concatenate([d for d, _, _ in mine])
        )


def test_solver_resumes_at_its_own_records(database):
    options = {"solver_rank": 1, "solver_count": 3}
    want = take(make_loader(database, **options), 9)
    with make_loader(database, **options) as loader:
        for _ in range(4):
            loader.next()
        position = loader.position
    assert_same(take(make_loader(database, start_record=position, **options), 5), want[4:])


def test_labels_can_be_left_out(database):
    with make_loader(database, with_label=False) as loader:
        assert [array.shape for array in loader.next().arrays] == loader.shapes == [(BATCH, 3, 7, 7)]


def test_batches_may_differ_in_size(make_database, rng):
    images = [rng.integers(0, 256, (1, size, size + 1), dtype=np.uint8) for size in (3, 8, 5)]
    database = open_database(make_database(raw_record(image) for image in images))
    got = take(make_loader(database, batch_size=1, param={}), 6)
    for (data, _, _), image in zip(got, images * 2):
        np.testing.assert_array_equal(data[0], image)


def test_crop_of_images_of_different_size(make_database, rng):
    images = [rng.integers(0, 256, (1, size, 9), dtype=np.uint8) for size in (6, 8, 7)]
    database = open_database(make_database(raw_record(image) for image in images))
    loader = make_loader(database, batch_size=3, phase=schema.TEST, param={"crop_size": 5})
    ((data, _, _),) = take(loader, 1)
    for got, image, h_off in zip(data, images, (0, 1, 1)):
        np.testing.assert_array_equal(got, image[:, h_off : h_off + 5, 2:7])


def test_restarts_are_logged(database, caplog):
    with caplog.at_level(logging.INFO, logger="caffe"):
        take(make_loader(database, batch_size=RECORDS, prefetch=1), 3)
    assert caplog.messages.count("Restarting data prefetching from start.") >= 2


def test_force_color_on_raw_records_is_logged_once(database, caplog):
    take(make_loader(database, param={"force_color": True}), 8)
    assert [message for message in caplog.messages if "no effect" in message] == [
        "force_color and force_gray have no effect on records that are not encoded"
    ]


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("caffe-prefetch")]


def test_no_thread_is_left(database):
    for _ in range(20):
        with make_loader(database, threads=3) as loader:
            loader.next()
        loader.close()
    assert prefetch_threads() == []


def test_forgotten_loader_stops_its_threads(database):
    loader = make_loader(database, threads=3)
    loader.next()
    gone = weakref.ref(loader)
    del loader
    gc.collect()
    assert gone() is None
    assert prefetch_threads() == []


def test_closed_loader_raises(database):
    loader = make_loader(database)
    loader.close()
    with pytest.raises(RuntimeError, match="closed"):
        take(loader, 10)  # a few batches may have been ready


@pytest.mark.parametrize("name", ["batch_size", "prefetch", "threads"])
def test_numbers_below_one_are_refused(database, name):
    with pytest.raises(ConfigError, match=f"{name} must be an int >= 1, got 0"):
        make_loader(database, **{name: 0})


def test_first_image_must_fit_the_transformation(database):
    with pytest.raises(ConfigError, match="crop_size 11 is larger than the image of 3x12x10"):
        make_loader(database, param={"crop_size": 11})
    with pytest.raises(ConfigError, match="2 mean_value for images of 3x12x10"):
        make_loader(database, param={"mean_value": [1, 2]})
    assert prefetch_threads() == []


def test_damage_is_raised_in_place_and_from_then_on(make_database):
    good = raw_record(np.zeros((1, 4, 4), np.uint8))
    database = open_database(make_database([good] * 10 + [b"\x08"] + [good] * 10))
    with make_loader(database, param={}, threads=3) as loader:
        assert [loader.next().start, loader.next().start] == [0, 4]
        for _ in range(3):
            with pytest.raises(DataError, match=r"test_lmdb, key '00000010'"):
                loader.next()
        assert loader.position == 8


class Numbers:
    """A source of three arrays a batch, whose values are the counts of their records."""

    private_bytes = 1000

    def __init__(self, position=0):
        self.position = self.next = position
        self.shapes = [(2,), (2, 3), (2, 1, 1, 1, 1)]
        self.closed = 0

    def claim(self):
        self.next += 2
        return self.next - 2

    def make(self, job, slot):
        counts = np.arange(job, job + 2, dtype=np.float32)
        arrays = (np.broadcast_to(counts.reshape(-1, *(1,) * (len(s) - 1)), s) for s in self.shapes)
        return Batch(tuple(arrays), job, job + 2)

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("threads", [1, 3])
def test_any_source_is_made_ahead(threads):
    source = Numbers(position=6)
    with DataLoader(source, prefetch=2, threads=threads) as loader:
        assert loader.shapes == source.shapes
        assert loader.private_bytes == 2 * 4 * (2 + 6 + 2) + 1000
        for start in range(6, 40, 2):
            assert loader.position == start
            arrays = loader.next().arrays
            assert [array.shape for array in arrays] == source.shapes
            for array in arrays:
                assert array[0].max() == array[0].min() == start
        assert source.closed == 0
    loader.close()
    assert source.closed == 1
    assert prefetch_threads() == []
