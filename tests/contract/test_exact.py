"""A bfloat16 plan never changes an index, a label or a box: what only meets rounded values is not rounded."""

import numpy as np
import pytest
from helpers.golden import GOLDEN
from helpers.layer_examples import build, fill, message_of, net_text, rounded_bottom, run
from helpers.layer_facts import example

import caffe
from pycaffe_like.layer_type import layer_types
from pycaffe_like.testing import net_from_text

TYPES = [kind for kind in layer_types() if example(kind).bottoms]
PHASES = [caffe.TRAIN, caffe.TEST]
INEXACT = [1001.0, 257.0, 0.1, -70000.0]
"""Numbers that bfloat16 cannot hold: it has 8 bits of them."""


@pytest.fixture(autouse=True)
def _golden_folder(monkeypatch):
    """Where examples find their files."""
    monkeypatch.chdir(GOLDEN)


def rounds(kind, index):
    """Whether a layer may be given a rounded bottom: a matrix layer, but for what is exact."""
    return layer_types()[kind].precision == "matrix" and not is_exact(kind, index)


def is_exact(kind, index):
    return layer_types()[kind].bottom_facts(len(example(kind).bottoms))[index].exact


def mixed_net(kind, phase, rounded):
    """The example in a bfloat16 plan, bottom `rounded` made by a matrix layer, INEXACT in the others."""
    told = example(kind)
    lines = net_text(message_of(kind), told.bottoms).split("\n")
    rounded_bottom(lines, rounded, told.bottoms[rounded])
    net = net_from_text("\n".join(lines), phase, seed=1, precision="bfloat16", skip_passes=("fusion",))
    fill(net, told)
    for index, shape in enumerate(told.bottoms):
        if index not in (rounded, *told.labels, *told.given):
            net.blobs[f"b{index}"].data[...] = np.resize(INEXACT, shape)
    return net


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    ("kind", "rounded"),
    [
        (kind, index)
        for kind in TYPES
        for index in range(len(example(kind).bottoms))
        if len(example(kind).bottoms) > 1 and index not in (*example(kind).labels, *example(kind).given)
    ],
)
def test_what_meets_a_rounded_bottom_keeps_its_bits(kind, rounded, phase):
    net = mixed_net(kind, phase, rounded)
    net.forward()
    [node] = [node for node in net.plan.graph.nodes if "layer" in node.members]
    others = [index for index in range(len(node.bottoms)) if index != rounded and not rounds(kind, index)]
    for index in others:
        seen, given = net.plan.blob(node.bottoms[index]), net.blobs[f"b{index}"]
        assert seen.dtype == "float32", f"bottom {index}"
        np.testing.assert_array_equal(seen.data, given.data, f"bottom {index}")
    may_round = all(is_exact(kind, index) for index in others)
    assert may_round or {top.dtype for top in node.tops} <= {"float32"}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", [kind for kind in TYPES if layer_types()[kind].precision != "matrix"])
def test_what_meets_no_matrix_layer_is_computed_as_in_float32(kind, phase):
    results, wanted = (run(build(kind, phase, precision=each)) for each in ("bfloat16", "float32"))
    assert list(results) == list(wanted)
    for name, values in results.items():
        np.testing.assert_array_equal(values, wanted[name], name)


def test_indices_survive_the_layers_that_only_move_them():
    text = """
      layer { name: "x" type: "Input" top: "x" top: "places"
        input_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 1 dim: 1 dim: 2 } } }
      layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
        inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
      layer { name: "flat" type: "Flatten" bottom: "places" top: "flat" }
      layer { name: "again" type: "Reshape" bottom: "flat" top: "again"
        reshape_param { shape { dim: 4 dim: 2 } } }
      layer { name: "both" type: "Concat" bottom: "ip" bottom: "again" top: "both" }
      layer { name: "relu" type: "ReLU" bottom: "both" top: "relu" }
      layer { name: "drop" type: "Dropout" bottom: "relu" top: "drop" }
      layer { name: "slices" type: "Split" bottom: "drop" top: "one" top: "two" }"""
    net = net_from_text(text, caffe.TEST, seed=1, precision="bfloat16")
    places = np.array([[1001, 257], [65537, 3], [999999, 129], [16777215, 0]], np.float32)
    net.blobs["x"].data[...] = 1
    net.blobs["places"].data[...] = places.reshape(4, 1, 1, 2)
    net.forward()
    assert net.blobs["ip"].data.any()
    assert net.blobs["ip"].dtype == "bfloat16"
    np.testing.assert_array_equal(net.blobs["one"].data[:, 5:], places)
    np.testing.assert_array_equal(net.blobs["two"].data[:, 5:], places)
