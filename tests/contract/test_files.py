"""What is not a regular file is refused wherever a path is read: nothing waits for a pipe."""

import os
import signal
import socket
from pathlib import Path

import pytest

from pycaffe_like.data.idx import read_idx_images, read_idx_labels
from pycaffe_like.data.lmdb_database import open_database
from pycaffe_like.data.mean_file import read_mean
from pycaffe_like.errors import DataError
from pycaffe_like.files import open_regular, read_bytes
from pycaffe_like.net import TEST
from pycaffe_like.pycaffe.net import Net
from pycaffe_like.solver.snapshot import read_snapshot
from pycaffe_like.solver.types import get_solver
from pycaffe_like.tools import convert_cifar_data, dataset, main
from pycaffe_like.weights.caffemodel import read_weights

LENET = Path(__file__).parents[1] / "golden" / "files" / "lenet"
DEPLOY, WEIGHTS = LENET / "deploy.prototxt", LENET / "lenet_iter_200.caffemodel"


@pytest.fixture(autouse=True)
def _give_up():
    """End a test that waits."""

    def fail(*_):
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def _fifo(path):
    os.mkfifo(path)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


KINDS = {
    "pipe": _fifo,
    "link to a pipe": lambda path: (os.mkfifo(f"{path}.pipe"), path.symlink_to(f"{path}.pipe")),
    "folder": lambda path: path.mkdir(),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/ptmx"),
    "socket": _socket,
}


def _solver_of(net):
    path = net.parent / "solver.prototxt"
    path.write_text(f'net: "{net}" base_lr: 0.1 lr_policy: "fixed" max_iter: 1')
    return get_solver(str(path))


PYTHON_DOORS = {
    "net": lambda path: Net(path, TEST),
    "solver": lambda path: get_solver(str(path)),
    "net of a solver": _solver_of,
    "weights": lambda path: read_weights(path),
    "weights of a net": lambda path: Net(DEPLOY, TEST, weights=str(path)),
    "solver state": lambda path: read_snapshot(str(path)),
    "mean": lambda path: read_mean(str(path)),
    "images of MNIST": lambda path: read_idx_images(path),
    "labels of MNIST": lambda path: read_idx_labels(path),
    "images of CIFAR": lambda path: convert_cifar_data._read_batch(path),
    "archive of CIFAR": lambda path: dataset._unpack_cifar(path, path.parent),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", PYTHON_DOORS)
def test_only_regular_files_are_read(door, kind, tmp_path):
    path = tmp_path / "it"
    KINDS[kind](path)
    with pytest.raises(OSError, match=r"it.*not a file|No such device") as caught:
        PYTHON_DOORS[door](path)
    assert isinstance(caught.value, DataError) or door == "archive of CIFAR"


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_regular_file_is_a_database(kind, tmp_path):
    (tmp_path / "db").mkdir()
    KINDS[kind](tmp_path / "db" / "data.mdb")
    with pytest.raises(DataError, match=r"db"):
        open_database(tmp_path / "db", "LMDB")


CLASSIFY = ["classify", "-model", DEPLOY, "-weights", WEIGHTS]
COMMANDS = {
    "image": lambda path: [*CLASSIFY, path],
    "labels": lambda path: [*CLASSIFY, "-labels", path, DEPLOY],
    "mean_file": lambda path: [*CLASSIFY, "-mean_file", path, DEPLOY],
    "list": lambda path: ["convert_imageset", "", path, path.parent / "db"],
    "solver": lambda path: ["train", "-solver", path],
    "model": lambda path: ["summary", "-model", path],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_read_only_regular_files(command, kind, tmp_path, capsys):
    path = tmp_path / "it"
    KINDS[kind](path)
    assert main.main([str(word) for word in COMMANDS[command](path)]) == 1
    err = capsys.readouterr().err
    assert "it" in err
    assert "not a file" in err or "No such device" in err
    assert "Traceback" not in err


def test_image_of_a_list_that_is_a_pipe_is_an_error_of_its_own(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "list").write_text("pipe.jpg 0\n")
    main.main(["convert_imageset", f"{tmp_path}/", str(tmp_path / "list"), str(tmp_path / "db")])
    assert "pipe.jpg' cannot be read: it is a pipe, not a file" in capsys.readouterr().err


def test_link_to_a_file_is_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "link", 4) == b"text"
    with pytest.raises(OSError, match="more than 3 bytes"):
        read_bytes(tmp_path / "link", 3)


def test_name_with_a_zero_byte_is_no_traceback():
    with pytest.raises(OSError, match="zero byte"):
        open_regular("a\0b")


def test_refused_file_is_closed(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(OSError, match="a folder, not a file"):
            open_regular(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before
