"""The `caffe` command runs code that a file names only when its user allows it."""

import os
import subprocess
import sys

import pytest

import caffe
from pycaffe_like.errors import ConfigError
from pycaffe_like.testing import net_from_text
from pycaffe_like.tools import main as command
from pycaffe_like.user_layers import user_code

NET = """
layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: 1 dim: 2 dim: 2 }} }} }}
layer {{ name: "mine" type: "Python" bottom: "x" top: "y" loss_weight: 1 {fields} }}
"""
FIELDS = 'python_param { module: "my_layers" layer: "Sum" }'
CODE = """
import pathlib
import caffe
pathlib.Path("it_ran").touch()
class Sum(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape(1)
    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data.sum()
    def backward(self, top, propagate_down, bottom):
        if propagate_down[0]:
            raise RuntimeError("backward was called")
"""
COMMANDS = {
    "train": ["train", "-solver", "solver.prototxt"],
    "test": ["test", "-model", "net.prototxt", "-weights", "net.caffemodel", "-iterations", "1"],
    "time": ["time", "-model", "net.prototxt", "-iterations", "1"],
    "summary": ["summary", "-model", "net.prototxt"],
    "summary of a solver": ["summary", "-solver", "solver.prototxt"],
    "classify": ["classify", "-model", "net.prototxt", "-weights", "net.caffemodel", "image.png"],
}
every_command = pytest.mark.parametrize("argv", COMMANDS.values(), ids=COMMANDS)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Working directory with a net, a solver, weights and the module of the layer, which is on the path."""
    (tmp_path / "net.prototxt").write_text(NET.format(fields=FIELDS))
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "s"'
    )
    (tmp_path / "my_layers.py").write_text(CODE)
    (tmp_path / "net.caffemodel").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_layers", raising=False)
    monkeypatch.delenv(user_code.VARIABLE, raising=False)
    return tmp_path


@every_command
def test_command_does_not_run_what_a_file_names(folder, capsys, argv):
    assert command.main(argv) == 1
    err = capsys.readouterr().err
    assert "net.prototxt:3:22: layer 'mine' (Python): a file may not run Python code" in err
    assert "add -allow_python_layers or set CAFFE_ALLOW_PYTHON_LAYERS=1" in err
    assert not (folder / "it_ran").exists()
    assert "my_layers" not in sys.modules


@every_command
@pytest.mark.parametrize("value", ["0", "", "no", "2"])
def test_no_other_value_of_the_variable_allows_it(folder, monkeypatch, argv, value):
    monkeypatch.setenv(user_code.VARIABLE, value)
    assert command.main(argv) == 1
    assert not (folder / "it_ran").exists()


ATTEMPTS = [
    'python_param { module: "my_layers" layer: "Sum" param_str: "-allow_python_layers" }',
    'python_param { module: "my_layers.Sum" layer: "Sum" }',
    'python_param { module: "./my_layers" layer: "Sum" }',
    'python_param { module: ".my_layers" layer: "Sum" }',
    'python_param { module: "sitecustomize" layer: "Sum" }',
    'python_param { module: "my_layers" }',
    'python_param { layer: "my_layers.Sum" }',
    'include { phase: TRAIN } include { phase: TEST } python_param { module: "my_layers" layer: "Sum" }',
]


@pytest.mark.parametrize("fields", ATTEMPTS)
def test_no_way_of_naming_it_runs_it(folder, fields):
    (folder / "sitecustomize.py").write_text(CODE)
    (folder / "net.prototxt").write_text(NET.format(fields=fields))
    loaded = set(sys.modules)
    assert command.main(COMMANDS["summary"]) == 1
    assert not (folder / "it_ran").exists()
    assert not {name for name in set(sys.modules) - loaded if not name.startswith("pycaffe_like")}


@pytest.mark.parametrize("how", ["flag", "flag before the command", "variable"])
def test_user_may_allow_it(folder, monkeypatch, capsys, how):
    argv = list(COMMANDS["summary"])
    if how == "variable":
        monkeypatch.setenv(user_code.VARIABLE, "1")
    else:
        argv.insert(len(argv) if how == "flag" else 0, "-allow_python_layers")
    assert command.main(argv) == 0
    assert "mine   Python  1" in capsys.readouterr().out
    assert (folder / "it_ran").exists()


@pytest.mark.parametrize("name", ["test", "time", "train"])
def test_allowed_layer_runs_in_every_command_that_computes(folder, name):
    net_from_text(NET.format(fields=FIELDS)).save("net.caffemodel")
    (folder / "it_ran").unlink()
    sys.modules.pop("my_layers")
    assert command.main([*COMMANDS[name], "-allow_python_layers"]) == 0
    assert (folder / "it_ran").exists()


def test_permission_ends_with_the_command(folder):
    assert command.main([*COMMANDS["summary"], "-allow_python_layers"]) == 0
    assert command.main(COMMANDS["summary"]) == 1


def test_program_may_run_what_a_file_names_unless_it_forbids_that(folder):
    assert net_from_text(NET.format(fields=FIELDS), caffe.TRAIN).layers[1].type == "Python"
    with user_code.forbidden(), pytest.raises(ConfigError, match="may not run Python code"):
        net_from_text(NET.format(fields=FIELDS), caffe.TRAIN)


def test_exception_of_a_layer_ends_the_command_with_its_traceback_and_status_1(folder):
    text = NET.format(fields=FIELDS)
    (folder / "net.prototxt").write_text(f"force_backward: true {text}")
    done = subprocess.run(
        [sys.executable, "-m", "pycaffe_like.tools.main", *COMMANDS["train"], "-allow_python_layers"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert 'my_layers.py", line 12, in backward' in done.stderr
    assert "RuntimeError: backward was called" in done.stderr
    if sys.version_info >= (3, 11):
        assert "net.prototxt:3:1: layer 'mine' (Python): raised in my_layers.Sum.backward" in done.stderr
