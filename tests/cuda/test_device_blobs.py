"""Blobs on a GPU: what the host sees of them, and when."""

import numpy as np
import pytest

from pycaffe_like import _core as core
from pycaffe_like.device import default_device
from pycaffe_like.errors import DeviceError
from pycaffe_like.net import TEST
from pycaffe_like.testing import net_from_text

pytestmark = pytest.mark.skipif(default_device() == "cpu", reason="needs a GPU, or an emulated one")


def relu(x, y):
    step = core.Step(
        name="relu", layer=core.create_layer("ReLU", "cuda", {"negative_slope": 0.0}), bottoms=[x], tops=[y],
        loss_weights=[0.0], propagate_down=[True], need_backward=True,
    )  # fmt: skip
    return core.Executor([step], 0)


def blob(*shape, **form):
    return core.Blob(list(shape), device="cuda", **form)


def test_new_blob_is_zero():
    assert np.array_equal(blob(3, 5).data, np.zeros((3, 5)))


def test_what_the_host_writes_is_computed_with():
    x, y = blob(7), blob(7)
    x.data[...] = np.arange(7) - 3
    relu(x, y).forward(0, 1)
    assert np.array_equal(y.data, [0, 0, 0, 0, 1, 2, 3])


def test_view_held_through_runs_shows_the_new_values_and_takes_writes():
    x, y = blob(4), blob(4)
    held_x, held_y = x.data, y.data
    executor = relu(x, y)
    for values in ([1, -1, 2, -2], [-5, 5, -6, 6], [0, 1, 2, 3]):
        held_x[...] = values
        executor.forward(0, 1)
        assert np.array_equal(held_y, np.maximum(values, 0))
        assert np.array_equal(held_x, values)


def test_runs_repeat_a_recording_with_new_inputs():
    x, y = blob(4), blob(4)
    executor = relu(x, y)
    for number in range(6):
        x.data[...] = np.array([1, -1, 2, -2]) * number
        executor.forward(0, 1)
        assert np.array_equal(y.data, np.maximum(np.array([1, -1, 2, -2]) * number, 0))


def test_recording_ends_with_a_new_shape():
    x, y = blob(4), blob(4)
    executor = relu(x, y)
    for size in (4, 4, 4, 9, 9, 9, 2, 2):
        x.reshape(size)
        x.data[...] = np.arange(size) - 2
        executor.forward(0, 1)
        assert np.array_equal(y.data, np.maximum(np.arange(size) - 2, 0))


def test_recording_ends_when_backward_needs_more_scratch():
    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 dim: 5 dim: 5 } } }
    layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
      convolution_param { num_output: 64 kernel_size: 3 weight_filler { type: "xavier" } } }
    """
    net = net_from_text(text, TEST, seed=1, device="cuda")
    net.blobs["x"].data[...] = np.arange(100).reshape(1, 4, 5, 5)
    for diff in [net.blobs["x"], net.blobs["y"], *net.params["conv"]]:
        diff.diff[...] = 1  # is there from the beginning, and so no reason to record again
    wanted = net.forward()["y"].copy()
    for _ in range(3):
        net.forward()
    scratch = net.plan.executor.scratch_bytes("cuda")
    net.plan.executor.backward(0, len(net.plan.executor), all=True)  # of layers set up to run forward only
    assert net.plan.executor.scratch_bytes("cuda") > scratch, "it still fits, the test is useless"
    np.testing.assert_array_equal(net.forward()["y"], wanted)


def test_gradients_of_the_host_go_backward():
    x, y = blob(3), blob(3)
    executor = relu(x, y)
    x.data[...] = [1, -1, 2]
    for diff in ([1, 2, 3], [4, 5, 6], [7, 8, 9]):
        executor.forward(0, 1)
        y.diff[...] = diff
        executor.backward(0, 1)
        assert np.array_equal(x.diff, np.array(diff) * [1, 0, 1])


def test_cleared_gradient_is_zero_for_host_and_device():
    x = blob(3)
    held = x.diff
    held[...] = 5
    x.clear_diff()
    assert np.array_equal(held, np.zeros(3))
    assert np.array_equal(x.diff, np.zeros(3))


def test_channels_last_blob_is_seen_in_logical_order():
    x = blob(2, 3, 4, 5, layout="channels_last")
    values = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    x.data[...] = values
    y = blob(2, 3, 4, 5, layout="channels_last")
    relu(x, y).forward(0, 1)
    assert np.array_equal(y.data, np.maximum(values, 0))


@pytest.mark.parametrize("share", [core.Blob.share_data, core.Blob.share_diff])
def test_blobs_of_host_and_device_cannot_share(share):
    for mine, other in [(blob(3), core.Blob([3])), (core.Blob([3]), blob(3))]:
        with pytest.raises(DeviceError, match="copy the values instead"):
            share(mine, other)


def test_array_of_the_host_cannot_become_the_data():
    with pytest.raises(DeviceError, match="a blob on the GPU cannot use an array of the host"):
        blob(3).alias_data(np.zeros(3, np.float32))


def test_times_of_steps_are_measured():
    x, y = blob(1 << 16), blob(1 << 16)
    executor = relu(x, y)
    executor.timing = True
    executor.forward(0, 1)
    assert executor.forward_ms[0] > 0
