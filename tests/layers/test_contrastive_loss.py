import numpy as np
import pytest
from helpers.direct import assert_near, every_form, random_array
from helpers.layer_facts import SUMS, Example
from helpers.losses import PER_ITEM, check_loss, loss_net, run_in_form

EXAMPLE = Example("contrastive_loss_param { margin: 2 }", bottoms=((4, 3), (4, 3), (4,)), labels=(2,))
BACKWARD = {"alone": [("ContrastiveLoss b0 b1 b2", "")]}
IMPOSSIBLE = [
    ("", [(4, 3), (4, 2), (4,)], r"\(4, 3\) and \(4, 2\)"),
    ("", [(4, 3), (4, 3), (3,)], "4 pairs need as many labels"),
]
TOLERANCE = SUMS
SANITIZED = True

SHAPES = [(6, 3), (1, 1), (5,), (6, 3, 1, 1), (2, 3, 4, 5), (3, 127), (2, 5000)]


def reference(a, b, similar, margin=1.0, legacy=False):
    """Loss and gradients in float64."""
    difference = (a.astype(np.float64) - b.reshape(a.shape)).reshape(len(a), -1)
    square = np.sum(difference**2, axis=1)
    distance = np.sqrt(square)
    missing = np.maximum(0, margin - (square if legacy else distance))
    losses = np.where(similar, square, missing if legacy else missing**2)
    push = np.where(missing > 0, -1.0 if legacy else -missing / (distance + 1e-4), 0)
    gradient = np.where(similar, 1, push)[:, None] * difference / len(a)
    return losses.sum() / (2 * len(a)), gradient.reshape(a.shape), -gradient.reshape(b.shape)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_similar_pairs_are_pulled_and_others_pushed(shape, legacy):
    a, b = random_array(*shape), random_array(*shape, seed=1)
    similar = np.arange(shape[0]) % 3 == 0
    margin = 1.2 * float(np.sqrt(np.median(np.sum((a - b).reshape(len(a), -1) ** 2, axis=1))))
    fields = f"contrastive_loss_param {{ margin: {margin} legacy_version: {str(legacy).lower()} }}"
    margin = float(np.float32(margin))
    check_loss(loss_net("ContrastiveLoss", fields, a, b, similar), *reference(a, b, similar, margin, legacy))


@pytest.mark.parametrize(("a", "b"), [((2, 12), (2, 3, 2, 2)), ((2, 3, 2, 2), (2, 2, 3, 2))])
def test_shapes_may_differ_behind_the_first_axis(a, b):
    a, b, similar = random_array(*a), random_array(*b, seed=1), np.array([1, 0])
    check_loss(loss_net("ContrastiveLoss", "contrastive_loss_param { margin: 9 }", a, b, similar),
               *reference(a, b, similar, 9.0))  # fmt: skip


def test_similarity_is_truncated_towards_zero():
    a, b = random_array(5, 3), random_array(5, 3, seed=1)
    net = loss_net("ContrastiveLoss", "", a, b, [0.9, -0.9, 1.0, -1.5, 2.0])
    check_loss(net, *reference(a, b, np.array([0, 0, 1, 1, 1])))


def test_equal_vectors_have_no_gradient():
    a = random_array(2, 3)
    check_loss(loss_net("ContrastiveLoss", "", a, a, [0, 1]), 0.25, np.zeros((2, 3)), np.zeros((2, 3)))


@every_form
def test_vectors_in_any_form_give_a_float32_loss(layout, dtype):
    a, b = random_array(4, 3, 2, 2, dtype=dtype), random_array(4, 3, 2, 2, dtype=dtype, seed=1)
    similar = np.array([1, 0, 0, 1], np.float32)
    loss, *gradients = reference(a, b, similar, 8.0)
    arguments = {**PER_ITEM, "margin": 8.0, "legacy": False}
    made, made_gradients = run_in_form("ContrastiveLoss", arguments, [a, b, similar], 2, layout, dtype)
    assert_near(made, loss)
    for got, gradient in zip(made_gradients, gradients, strict=True):
        assert_near(got, gradient, dtype, terms=2)
