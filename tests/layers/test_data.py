import gc
import logging
import threading

import cv2
import numpy as np
import pytest
from helpers.layer_facts import Example

import caffe
from pycaffe_like.data.lmdb_database import create_database
from pycaffe_like.errors import ConfigError, DataError, MissingFileError
from pycaffe_like.prototxt import schema

EXAMPLE = Example('data_param { source: "files/color_lmdb" batch_size: 2 backend: LMDB }', bottoms=(), tops=2)
BACKWARD = None
IMPOSSIBLE = []  # files and values are refused, which the tests below and the rules' own see to
_DATA = 'data_param { source: "files/color_lmdb" batch_size: 2 backend: LMDB }'
_ENCODED = _DATA.replace("color_lmdb", "color_enc_lmdb")
FIELDS = {
    "source": (_DATA, '"files/fmnist_lmdb"'),
    "backend": None,
    "transform_param.mean_file": (_DATA, '"files/color_mean.binaryproto"'),
    "transform_param.crop_h": f"{_DATA} transform_param {{ crop_size: 3 }}",
    "transform_param.crop_w": f"{_DATA} transform_param {{ crop_size: 3 }}",
    "force_encoded_color": _ENCODED.replace("color", "fmnist"),
    "transform_param.force_gray": _ENCODED,
    "transform_param.force_color": _ENCODED.replace("color", "fmnist"),
}
TOLERANCE = (1e-6, 0.0)
FORMULA = False
RUN = False  # needs a database

RECORDS, BATCH = 10, 4
IMAGES = np.random.default_rng(7).integers(0, 256, (RECORDS, 3, 6, 5), dtype=np.uint8)


def record(image, label):
    channels, height, width = image.shape
    datum = schema.Datum(channels=channels, height=height, width=width, label=label, data=image.tobytes())
    return datum.SerializeToString()


def make_database(path, records):
    with create_database(path) as database:
        for index, each in enumerate(records):
            database.put(f"{index:08d}".encode(), each)
    return path


@pytest.fixture
def source(tmp_path):
    return make_database(tmp_path / "images_lmdb", [record(*pair) for pair in zip(IMAGES, range(RECORDS))])


@pytest.fixture
def make_net(tmp_path):
    """Build nets of one Data layer; those left open are closed after the test."""
    nets = []

    def make(
        source, transform="", param="", tops=("data", "label"), phase=caffe.TRAIN, batch=BATCH, **options
    ):
        path = tmp_path / "net.prototxt"
        names = " ".join(f'top: "{top}"' for top in tops)
        path.write_text(
            f'layer {{\n name: "images" type: "Data" {names}\n transform_param {{ {transform} }}\n'
            f' data_param {{\n source: "{source}" backend: LMDB\n batch_size: {batch}\n {param} }}\n}}\n'
        )
        nets.append(caffe.Net(str(path), phase, **options))
        return nets[-1]

    yield make
    for net in nets:
        net.close()


def take(net, count):
    """Copies of data and label of the next batches, one after the other."""
    batches = []
    for _ in range(count):
        net.forward()
        batches.append([net.blobs[top].data.copy() for top in ("data", "label")])
    return [np.concatenate(each) for each in zip(*batches)]


# What comes, in which order


def test_records_come_in_key_order_and_start_again_after_the_last(make_net, source):
    data, label = take(make_net(source), 6)
    order = np.arange(6 * BATCH) % RECORDS
    assert np.array_equal(label, order)
    assert np.array_equal(data, IMAGES[order])


def test_the_blobs_are_float32_with_the_data_channels_last(make_net, source):
    net = make_net(source)
    data, label = net.blobs["data"], net.blobs["label"]
    assert (list(data.shape), data.dtype, data.layout) == ([4, 3, 6, 5], "float32", "channels_last")
    assert (list(label.shape), label.dtype) == ([4], "float32")


def test_the_label_top_may_be_left_out(make_net, source):
    net = make_net(source, tops=["data"])
    net.forward()
    assert list(net.blobs) == ["data"]
    assert np.array_equal(net.blobs["data"].data, IMAGES[:BATCH])


@pytest.mark.parametrize("batch", [1, RECORDS, 2 * RECORDS + 3])
def test_a_batch_may_have_any_size(make_net, source, batch):
    data, label = take(make_net(source, batch=batch), 2)
    order = np.arange(2 * batch) % RECORDS
    assert np.array_equal(label, order)
    assert np.array_equal(data, IMAGES[order])


