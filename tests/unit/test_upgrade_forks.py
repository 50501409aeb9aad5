import numpy as np
import pytest

from pycaffe_like.net import TRAIN
from pycaffe_like.prototxt import upgrade
from pycaffe_like.testing import layer_net, net_from_text


def layers(text):
    return upgrade.parse_net(text, "net.prototxt")


@pytest.mark.parametrize(
    ("kind", "param"),
    [
        ("Convolution", "convolution_param { num_output: 2 kernel_size: 1 weight_filler { value: 1 } %s }"),
        ("InnerProduct", "inner_product_param { num_output: 2 weight_filler { value: 1 } %s }"),
        ("BatchNorm", "batch_norm_param { use_global_stats: false %s }"),
    ],
)
def test_a_fused_relu_clips_the_layer(kind, param):
    x = np.random.default_rng(0).standard_normal((3, 2, 4, 4)).astype(np.float32)
    plain, fused = (layer_net(f'type: "{kind}" {param % relu}', x) for relu in ("", "relu: true"))
    wanted = np.maximum(plain.forward()["t0"], 0)
    top = fused.forward()["t0"]
    assert np.array_equal(top, wanted)
    assert 0 < np.count_nonzero(top) < top.size
    fused.blobs["t0"].diff[...] = 1
    fused.clear_param_diffs()
    fused.backward()
    plain.blobs["t0"].diff[...] = wanted > 0
    plain.clear_param_diffs()
    plain.backward()
    assert np.allclose(fused.blobs["b0"].diff, plain.blobs["b0"].diff, rtol=1e-5, atol=1e-6)


def test_a_fused_relu_becomes_a_layer_with_the_same_rules_and_place():
    text = """layer { name: "a" type: "Convolution" bottom: "x" bottom: "z" top: "a" top: "b"
 loss_weight: 1 loss_weight: 0.5 include { phase: TRAIN } convolution_param {
 relu: true negative_slope: 0.25 } }
layer { name: "a_relu" type: "Silence" bottom: "a" }"""
    net = layers(text)
    convolution, *relus, silence = net.message.layer
    assert not convolution.convolution_param.ListFields()
    assert [relu.name for relu in relus] == ["a_relu2", "a_relu3"]
    assert [(list(relu.bottom), list(relu.top)) for relu in relus] == [(["a"], ["a"]), (["b"], ["b"])]
    assert [list(relu.loss_weight) for relu in relus] == [[1], [0.5]]
    assert not convolution.loss_weight
    assert all(relu.relu_param.negative_slope == 0.25 for relu in relus)
    assert all(list(relu.include) == list(convolution.include) for relu in relus)
    assert str(net.layer_position(1)) == "net.prototxt:3:2"
    assert str(net.layer_position(2, "relu_param", "negative_slope")) == "net.prototxt:3:13"
    assert str(net.layer_position(3, "type")) == "net.prototxt:4:24"
    assert silence.name == "a_relu"


def test_relu_false_and_a_slope_alone_add_no_layer():
    net = layers('layer { type: "Convolution" top: "a" convolution_param { relu: false negative_slope: 1 } }')
    assert len(net.message.layer) == 1
    assert net.message.layer[0].convolution_param.negative_slope == 1


def test_the_batch_of_the_statistics_may_stand_in_the_net():
    text = """bn_stats_batch_size: 2
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 4 dim: 3 } } }
layer { name: "own" type: "BatchNorm" bottom: "x" top: "y" batch_norm_param { stats_batch_size: 4 } }
layer { name: "bn" type: "BatchNorm" bottom: "x" top: "z" }"""
    with pytest.raises(Exception, match="statistics of 2 items in a batch of 4") as error:
        net_from_text(text, TRAIN)
    assert (error.value.layer, error.value.line) == ("bn", 1)
