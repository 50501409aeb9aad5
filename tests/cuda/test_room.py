"""Nets that are too large for the GPU are refused before anything is allocated or trained."""

import re

import pytest

from pycaffe_like import _core as core
from pycaffe_like.device import default_device
from pycaffe_like.errors import DeviceError
from pycaffe_like.net import TEST, TRAIN
from pycaffe_like.plan.memory import bytes_to_come
from pycaffe_like.prototxt.upgrade import read_solver
from pycaffe_like.solver.types import SGDSolver
from pycaffe_like.testing import net_from_text

pytestmark = pytest.mark.skipif(default_device() == "cpu", reason="needs a GPU, or an emulated one")

BYTES = r"needs (\d+) bytes on the GPU, (\d+) of its (\d+) bytes are free; use a smaller batch"


BLOB = 4 * 256 * 64**3  # bytes


def net_text(blobs, items=256):
    """A net that keeps so many large blobs."""
    shape = f"shape {{ dim: {items} dim: 64 dim: 64 dim: 64 }}"
    layers = [f'layer {{ name: "x" type: "Input" top: "0" input_param {{ {shape} }} }}']
    for i in range(blobs - 1):
        layers.append(f'layer {{ name: "tanh{i}" type: "TanH" bottom: "{i}" top: "{i + 1}" }}')
    layers.append(
        f'layer {{ name: "ip" type: "InnerProduct" bottom: "{blobs - 1}" top: "z" loss_weight: 1 '
        "inner_product_param { num_output: 1 } }"
    )
    return 'name: "large"' + "\n".join(layers)


def blobs_for(part):
    """How many blobs need this part of the GPU's free memory."""
    free, _ = core.accelerator_memory(0)
    return int(free * part) // BLOB


def test_a_net_that_does_not_fit_is_refused_by_the_bytes_of_its_plan():
    blobs, before = blobs_for(1.1), core.allocations()[0]
    with pytest.raises(DeviceError, match="net 'large' " + BYTES) as caught:
        net_from_text(net_text(blobs), TEST, device="cuda")
    needed, free, total = map(int, re.search(BYTES, str(caught.value)).groups())
    assert blobs * BLOB <= needed < 1.05 * blobs * BLOB
    assert needed > free
    assert free <= total
    assert core.allocations()[0] - before < BLOB / 2  # its weights and small things, if that
    assert net_from_text(net_text(blobs), TEST, device="cuda", fill=False).memory().total > needed


def test_a_net_that_fits_is_built():
    net_from_text(net_text(blobs_for(0.6)), TEST, device="cuda")


def test_nets_of_a_solver_are_refused_where_they_do_not_fit_together(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(net_text(blobs_for(0.6)))
    solver = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" test_iter: 1 test_interval: 5 max_iter: 5'
    (tmp_path / "solver.prototxt").write_text(solver)
    with pytest.raises(DeviceError, match="net 'large', with its test nets and history, " + BYTES):
        SGDSolver(read_solver("solver.prototxt"), device="cuda")


def test_what_is_foretold_is_what_is_allocated():
    net = net_from_text(net_text(2, items=2), TRAIN, device="cuda", keep_data=False, keep_diffs=False)
    before, foretold = core.allocations()[0], bytes_to_come(net.plan, "cuda")
    net.forward_loss()
    net.plan.executor.backward(0, len(net.plan.executor))
    core.synchronize()
    allocated = core.allocations()[0] - before
    assert foretold <= allocated <= foretold + 64 * 64  # what each array is rounded up by
    # Scratch is counted also where it is there already; how much it is, NVIDIA's libraries decide.
    assert bytes_to_come(net.plan, "cuda") == net.plan.executor.scratch_bytes("cuda")
