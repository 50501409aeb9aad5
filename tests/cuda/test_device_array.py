"""Blobs on the GPU as other packages take them: what they are told, what they see, what they may write.

The memory of the emulated GPU is the host's, so NumPy and PyTorch look at it directly.
"""

import ctypes
import gc

import numpy as np
import pytest
from helpers.device_memory import emulated, on_gpu, seen
from helpers.oracle import torch

from pycaffe_like import _core as core
from pycaffe_like.errors import ConfigError, DeviceError
from pycaffe_like.testing import layer_net, net_from_text


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def filled(values, layout="plain"):
    blob = core.Blob(values.shape, "float32", layout, "cuda")
    blob.data[...] = values
    return blob


@emulated
@pytest.mark.parametrize("layout", ["plain", "channels_last"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 2, 3, 4), (7,), ()], ids=str)
def test_interface_describes_the_memory(layout, shape):
    values = random(*shape)
    array = filled(values, layout).gpu_data
    assert array.shape == shape
    assert array.dtype == "float32"
    interface = array.__cuda_array_interface__
    assert interface["version"] == 3
    assert interface["data"] == (array.ptr, False)
    assert interface["stream"] == core.stream()
    assert interface["stream"] > 2  # smaller ones are not handles but names of default streams
    np.testing.assert_array_equal(seen(array), values)


@emulated
def test_bfloat16_is_two_bytes_of_any_kind():
    blob = core.Blob((2, 2), "bfloat16", "plain", "cuda")
    assert blob.gpu_data.dtype == "bfloat16"
    seen(blob.gpu_data)[...] = [[0x3F80, 0x4000], [0xC040, 0x3DCC]]
    np.testing.assert_array_equal(blob.data, np.float32([[1, 2], [-3, 0.099609375]]))


@on_gpu
def test_blob_of_the_host_has_no_array_on_the_gpu():
    blob = core.Blob((2, 3))
    with pytest.raises(DeviceError, match=r"in the memory of the host: use data and diff"):
        _ = blob.gpu_data


@emulated
def test_data_that_is_not_kept_is_refused():
    text = "".join(
        f'layer {{ name: "r{i}" type: "ReLU" bottom: "{f"r{i - 1}" if i else "x"}" top: "r{i}" }}'
        for i in range(3)
    )
    text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }' + text
    net = net_from_text(text, keep_data=False)
    with pytest.raises(ConfigError, match="keep_data=True"):
        _ = net.blobs["r1"].gpu_data


# Who sees what was written where


@emulated
def test_host_sees_what_was_written_on_the_device():
    blob = filled(random(3, 4))
    for view in (seen(blob.gpu_data), seen(blob.gpu_diff)):
        view[...] = 7
    assert (blob.data == 7).all()
    assert (blob.diff == 7).all()


@emulated
def test_device_sees_what_was_written_on_the_host():
    blob = filled(random(3, 4))
    array = blob.gpu_data
    blob.data[...] = 5
    assert (seen(array) == 5).all()
    blob.clear_diff()
    blob.diff[...] = 6
    assert (seen(blob.gpu_diff) == 6).all()


@emulated
def test_both_write_in_turns():
    blob = filled(random(3, 4))
    array = blob.gpu_data
    for round in range(3):
        seen(array)[0] = round
        assert (blob.data[0] == round).all()
        seen(array)[1] = 10 + round  # after the host has looked, before it writes
        blob.data[2] = 20 + round
        assert seen(array)[:, 0].tolist() == blob.data[:, 0].tolist() == [round, 10 + round, 20 + round]


@emulated
@pytest.mark.parametrize("first", ["host", "device"])
def test_view_of_the_host_that_is_kept_does_not_take_writes_back(first):
    blob = filled(np.zeros((2, 3)))
    if first == "host":
        kept = blob.data
        array = blob.gpu_data
    else:
        array = blob.gpu_data
        kept = blob.data
    seen(array)[...] = 3
    del kept
    gc.collect()
    assert (seen(array) == 3).all()
    assert (blob.data == 3).all()


