"""Layers written in Python that compute on the GPU."""

import importlib.util
import sys
import traceback
from pathlib import Path

import numpy as np
import pytest
from helpers import fake_pycuda
from helpers.device_memory import emulated, on_gpu, seen
from helpers.oracle import torch

import caffe
from pycaffe_like import _core as core
from pycaffe_like.device import default_device
from pycaffe_like.testing import net_from_text

EXAMPLES = Path(__file__).parents[2] / "examples"
SHAPE = (6, 7)


def net_of(name, **options):
    """A net whose layer lies between two others on the GPU."""
    dims = " ".join(f"dim: {dim}" for dim in SHAPE)
    return net_from_text(
        f"""
        force_backward: true
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ {dims} }} }} }}
        layer {{ name: "a" type: "ReLU" bottom: "x" top: "a" relu_param {{ negative_slope: 0.5 }} }}
        layer {{ name: "b" type: "Python" bottom: "a" top: "b"
          python_param {{ module: "{__name__}" layer: "{name}" }} }}
        layer {{ name: "c" type: "ReLU" bottom: "b" top: "c" relu_param {{ negative_slope: 0.5 }} }}
        """,
        caffe.TRAIN,
        **options,
    )


class Cube(caffe.Layer):
    """y = x x x; counts who was called."""

    def setup(self, bottom, top):
        self.calls = []

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        self.calls.append("forward")
        top[0].data[...] = bottom[0].data ** 3

    def backward(self, top, propagate_down, bottom):
        self.calls.append("backward")
        if propagate_down[0]:
            bottom[0].diff[...] = 3 * bottom[0].data ** 2 * top[0].diff


class CubeForward(Cube):
    def forward_gpu(self, bottom, top):
        self.calls.append("forward_gpu")
        seen(top[0].gpu_data)[...] = seen(bottom[0].gpu_data) ** 3


class CubeBackward(Cube):
    def backward_gpu(self, top, propagate_down, bottom):
        self.calls.append("backward_gpu")
        if propagate_down[0]:
            seen(bottom[0].gpu_diff)[...] = 3 * seen(bottom[0].gpu_data) ** 2 * seen(top[0].gpu_diff)


class CubeBoth(CubeForward, CubeBackward):
    pass


class CubeKeeper(CubeBoth):
    """Keeps arrays of both kinds from the first run on."""

    def forward_gpu(self, bottom, top):
        if not self.calls:
            self.kept = [bottom[0].gpu_data, top[0].gpu_data, bottom[0].data, top[0].diff, bottom[0].diff]
        super().forward_gpu(bottom, top)


class CubeOfViews(CubeBackward):
    """Computes forward on NumPy arrays that it keeps."""

    def forward(self, bottom, top):
        if not self.calls:
            self.x, self.y = bottom[0].data, top[0].data
        self.calls.append("forward")
        self.y[...] = self.x**3


METHODS = {
    "Cube": ["forward", "backward"],
    "CubeForward": ["forward_gpu", "backward"],
    "CubeBackward": ["forward", "backward_gpu"],
    "CubeBoth": ["forward_gpu", "backward_gpu"],
    "CubeOfViews": ["forward", "backward_gpu"],
    "CubeKeeper": ["forward_gpu", "backward_gpu"],
}


def pytorchs(values, gradient):
    x = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    a = torch.nn.functional.leaky_relu(x, 0.5)
    c = torch.nn.functional.leaky_relu(a**3, 0.5)
    c.backward(torch.tensor(gradient))
    return a.detach() ** 3, c.detach(), x.grad


@emulated
@pytest.mark.parametrize("options", [{}, {"keep_diffs": False}], ids=["", "lean"])
@pytest.mark.parametrize("name", METHODS)
def test_results_are_pytorchs(name, options):
    net = net_of(name, **options)
    for seed in range(4):  # more often than it takes to record what can be
        values, gradient = np.random.default_rng(seed).standard_normal((2, *SHAPE)).astype(np.float32)
        net.blobs["x"].data[...] = values
        net.forward()
        net.blobs["c"].diff[...] = gradient
        net.backward()
        b, c, dx = pytorchs(values, gradient)
        np.testing.assert_allclose(net.blobs["b"].data, b, rtol=1e-6)
        np.testing.assert_allclose(net.blobs["c"].data, c, rtol=1e-6)
        np.testing.assert_allclose(net.blobs["x"].diff, dx, rtol=1e-5)
    assert net.layer_dict["b"].calls == 4 * METHODS[name]


@emulated
@pytest.mark.parametrize("name", METHODS)
def test_blobs_stay_on_the_gpu_if_a_method_computes_there(name):
    net = net_of(name)
    there = name != "Cube"
    assert net.blobs["b"].device == ("cuda" if there else "cpu")
    types = [node.definition.type for node in net.plan.graph.nodes]
    assert types.count("Transfer") == (0 if there else 2)


