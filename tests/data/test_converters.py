"""The converters' databases equal, byte for byte, those recorded from Caffe's tools."""

import gzip
import hashlib
import io
import logging
import lzma
import os
import struct
import tarfile
import urllib.error
from pathlib import Path

import cv2
import numpy as np
import pytest
from data_records import GOLDEN, encoded_record, image_file, raw_record

from pycaffe_like.data.idx import read_idx_images, read_idx_labels
from pycaffe_like.data.lmdb_database import open_database
from pycaffe_like.errors import ConfigError, DataError, MissingFileError
from pycaffe_like.prototxt import schema
from pycaffe_like.tools import (
    compute_image_mean,
    convert_cifar_data,
    convert_imageset,
    convert_mnist_data,
    dataset,
)

IDX = [str(GOLDEN / "idx" / f"part-{part}-ubyte.gz") for part in ("images-idx3", "labels-idx1")]
# SHA-256 of key, a zero byte and record of all 300 records Caffe's convert_mnist_data made of these files.
MNIST_DIGEST = "d25262109c4c350136aa5d93ef39d3d2380b8a40565ccfea2c661c13d7dd4bd2"
SHIPPED = Path(__file__).parents[2] / "models" / "lenet" / "data"


def records(path):
    return list(open_database(path))


def datums(path):
    return [schema.Datum.FromString(value) for _, value in records(path)]


@pytest.mark.parametrize(
    ("recorded", "flags"),
    [
        ("color_lmdb", []),
        ("color_enc_lmdb", ["-encoded", "-encode_type", "png"]),
        ("color_resized_lmdb", ["--resize_width=30", "--resize_height=20"]),
    ],
)
def test_imageset_equals_recorded(recorded, flags, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="caffe")
    path = tmp_path / "out"
    assert convert_imageset.main([*flags, f"{GOLDEN}/", str(GOLDEN / "color_list.txt"), str(path)]) == 0
    assert caplog.messages == ["A total of 6 images.", f"Opened lmdb {path}", "Processed 6 files."]
    assert records(path) == records(GOLDEN / recorded)


@pytest.fixture
def image_folder(tmp_path, rng):
    """Three images, and a list of them with a missing, a bad and an odd line."""
    for name, channels in (("gray.png", 1), ("color.png", 3), ("b c.jpg", 3)):
        image = rng.integers(0, 256, (9, 11, channels), dtype=np.uint8)
        (tmp_path / name).write_bytes(image_file(image, name[name.rindex(".") :]))
    (tmp_path / "bad.png").write_bytes(b"no image")
    lines = ["gray.png 4", "missing.png 1", "bad.png 2", "b c.jpg 7\r", "color.png x"]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n", newline="")
    return tmp_path


def convert_folder(folder, *flags):
    path = folder / "out"
    convert_imageset.main([*flags, f"{folder}/", str(folder / "list.txt"), str(path)])
    return path


def test_unreadable_images_are_skipped_and_keep_their_number(image_folder, caplog):
    caplog.set_level(logging.INFO, logger="caffe")
    path = convert_folder(image_folder)
    assert [key for key, _ in records(path)] == [
        b"00000000_gray.png",
        b"00000003_b c.jpg",
        b"00000004_color.png",
    ]
    assert [datum.label for datum in datums(path)] == [4, 7, 0]
    assert [datum.channels for datum in datums(path)] == [3, 3, 3]
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    assert "missing.png" in errors[0]
    assert "bad.png" in errors[1]
    assert "Processed 3 files." in caplog.messages


def test_gray_images(image_folder):
    first = datums(convert_folder(image_folder, "-gray"))[0]
    assert (first.channels, first.height, first.width) == (1, 9, 11)
    assert first.data == cv2.imread(str(image_folder / "gray.png"), cv2.IMREAD_UNCHANGED).tobytes()


def test_encoded_files_are_stored_unchanged(image_folder):
    stored = datums(convert_folder(image_folder, "-encoded"))
    for datum, name in zip(stored, ("gray.png", "b c.jpg", "color.png")):
        assert datum.data == (image_folder / name).read_bytes()
        assert datum.encoded
        assert not datum.HasField("channels")


def test_other_type_is_encoded_anew(image_folder, caplog):
    caplog.set_level(logging.INFO, logger="caffe")
    stored = datums(convert_folder(image_folder, "-encode_type", "jpg"))
    assert "encode_type specified, assuming encoded=true." in caplog.messages
    color = cv2.imread(str(image_folder / "color.png"))
    assert stored[2].data == cv2.imencode(".jpg", color)[1].tobytes()
    assert stored[1].data == (image_folder / "b c.jpg").read_bytes()


def test_shuffled_set_has_the_same_images(image_folder):
    stored = datums(convert_folder(image_folder, "-shuffle"))
    assert sorted(datum.label for datum in stored) == [0, 4, 7]


