"""Layers that a net takes from the user's own modules, most of them from this one."""

import re
import sys
import threading
import traceback
from pathlib import Path

import numpy as np
import pytest
from helpers.layer_facts import MAP, Example
from helpers.oracle import torch

import caffe
from pycaffe_like.device import default_device
from pycaffe_like.errors import ConfigError, DataError, ShapeError
from pycaffe_like.testing import layer_net, net_from_text, run_layer

EXAMPLE = Example(
    'python_param { module: "helpers.python_layers" layer: "Scaled" param_str: "twice" }',
    bottoms=(MAP, (2, 3)),
    tops=2,
)
BACKWARD = {"alone": [("Python", 'python_param { module: "helpers.python_layers" layer: "Scaled" }')]}
FIELDS = {"module": None, "layer": None}
IMPOSSIBLE = []  # what a layer takes is the user's to say
FORMULA = False


def python(name, fields=""):
    """Text of a layer of this module, without its blobs."""
    return f'type: "Python" python_param {{ module: "{__name__}" layer: "{name}" {fields} }}'


def layer(kind, bottoms, tops, fields=""):
    """Text of a layer that is named after its first top."""
    names = "".join(f'bottom: "{name}" ' for name in bottoms.split())
    names += "".join(f'top: "{name}" ' for name in tops.split())
    kind = kind if kind.startswith("type") else f'type: "{kind}"'
    return f'layer {{ name: "{(tops or bottoms).split()[0]}" {kind} {names} {fields} }}\n'


def source(name, *shape):
    dims = " ".join(f"dim: {dim}" for dim in shape)
    return layer("Input", "", name, f"input_param {{ shape {{ {dims} }} }}")


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# What Caffe's users write: a loss, a source of data, a layer that learns