@emulated
def test_class_with_gpu_methods_runs_on_the_cpu_as_well():
    net = net_of("CubeBoth", device="cpu")
    net.forward()
    net.backward()
    assert net.layer_dict["b"].calls == ["forward", "backward"]
    assert net.blobs["b"].device == "cpu"


class Gain(caffe.Layer):
    """y = a x with a learned a, set in `setup`."""

    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[...] = 3

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        raise AssertionError("on the CPU")

    def forward_gpu(self, bottom, top):
        seen(top[0].gpu_data)[...] = seen(self.blobs[0].gpu_data) * seen(bottom[0].gpu_data)

    def backward_gpu(self, top, propagate_down, bottom):
        seen(self.blobs[0].gpu_diff)[...] += (seen(top[0].gpu_diff) * seen(bottom[0].gpu_data)).sum()
        seen(bottom[0].gpu_diff)[...] = seen(self.blobs[0].gpu_data) * seen(top[0].gpu_diff)


@emulated
def test_learned_blobs_are_on_the_gpu():
    net = net_of("Gain")
    (gain,) = net.params["b"]
    assert gain.device == "cuda"
    values = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    net.blobs["x"].data[...] = values
    net.forward()
    a = np.where(values > 0, values, values / 2)
    np.testing.assert_allclose(net.blobs["b"].data, 3 * a, rtol=1e-6)
    net.blobs["c"].diff[...] = 1
    net.clear_param_diffs()
    net.backward()
    np.testing.assert_allclose(gain.diff, [(a * np.where(a > 0, 1, 0.5)).sum()], rtol=1e-5)


@emulated
def test_learned_blobs_of_the_file_move_to_the_gpu():
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }'
    text += f"""layer {{ name: "b" type: "Python" bottom: "x" top: "b"
        blobs {{ shape {{ dim: 2 }} data: 5 data: 6 }}
        python_param {{ module: "{__name__}" layer: "CubeBoth" }} }}"""
    (blob,) = net_from_text(text).params["b"]
    assert blob.device == "cuda"
    assert seen(blob.gpu_data).tolist() == [5, 6]


class Broken(Cube):
    def forward_gpu(self, bottom, top):
        raise KeyError("oops")


@on_gpu
def test_error_names_the_method():
    net = net_of("Broken")
    with pytest.raises(KeyError, match="oops") as caught:
        net.forward()
    if sys.version_info >= (3, 11):
        assert "Broken.forward_gpu" in "".join(traceback.format_exception(caught.value))


# PyCUDA


class Contextual(Cube):
    def setup(self, bottom, top):
        super().setup(bottom, top)
        self.depths = [fake_pycuda.Context.depth]

    def forward_gpu(self, bottom, top):
        self.depths.append(fake_pycuda.Context.depth)
        raise ValueError("after all")


@emulated
def test_methods_run_in_pycudas_context(monkeypatch):
    fake_pycuda.install(monkeypatch)
    net = net_of("Contextual")
    with pytest.raises(ValueError, match="after all"):
        net.forward()
    assert net.layer_dict["b"].depths == [1, 1]
    assert fake_pycuda.Context.depth == 0


@emulated
def test_pycudas_array_is_the_same_memory(monkeypatch):
    fake_pycuda.install(monkeypatch)
    blob = core.Blob((2, 3, 4, 5), "float32", "channels_last", "cuda")
    blob.data[...] = values = np.random.default_rng(0).standard_normal(blob.shape).astype(np.float32)
    array = caffe.pycuda_array(blob.gpu_data)
    assert array.dtype == np.float32
    del blob
    np.testing.assert_array_equal(seen(array), values)


def example():
    """Module of the example, under the name that its net has for it."""
    spec = importlib.util.spec_from_file_location("cuda_layer", EXAMPLES / "cuda_layer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_example(monkeypatch):
    module = example()
    monkeypatch.setitem(sys.modules, "cuda_layer", module)
    x = np.linspace(-30, 30, 1001, dtype=np.float32)
    tensor = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    want = torch.nn.functional.mish(tensor)
    want.sum().backward()
    y, dx = module.run(module.mish_net(len(x)), x)
    np.testing.assert_allclose(y, want.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dx, tensor.grad, rtol=1e-5, atol=1e-6)


def test_example_computes_on_the_cpu(monkeypatch):
    before = default_device()
    caffe.set_mode_cpu()
    try:
        check_example(monkeypatch)
    finally:
        if before == "cuda":
            caffe.set_mode_gpu()


@emulated
def test_example_computes_on_the_emulated_gpu(monkeypatch):
    fake_pycuda.install(monkeypatch)
    check_example(monkeypatch)
    assert fake_pycuda.Context.most == 2  # its own in setup, within that of the method


@pytest.mark.gpu
@on_gpu
def test_example_computes_on_the_gpu(monkeypatch):
    pytest.importorskip("pycuda.driver")
    check_example(monkeypatch)
