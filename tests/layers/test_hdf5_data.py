import builtins
import os
import sys

import h5py
import numpy as np
import pytest
from helpers.layer_facts import EXACT, Example

import caffe
from pycaffe_like.data import hdf5_file, hdf5_rows
from pycaffe_like.errors import ConfigError, DataError, MissingFileError
from pycaffe_like.testing import net_from_text

EXAMPLE = Example('hdf5_data_param { source: "../helpers/rows.txt" batch_size: 2 }', bottoms=(), tops=2)
FIELDS = {"source": None}  # other lists are tried below
BACKWARD = None
IMPOSSIBLE = []  # files and values are refused, which the tests below and the rules' own see to
TOLERANCE = EXACT
FORMULA = False
RUN = False  # needs files

ROWS = (5, 3, 7)  # of each file
COUNT, BATCH = sum(ROWS), 4


@pytest.fixture
def values():
    """Of all files, one behind the other: floats of 4 axes, whole numbers of 1."""
    rng = np.random.default_rng(3)
    return {"data": rng.random((COUNT, 2, 3, 4), np.float32), "number": np.arange(100, 100 + COUNT)}


@pytest.fixture
def source(tmp_path, values):
    """Three files and their list."""
    first = 0
    for index, rows in enumerate(ROWS):
        with h5py.File(tmp_path / f"{index}.h5", "w") as file:
            for name, array in values.items():
                file[name] = array[first : first + rows]
        first += rows
    return write_list(tmp_path, range(len(ROWS)))


def write_list(folder, numbers):
    path = folder / "list.txt"
    path.write_text("".join(f"{folder}/{number}.h5\n" for number in numbers))
    return path


@pytest.fixture
def make_net(tmp_path):
    """Build nets of one HDF5Data layer; those left open are closed after the test."""
    nets = []

    def make(source, param="", tops=("data", "number"), batch=BATCH, more="", **options):
        path = tmp_path / "net.prototxt"
        names = " ".join(f'top: "{top}"' for top in tops)
        path.write_text(
            f'layer {{\n name: "rows" type: "HDF5Data" {names}\n {more}\n'
            f' hdf5_data_param {{ source: "{source}" batch_size: {batch}\n {param} }}\n}}\n'
        )
        nets.append(caffe.Net(str(path), caffe.TRAIN, **options))
        return nets[-1]

    yield make
    for net in nets:
        net.close()


def take(net, count):
    """Copies of the tops of the next batches, one after the other."""
    batches = []
    for _ in range(count):
        net.forward()
        batches.append([blob.data.copy() for blob in net.blobs.values()])
    return [np.concatenate(each) for each in zip(*batches)]


def refused(kind, make, *arguments, **options):
    with pytest.raises(kind) as error:
        make(*arguments, **options)
    assert error.value.layer == "rows"
    return error.value


@pytest.fixture(params=["loaded", "read_as_needed"])
def way(request, monkeypatch):
    """Both ways of reading: files at once, and those too large for it."""
    if request.param == "read_as_needed":
        monkeypatch.setattr(hdf5_file, "MOST_LOADED_BYTES", 0)
        monkeypatch.setattr(hdf5_rows, "MOST_LOADED_BYTES", 0)
    return request.param


# What comes, in which order


@pytest.mark.parametrize("batch", [1, BATCH, COUNT, 2 * COUNT + 3])
def test_rows_come_in_order_across_the_ends_of_files_and_passes(make_net, source, values, way, batch):
    net = make_net(source, batch=batch)
    data, number = take(net, 5)
    order = np.arange(5 * batch) % COUNT
    assert np.array_equal(data, values["data"][order])
    assert np.array_equal(number, values["number"][order])
    assert (net.blobs["data"].dtype, net.blobs["data"].layout) == ("float32", "plain")


def test_shuffled_passes_go_file_by_file(make_net, source, values, way):
    data, number = take(make_net(source, "shuffle: true", batch=COUNT, seed=1), 30)
    index = number.astype(int) - 100
    assert np.array_equal(data, values["data"][index])
    passes = index.reshape(30, COUNT)
    assert np.array_equal(np.sort(passes), np.tile(np.arange(COUNT), (30, 1)))
    assert len({tuple(each) for each in passes}) == 30
    file_of = np.repeat(np.arange(3), ROWS)
    orders = {tuple(dict.fromkeys(file_of[each].tolist())) for each in passes}
    assert len(orders) == 6
    changes = (np.diff(file_of[passes]) != 0).sum(axis=1)
    assert changes.tolist() == [2] * 30


def test_files_of_equal_length_are_shuffled_in_ways_of_their_own(make_net, tmp_path):
    for index in range(2):
        with h5py.File(tmp_path / f"{index}.h5", "w") as file:
            file["data"] = np.arange(8.0) + 8 * index
    source = write_list(tmp_path, range(2))
    (values,) = take(make_net(source, "shuffle: true", ["data"], batch=16, seed=1), 1)
    assert values[:8].tolist() != (values[8:] % 8).tolist() != (values[:8] % 8).tolist()
    assert (values[:8] % 8).tolist() != (values[8:] % 8).tolist()