class EuclideanLoss(caffe.Layer):
    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise Exception("need two inputs to compute distance")

    def reshape(self, bottom, top):
        if bottom[0].count != bottom[1].count:
            raise Exception("inputs must have the same dimension")
        self.diff = np.zeros_like(bottom[0].data, dtype=np.float32)
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.diff[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = np.sum(self.diff**2) / bottom[0].num / 2.0

    def backward(self, top, propagate_down, bottom):
        for i in range(2):
            if propagate_down[i]:
                sign = 1 if i == 0 else -1
                bottom[i].diff[...] = top[0].diff[0] * sign * self.diff / bottom[i].num


CONV = 'convolution_param { num_output: 3 kernel_size: 2 weight_filler { type: "gaussian" std: 0.3 } }'


def convolution_in_torch(x, net):
    weight, bias = (
        torch.tensor(blob.data, dtype=torch.float64, requires_grad=True) for blob in net.params["y"]
    )
    return torch.nn.functional.conv2d(torch.tensor(x, dtype=torch.float64), weight, bias), weight, bias


def test_loss_and_gradients_through_a_convolution_are_pytorchs():
    x, wanted = random(4, 2, 5, 6), random(4, 3, 4, 5, seed=1)
    text = source("x", 4, 2, 5, 6) + source("wanted", 4, 3, 4, 5) + layer("Convolution", "x", "y", CONV)
    text += layer(python("EuclideanLoss"), "y wanted", "loss", "loss_weight: 3")
    net = net_from_text(text, caffe.TRAIN, seed=1)
    net.blobs["x"].data[...], net.blobs["wanted"].data[...] = x, wanted
    loss = net.forward_loss()
    net.clear_param_diffs()
    net.backward()
    y, weight, bias = convolution_in_torch(x, net)
    squares = ((y - torch.tensor(wanted)) ** 2).sum() / 4 / 2
    (3 * squares).backward()
    np.testing.assert_allclose(loss, 3 * squares.item(), rtol=1e-5)
    np.testing.assert_allclose(net.blobs["loss"].data, [squares.item()], rtol=1e-5)
    for blob, tensor in zip(net.params["y"], (weight, bias), strict=True):
        np.testing.assert_allclose(blob.diff, tensor.grad.numpy(), rtol=1e-4, atol=1e-5)


class Batches(caffe.Layer):
    """Two pictures at a time, then three, then two; counts what it is asked for."""

    def setup(self, bottom, top):
        self.first, self.sizes = 0, [2, 3, 2, 2]

    def reshape(self, bottom, top):
        top[0].reshape(self.sizes[0], 1, 3, 4)
        top[1].reshape(self.sizes[0])

    def forward(self, bottom, top):
        count = self.sizes.pop(0)
        labels = np.arange(self.first, self.first + count)
        top[0].data[...] = labels[:, None, None, None]
        top[1].data[...] = labels
        self.first += count


def test_source_of_data_whose_batches_differ_in_size():
    text = layer(python("Batches"), "", "data label")
    text += layer("Pooling", "data", "mean", "pooling_param { pool: AVE global_pooling: true }")
    text += layer("Reshape", "mean", "flat", "reshape_param { shape { dim: -1 } }")
    text += layer(python("EuclideanLoss"), "flat label", "loss", "loss_weight: 1")
    net = net_from_text(text, caffe.TRAIN)
    for labels in ([0, 1], [2, 3, 4], [5, 6]):
        assert net.forward_loss() == 0
        net.backward()
        assert net.blobs["label"].data.tolist() == labels
        assert net.blobs["mean"].data.tolist() == [[[[label]]] for label in labels]


class Slope(caffe.Layer):
    """y = a x + b with learned a and b, both set in `setup`."""

    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs.add_blob(*bottom[0].shape[1:])
        self.blobs[0].data[...] = 0.5

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.blobs[0].data * bottom[0].data + self.blobs[1].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[...] += (top[0].diff * bottom[0].data).sum()
        self.blobs[1].diff[...] += top[0].diff.sum(axis=0)
        if propagate_down[0]:
            bottom[0].diff[...] = self.blobs[0].data * top[0].diff


def slope_solver(folder, fields=""):
    """Solver of a net that fits y = a x + b to 3 x - 1."""
    (folder / "net.prototxt").write_text(
        source("x", 5, 4) + source("wanted", 5, 4) + layer(python("Slope"), "x", "y", fields)
        + layer(python("EuclideanLoss"), "y wanted", "loss", "loss_weight: 1")
    )  # fmt: skip
    (folder / "solver.prototxt").write_text(
        f'net: "{folder}/net.prototxt" base_lr: 0.1 momentum: 0.9 weight_decay: 0.01 lr_policy: "fixed" '
        f'max_iter: 30 snapshot_prefix: "{folder}/slope" random_seed: 1'
    )
    solver = caffe.SGDSolver(str(folder / "solver.prototxt"))
    solver.net.blobs["x"].data[...] = random(5, 4)
    solver.net.blobs["wanted"].data[...] = 3 * random(5, 4) - 1
    return solver


def test_solver_trains_learned_blobs_as_pytorchs_sgd_does(tmp_path):
    solver = slope_solver(tmp_path, "param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }")
    solver.step(30)
    x = torch.tensor(random(5, 4), dtype=torch.float64)
    a = torch.full((1,), 0.5, dtype=torch.float64, requires_grad=True)
    b = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    groups = [{"params": [a], "weight_decay": 0.01}, {"params": [b], "lr": 0.2}]
    sgd = torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    for _ in range(30):
        sgd.zero_grad()
        (((a * x + b - (3 * x - 1)) ** 2).sum() / 5 / 2).backward()
        sgd.step()
    learned = [blob.data for blob in solver.net.params["y"]]
    np.testing.assert_allclose(learned[0], a.detach(), rtol=1e-4)
    np.testing.assert_allclose(learned[1], b.detach(), rtol=1e-4)
    assert abs(learned[0][0] - 0.5) > 1


def test_learned_blobs_are_saved_and_resumed(tmp_path):
    solver = slope_solver(tmp_path)
    solver.step(3)
    solver.snapshot()
    solver.step(2)
    resumed = slope_solver(tmp_path)
    assert resumed.net.params["y"][0].data.tolist() == [0.5]
    resumed.restore(str(tmp_path / "slope_iter_3.solverstate"))
    resumed.step(2)
    for mine, theirs in zip(resumed.net.params["y"], solver.net.params["y"], strict=True):
        assert mine.data.tobytes() == theirs.data.tobytes()


def test_learned_blob_with_lr_mult_0_stays(tmp_path):
    solver = slope_solver(tmp_path, "param { lr_mult: 0 }")
    solver.step(3)
    a, b = solver.net.params["y"]
    assert a.data.tolist() == [0.5]
    assert (b.data != 0).all()


def test_learned_blobs_with_one_name_are_one():
    text = source("x", 5, 4)
    for number in range(2):
        text += layer(python("Slope"), "x", f"y{number}", 'param { name: "a" } param { name: "b" }')
    net = net_from_text(text, caffe.TRAIN)
    first, second = (net.layer_dict[name].blobs for name in ("y0", "y1"))
    first[0].data[...] = 7
    assert second[0].data.tolist() == [7]
    assert net.params["y1"][0] is second[0]


def test_blobs_in_the_net_file_are_there_before_setup():
    net = layer_net(
        python("Blobless") + " blobs { shape { dim: 2 } data: 3 data: 4 } blobs { shape { } data: 5 }", [1.0]
    )
    assert net.forward()["t0"].tolist() == [3 + 4 + 5]
    assert [blob.shape for blob in net.params["layer"]] == [[2], []]


class Blobless(caffe.Layer):
    """Adds no blobs; makes the sum of those it is given."""

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        top[0].data[...] = sum(blob.data.sum() for blob in self.blobs)


# Which methods run when, and on what


class Recorder(caffe.Layer):
    """Writes down what is called, with the shape of its bottom."""

    def setup(self, bottom, top):
        self.calls = [("setup", *bottom[0].shape)]

    def reshape(self, bottom, top):
        self.calls.append(("reshape", *bottom[0].shape))
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        self.calls.append(("forward", *bottom[0].shape))
        top[0].data[...] = bottom[0].data

    def backward(self, top, propagate_down, bottom):
        self.calls.append(("backward", *propagate_down))
        bottom[0].diff[...] = top[0].diff


def test_methods_run_in_caffes_order():
    net = layer_net(python("Recorder"), random(2, 3))
    recorder = net.layers[1]
    assert recorder.calls == [("setup", 2, 3), ("reshape", 2, 3)]
    net.forward()
    net.backward()
    net.forward()
    forward = [("reshape", 2, 3), ("forward", 2, 3)]
    assert recorder.calls[2:] == [*forward, ("backward", True), *forward]
    net.blobs["b0"].reshape(4, 5)
    net.reshape()
    net.reshape()
    assert recorder.calls[7:] == [("reshape", 4, 5), ("reshape", 4, 5)]
    assert net.blobs["t0"].shape == [4, 5]


def test_layer_of_the_net_is_the_users_object():
    net = layer_net(python("Slope"), random(2, 3))
    slope = net.layers[list(net._layer_names).index("layer")]
    assert type(slope) is Slope
    assert net.layer_dict["layer"] is slope
    assert slope.type == "Python"
    assert [blob.shape for blob in slope.blobs] == [[1], [3]]
    assert slope.blobs[0] is net.params["layer"][0]


class Attributes(caffe.Layer):
    """Takes notes of what it is given, and has an `__init__` of its own."""

    def __init__(self, layer_param):
        super().__init__(layer_param)
        self.name = layer_param.name

    def setup(self, bottom, top):
        self.seen = (self.param_str, self.param_str_, self.phase, str(self.phase))

    def reshape(self, bottom, top):
        blob = bottom[0]
        self.dims = (blob.num, blob.channels, blob.height, blob.width, blob.count, list(blob.shape))
        top[0].reshape(*np.array(blob.data.shape)[::-1])

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data.T


@pytest.mark.parametrize(("phase", "word"), [(caffe.TRAIN, "TRAIN"), (caffe.TEST, "TEST")])
def test_object_knows_its_text_phase_and_name(phase, word):
    net = layer_net(python("Attributes", "param_str: \"{'k': 1}\""), random(2, 3), phase=phase)
    attributes = net.layers[1]
    assert attributes.seen == ("{'k': 1}", "{'k': 1}", phase, word)
    assert attributes.name == "layer"
    assert attributes.dims == (2, 3, 1, 1, 6, [2, 3])


class Views(caffe.Layer):
    """Works on `.reshape` and `.ravel` of its blobs, which must be views."""

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        assert bottom[0].data.dtype == np.float32
        top[0].data.reshape(bottom[0].num, -1)[...] = 2 * bottom[0].data.reshape(bottom[0].num, -1)
        top[0].data.ravel()[0] = 77

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff.ravel()[:] = 2 * top[0].diff.ravel()


@pytest.mark.parametrize(
    "options",
    [{}, {"precision": "bfloat16"}, {"keep_data": False, "keep_diffs": False}, {"skip_passes": ("layout",)}],
    ids=str,
)
@pytest.mark.parametrize("top", ["z", "y"], ids=["apart", "in place"])
def test_maps_between_convolutions_are_plain_float32(options, top):
    if default_device() == "cuda" and options.get("skip_passes"):
        pytest.skip("the GPU's kernels are channels-last, the pass cannot be left out there")
    text = source("x", 2, 3, 5, 4) + layer("Convolution", "x", "y", CONV)
    text += layer(python("Views"), "y", top) + layer("Convolution", top, "out", f"loss_weight: 1 {CONV}")
    net = net_from_text("force_backward: true " + text, caffe.TRAIN, seed=1, **options)
    net.blobs["x"].data[...] = x = random(2, 3, 5, 4)
    net.forward()
    net.clear_param_diffs()
    net.backward()
    tensor = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    (w1, b1), (w2, b2) = (
        [torch.tensor(blob.data).double() for blob in blobs] for blobs in net.params.values()
    )
    middle = 2 * torch.nn.functional.conv2d(tensor, w1, b1)
    kept = torch.ones_like(middle)
    kept[0, 0, 0, 0] = 0
    out = torch.nn.functional.conv2d(middle * kept + 77 * (1 - kept), w2, b2)
    out.sum().backward()
    tolerance = 2**-5 if options.get("precision") else 1e-5
    np.testing.assert_allclose(net.blobs["out"].data, out.detach(), atol=tolerance * 30)
    # Its backward does not know of the 77, so compare what it says: twice the gradient everywhere.
    gradient = torch.nn.functional.conv_transpose2d(torch.ones_like(out), w2)
    wanted = torch.nn.functional.conv_transpose2d(2 * gradient, w1)
    np.testing.assert_allclose(net.blobs["x"].diff, wanted, atol=tolerance * 10)


class Constant(caffe.Layer):
    """Writes its top once, in `setup`."""

    def setup(self, bottom, top):
        top[0].reshape(2, 3)
        top[0].data[...] = [[1, 2, 3], [4, 5, 6]]

    def reshape(self, bottom, top):
        pass

    def forward(self, bottom, top):
        pass


@pytest.mark.parametrize("keep_data", [True, False])
def test_what_setup_writes_into_a_top_stays(keep_data):
    text = layer(python("Constant"), "", "one") + layer("TanH", "one", "two") + layer("TanH", "two", "three")
    net = net_from_text(text, keep_data=keep_data)
    for _ in range(2):
        net.forward()
        assert net.blobs["one"].data.tolist() == [[1, 2, 3], [4, 5, 6]]


class Positives(caffe.Layer):
    """The values above zero: their number is known in `forward` only."""

    def reshape(self, bottom, top):
        top[0].reshape(1)

    def forward(self, bottom, top):
        values = bottom[0].data[bottom[0].data > 0]
        top[0].reshape(*values.shape)
        top[0].data[...] = values


def test_top_may_change_its_shape_in_forward():
    text = source("x", 6) + layer(python("Positives"), "x", "some") + layer("TanH", "some", "y")
    net = net_from_text(text)
    for values in ([1, -1, 2, -2, 3, -3], [1, 2, 3, 4, 5, 6], [-1, -1, -1, -1, -1, 1]):
        net.blobs["x"].data[...] = values
        net.forward()
        np.testing.assert_allclose(net.blobs["y"].data, np.tanh([v for v in values if v > 0]), rtol=1e-6)


def test_loss_weight_follows_a_top_that_changes_its_shape_in_forward():
    text = source("x", 6) + layer(python("Positives"), "x", "loss", "loss_weight: 10")
    net = net_from_text(text, caffe.TRAIN)
    for values in ([1, -1, 2, -2, 3, -3], [1, 2, 3, 4, 5, 6], [-1, -1, -1, -1, -1, 1]):
        net.blobs["x"].data[...] = values
        assert net.forward_loss() == 10 * sum(value for value in values if value > 0)


def test_loss_weight_that_the_user_changes_stays():
    text = (
        source("x", 1, 2)
        + source("zero", 1, 2)
        + layer(python("EuclideanLoss"), "x zero", "loss", "loss_weight: 1")
    )
    net = net_from_text(text, caffe.TRAIN)
    net.blobs["x"].data[...] = 1
    assert net.forward_loss() == 1
    net.blobs["loss"].diff[...] = 4
    assert net.forward_loss() == 4


class Transposed(Attributes):
    def setup(self, bottom, top):
        pass


def test_in_place_keeps_the_shape():
    text = source("x", 2, 3) + layer("TanH", "x", "y") + 'layer { name: "turn" bottom: "y" top: "y" '
    with pytest.raises(ShapeError, match=r"must stay \(2, 3\), it became \(3, 2\)") as caught:
        net_from_text(text + python("Transposed") + "}")
    assert (caught.value.layer, caught.value.line) == ("turn", 3)


class Inner(caffe.Layer):
    """Runs a net of its own."""

    def setup(self, bottom, top):
        self.net = layer_net('type: "TanH"', bottom[0].data)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.net.forward(b0=bottom[0].data)["t0"]


def test_layer_may_run_a_net():
    np.testing.assert_allclose(run_layer(python("Inner"), [0.5, -2.0]), np.tanh([0.5, -2.0]), rtol=1e-6)


def test_nets_run_in_several_threads():
    results = {}

    def work(number):
        net = layer_net(python("Slope"), np.full((2, 3), number, np.float32))
        for _ in range(50):
            net.forward()
        results[number] = net.blobs["t0"].data.tolist()

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [[number / 2] * 3] * 2 for number in range(4)}