def test_pixels_are_cropped_shifted_and_scaled(make_net, source):
    transform = "crop_size: 3 mean_value: 10 mean_value: 20 mean_value: 30 scale: 0.5"
    data, _ = take(make_net(source, transform, phase=caffe.TEST), 1)
    middle = IMAGES[:BATCH, :, 1:4, 1:4].astype(np.float32)
    assert np.array_equal(data, (middle - np.float32([10, 20, 30]).reshape(1, 3, 1, 1)) / 2)


def test_crops_may_be_oblong(make_net, source):
    data, _ = take(make_net(source, "crop_h: 3 crop_w: 2", phase=caffe.TEST), 1)
    h, w = (IMAGES.shape[2] - 3) // 2, (IMAGES.shape[3] - 2) // 2
    assert np.array_equal(data, IMAGES[:BATCH, :, h : h + 3, w : w + 2])


def test_training_mirrors_about_half_of_the_images(make_net, source):
    data, label = take(make_net(source, "mirror: true", seed=1), 10)
    images = IMAGES[label.astype(int)]
    plain = (data == images).all((1, 2, 3))
    mirrored = (data == images[..., ::-1]).all((1, 2, 3))
    assert np.all(plain ^ mirrored)
    assert 10 <= mirrored.sum() <= 30


def test_the_shape_follows_the_images_of_each_batch(make_net, tmp_path):
    sizes = [(1, 4, 4)] * BATCH + [(1, 2, 7)] * BATCH
    images = [np.full(size, number, np.uint8) for number, size in enumerate(sizes)]
    net = make_net(make_database(tmp_path / "sizes", [record(image, 0) for image in images]))
    shapes = []
    for _ in range(3):
        net.forward()
        shapes.append(tuple(net.blobs["data"].data.shape))
    assert shapes == [(4, 1, 4, 4), (4, 1, 2, 7), (4, 1, 4, 4)]
    assert np.array_equal(net.blobs["data"].data[2], images[2])


# Going on from a place, seeds


def test_positions_count_records_and_never_wrap(make_net, source):
    net = make_net(source)
    seen = [net.data_positions()]
    for _ in range(3):
        net.forward()
        seen.append(net.data_positions())
    assert seen == [{"images": position} for position in (0, 4, 8, 12)]


@pytest.mark.parametrize("batches", [1, 2, 3, 7])
def test_a_net_that_is_set_to_a_position_goes_on_exactly(make_net, source, batches):
    transform = "crop_size: 3 mirror: true"
    first, second = (make_net(source, transform, seed=5) for _ in range(2))
    take(first, batches)
    take(second, 1)
    second.set_data_positions(first.data_positions())
    for wanted, got in zip(take(first, 4), take(second, 4)):
        assert np.array_equal(got, wanted)


def test_positions_of_other_layers_are_passed_over(make_net, source):
    net = make_net(source)
    net.set_data_positions({"elsewhere": 3})
    assert net.data_positions() == {"images": 0}


def test_crops_and_mirrors_follow_the_seed(make_net, source):
    first, same, other = (
        take(make_net(source, "crop_size: 2 mirror: true", seed=seed), 5) for seed in (1, 1, 2)
    )
    assert np.array_equal(first[0], same[0])
    assert not np.array_equal(first[0], other[0])
    assert np.array_equal(first[1], other[1])


def test_another_seed_holds_from_the_next_batch_on(make_net, source):
    transform = "crop_size: 2 mirror: true"
    net, wanted = make_net(source, transform, seed=1), make_net(source, transform, seed=2)
    take(net, 2)
    take(wanted, 2)
    net.reseed(2)
    for got, each in zip(take(net, 4), take(wanted, 4)):
        assert np.array_equal(got, each)


# Shuffled, skipped


def test_each_shuffled_pass_holds_every_record_once_in_another_order(make_net, source):
    data, label = take(make_net(source, param="shuffle: true", batch=RECORDS, seed=1), 4)
    passes = label.reshape(4, RECORDS)
    assert np.array_equal(np.sort(passes), np.tile(np.arange(RECORDS), (4, 1)))
    assert len({tuple(each) for each in passes}) == 4
    assert tuple(range(RECORDS)) not in {tuple(each) for each in passes}
    assert np.array_equal(data, IMAGES[label.astype(int)])


