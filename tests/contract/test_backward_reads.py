"""Backward reads no more data than the layer type says: the planner gives away the memory of the rest."""

import numpy as np
import pytest

import caffe
from pycaffe_like.layer_type import layer_types
from pycaffe_like.plan.liveness import read_in_backward
from pycaffe_like.testing import net_from_text

# Types whose backward only ever sets gradients to zero, or that have none.
WITHOUT_BACKWARD = {"Accuracy", "Data", "DummyData", "Input", "Silence"}

CONV = "convolution_param { num_output: 3 kernel_size: 3 pad: 1 bias_filler { value: 0.1 } "
CONV += 'weight_filler { type: "gaussian" } }'
IP = 'inner_product_param { num_output: 5 weight_filler { type: "gaussian" } }'
RELU = ("ReLU", "")
CASES = {
    "BatchNorm": [("BatchNorm", "")],
    "BatchNorm, stored statistics": [("BatchNorm", "batch_norm_param { use_global_stats: true }")],
    "BatchNorm, Scale, ReLU": [("BatchNorm", ""), ("Scale", "scale_param { bias_term: true }"), RELU],
    "Bias": [("Bias", "")],
    "Bias of a bottom": [("Bias x2", "bias_param { axis: 0 }")],
    "Concat": [("Concat x2", "")],
    "Convolution": [("Convolution", CONV)],
    "Convolution, ReLU": [("Convolution", CONV), RELU],
    "Convolution, ReLU, Pooling MAX": [
        ("Convolution", CONV), RELU, ("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 1 }")
    ],
    "Convolution, frozen": [("Convolution", "param { lr_mult: 0 } param { lr_mult: 0 } " + CONV)],
    "Dropout": [("Dropout", "")],
    "Eltwise": [("Eltwise x2", "")],
    "Eltwise, ReLU": [("Eltwise x2", ""), RELU],
    "Eltwise, ReLU, Pooling MAX": [("Eltwise x2", ""), RELU, ("Pooling", "pooling_param { kernel_size: 2 }")],
    "Eltwise PROD": [("Eltwise x2", "eltwise_param { operation: PROD }")],
    "Eltwise PROD, not stable": [("Eltwise x2", "eltwise_param { operation: PROD stable_prod_grad: false }")],
    "Eltwise MAX": [("Eltwise x2", "eltwise_param { operation: MAX }")],
    "Flatten": [("Flatten", "")],
    "InnerProduct": [("InnerProduct", IP)],
    "InnerProduct, ReLU": [("InnerProduct", IP), RELU],
    "LRN": [("LRN", "lrn_param { alpha: 0.5 }")],
    "LRN within": [("LRN", "lrn_param { alpha: 0.5 norm_region: WITHIN_CHANNEL }")],
    "Pooling MAX": [("Pooling", "pooling_param { kernel_size: 2 }")],
    "Pooling AVE": [("Pooling", "pooling_param { pool: AVE kernel_size: 2 }")],
    "Pooling STOCHASTIC": [("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }")],
    "Python": [("Python", 'python_param { module: "helpers.python_layers" layer: "Scaled" }')],
    "ReLU": [("Bias", ""), RELU],
    "ReLU, slope": [("ReLU", "relu_param { negative_slope: 0.5 }")],
    "ReLU, negative slope": [("ReLU", "relu_param { negative_slope: -0.5 }")],
    "Reshape": [("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }")],
    "Scale": [("Scale", "")],
    "Scale by a bottom": [("Scale x2", "scale_param { axis: 0 }")],
    "Softmax": [("Softmax", "")],
    "SoftmaxWithLoss": [("SoftmaxWithLoss label", "")],
    "Split": [("Split", "")],
    "TanH": [("TanH", "")],
}  # fmt: skip


def build(case, phase, skip_passes):
    """Inputs x, x2 and label; the case's layers, each in place on the first one's top but for a Pooling.

    The plan for training is that of a net which keeps no blobs, but with memory of their own for all.
    """
    map_ = "shape { dim: 2 dim: 3 dim: 6 dim: 4 }"
    text = f"""force_backward: true
        layer {{ name: "x" type: "Input" top: "x" top: "x2" top: "label"
                 input_param {{ {map_} {map_} shape {{ dim: 2 dim: 6 dim: 4 }} }} }}"""
    bottom = "x"
    for number, (kind, fields) in enumerate(CASES[case]):
        kind, *more = kind.split()
        bottoms = "".join(f'bottom: "{name}" ' for name in [bottom, *more])
        top = "map" if CASES[case][number + 1 :] and CASES[case][-1][0] == "Pooling" else "y"
        text += f'layer {{ name: "l{number}" type: "{kind}" {bottoms} top: "{top}" {fields} }}\n'
        bottom = top
    lean = {"keep_data": False, "keep_diffs": False} if phase == caffe.TRAIN else {}
    net = net_from_text(text, phase, seed=3, skip_passes=(*skip_passes, "memory"), **lean)
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
    params = [blob.diff.copy() for blobs in net.params.values() for blob in blobs]
    return [*params, net.blobs["x"].diff.copy(), net.blobs["x2"].diff.copy()]


def data_backward_reads(net):
    """`data_id` of all arrays that some step reads."""
    needed = set()
    for node in net.plan.graph.nodes:
        needed.update(net.plan.blob(value).data_id for value in read_in_backward(node))
    return needed


@pytest.mark.parametrize("skip_passes", [(), ("fusion",)], ids=["fused", "unfused"])
@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
@pytest.mark.parametrize("case", CASES)
def test_backward_reads_no_more_than_it_says(case, phase, skip_passes):
    if case == "Pooling STOCHASTIC" and phase == caffe.TEST:
        pytest.skip("has a gradient in phase TRAIN only")
    net = build(case, phase, skip_passes)
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


def test_every_type_has_a_case():
    tested = {kind.split()[0] for layers in CASES.values() for kind, _ in layers}
    assert tested | WITHOUT_BACKWARD == set(layer_types())