def test_check_size(image_folder):
    (image_folder / "list.txt").write_text("color.png 0\nsmall.png 0\n")
    (image_folder / "small.png").write_bytes(image_file(np.zeros((3, 3, 3), np.uint8)))
    with pytest.raises(DataError, match=r"small.png has 27 values, the first one has 297"):
        convert_folder(image_folder, "-check_size")
    with pytest.raises(ConfigError, match="check_size"):
        convert_folder(image_folder, "-check_size", "-encoded")


def test_labels_must_fit_a_record(image_folder):
    (image_folder / "list.txt").write_text("color.png 1\ncolor.png 3000000000\n")
    with pytest.raises(ConfigError, match=r"list.txt:2:11: label 3000000000 is not"):
        convert_folder(image_folder)


@pytest.mark.parametrize(
    ("main", "status"),
    [
        (convert_imageset.main, 1),
        (compute_image_mean.main, 1),
        (convert_mnist_data.main, 0),
        (convert_cifar_data.main, 0),
        (dataset.main, 1),
    ],
)
def test_usage(main, status, capsys):
    assert main([]) == status
    assert "usage: " in capsys.readouterr().out


def test_mnist_equals_recorded(tmp_path):
    assert convert_mnist_data.main([*IDX, str(tmp_path / "out")]) == 0
    digest = hashlib.sha256()
    for key, value in open_database(tmp_path / "out"):
        digest.update(key + b"\0" + value)
    assert digest.hexdigest() == MNIST_DIGEST


