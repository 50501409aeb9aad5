"""Every field of a solver changes a run, is refused at its place, or is on the list of `solver/checks.py`.

As in `test_fields.py`; a run is a training of four iterations, and what is compared are its weights, what it
prints and the files it writes.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.fields import check_verdicts, is_set, values_of, with_value

from pycaffe_like.device import default_device
from pycaffe_like.errors import ConfigError, DataError
from pycaffe_like.prototxt import schema
from pycaffe_like.prototxt import text as prototext
from pycaffe_like.solver.checks import SOLVER
from pycaffe_like.solver.types import get_solver
from pycaffe_like.tools import train_net

pytestmark = pytest.mark.skipif(
    default_device() != "cpu", reason="a solver reads its file the same on every device"
)

NET = """
layer { name: "x" type: "DummyData" top: "x" top: "label"
  dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 }
    data_filler { type: "gaussian" } data_filler { value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 2 weight_filler { type: "gaussian" } } }
layer { name: "more" type: "Dropout" bottom: "y" top: "z" include { stage: "s" } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "y" bottom: "label" top: "loss" }
"""
BASE = {
    "base_lr": "0.1", "lr_policy": '"fixed"', "max_iter": "4", "snapshot_after_train": "false",
    "random_seed": "1", "net": '"net.prototxt"', "snapshot_prefix": '"run"',
}  # fmt: skip
TEST = {"test_iter": "1", "test_interval": "2"}
SHRINKING = {"lr_policy": '"exp"', "gamma": "0.5"}

# Field: what else is set (None: not set), and the field's text.
CASES: dict[str, tuple[dict[str, str | None], str]] = {
    "net": ({"net": None, "train_net": '"other.prototxt"'}, '"net.prototxt"'),
    "net_param": ({}, "{ }"),
    "train_net": ({}, '"net.prototxt"'),
    "train_net_param": ({}, "{ }"),
    "train_state": ({}, '{ stage: "s" }'),
    "test_net": (TEST, '"other.prototxt"'),
    "test_net_param": (TEST, f"{{ {NET.replace('dim: 4', 'dim: 5')} }}".replace("\n", " ")),
    "test_state": (TEST, '{ stage: "s" }'),
    "test_iter": (TEST, "[1, 1]"),
    "test_interval": (TEST, "1"),
    "test_initialization": (TEST, "false"),
    "test_compute_loss": (TEST, "true"),
    "type": ({}, '"Adam"'),
    "base_lr": ({}, "0.2"),
    "lr_policy": ({"gamma": "0.5", "power": "1"}, '"inv"'),
    "gamma": (SHRINKING, "0.25"),
    "power": ({"lr_policy": '"inv"', "gamma": "0.5", "power": "1"}, "2"),
    "stepsize": ({"lr_policy": '"step"', "gamma": "0.5", "stepsize": "1"}, "2"),
    "stepvalue": ({"lr_policy": '"multistep"', "gamma": "0.5", "stepvalue": "1"}, "2"),
    "stageiter": ({"lr_policy": '"multifixed"', "stageiter": "[1, 4]", "stagelr": "[1, 2]"}, "[2, 4]"),
    "stagelr": ({"lr_policy": '"multifixed"', "stageiter": "[1, 4]", "stagelr": "[1, 2]"}, "[1, 3]"),
    "min_lr": (SHRINKING, "0.05"),
    "warmup_iter": ({}, "3"),
    "warmup_start_lr": ({"warmup_iter": "3"}, "0.05"),
    "rampup_interval": ({}, "3"),
    "rampup_lr": ({"rampup_interval": "3"}, "0.05"),
    "momentum": ({}, "0.5"),
    "momentum2": ({"type": '"Adam"'}, "0.5"),
    "rms_decay": ({"type": '"RMSProp"'}, "0.5"),
    "delta": ({"type": '"AdaGrad"'}, "0.5"),
    "weight_decay": ({}, "0.5"),
    "regularization_type": ({"weight_decay": "0.5"}, '"L1"'),
    "clip_gradients": ({}, "0.01"),
    "iter_size": ({}, "2"),
    "average_loss": ({"display": "2"}, "3"),
    "max_iter": ({}, "3"),
    "display": ({}, "2"),
    "snapshot": ({}, "2"),
    "snapshot_prefix": ({"snapshot": "2"}, '"other"'),
    "snapshot_diff": ({"snapshot": "4"}, "true"),
    "snapshot_format": ({}, "HDF5"),
    "snapshot_after_train": ({}, "true"),
    "weights": ({}, '"trained.caffemodel"'),
    "random_seed": ({}, "2"),
    "solver_type": ({}, "ADAM"),
}


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("other.prototxt").write_text(NET.replace("num_output: 2", "num_output: 3"))


def run(text: str, caplog: Any) -> Any:
    """What a training ends with: weights, lines and files; or its error."""
    for path in Path().glob("*run*"):
        path.unlink()
    Path("solver.prototxt").write_text(text)
    caplog.clear()
    caplog.set_level(logging.INFO, "caffe")
    try:
        solver = get_solver("solver.prototxt")
        solver.solve()
    except (ConfigError, DataError) as error:
        return error
    weights = [blob.data.tobytes() for blobs in solver.net.params.values() for blob in blobs]
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    timeless = [re.sub(r"\(.*?iter/s.*?\)", "", line) for line in lines if "from parameters" not in line]
    return weights, timeless, sorted((path.name, path.stat().st_size) for path in Path().glob("*.*model*"))


def solver_text(settings: dict[str, str | None]) -> str:
    """One field a line."""
    return "\n".join(f"{name}: {value}" for name, value in settings.items() if value is not None)


def verdict(before: str, after: str, field: str, caplog: Any) -> str:
    """See `test_fields.verdict`."""
    first, second = run(before, caplog), run(after, caplog)
    assert not isinstance(first, Exception), first
    if not isinstance(second, Exception):
        return "effect" if first != second else "nothing"
    assert second.line is not None or isinstance(second, DataError), second
    if second.problem.startswith("field "):
        assert field in after.splitlines()[second.line - 1]
        assert second.hint
    return "refused"


OF_THE_COMMAND = ("device_id", "solver_mode")
"""Fields that the command reads, not the solver."""


@pytest.mark.parametrize(
    "field",
    [field.name for field in schema.SolverParameter.DESCRIPTOR.fields if field.name not in OF_THE_COMMAND],
)
def test_field_of_a_solver(field, caplog):
    descriptor = schema.SolverParameter.DESCRIPTOR.fields_by_name[field]
    if field in CASES:
        others, value = CASES[field]
        base = {**BASE, **others}
        changed = {name: text for name, text in base.items() if name != field} | {field: value}
        assert verdict(solver_text(base), solver_text(changed), field, caplog) in ("effect", "refused")
        assert field in SOLVER.understood or field == "solver_type"
        return
    base = prototext.parse(solver_text(BASE), schema.SolverParameter).message
    verdicts = {}
    for value in values_of(descriptor):
        changed = with_value(base, (field,), value)
        if is_set(changed, (field,)):
            texts = prototext.format(base), prototext.format(changed)
            verdicts[value] = verdict(*texts, field, caplog)
    check_verdicts(verdicts, SOLVER, descriptor)


@pytest.mark.parametrize("field", ["level", "phase"])
def test_state_of_a_net(field, caplog):
    value = {"level": "1", "phase": "TEST"}[field]
    net = NET.replace('stage: "s"', {"level": "min_level: 1", "phase": "phase: TEST"}[field])
    Path("net.prototxt").write_text(net)
    text = solver_text(BASE)
    assert verdict(text, f"{text}\ntrain_state {{ {field}: {value} }}", field, caplog) == "effect"


def test_the_command_reads_device_and_mode(monkeypatch):
    def device(text: str) -> str:
        return train_net._gpu_of(prototext.parse(text, schema.SolverParameter))

    monkeypatch.setattr(
        train_net, "core", type("Core", (), {"accelerator_built": staticmethod(lambda: True)})
    )
    assert device("solver_mode: GPU") == "0"
    assert device("solver_mode: GPU device_id: 1") == "1"
    assert device("solver_mode: CPU device_id: 1") == ""
