import math

import numpy as np
import pytest
from helpers.direct import assert_near, every_form, random_array
from helpers.layer_facts import SUMS, Example
from helpers.losses import PER_ITEM, check_loss, loss_net, run_in_form, slope

from pycaffe_like.errors import DataError

EXAMPLE = Example("hinge_loss_param { norm: L2 }", bottoms=((4, 3), (4,)), labels=(1,))
BACKWARD = {"alone": [("HingeLoss b0 b1", "")]}
IMPOSSIBLE = [
    ("", [(4, 3), (5,)], "need 4 labels"),
    ("", [(4, 3), (2, 2)], "the first axis of both alike"),
]
TOLERANCE = SUMS
SANITIZED = True


def loss_of(scores, labels, norm):
    """Loss in float64."""
    x = np.asarray(scores, np.float64).reshape(len(scores), -1)
    d = np.where(np.arange(x.shape[1]) == labels.reshape(-1, 1), 1, -1)
    return np.sum(np.maximum(0, 1 - d * x) ** norm) / len(x)


@pytest.mark.parametrize("norm", [1, 2])
@pytest.mark.parametrize("shape", [(5, 4), (1, 1), (3, 5, 1, 1), (4, 2, 3), (2, 3, 2, 2), (2, 33), (7, 5000)])
def test_classes_are_all_that_is_behind_the_first_axis(shape, norm):
    scores, classes = random_array(*shape), math.prod(shape[1:])
    labels = np.random.default_rng(3).integers(0, classes, shape[:1]).astype(np.float32)
    net = loss_net("HingeLoss", f"hinge_loss_param {{ norm: L{norm} }}", scores, labels)
    if classes > 100:
        assert_near(net.forward_loss(), loss_of(scores, labels, norm), terms=2)
    else:
        check_loss(
            net, loss_of(scores, labels, norm), slope(lambda x: loss_of(x, labels, norm), scores), terms=16
        )


def test_l1_is_the_default():
    check_loss(loss_net("HingeLoss", "", [[0.5, -0.5]], [0.0]), 1.0, np.array([[-1.0, 1.0]]))


@pytest.mark.parametrize("norm", ["L1", "L2"])
def test_scores_at_the_margin_have_no_gradient(norm):
    net = loss_net("HingeLoss", f"hinge_loss_param {{ norm: {norm} }}", [[1.0, -1.0, -2.0]], [0.0])
    check_loss(net, 0.0, np.zeros((1, 3)))


@every_form
def test_scores_in_any_form_give_a_float32_loss(layout, dtype):
    if layout == "channels_last":
        pytest.skip("a plan gives it plain scores")
    scores, labels = random_array(5, 4, dtype=dtype), np.array([0, 3, 1, 1, 2], np.float32)
    made, [gradient] = run_in_form(
        "HingeLoss", {**PER_ITEM, "squares": True}, [scores, labels], 1, layout, dtype
    )
    assert_near(made, loss_of(scores, labels, 2))
    assert_near(gradient, slope(lambda x: loss_of(x, labels, 2), scores), dtype, terms=16)


def test_nan_scores_give_a_nan_loss():
    assert math.isnan(loss_net("HingeLoss", "", [[0.0, np.nan]], [0.0]).forward_loss())


@pytest.mark.parametrize("bad", [-1.0, 3.0, math.nan])
def test_labels_that_are_no_class_are_rejected(bad):
    net = loss_net("HingeLoss", "", random_array(2, 3), [0, bad])
    with pytest.raises(
        DataError, match=r"layer 'layer' .*: label .* at position 1 is not in the range 0 to 2"
    ):
        net.forward()
