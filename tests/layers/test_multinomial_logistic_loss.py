import math

import numpy as np
import pytest
from helpers.direct import assert_near, random_array
from helpers.layer_facts import SUMS, Example
from helpers.losses import PER_ITEM, check_loss, loss_net, run_in_form

from pycaffe_like.errors import DataError

EXAMPLE = Example(
    bottoms=((4, 3), (4,)), labels=(1,),
    given={0: (0.2, 0.3, 0.5, 0.6, 0.3, 0.1, 0.25, 0.5, 0.25, 0.125, 0.375, 0.5)},
)  # fmt: skip
BACKWARD = {"alone": [("MultinomialLogisticLoss b0 b1", "")]}
IMPOSSIBLE = [
    ("", [(4, 3), (5,)], "need 4 labels"),
    ("", [(4, 3), (2, 2)], "the first axis of both alike"),
]
TOLERANCE = SUMS
SANITIZED = True


def reference(probabilities, labels):
    """Loss and gradient in float64."""
    p = probabilities.astype(np.float64).reshape(len(probabilities), -1)
    rows, label = np.arange(len(p)), labels.astype(int)
    gradient = np.zeros_like(p)
    gradient[rows, label] = -1 / (len(p) * np.maximum(p[rows, label], 1e-20))
    return -np.log(np.maximum(p[rows, label], 1e-20)).mean(), gradient.reshape(probabilities.shape)


@pytest.mark.parametrize(
    "shape", [(5, 4), (1, 1), (5, 4, 1, 1), (3, 2, 2), (2, 3, 2, 2), (3, 129), (7, 5000)]
)
def test_classes_are_all_that_is_behind_the_first_axis(shape):
    probabilities = np.random.default_rng(0).random(shape).astype(np.float32)
    labels = np.random.default_rng(3).integers(0, math.prod(shape[1:]), shape[:1]).astype(np.float32)
    net = loss_net("MultinomialLogisticLoss", "", probabilities, labels)
    check_loss(net, *reference(probabilities, labels), terms=1)


def test_small_probabilities_are_raised():
    p = np.array([[0.0, 1.0], [1e-30, 1.0], [-1.0, 2.0]], np.float32)
    check_loss(loss_net("MultinomialLogisticLoss", "", p, np.zeros(3)), *reference(p, np.zeros(3)), terms=1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_probabilities_of_either_type_give_a_float32_loss(dtype):
    p, labels = np.abs(random_array(5, 4, dtype=dtype)), np.array([0, 3, 1, 1, 2], np.float32)
    loss, gradient = reference(p, labels)
    made, [made_gradient] = run_in_form("MultinomialLogisticLoss", PER_ITEM, [p, labels], 1, "plain", dtype)
    assert_near(made, loss)
    assert_near(made_gradient, gradient, dtype)


def test_behind_a_softmax_it_is_the_loss_of_the_softmax():
    scores, labels = random_array(4, 3), np.array([0, 2, 1, 1], np.float32)
    wanted = loss_net("SoftmaxWithLoss", "", scores, labels).forward_loss()
    exponentials = np.exp(scores)
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    assert_near(loss_net("MultinomialLogisticLoss", "", probabilities, labels).forward_loss(), wanted)


def test_nan_probabilities_give_a_nan_loss():
    assert math.isnan(loss_net("MultinomialLogisticLoss", "", [[np.nan, 0.5]], [0.0]).forward_loss())


@pytest.mark.parametrize("bad", [-1.0, 3.0, math.nan])
def test_labels_that_are_no_class_are_rejected(bad):
    net = loss_net("MultinomialLogisticLoss", "", np.abs(random_array(2, 3)), [0, bad])
    with pytest.raises(
        DataError, match=r"layer 'layer' .*: label .* at position 1 is not in the range 0 to 2"
    ):
        net.forward()