# The plan


def test_recomputation_runs_no_python_again():
    text = source("x", 8, 6, 20, 20)
    bottom = "x"
    for number in range(6):
        text += layer("TanH", bottom, f"t{number}") + layer("TanH", f"t{number}", f"u{number}")
        text += layer(python("Recorder"), f"u{number}", f"r{number}")
        bottom = f"r{number}"
    text = "force_backward: true " + text + layer("Eltwise", f"{bottom} x", "sum", "loss_weight: 1")
    lean = {"keep_data": False, "keep_diffs": False, "seed": 1}
    free, tight = net_from_text(text, caffe.TRAIN, **lean), None
    for percent in range(99, 0, -1):
        try:
            tight = net_from_text(text, caffe.TRAIN, max_memory=free.memory().total * percent // 100, **lean)
        except ConfigError:
            break
    gradients = []
    for net in (free, tight):
        net.blobs["x"].data[...] = random(8, 6, 20, 20)
        net.forward()
        net.backward()
        gradients.append(net.blobs["x"].diff.copy())
    assert tight.recomputed()
    assert not any(name.startswith("r") for name in tight.recomputed())
    assert [name for name, *_ in tight.layer_dict["r0"].calls].count("forward") == 1
    np.testing.assert_array_equal(*gradients)


# Errors


class Failing(caffe.Layer):
    """Raises what its text names, in the method that it names."""

    def __init__(self, layer_param):
        super().__init__(layer_param)
        self._fail("__init__")

    def _fail(self, method):
        where, _, what = self.param_str.partition(" ")
        if where == method:
            raise {"Runtime": RuntimeError, "Memory": MemoryError, "File": FileNotFoundError}[what]("oh no")

    def setup(self, bottom, top):
        self._fail("setup")

    def reshape(self, bottom, top):
        self._fail("reshape")
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        self._fail("forward")

    def backward(self, top, propagate_down, bottom):
        self._fail("backward")


@pytest.mark.parametrize(
    ("what", "error"), [("Runtime", RuntimeError), ("Memory", MemoryError), ("File", FileNotFoundError)]
)
@pytest.mark.parametrize("method", ["__init__", "setup", "reshape", "forward", "backward"])
def test_what_the_users_code_raises_comes_out_with_the_layers_place(method, what, error):
    def run():
        net = layer_net(python("Failing", f'param_str: "{method} {what}"'), [1.0])
        net.forward()
        net.backward()

    with pytest.raises(error) as caught:
        run()
    assert (type(caught.value), str(caught.value)) == (error, "oh no")
    [note] = caught.value.__notes__
    assert ":3:1: layer 'layer' (Python): raised in " in note
    assert f"{__name__}.Failing" in note
    assert method in note or method == "__init__"
    assert "_fail" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


class Negative(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape(-1)

    def forward(self, bottom, top):
        pass


def test_error_of_the_package_in_users_code_has_both_places():
    with pytest.raises(ShapeError, match="-1") as caught:
        layer_net(python("Negative"), [1.0])
    assert (caught.value.layer, caught.value.line) == ("layer", 3)
    assert f"{__name__}.Negative.reshape, {__file__}:" in caught.value.hint


class Unfinished(caffe.Layer):
    def reshape(self, bottom, top):
        pass


def test_class_without_forward_is_refused_when_the_net_is_built():
    with pytest.raises(TypeError, match="forward") as caught:
        layer_net(python("Unfinished"), [1.0])
    assert "layer 'layer'" in caught.value.__notes__[0]


def test_class_without_backward_runs_until_a_gradient_is_wanted():
    net = layer_net(python("Positives"), [1.0])
    net.forward()
    with pytest.raises(NotImplementedError, match=r"Positives has no backward\(") as caught:
        net.backward()
    assert "layer 'layer'" in caught.value.__notes__[0]


class NoLayer:
    pass


WRONG = {
    "module": (4, "test_pythn", "Slope", "there is no module 'test_pythn'", f"did you mean {__name__}"),
    "package": (
        4,
        "pycaffe_like.layer.x",
        "A",
        "there is no module 'pycaffe_like.layer'",
        "pycaffe_like.layers",
    ),
    "path": (4, "../evil", "A", "must be the name of a Python module, got '../evil'", ""),
    "far off": (4, "zzz_qqq_xxx", "A", "there is no module 'zzz_qqq_xxx'", "PYTHONPATH"),
    "class": (5, __name__, "Slop", "has no class 'Slop'", "did you mean Slope?"),
    "class far off": (5, "helpers.python_layers", "X", "has no class 'X'", "layers in it: Scaled"),
    "no class": (5, __name__, "random", "random is no layer", "derive it from caffe.Layer"),
    "no layer": (5, __name__, "NoLayer", "NoLayer is no layer", "class NoLayer(caffe.Layer)"),
    "no module": (3, "", "A", "module is missing", "set python_param.module"),
    "no name": (3, "caffe", "", "layer is missing", "set python_param.layer"),
}


@pytest.mark.parametrize(("line", "module", "name", "problem", "hint"), WRONG.values(), ids=WRONG)
def test_wrong_name_is_refused_with_its_line(line, module, name, problem, hint):
    text = source("x", 2) + 'layer { name: "mine" type: "Python" bottom: "x" top: "y"\n python_param {'
    with pytest.raises(ConfigError) as caught:
        net_from_text(f'{text}\n module: "{module}"\n layer: "{name}" }} }}')
    error = caught.value
    assert problem in error.problem
    assert hint in (error.hint or "")
    assert error.layer == "mine"
    assert error.line == line


@pytest.fixture
def my_layers(tmp_path, monkeypatch):
    """Folder on the path for a module `my_layers` of its own."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_layers", raising=False)
    return tmp_path / "my_layers.py"


@pytest.mark.parametrize(
    ("code", "error"),
    [("import no_such_module_here", ModuleNotFoundError), ("1 / 0", ZeroDivisionError), ("(", SyntaxError)],
)
def test_module_that_cannot_be_imported_says_why(my_layers, code, error):
    my_layers.write_text(code)
    with pytest.raises(error) as caught:
        layer_net('type: "Python" python_param { module: "my_layers" layer: "A" }', [1.0])
    assert "layer 'layer' (Python): raised in the import of my_layers" in caught.value.__notes__[0]
    assert not isinstance(caught.value, (ConfigError, DataError))


def test_guide_does_what_it_says(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "python_layers.md").read_text()
    blocks = re.findall(r"^```(?:python|prototxt)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for name, text in zip(("my_layers.py", "line.prototxt", "solver.prototxt"), blocks):
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_layers", raising=False)
    exec(compile(blocks[3], "script", "exec"), {})
    assert capsys.readouterr().out.split("\n") == [*re.findall(r"# (.*)\n", blocks[3]), ""]
    with pytest.raises(ConfigError, match="may not run"):
        exec(blocks[4].replace("...", 'caffe.Net("line.prototxt", caffe.TEST)'), {"caffe": caffe})