def test_mnist_mistakes(tmp_path):
    with pytest.raises(DataError, match=r"magic number is 2049, not 2051\n.*swapped"):
        convert_mnist_data.main([IDX[1], IDX[0], str(tmp_path / "out")])
    (tmp_path / "labels").write_bytes(struct.pack(">II", 2049, 3) + b"abc")
    with pytest.raises(DataError, match=r"300 images, .* 3 labels"):
        convert_mnist_data.main([IDX[0], str(tmp_path / "labels"), str(tmp_path / "out")])
    with pytest.raises(ConfigError, match="LEVELDB"):
        convert_mnist_data.main(["-backend", "leveldb", *IDX, str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_idx_files_packed_in_any_way(tmp_path):
    plain = gzip.decompress(Path(IDX[1]).read_bytes())
    for name, content in (("a", plain), ("b", gzip.compress(plain)), ("c", lzma.compress(plain))):
        (tmp_path / name).write_bytes(content)
        assert read_idx_labels(tmp_path / name).tolist() == list(plain[8:])
    for name, content in (("cut", plain[:-1]), ("cut.gz", gzip.compress(plain)[:-20]), ("short", plain[:5])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            read_idx_labels(tmp_path / name)
    with pytest.raises(MissingFileError):
        read_idx_images(tmp_path / "none")


@pytest.mark.parametrize(
    ("database", "recorded", "values"),
    [
        ("fmnist_lmdb", "mean.binaryproto", ["74.3915"]),
        ("color_enc_lmdb", "color_mean.binaryproto", ["83.0588", "76.844", "82.041"]),
    ],
)
def test_mean_equals_recorded(database, recorded, values, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="caffe")
    path = tmp_path / "mean"
    assert compute_image_mean.main([str(GOLDEN / database), str(path)]) == 0
    assert path.read_bytes() == (GOLDEN / recorded).read_bytes()
    count = len(open_database(GOLDEN / database))
    assert caplog.messages[1:-1] == [
        "Starting iteration",
        f"Processed {count} files.",
        f"Write to {path}",
        f"Number of channels: {len(values)}",
        *(f"mean_value channel [{i}]: {value}" for i, value in enumerate(values)),
    ]


def test_mean_needs_one_size(make_database):
    sizes = [(1, 4, 4), (1, 4, 5)]
    path = make_database(raw_record(np.zeros(size, np.uint8)) for size in sizes)
    with pytest.raises(DataError, match=r"key '00000001': the image is of \(1, 4, 5\)"):
        compute_image_mean.main([str(path)])
    path = make_database([encoded_record(b"x")], "bad")
    with pytest.raises(DataError, match=r"key '00000000': image file is neither"):
        compute_image_mean.main([str(path)])


@pytest.fixture
def cifar_folder(tmp_path, rng):
    folder = tmp_path / "cifar"
    folder.mkdir()
    for name in (*convert_cifar_data.TRAIN_FILES, *convert_cifar_data.TEST_FILES):
        rng.integers(0, 256, (3, 3073), dtype=np.uint8).tofile(folder / name)
    return folder


def check_cifar(folder, output):
    batches = [np.fromfile(folder / name, np.uint8) for name in convert_cifar_data.TRAIN_FILES]
    wanted = np.concatenate(batches).reshape(-1, 3073)
    got = records(output / "cifar10_train_lmdb")
    assert [key for key, _ in got] == [f"{i:05d}".encode() for i in range(15)]
    for (_, value), row in zip(got, wanted):
        datum = schema.Datum.FromString(value)
        assert (datum.channels, datum.height, datum.width, datum.label) == (3, 32, 32, row[0])
        assert datum.data == row[1:].tobytes()
    assert len(records(output / "cifar10_test_lmdb")) == 3


def test_cifar(cifar_folder, tmp_path):
    assert convert_cifar_data.main([str(cifar_folder), str(tmp_path), "lmdb"]) == 0
    check_cifar(cifar_folder, tmp_path)


def test_cifar_files_must_be_whole(cifar_folder, tmp_path):
    os.truncate(cifar_folder / "data_batch_3.bin", 5000)
    with pytest.raises(DataError, match=r"data_batch_3.bin is damaged: 5000 bytes"):
        convert_cifar_data.main([str(cifar_folder), str(tmp_path), "lmdb"])


def test_dataset_of_an_archive_ignores_its_paths(cifar_folder, tmp_path):
    source, output = tmp_path / "source", tmp_path / "output"
    source.mkdir()
    with tarfile.open(source / "cifar-10-binary.tar.gz", "w:gz") as archive:
        evil = tarfile.TarInfo("../../evil.bin")
        archive.addfile(evil, io.BytesIO())
        for file in cifar_folder.iterdir():
            archive.add(file, f"../cifar-10-batches-bin/{file.name}")
    assert dataset.main(["cifar10", "--from", str(source), "--output", str(output)]) == 0
    check_cifar(cifar_folder, output)
    assert not list(tmp_path.rglob("evil.bin"))


def test_shipped_data_set(tmp_path):
    assert dataset.main(["fashion-mnist", "--from", str(SHIPPED), "--output", str(tmp_path)]) == 0
    for part, count in (("train", 10000), ("test", 2000)):
        database = open_database(tmp_path / f"fashion-mnist_{part}_lmdb")
        assert len(database) == count
        labels = [schema.Datum.FromString(value).label for _, value in database]
        assert np.bincount(labels).min() > 0.08 * count
        assert len(np.bincount(labels)) == 10


def test_data_set_that_is_not_known_or_not_there(tmp_path):
    with pytest.raises(ConfigError, match="did you mean mnist"):
        dataset.main(["mnits", "--output", str(tmp_path)])
    with pytest.raises(MissingFileError, match="holds no file train-images-idx3-ubyte"):
        dataset.main(["mnist", "--from", str(tmp_path), "--output", str(tmp_path)])


class Response(io.BytesIO):
    """What urlopen returns."""


def test_download_checks_every_file(tmp_path, monkeypatch):
    asked = []

    def serve(address, timeout):
        asked.append(address)
        if "storage.googleapis" in address:
            raise urllib.error.URLError("no route")
        return Response(b"not the file")

    monkeypatch.setattr(dataset.urllib.request, "urlopen", serve)
    with pytest.raises(DataError) as error:
        dataset.main(["mnist", "--output", str(tmp_path)])
    assert len(asked) == 2
    for part in ("SHA-256", "no route", "--from FOLDER"):
        assert part in str(error.value)


def test_download_is_converted(tmp_path, monkeypatch):
    files = {
        path.name.replace(".xz", ".gz"): gzip.compress(lzma.decompress(path.read_bytes()), 1)
        for path in SHIPPED.glob("*.xz")
    }
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    data_set = dataset.DATA_SETS["fashion-mnist"]._replace(files=checksums)
    monkeypatch.setitem(dataset.DATA_SETS, "fashion-mnist", data_set)
    monkeypatch.setattr(
        dataset.urllib.request,
        "urlopen",
        lambda address, timeout: Response(files[address.rpartition("/")[2]]),
    )
    assert dataset.main(["fashion-mnist", "--output", str(tmp_path)]) == 0
    assert len(open_database(tmp_path / "fashion-mnist_test_lmdb")) == 2000


@pytest.mark.parametrize(
    ("labels", "is_sorted"),
    [
        ("0011", True),
        ("1100", True),
        ("0101", False),
        ("0110", False),
        ("0000", False),
        ("0123", False),
        ("", False),
    ],
)
def test_list_that_is_sorted_by_class_is_recognised(labels, is_sorted):
    entries = [convert_imageset.Entry("x.png", int(label)) for label in labels]
    assert convert_imageset._is_sorted_by_label(entries) == is_sorted


def test_list_that_is_sorted_by_class_is_warned_of(tmp_path, caplog):
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((2, 2, 3), np.uint8))
    (tmp_path / "list.txt").write_text("x.png 0\nx.png 0\nx.png 1\nx.png 1\n")
    arguments = [f"{tmp_path}/", str(tmp_path / "list.txt")]
    assert convert_imageset.main([*arguments, str(tmp_path / "a")]) == 0
    assert "all images of a class stand together" in caplog.text
    caplog.clear()
    assert convert_imageset.main(["-shuffle", *arguments, str(tmp_path / "b")]) == 0
    assert "stand together" not in caplog.text
