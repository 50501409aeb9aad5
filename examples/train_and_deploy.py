"""Builds a net in Python, trains it for some steps and runs it on data of its own, through `import caffe`.

The task: tell whether a point lies inside a circle. Run it anywhere; it writes to a temporary folder.
"""

import tempfile
from pathlib import Path

import numpy as np

import caffe
from caffe.proto import caffe_pb2


def hidden_layers(net: caffe_pb2.NetParameter) -> None:
    """Append two layers of neurons, from blob "data" to blob "scores"."""
    ip1 = net.layer.add(name="ip1", type="InnerProduct", bottom=["data"], top=["ip1"])
    ip1.inner_product_param.num_output = 32
    ip1.inner_product_param.weight_filler.type = "msra"
    net.layer.add(name="relu1", type="ReLU", bottom=["ip1"], top=["ip1"])
    ip2 = net.layer.add(name="ip2", type="InnerProduct", bottom=["ip1"], top=["scores"])
    ip2.inner_product_param.num_output = 2
    ip2.inner_product_param.weight_filler.type = "xavier"


def net_with(batch: int, *, training: bool) -> caffe_pb2.NetParameter:
    """Make the net: for training with labels and a loss, else with probabilities."""
    net = caffe_pb2.NetParameter(name="circle")
    data = net.layer.add(name="data", type="Input", top=["data", "label"] if training else ["data"])
    data.input_param.shape.add(dim=[batch, 2])
    if training:
        data.input_param.shape.add(dim=[batch])
    hidden_layers(net)
    if training:
        net.layer.add(name="loss", type="SoftmaxWithLoss", bottom=["scores", "label"], top=["loss"])
    else:
        net.layer.add(name="prob", type="Softmax", bottom=["scores"], top=["prob"])
    return net


def draw(random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw points of a square, labelled 1 inside the unit circle."""
    points = random.uniform(-1.5, 1.5, (count, 2)).astype(np.float32)
    return points, (np.hypot(*points.T) < 1).astype(np.float32)


def train(folder: Path, steps: int) -> Path:
    """Train and return the path of the weights."""
    solver_file = folder / "solver.prototxt"
    param = caffe_pb2.SolverParameter(type="Adam", base_lr=0.01, lr_policy="fixed", random_seed=1)
    param.net_param.CopyFrom(net_with(64, training=True))
    solver_file.write_text(str(param))
    solver = caffe.get_solver(str(solver_file))
    random = np.random.default_rng(1)
    for step in range(steps):
        points, labels = draw(random, 64)
        solver.net.blobs["data"].data[...] = points
        solver.net.blobs["label"].data[...] = labels
        solver.step(1)
        if step % 100 == 0:
            print(f"step {step:3}: loss {float(solver.net.blobs['loss'].data):.3f}")
    weights = folder / "circle.caffemodel"
    solver.net.save(str(weights))
    return weights


def accuracy(folder: Path, weights: Path) -> float:
    """Test the weights on new points."""
    deploy = folder / "deploy.prototxt"
    deploy.write_text(str(net_with(1000, training=False)))
    net = caffe.Net(str(deploy), caffe.TEST, weights=str(weights))
    points, labels = draw(np.random.default_rng(2), 1000)
    prob = net.forward(data=points)["prob"]
    return float(np.mean(prob.argmax(axis=1) == labels))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        found = train(Path(name), steps=301)
        print(f"accuracy on 1000 new points: {accuracy(Path(name), found):.1%}")
