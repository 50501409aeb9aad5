"""Layers and nets do on a GPU what they do on the CPU; errors are recorded for the report of a GPU check."""

from pathlib import Path

import numpy as np
import pytest
from helpers.golden import GOLDEN
from helpers.layer_examples import between_matrix_layers, build, run
from helpers.layer_facts import told
from helpers.residual_net import RESIDUAL, TRAIN

import caffe
from benchmarks.engine_ours import OurTraining
from benchmarks.task import Task
from pycaffe_like.device import default_device
from pycaffe_like.layer_type import layer_types

pytestmark = pytest.mark.skipif(default_device() == "cpu", reason="needs a GPU, or an emulated one")

TOLERANCES = {"float32": 1e-4, "bfloat16": 2e-2}
KINDS = [
    pytest.param(kind, marks=[pytest.mark.sanitized] if told(kind, "SANITIZED") else [])
    for kind in layer_types()
]
MODELS = Path(__file__).parents[2] / "models"
STEPS = 10
RATES = {"lenet": 1e-3, "cifar10_quick": 1e-2, "residual": 1e-3}  # at which the losses move in so few steps


@pytest.fixture(autouse=True)
def _golden_folder(monkeypatch):
    """Let the Data example find its database."""
    monkeypatch.chdir(GOLDEN)


def largest_error(got, wanted):
    """Largest difference relative to the largest value; infinite for NaN."""
    difference = np.abs(np.asarray(got, np.float64) - wanted)
    error = np.max(difference, initial=0) / max(np.max(np.abs(wanted), initial=0), 1e-6)
    return error if error == error else np.inf


def builds(kind, precision):
    """Functions that build the example on a device: phases and layouts, in bfloat16 between matrix layers."""
    for phase in (caffe.TRAIN, caffe.TEST):
        if precision == "bfloat16":
            yield lambda device, phase=phase: between_matrix_layers(
                kind, phase, precision=precision, device=device
            )
        else:
            for plain in (False, True):
                yield lambda device, phase=phase, plain=plain: build(kind, phase, plain=plain, device=device)


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_layer_does_what_it_does_on_the_cpu(kind, precision, record_property):
    errors = {}
    for build_on in builds(kind, precision):
        net = build_on("cuda")
        got, wanted = run(net), run(build_on("cpu"))
        assert list(got) == list(wanted)
        for name, values in wanted.items():
            errors[name] = max(errors.get(name, 0), largest_error(got[name], values))
    on_gpu = any(node.device == "cuda" for node in net.graph.nodes if node.name == "layer")
    record_property("parity", kind if on_gpu else f"{kind} (on the CPU)")
    record_property("precision", precision)
    record_property("error", f"{max(errors.values()):.1e}")
    assert not {name: error for name, error in errors.items() if not error <= TOLERANCES[precision]}


@pytest.fixture
def net_path(request, tmp_path):
    """Path of a model's net, or of the residual one."""
    if request.param != "residual":
        return MODELS / request.param / "train_val.prototxt"
    path = tmp_path / "residual" / "train_val.prototxt"
    path.parent.mkdir()
    path.write_text(RESIDUAL + TRAIN)
    return path


@pytest.mark.parametrize("net_path", RATES, indirect=True)
def test_net_learns_as_on_the_cpu(net_path, record_property):
    got, wanted = (losses(net_path, device) for device in ("emulated", "cpu"))
    error = np.max(np.abs(got - wanted) / wanted)
    record_property("parity", f"{net_path.parent.name}, losses of {STEPS} steps")
    record_property("precision", "float32")
    record_property("error", f"{error:.1e}")
    assert wanted[-1] < 0.99 * wanted[0]
    assert error <= TOLERANCES["float32"]


def losses(net_path, device):
    """Losses of some steps; to our engine a GPU and an emulated one are the same."""
    task = Task(str(net_path), "train", 4, device=device)
    engine = OurTraining(task, RATES[net_path.parent.name])
    return np.array([engine.step() for _ in range(STEPS)])
