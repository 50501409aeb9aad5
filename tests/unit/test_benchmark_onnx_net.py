"""The ONNX models that other engines run must compute what our nets do, or the numbers mean nothing."""

from pathlib import Path

import pytest
from helpers.oracle import MISSING

pytest.importorskip("torch", reason=MISSING)
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from benchmarks.agreement import outputs_agree
from benchmarks.onnx_net import write_onnx
from benchmarks.synthetic import make_graph
from benchmarks.task import Task

MODELS = Path(__file__).parents[2] / "models"

SMALL = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 14 dim: 14 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 bias_term: false } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" relu_param { negative_slope: 0.1 } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "norm" type: "LRN" bottom: "pool1" top: "norm" lrn_param { local_size: 3 alpha: 0.5 } }
layer { name: "within" type: "LRN" bottom: "norm" top: "within"
  lrn_param { local_size: 3 alpha: 0.5 norm_region: WITHIN_CHANNEL } }
layer { name: "conv2" type: "Convolution" bottom: "within" top: "conv2"
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 group: 2 } }
layer { name: "sum" type: "Eltwise" bottom: "norm" bottom: "conv2" top: "sum" }
layer { name: "mean" type: "Pooling" bottom: "sum" top: "mean"
  pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "both" type: "Concat" bottom: "mean" bottom: "mean" top: "both" }
layer { name: "drop" type: "Dropout" bottom: "both" top: "both" }
layer { name: "ip" type: "InnerProduct" bottom: "both" top: "ip" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }
"""


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")


@pytest.fixture
def small_net(tmp_path):
    def write(text=SMALL):
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "opencv"])
def test_outputs_of_every_engine_agree(small_net, engine):
    pytest.importorskip("cv2" if engine == "opencv" else engine)
    agree, text = outputs_agree(Task(small_net(), "infer", 2, engine=engine))
    assert agree, text


@pytest.mark.slow
@pytest.mark.parametrize("net", ["cifar10_full", "googlenet", "mobilenet_v1", "resnet50"])
def test_outputs_of_the_models_agree(net):
    agree, text = outputs_agree(Task(str(MODELS / net / "deploy.prototxt"), "infer", 2, engine="onnxruntime"))
    assert agree, text


def test_disagreement_is_found(small_net, monkeypatch):
    monkeypatch.setitem(
        write_onnx.__globals__["_WRITERS"], "ReLU", lambda writer, node, arguments: writer.add("Relu", node)
    )
    agree, _ = outputs_agree(Task(small_net(), "infer", 2, engine="onnxruntime"))
    assert not agree


def test_layer_that_cannot_be_written_is_named(small_net):
    extra = 'layer { name: "t" type: "TanH" bottom: "ip" top: "t" }\n'
    task = Task(small_net(SMALL.replace('layer { name: "prob"', extra + 'layer { name: "prob"')), "infer", 2)
    with pytest.raises(NotImplementedError, match=r"layer 't': TanH is not written as ONNX"):
        write_onnx(make_graph(task))