@emulated
def test_view_of_the_host_that_is_kept_may_write():
    blob = filled(np.zeros((2, 3)))
    array, kept = blob.gpu_data, blob.data
    kept[...] = 4
    assert (seen(blob.gpu_data) == 4).all()
    kept[...] = 5
    del array
    assert (blob.data == 5).all()
    assert (seen(blob.gpu_data) == 5).all()


@emulated
def test_zeros_are_written_while_somebody_looks():
    blob = filled(random(3, 4))
    array = blob.gpu_diff
    seen(array)[...] = 1
    blob.clear_diff()
    assert (seen(array) == 0).all()
    assert (blob.diff == 0).all()


CHAIN = """
force_backward: true
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 3 dim: 4 } } }
layer { name: "a" type: "ReLU" bottom: "x" top: "a" }
layer { name: "b" type: "ReLU" bottom: "a" top: "b" }
"""


@emulated
@pytest.mark.parametrize("keep", [True, False], ids=["kept", "new each time"])
def test_net_runs_on_what_was_written_on_the_device(keep):
    net = net_from_text(CHAIN)
    a, b = net.blobs["a"], net.blobs["b"]
    arrays = [a.gpu_data, a.gpu_diff, b.gpu_data, b.gpu_diff] if keep else []
    shown = b.data  # a view of the host is renewed by each run
    for number in range(5):  # the work is recorded and repeated
        values = random(3, 4) + number - 2
        seen(a.gpu_data)[...] = values
        net.forward(start="b")
        np.testing.assert_array_equal(seen(b.gpu_data), np.maximum(values, 0))
        np.testing.assert_array_equal(shown, np.maximum(values, 0))
        seen(b.gpu_diff)[...] = number
        net.backward(end="b")
        np.testing.assert_array_equal(seen(a.gpu_diff), number * (values > 0))
    assert len(arrays) == 4 * keep


@emulated
@pytest.mark.parametrize("look", ["host", "device"])
def test_weights_kept_in_bfloat16_follow_a_view_that_is_taken_late(look):
    ip = "inner_product_param { num_output: 2 bias_term: false }"
    net = layer_net(f'type: "InnerProduct" {ip}', np.ones((1, 3)), precision="bfloat16")
    weights = net.params["layer"][0]
    weights.data[...] = 1
    for _ in range(3):  # until the work is recorded
        net.forward()
    view = weights.data if look == "host" else weights.gpu_data
    for number in (2, 3, 4):
        if look == "host":
            view[...] = number
        else:
            seen(view)[...] = number
        assert net.forward()["t0"].tolist() == [[3 * number, 3 * number]]


# Lifetime


@emulated
@pytest.mark.parametrize(
    "take",
    [
        lambda array: array,
        lambda array: array.__dlpack__(),
        lambda array: array.__dlpack__(max_version=(1, 0)),
    ],
    ids=["array", "capsule", "versioned capsule"],
)
def test_memory_lives_as_long_as_the_array(take):
    gc.collect()
    before = core.allocations()[0]
    blob = filled(random(64, 64))
    array = blob.gpu_data
    view, holder = seen(array), take(array)
    want = blob.data.copy()
    del array, blob
    gc.collect()
    assert core.allocations()[0] > before
    np.testing.assert_array_equal(view, want)
    del holder
    assert core.allocations()[0] == before


@emulated
def test_array_keeps_its_memory_when_the_blob_grows():
    blob = filled(random(2, 3))
    array = blob.gpu_data
    want = seen(array).copy()
    blob.reshape(20, 30)
    blob.data[...] = 1
    np.testing.assert_array_equal(seen(array), want)
    assert array.shape == (2, 3)


# DLPack


class Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class Managed(ctypes.Structure):
    _fields_ = [("tensor", Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class ManagedVersioned(ctypes.Structure):
    _fields_ = [
        ("version", ctypes.c_uint32 * 2),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", Tensor),
    ]


KINDS = {
    None: (Managed, b"dltensor"),
    (0, 8): (Managed, b"dltensor"),
    (1, 1): (ManagedVersioned, b"dltensor_versioned"),
}


def look_into(capsule, kind, name):
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return kind.from_address(get(capsule, name))


@emulated
@pytest.mark.parametrize("version", KINDS, ids=str)
def test_capsule_describes_the_memory(version):
    array = filled(random(2, 3, 4, 5), "channels_last").gpu_data
    capsule = array.__dlpack__(stream=None, max_version=version)
    managed = look_into(capsule, *KINDS[version])
    tensor = managed.tensor
    assert (tensor.data, tensor.byte_offset) == (array.ptr, 0)
    assert (tensor.device_type, tensor.device_id) == array.__dlpack_device__() == (2, 0)
    assert (tensor.code, tensor.bits, tensor.lanes) == (2, 32, 1)
    assert tensor.shape[: tensor.ndim] == [2, 3, 4, 5]
    assert tensor.strides[: tensor.ndim] == [60, 1, 15, 3]
    if version == (1, 1):
        assert (list(managed.version), managed.flags) == ([1, 0], 0)


def to_torch(array, version):
    """Let PyTorch take a capsule, under the name of the memory that it really is."""
    kind, name = KINDS[version]
    capsule = array.__dlpack__(max_version=version)
    look_into(capsule, kind, name).tensor.device_type = 1
    return torch.utils.dlpack.from_dlpack(capsule)


@emulated
@pytest.mark.parametrize("version", KINDS, ids=str)
def test_pytorch_shares_the_memory(version):
    values = random(2, 3, 4, 5)
    blob = filled(values, "channels_last")
    tensor = to_torch(blob.gpu_data, version)
    core.synchronize()
    np.testing.assert_array_equal(tensor.numpy(), values)
    assert tensor.is_contiguous(memory_format=torch.channels_last)
    tensor.mul_(2)
    np.testing.assert_array_equal(blob.data, 2 * values)


@emulated
def test_memory_lives_as_long_as_pytorchs_tensor():
    gc.collect()
    before = core.allocations()[0]
    blob = filled(random(64, 64))
    tensor = to_torch(blob.gpu_data, None)
    del blob
    gc.collect()
    assert core.allocations()[0] > before
    del tensor
    gc.collect()
    assert core.allocations()[0] == before


@emulated
def test_bfloat16_is_pytorchs():
    blob = core.Blob((3, 4), "bfloat16", "plain", "cuda")
    tensor = to_torch(blob.gpu_data, None)
    assert tensor.dtype == torch.bfloat16
    core.synchronize()
    tensor.copy_(torch.tensor(random(3, 4)))
    np.testing.assert_array_equal(blob.data, tensor.float().numpy())
    np.testing.assert_allclose(blob.data, random(3, 4), rtol=2**-8)


@on_gpu
def test_streams_are_those_of_the_array_api_standard():
    array = filled(random(2, 3)).gpu_data
    for stream in (None, 1, -1, core.stream()):
        array.__dlpack__(stream=stream)
    with pytest.raises(ValueError, match="ambiguous"):
        array.__dlpack__(stream=0)


@on_gpu
@pytest.mark.parametrize("wish", [{"copy": True}, {"dl_device": (1, 0)}], ids=str)
def test_copies_are_refused(wish):
    with pytest.raises(BufferError):
        filled(random(2, 3)).gpu_data.__dlpack__(**wish)
    filled(random(2, 3)).gpu_data.__dlpack__(copy=False, dl_device=(2, 0))


# On a real GPU


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize(
    "take",
    [lambda array: torch.from_dlpack(array), lambda array: torch.as_tensor(array, device="cuda")],
    ids=["DLPack", "interface"],
)
def test_pytorch_and_a_net_take_turns_on_one_memory(take):
    if not torch.cuda.is_available():
        pytest.skip("needs PyTorch for CUDA")
    net = net_from_text(CHAIN.replace("dim: 3 dim: 4", "dim: 300 dim: 400"))
    a, b = take(net.blobs["a"].gpu_data), take(net.blobs["b"].gpu_data)
    for number in range(5):
        values = torch.randn(300, 400, device="cuda") + number
        a.copy_(values)
        net.forward(start="b")
        assert torch.equal(b, values.relu())