@pytest.mark.parametrize("param", ["", "shuffle: true"])
@pytest.mark.parametrize("batches", [1, 2, 3, 9])
def test_a_net_that_is_set_to_a_position_goes_on_exactly(make_net, source, way, param, batches):
    first, second = (make_net(source, param, seed=5) for _ in range(2))
    take(first, batches)
    take(second, 1)
    assert first.data_positions() == {"rows": batches * BATCH}
    second.set_data_positions(first.data_positions())
    for wanted, got in zip(take(first, 6), take(second, 6)):
        assert np.array_equal(got, wanted)


def test_shuffles_follow_the_seed(make_net, source):
    first, same, other = (take(make_net(source, "shuffle: true", seed=seed), 4)[1] for seed in (1, 1, 2))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


def test_another_seed_holds_from_the_next_batch_on(make_net, source):
    net, wanted = (make_net(source, "shuffle: true", seed=seed) for seed in (1, 2))
    take(net, 2)
    take(wanted, 2)
    net.reseed(2)
    for got, each in zip(take(net, 4), take(wanted, 4)):
        assert np.array_equal(got, each)


def test_a_file_may_be_listed_twice_and_one_may_be_empty(make_net, source, tmp_path, values):
    with h5py.File(tmp_path / "9.h5", "w") as file:
        file["number"] = np.empty(0)
    _, number = take(make_net(write_list(tmp_path, [1, 1]), batch=6), 1)
    assert np.array_equal(number, np.tile(values["number"][5:8], 2))
    (number,) = take(make_net(write_list(tmp_path, [9, 1, 9]), tops=["number"]), 2)
    assert np.array_equal(number, np.resize(values["number"][5:8], 8))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "u8", "i8", "f2", "f4", "f8", ">f4", ">i2"])
@pytest.mark.parametrize("storage", [{}, {"chunks": (2, 2), "compression": "gzip", "shuffle": True}])
def test_numbers_of_every_kind_become_float32(make_net, tmp_path, way, dtype, storage):
    kind = np.dtype(dtype)
    values = np.linspace(0, 100, 30).reshape(10, 3)
    values = (values - 50 * (kind.kind != "u")).astype(kind)
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file.create_dataset("data", data=values, **storage)
    (data,) = take(make_net(write_list(tmp_path, [0]), "shuffle: true", ["data"], batch=10, seed=2), 1)
    assert np.array_equal(np.sort(data, axis=0), values.astype(np.float32))


@pytest.mark.parametrize("shape", [(6,), (6, 1), (6, 2, 3, 4, 5), (6, 0)])
def test_rows_may_have_any_shape(make_net, tmp_path, way, shape):
    values = np.random.default_rng(1).random(shape, np.float32)
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file["data"] = values
    (data,) = take(make_net(write_list(tmp_path, [0]), tops=["data"], batch=6), 1)
    assert np.array_equal(data, values)


def test_names_may_stand_in_one_line(make_net, source, tmp_path, values):
    source.write_text(f"  {tmp_path}/0.h5\t{tmp_path}/1.h5\r\n\n{tmp_path}/2.h5")
    assert np.array_equal(take(make_net(source, batch=COUNT), 1)[1], values["number"])


def test_memory_is_that_of_batches_made_ahead_and_the_largest_file(make_net, source, monkeypatch):
    row = 4 * (2 * 3 * 4 + 1)
    assert make_net(source).memory().private == 2 * BATCH * row + 7 * row
    monkeypatch.setattr(hdf5_rows, "MOST_LOADED_BYTES", 5 * row)
    assert make_net(source).memory().private == 2 * BATCH * row + 5 * row


# Lists, files and datasets that are not what they should be


def change(path, function):
    with h5py.File(path, "r+") as file:
        function(file)


def replace(name, value):
    def function(file):
        del file[name]
        file[name] = value

    return function


def virtual(file):
    del file["data"]
    layout = h5py.VirtualLayout((3, 2, 3, 4), "f4")
    layout[:] = h5py.VirtualSource("0.h5", "data", (5, 2, 3, 4))[:3]
    file.create_virtual_dataset("data", layout)


def external(file):
    del file["number"]
    file.create_dataset("number", (3,), "i8", external=[("/etc/passwd", 0, 24)])


def renamed(file):
    file.move("number", "numbers")