def test_shuffles_follow_the_seed(make_net, source):
    first, same, other = (
        take(make_net(source, param="shuffle: true", batch=RECORDS, seed=seed), 3)[1] for seed in (1, 1, 2)
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("param", ["shuffle: true", "rand_skip: 9", "shuffle: true rand_skip: 9"])
@pytest.mark.parametrize("batches", [1, 2, 7])
def test_a_shuffled_or_skipped_run_goes_on_exactly(make_net, source, param, batches):
    transform = "crop_size: 3 mirror: true"
    first, second = (make_net(source, transform, param, seed=5) for _ in range(2))
    take(first, batches)
    assert first.data_positions() == {"images": batches * BATCH}
    second.set_data_positions(first.data_positions())
    for wanted, got in zip(take(first, 4), take(second, 4)):
        assert np.array_equal(got, wanted)


def test_rand_skip_begins_at_one_of_the_first_records(make_net, source):
    firsts = [take(make_net(source, param="rand_skip: 3", seed=seed), 3)[1] for seed in range(12)]
    assert {int(labels[0]) for labels in firsts} == {0, 1, 2}
    for labels in firsts:
        assert np.array_equal(labels, (labels[0] + np.arange(12)) % RECORDS)


def test_a_rand_skip_that_may_pass_over_all_records_is_rejected(make_net, source):
    make_net(source, param=f"rand_skip: {RECORDS}")
    error = refused(ConfigError, make_net, source, param=f"rand_skip: {RECORDS + 1}")
    assert "rand_skip must be an int <= 10, the number of records, got 11" in error.problem
    assert error.line == 7


def test_a_bad_record_of_a_shuffled_database_is_named(make_net, damaged):
    net = make_net(damaged, param="shuffle: true", seed=1)
    error = refused(DataError, take, net, 30)
    assert "'00000005'" in error.problem


# Decoding


def test_force_encoded_color_makes_three_channels_of_gray_files(make_net, tmp_path):
    gray = np.random.default_rng(3).integers(0, 256, (6, 5), dtype=np.uint8)
    file = cv2.imencode(".png", gray)[1].tobytes()
    source = make_database(tmp_path / "gray", [schema.Datum(data=file, encoded=True).SerializeToString()])
    for param, transform, channels in (
        ("", "", 1), ("force_encoded_color: true", "", 3), ("", "force_color: true", 3)
    ):  # fmt: skip
        data, _ = take(make_net(source, transform, param), 1)
        assert np.array_equal(data, np.broadcast_to(gray, (BATCH, channels, 6, 5)))


@pytest.mark.parametrize("threads", [0, 3, 4294967295])
def test_threads_change_nothing_but_the_time(make_net, source, threads):
    transform = "crop_size: 3 mirror: true"
    wanted = take(make_net(source, transform, seed=1), 12)
    net = make_net(source, transform, f"threads: {threads}", seed=1)
    for got, each in zip(take(net, 12), wanted):
        assert np.array_equal(got, each)
    assert len(prefetching()) == 1 + min(max(threads, 1), 5)


# Threads


def prefetching():
    return [thread for thread in threading.enumerate() if thread.name.startswith("caffe-prefetch")]


def test_threads_start_at_the_first_forward_and_end_at_close(make_net, source):
    assert not prefetching()
    net = make_net(source)
    assert not prefetching()
    net.forward()
    assert prefetching()
    net.close()
    assert not prefetching()
    with pytest.raises(RuntimeError, match="closed"):
        net.forward()


def test_a_net_that_is_forgotten_leaves_no_thread(tmp_path, source):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "images" type: "Data" top: "data" '
        f'data_param {{ source: "{source}" backend: LMDB batch_size: 2 }} }}'
    )
    net = caffe.Net(str(path), caffe.TEST)
    net.forward()
    del net
    gc.collect()
    assert not prefetching()


def test_setting_a_position_leaves_no_thread_behind(make_net, source):
    net = make_net(source)
    for position in (4, 8):
        net.forward()
        net.set_data_positions({"images": position})
    net.forward()
    assert len(prefetching()) == 1


@pytest.mark.parametrize("prefetch", [1, 4, 9])
def test_batches_made_ahead_count_as_private_memory(make_net, source, prefetch):
    net = make_net(source, param=f"prefetch: {prefetch}")
    assert net.memory().private == prefetch * 4 * BATCH * (3 * 6 * 5 + 1)
    data, label = take(net, 12)
    assert np.array_equal(label, np.arange(12 * BATCH) % RECORDS)
    assert np.array_equal(data, IMAGES[label.astype(int)])


# Errors


