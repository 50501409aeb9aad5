"""What a step has to compute and to move, counted by hand, and its time beside the machine's peaks."""

import pytest

from pycaffe_like import _core as core
from pycaffe_like.roofline import Machine, Work, roofline, table
from pycaffe_like.testing import net_from_text

MACHINE = Machine({"float32": 2.0, "bfloat16": 4.0}, gbytes=1.0)
FLOAT = 4

NET = """
layer { name: "in" type: "Input" top: "x" top: "label"
  input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } shape { dim: 2 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
  convolution_param { num_output: 16 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "y" top: "y" }
layer { name: "norm" type: "LRN" bottom: "y" top: "z" }
layer { name: "flat" type: "Flatten" bottom: "z" top: "f" }
layer { name: "ip" type: "InnerProduct" bottom: "f" top: "scores"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss" }
"""
X, Y, WEIGHTS = 2 * 3 * 64, 2 * 16 * 64, 16 * 3 * 9 + 16
CONV_FLOPS = 2 * Y * 27 + Y + Y  # products, bias, the ReLU that is fused


@pytest.fixture
def works():
    def measure(precision="float32"):
        net = net_from_text(NET, precision=precision)
        rows = roofline(net, [(1.0, 1.0)] * len(net.plan.graph.nodes), MACHINE)
        return {(row.name, row.direction): row for row in rows}

    return measure


def test_convolution_reads_bottom_and_weights_and_writes_its_top(works):
    assert works()["conv+relu", "forward"].work == Work(CONV_FLOPS, FLOAT * (X + WEIGHTS + Y))


def test_first_convolution_has_one_gradient_to_compute(works):
    # reads the top's diff, the top (for the ReLU) and the bottom, writes the weights' gradient
    assert works()["conv+relu", "backward"].work == Work(CONV_FLOPS, FLOAT * (Y + Y + X + WEIGHTS))


def test_inner_product_has_two_gradients_to_compute(works):
    weights = 5 * Y // 2 + 5
    rows = works()
    forward, backward = rows["ip", "forward"].work, rows["ip", "backward"].work
    assert forward == Work(2 * 5 * Y + 10, FLOAT * (Y + weights + 10))
    assert backward == Work(2 * forward.flops, FLOAT * (10 + weights + Y + weights + Y))


def test_layers_that_hand_their_memory_on_move_nothing(works):
    rows = works()
    assert rows["flat", "forward"].work == rows["flat", "backward"].work == Work(0, 0)
    assert rows["flat", "forward"].share is None
    assert rows["in", "forward"].work.bytes == 0


def test_local_response_norm_reads_its_bottom_again(works):
    rows = works()
    assert rows["norm", "forward"].work.bytes == FLOAT * 2 * Y
    assert rows["norm", "backward"].work.bytes == FLOAT * 3 * Y


def test_the_lower_roof_counts(works):
    rows = works()
    conv, norm = rows["conv+relu", "forward"], rows["norm", "forward"]
    assert conv.share == pytest.approx(conv.work.flops / 2e9 / 1e-3)  # bound by arithmetic
    assert norm.share == pytest.approx(norm.work.bytes / 1e9 / 1e-3)  # bound by memory


def test_bfloat16_halves_bytes_and_has_its_own_peak(works):
    work = works("bfloat16")["conv+relu", "forward"]
    assert work.work.bytes == 2 * (X + Y) + FLOAT * WEIGHTS
    assert work.share == pytest.approx(work.work.flops / 4e9 / 1e-3)


def test_table_ends_with_the_share_of_weak_steps():
    net = net_from_text(NET)
    rows = roofline(net, [(0.001, 9.0)] * len(net.plan.graph.nodes), MACHINE)
    lines = list(table(rows, MACHINE))
    assert "2 GFLOP/s in float32, 4 GFLOP/s in bfloat16; 1 GB/s" in lines[0]
    assert len(lines) == 3 + len(rows)
    weak = sum(row.seconds for row in rows if row.share is not None and row.share < 0.5)
    assert weak > 0
    percent = f"{weak / sum(row.seconds for row in rows):.0%}"
    assert lines[-1] == f"{percent} of the time passes in steps below 50% of their roof"


def test_peaks_of_this_machine_are_measured():
    machine = Machine.measure(1 << 20)
    assert machine.gflops["float32"] > 1
    assert machine.gbytes > 0.1
    assert core.peak_gflops("bfloat16") == 0 or machine.gflops["bfloat16"] > 1