WRONG = {
    "no_dataset": (renamed, "there is no dataset 'number'"),
    "group": (lambda file: (file.pop("data"), file.create_group("data")), "'data' is no dataset"),
    "soft_link": (replace("number", h5py.SoftLink("/data")), "'number' is a link to elsewhere"),
    "external_link": (replace("data", h5py.ExternalLink("0.h5", "/data")), "'data' is a link to elsewhere"),
    "virtual": (virtual, "the values of dataset 'data' lie in other files"),
    "external": (external, "the values of dataset 'number' lie in other files"),
    "text": (
        replace("number", np.array([b"a", b"b", b"c"])),
        "dataset 'number' holds |S1, not integers or floats",
    ),
    "bool": (replace("number", [True, False, True]), "dataset 'number' holds bool, not integers or floats"),
    "complex": (replace("number", [1j, 2, 3]), "dataset 'number' holds complex128, not integers or floats"),
    "single": (replace("number", 3.0), "dataset 'number' is a single value"),
    "counts": (replace("number", np.zeros(4)), "equally many rows: 'data' has 3, 'number' has 4"),
    "shape": (replace("data", np.zeros((3, 2, 4, 3))), "have shape (2, 4, 3), in the first file (2, 3, 4)"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_dataset_is_refused_with_the_line_of_the_list(make_net, source, tmp_path, kind):
    spoil, words = WRONG[kind]
    change(tmp_path / "1.h5", spoil)
    error = refused(DataError, make_net, source)
    assert words in error.problem
    assert f"HDF5 file '{tmp_path}/1.h5'" in error.problem
    assert (error.file, error.line) == (str(source), 2)


def test_names_that_are_close_are_told(make_net, source, tmp_path):
    change(tmp_path / "0.h5", renamed)
    assert "did you mean numbers?" in refused(DataError, make_net, source).hint
    hint = refused(DataError, make_net, source, tops=["x"]).hint
    assert hint == "each top has the name of a dataset; the file holds data, numbers"


@pytest.mark.parametrize("name", ["/data", "data/", ".", "..", "", "a/../data"])
def test_only_names_at_the_root_are_datasets(make_net, source, name):
    assert "there is no dataset" in refused(DataError, make_net, source, tops=[name]).problem


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


BAD_FILES = {
    "missing": (lambda path: path.unlink(), MissingFileError, "there is no such file"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), DataError, "it is not a regular file"),
    "pipe": (lambda path: (path.unlink(), os.mkfifo(path)), DataError, "it is not a regular file"),
    "text": (lambda path: path.write_text("no numbers"), DataError, "it cannot be read"),
    "cut": (cut, DataError, "cannot be read"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_refused_when_the_net_is_built(make_net, source, tmp_path, kind):
    spoil, error_kind, words = BAD_FILES[kind]
    spoil(tmp_path / "1.h5")
    error = refused(error_kind, make_net, source)
    assert words in error.problem
    assert (error.file, error.line) == (str(source), 2)


def test_a_damaged_chunk_is_reported_when_it_is_read(make_net, tmp_path, way):
    values = np.random.default_rng(1).random((40, 50))
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file.create_dataset("data", data=values, chunks=(10, 50), fletcher32=True)
    content = bytearray((tmp_path / "0.h5").read_bytes())
    content[content.index(values[25].tobytes()) + 3] ^= 1
    (tmp_path / "0.h5").write_bytes(content)
    error = refused(DataError, lambda: take(make_net(write_list(tmp_path, [0]), tops=["data"]), 10))
    assert "dataset 'data' cannot be read" in error.problem
    assert error.line == 1


def test_a_file_that_changes_meanwhile_is_refused(make_net, source, tmp_path):
    net = make_net(source)
    change(tmp_path / "0.h5", replace("number", [1]))
    change(tmp_path / "0.h5", replace("data", np.ones((1, 2, 3, 4))))
    assert "it has changed since the net was built" in refused(DataError, net.forward).problem


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_a_list_that_names_nothing_is_refused(make_net, source, text):
    source.write_text(text)
    assert "names no file" in refused(DataError, make_net, source).problem


def test_a_missing_list_is_reported_with_the_layer(make_net, tmp_path):
    error = refused(MissingFileError, make_net, tmp_path / "nowhere.txt")
    assert "there is no such file" in error.problem
    assert error.file.endswith("net.prototxt")


def test_files_without_rows_are_refused(make_net, tmp_path):
    with h5py.File(tmp_path / "0.h5", "w") as file:
        file["data"] = np.empty((0, 3))
    source = write_list(tmp_path, [0, 0])
    assert "neither it nor any other file" in refused(DataError, make_net, source, tops=["data"]).problem


def test_a_transformation_is_refused(make_net, source):
    error = refused(ConfigError, make_net, source, more="transform_param { scale: 2 }")
    assert error.problem == "HDF5Data does not transform what it reads"
    assert error.line == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("hdf5_data_param { batch_size: 4 }", "source is missing"),
        ('hdf5_data_param { source: "x" }', "batch_size must be >= 1, got nothing"),
        ('hdf5_data_param { source: "x" batch_size: 0 }', "batch_size must be an int >= 1, got 0"),
    ],
)
def test_bad_parameters_are_rejected(text, problem):
    layer = f'layer {{ name: "rows" type: "HDF5Data" top: "data" {text} }}'
    assert refused(ConfigError, net_from_text, layer).problem == problem


def test_without_h5py_the_error_says_how_to_install_it(make_net, source, monkeypatch):
    real_import = builtins.__import__

    def without_h5py(name, *arguments, **options):
        if name == "h5py":
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "h5py")
    monkeypatch.setattr(builtins, "__import__", without_h5py)
    error = refused(ConfigError, make_net, source)
    assert "h5py, which is not installed" in error.problem
    assert error.hint == "install it: pip install 'pycaffe-like[hdf5]'"
    assert error.line == 1
