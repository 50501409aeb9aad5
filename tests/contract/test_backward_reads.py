"""Backward reads no more data than the layer type says: the planner gives away the memory of the rest."""

import numpy as np
import pytest
from helpers.layer_examples import fill, input_layer
from helpers.layer_facts import example, told

import caffe
from pycaffe_like.layer_type import layer_types
from pycaffe_like.plan.liveness import read_in_backward
from pycaffe_like.testing import net_from_text

CASES = [
    pytest.param(kind, case, id=f"{kind}, {case}")
    for kind in layer_types()
    for case in told(kind, "BACKWARD") or ()
]


def build(kind, case, phase, skip_passes):
    """Inputs x, x2, label and the example's bottoms; the case's layers, in place on the first one's top.

    Before a Pooling at the end that top is "map". The plan for training is that of a net which keeps no
    blobs, but with memory of their own for all.
    """
    layers = told(kind, "BACKWARD")[case]
    inputs = {f"b{index}": shape for index, shape in enumerate(example(kind).bottoms)}
    inputs |= {"x": (2, 3, 6, 4), "x2": (2, 3, 6, 4), "label": (2, 6, 4)}
    text = ["force_backward: true", *map(input_layer, inputs, inputs.values())]
    bottom = "x"
    for number, (words, fields) in enumerate(layers):
        type_, *names = words.split()
        links = "".join(f'bottom: "{name}" ' for name in names or [bottom])
        bottom = "map" if layers[number + 1 :] and layers[-1][0] == "Pooling" else "y"
        text.append(f'layer {{ name: "l{number}" type: "{type_}" {links} top: "{bottom}" {fields} }}')
    lean = {"keep_data": False, "keep_diffs": False} if phase == caffe.TRAIN else {}
    net = net_from_text("\n".join(text), phase, seed=3, skip_passes=(*skip_passes, "memory"), **lean)
    fill(net, example(kind))
    rng = np.random.default_rng(0)
    for name in ("x", "x2"):
        net.blobs[name].data[...] = rng.standard_normal(net.blobs[name].shape)
    net.blobs["label"].data[...] = rng.integers(0, 3, (2, 6, 4))
    return net


def gradients(net):
    top = net.blobs["y"]
    if not any(net.blob_loss_weights.values()):
        top.diff[...] = np.random.default_rng(1).standard_normal(top.shape)
    net.clear_param_diffs()
    net.backward()
    learned = [blob for blobs in net.params.values() for blob in blobs]
    return [blob.diff.copy() for blob in (*learned, *(net.blobs[name] for name in net.inputs))]


def data_backward_reads(net):
    """`data_id` of all arrays that some step reads."""
    needed = set()
    for node in net.plan.graph.nodes:
        needed.update(net.plan.blob(value).data_id for value in read_in_backward(node))
    return needed


@pytest.mark.parametrize("skip_passes", [(), ("fusion",)], ids=["fused", "unfused"])
@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize(("kind", "case"), CASES)
def test_backward_reads_no_more_than_it_says(kind, case, phase, skip_passes):
    net = build(kind, case, phase, skip_passes)
    if "y" not in net.blobs:
        pytest.skip("the case is one for the other phase")
    net.forward()
    wanted = gradients(net)
    assert any(np.abs(values).max() > 0 for values in wanted)
    needed = data_backward_reads(net)
    for node in net.plan.graph.nodes:
        for top in node.tops:
            blob = net.plan.blob(top)
            if blob.data_id not in needed:
                blob.data[...] = np.nan
    for got, want in zip(gradients(net), wanted, strict=True):
        np.testing.assert_array_equal(got, want)