def refused(kind, make, *arguments, **options):
    with pytest.raises(kind) as error:
        make(*arguments, **options)
    assert error.value.layer == "images"
    assert error.value.file.endswith("net.prototxt")
    return error.value


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("batch_size: 4 backend: LMDB", 3, "source is missing"),
        ('source: "SOURCE" backend: LMDB', 3, "batch_size must be >= 1, got nothing"),
        ('source: "SOURCE" backend: LMDB\nbatch_size: 0', 4, "batch_size must be an int >= 1, got 0"),
        (
            'source: "SOURCE" backend: LMDB batch_size: 4\nprefetch: 0',
            4,
            "prefetch must be an int >= 1 and <= 1024, got 0",
        ),
        ('source: "SOURCE" batch_size: 4', 3, "databases of backend LEVELDB cannot be read"),
        (
            'source: "SOURCE" batch_size: 4\nbackend: LEVELDB',
            4,
            "databases of backend LEVELDB cannot be read",
        ),
    ],
)
def test_bad_parameters_are_rejected(tmp_path, source, text, line, problem):
    path = tmp_path / "net.prototxt"
    text = text.replace("SOURCE", str(source))
    path.write_text(f'layer {{\nname: "images" type: "Data" top: "data"\ndata_param {{ {text} }}\n}}')
    error = refused(ConfigError, caffe.Net, str(path), caffe.TRAIN)
    assert problem in error.problem
    assert error.line == line


def test_the_default_backend_is_explained(tmp_path, source):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'layer { name: "images" type: "Data" top: "data" '
        f'data_param {{ source: "{source}" batch_size: 4 }} }}'
    )
    error = refused(ConfigError, caffe.Net, str(path), caffe.TRAIN)
    assert "set data_param.backend: LMDB (the default is LEVELDB)" in error.hint


def test_a_missing_database_is_reported_with_the_layer(make_net, tmp_path):
    error = refused(MissingFileError, make_net, tmp_path / "nowhere")
    assert "there is no LMDB database at" in error.problem
    assert str(tmp_path / "nowhere") in error.problem
    assert error.line == 1


def test_an_empty_database_is_reported_with_the_layer(make_net, tmp_path):
    error = refused(DataError, make_net, make_database(tmp_path / "empty", []))
    assert "is empty" in error.problem
    assert error.line == 1


def test_a_leveldb_folder_is_recognised(make_net, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "CURRENT").write_text("MANIFEST-000001\n")
    assert "is a LevelDB database" in refused(ConfigError, make_net, tmp_path / "old").problem


def test_a_crop_larger_than_the_images_is_reported_with_the_layer(make_net, source):
    assert "crop" in refused(ConfigError, make_net, source, "crop_size: 7").problem


@pytest.mark.parametrize(("tops", "got"), [(["a", "b", "c"], 3), ([], 0)])
def test_wrong_numbers_of_tops_are_rejected(make_net, source, tops, got):
    assert f"takes 1 to 2 top blob(s), got {got}" in refused(ConfigError, make_net, source, tops=tops).problem


# Bad records


@pytest.fixture
def damaged(tmp_path):
    """120 records of one pixel, number 5 of which is none."""
    records = [record(np.full((1, 1, 1), number, np.uint8), number) for number in range(120)]
    records[5] = b"\xff\xff\xff"
    return make_database(tmp_path / "damaged", records)


def test_a_bad_record_is_an_error_that_names_layer_database_and_key(make_net, damaged):
    net = make_net(damaged)
    net.forward()
    error = refused(DataError, net.forward)
    assert str(damaged) in error.problem
    assert "'00000005'" in error.problem


def test_a_bad_first_record_is_an_error_when_the_net_is_built(make_net, tmp_path):
    source = make_database(tmp_path / "bad", [b"\xff", record(IMAGES[0], 0)])
    assert "'00000000'" in refused(DataError, make_net, source).problem


def test_bad_records_are_skipped_where_the_environment_says_so(make_net, damaged, monkeypatch, caplog):
    monkeypatch.setenv("CAFFE_ON_BAD_RECORD", "skip")
    with caplog.at_level(logging.WARNING, logger="caffe"):
        data, label = take(make_net(damaged), 3)
    assert label.tolist() == [0, 1, 2, 3, 4, 6, 6, 7, 8, 9, 10, 11]  # the next one stands in its place
    assert np.array_equal(data.ravel(), label)
    assert "'00000005'" in caplog.text
    assert "1 of 120 records skipped" in caplog.text


def test_more_than_one_percent_bad_records_are_too_many(make_net, tmp_path, monkeypatch):
    monkeypatch.setenv("CAFFE_ON_BAD_RECORD", "skip")
    records = [record(np.full((1, 1, 1), number, np.uint8), number) for number in range(50)]
    records[5] = b"\xff\xff\xff"
    net = make_net(make_database(tmp_path / "damaged", records))
    net.forward()
    assert "more than 1%" in refused(DataError, net.forward).problem


def test_an_unknown_policy_for_bad_records_is_rejected(make_net, source, monkeypatch):
    monkeypatch.setenv("CAFFE_ON_BAD_RECORD", "ignore")
    error = refused(ConfigError, make_net, source)
    assert error.problem == "CAFFE_ON_BAD_RECORD must be error or skip, got 'ignore'"
