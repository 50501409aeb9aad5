import math

import numpy as np
import pytest
from helpers.direct import random_array
from helpers.layer_facts import EXACT, Example

from pycaffe_like.errors import ConfigError, DataError, ShapeError
from pycaffe_like.testing import layer_net, net_from_text

EXAMPLE = Example("accuracy_param { top_k: 1 }", bottoms=((4, 3), (4,)), labels=(1,))
BACKWARD = None
IMPOSSIBLE = [
    ("", [(4, 3), (5,)], "label"),
    ("accuracy_param { axis: 2 }", [(4, 3), (4,)], "axis 2"),
    ("accuracy_param { top_k: 4 }", [(4, 3), (4,)], "top_k"),
]
TOLERANCE = EXACT
FORMULA = False


def accuracy(scores, labels, fields="", tops=1):
    """Tops of the layer for these bottoms."""
    text = f'type: "Accuracy" accuracy_param {{ {fields} }}'
    net = layer_net(text, scores, labels, tops=tops, backward=False)
    net.forward()
    return [net.blobs[f"t{index}"].data for index in range(tops)]


def reference(scores, labels, axis=1, top_k=1, ignore=None):
    """Overall and per-class share, row by row."""
    classes = scores.shape[axis]
    rows = np.moveaxis(scores, axis, -1).reshape(-1, classes)
    right, total = np.zeros(classes), np.zeros(classes)
    for row, label in zip(rows, labels.reshape(-1).astype(int), strict=True):
        if label == ignore:
            continue
        total[label] += 1
        right[label] += sum(row >= row[label]) <= top_k
    shares = np.divide(right, total, out=np.zeros(classes), where=total > 0)
    return right.sum() / max(1, total.sum()), shares


def whole_numbers(*shape, high, seed):
    return np.random.default_rng(seed).integers(0, high, shape).astype(np.float32)


@pytest.mark.parametrize("ignore", [None, 2])
@pytest.mark.parametrize("top_k", [1, 2, 4])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((20, 4), 1), ((3, 4, 2, 5), 1), ((4, 3, 5), 2), ((2, 3, 2, 4), 3), ((2, 4, 2, 2, 2), 1)],
)
def test_shares_are_counted_row_by_row(shape, axis, top_k, ignore):
    scores = whole_numbers(*shape, high=6, seed=1)  # few values, so that there are ties
    rows = shape[:axis] + shape[axis + 1 :]
    labels = whole_numbers(*rows, high=shape[axis], seed=2)
    labels[labels == 3] = 1  # a class without labels, where there are four
    fields = f"top_k: {min(top_k, shape[axis])} axis: {axis - len(shape)}"
    fields += "" if ignore is None else f" ignore_label: {ignore}"
    total, per_class = accuracy(scores, labels, fields, tops=2)
    wanted, wanted_per_class = reference(scores, labels, axis, min(top_k, shape[axis]), ignore)
    assert total == np.float32(wanted)
    assert np.array_equal(per_class, wanted_per_class.astype(np.float32))


@pytest.mark.parametrize("classes", [1, 127, 128, 129, 1000, 5000])
def test_any_number_of_classes(classes):
    scores, labels = random_array(50, classes), whole_numbers(50, high=classes, seed=4)
    scores[np.arange(25), labels[:25].astype(int)] = 10
    top_k = min(5, classes)
    assert accuracy(scores, labels, f"top_k: {top_k}")[0] == np.float32(
        reference(scores, labels, top_k=top_k)[0]
    )


def test_ties_count_against_the_label():
    assert accuracy(np.zeros((1, 3)), [0])[0] == 0.0
    assert accuracy(np.zeros((1, 3)), [0], "top_k: 2")[0] == 0.0
    assert accuracy(np.zeros((1, 3)), [0], "top_k: 3")[0] == 1.0


def test_a_label_whose_score_is_nan_is_wrong():
    assert accuracy([[np.nan, 1.0], [2.0, np.nan]], [0, 0])[0] == 0.5


def test_ignoring_every_label_gives_zero():
    assert accuracy(np.zeros((2, 3)), [9, 9], "ignore_label: 9")[0] == 0.0


def test_an_empty_batch_gives_zero():
    assert accuracy(np.zeros((0, 3)), np.zeros(0))[0] == 0.0


def test_the_shape_of_the_labels_is_free():
    scores = random_array(4, 3)
    labels = [0, 1, 2, 0]
    flat = accuracy(scores, labels)[0]
    assert accuracy(scores, np.reshape(labels, (4, 1, 1, 1)))[0] == flat
    assert accuracy(scores, np.reshape(labels, (2, 2)))[0] == flat


def test_the_bottoms_and_their_gradients_are_not_touched():
    scores, labels = random_array(4, 3), np.array([0, 1, 2, 0], np.float32)
    net = layer_net('type: "Accuracy"', scores, labels)
    for name in ("b0", "b1"):
        net.blobs[name].diff[...] = 5
    net.forward()
    net.backward()
    assert np.array_equal(net.blobs["b0"].data, scores)
    assert np.array_equal(net.blobs["b1"].data, labels)
    assert all((net.blobs[name].diff == 5).all() for name in ("b0", "b1"))


def test_a_gradient_is_rejected():
    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 2 } } }
    layer {
      name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 3 }
    }
    layer { name: "share" type: "Accuracy" bottom: "ip" bottom: "y" top: "share" loss_weight: 1 }
    """
    with pytest.raises(ConfigError, match=r"layer 'share' .*: Accuracy has no gradient"):
        net_from_text(text, 0)


def test_bfloat16_scores_give_float32_shares():
    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 7 dim: 3 } } }
    layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 7 } } }
    layer {
      name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
      inner_product_param { num_output: 3 bias_term: false }
    }
    layer { name: "share" type: "Accuracy" bottom: "ip" bottom: "y" top: "share" }
    """
    net = net_from_text(text, precision="bfloat16")
    net.params["ip"][0].data[...] = np.eye(3)
    net.blobs["x"].data[...] = np.eye(3)[[0, 1, 2, 0, 1, 2, 0]]
    net.blobs["y"].data[...] = [0, 1, 2, 2, 2, 2, 2]
    net.forward()
    assert net.blobs["ip"].dtype == "bfloat16"
    assert net.blobs["share"].dtype == "float32"
    assert net.blobs["share"].data == np.float32(4 / 7)


@pytest.mark.parametrize("bad", [-1.0, 3.0, 1e10, math.nan])
def test_labels_that_are_no_class_are_rejected(bad):
    with pytest.raises(
        DataError, match=r"layer 'layer' .*: label .* at position 1 is not in the range 0 to 2"
    ):
        accuracy(np.zeros((2, 3)), [0, bad])


def test_labels_that_do_not_fit_are_rejected():
    with pytest.raises(ShapeError, match=r"need 2 labels, got \(3\)") as error:
        accuracy(np.zeros((2, 3)), [0, 0, 0])
    assert (error.value.layer, error.value.line) == ("layer", 3)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ("top_k: 0", "top_k must be an int >= 1, got 0"),
        ("top_k: 4", "at most the number of classes, 3, got 4"),
        ("axis: 2", "axis 2 is out of range"),
    ],
)
def test_bad_parameters_are_rejected(fields, problem):
    with pytest.raises(ConfigError, match=problem):
        accuracy(np.zeros((2, 3)), [0, 0], fields)
