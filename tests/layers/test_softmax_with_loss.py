import math

import numpy as np
import pytest
from helpers.direct import DEVICE, assert_near, every_form, random_array
from helpers.layer_facts import SUMS, Example
from helpers.oracle import torch
from scipy.special import log_softmax

from pycaffe_like import _core as core
from pycaffe_like.errors import ConfigError, DataError, ShapeError
from pycaffe_like.testing import layer_net, net_from_text

EXAMPLE = Example("loss_param { normalization: VALID }", bottoms=((4, 3), (4,)), labels=(1,))
BACKWARD = {"alone": [("SoftmaxWithLoss x label", "")]}
IMPOSSIBLE = [
    ("", [(4, 3), (5,)], "label"),
    ("softmax_param { axis: -3 }", [(4, 3), (4,)], "axis -3"),
]
FIELDS = {
    "loss_param.normalize": "loss_param { normalize: true }",
    "loss_param.weight_by_label_freqs": "loss_param { class_weighting: [1, 1, 1] }",
    "loss_param.class_weighting": (
        "loss_param { weight_by_label_freqs: true class_weighting: [1, 1, 1] }",
        "[1, 2, 3]",
    ),
}
TOLERANCE = SUMS
SANITIZED = True

MODES = ["FULL", "VALID", "BATCH_SIZE", "NONE"]


def labels_for(shape, axis=1, seed=3):
    rows = [size for index, size in enumerate(shape) if index != axis % len(shape)]
    return np.random.default_rng(seed).integers(0, shape[axis], rows).astype(np.float32)


def loss_net(scores, labels, param="", tops=1):
    return layer_net(f'type: "SoftmaxWithLoss" {param}', scores, labels, tops=tops, phase=0)


def reference(scores, labels, axis, mode, ignore=None, weights=None):
    """Loss, gradient and probabilities in float64."""
    log_p = np.moveaxis(log_softmax(scores.astype(np.float64), axis), axis, -1)
    target = labels.reshape(log_p.shape[:-1]).astype(int)
    valid = np.ones(target.shape, bool) if ignore is None else target != ignore
    z = {
        "FULL": target.size,
        "VALID": valid.sum(),
        "NONE": 1,
        "BATCH_SIZE": math.prod(scores.shape[:axis]),
    }
    hits = np.eye(log_p.shape[-1])[np.where(valid, target, 0)] * valid[..., None]
    weight = hits * (1 if weights is None else np.asarray(weights, np.float64))
    weight /= max(1, z[mode])
    gradient = np.exp(log_p) * weight.sum(-1, keepdims=True) - weight
    loss = -(weight * log_p).sum()
    return loss, np.moveaxis(gradient, -1, axis), np.exp(np.moveaxis(log_p, -1, axis))


def check(scores, labels, axis=1, mode="VALID", ignore=None, weights=None, param=""):
    loss, gradient, probabilities = reference(scores, labels, axis, mode, ignore, weights)
    net = loss_net(scores, labels, param, tops=2)
    assert_near(net.forward_loss(), loss)
    assert_near(net.blobs["t0"].data, loss)
    assert_near(net.blobs["t1"].data, probabilities)
    net.backward()
    assert_near(net.blobs["b0"].diff, gradient, terms=2)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((5, 4), 1), ((5, 1), 1), ((2, 4, 3, 5), 1), ((2, 3, 4), 1), ((2, 3, 4), 2),
        ((2, 3, 4, 5), 2), ((2, 3, 4, 5), 3), ((2, 3, 2, 2, 3), 1), ((3, 127), 1), ((1, 129, 2, 2), 1),
        ((2, 5000), 1),
    ],
)  # fmt: skip
def test_labels_are_read_in_the_order_of_the_rows(shape, axis):
    scores = random_array(*shape)
    check(scores, labels_for(shape, axis), axis, param=f"softmax_param {{ axis: {axis - len(shape)} }}")


@pytest.mark.parametrize("ignore", [None, 2, 255])
@pytest.mark.parametrize("mode", MODES)
def test_every_normalization(mode, ignore):
    scores, labels = random_array(3, 4, 2, 5), labels_for((3, 4, 2, 5))
    if ignore == 255:
        labels[:, 0] = 255
    ignored = "" if ignore is None else f"ignore_label: {ignore}"
    param = f"loss_param {{ normalization: {mode} {ignored} }}"
    check(scores, labels, mode=mode, ignore=ignore, param=param)


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ("normalize: true", "VALID"),
        ("normalize: false", "BATCH_SIZE"),
        ("normalize: false normalization: FULL", "FULL"),
    ],
)
def test_the_older_normalize_counts_only_alone(fields, mode):
    scores, labels = random_array(3, 4, 2, 5), labels_for((3, 4, 2, 5))
    param = f"loss_param {{ ignore_label: 1 {fields} }}"
    check(scores, labels, mode=mode, ignore=1, param=param)


def test_classes_can_be_weighted():
    scores, labels, weights = random_array(3, 4, 2, 5), labels_for((3, 4, 2, 5)), [0.5, 2.0, 0.0, 3.0]
    fields = " ".join(f"class_weighting: {weight}" for weight in weights)
    param = f"loss_param {{ weight_by_label_freqs: true {fields} ignore_label: 1 }}"
    check(scores, labels, ignore=1, weights=weights, param=param)


def test_class_weights_need_one_a_class():
    with pytest.raises(ShapeError, match="one weight for each of 4 classes, got 1"):
        loss_net(random_array(2, 4), [0, 1], "loss_param { weight_by_label_freqs: true class_weighting: 1 }")


@every_form
def test_scores_in_any_form_give_a_float32_loss(layout, dtype):
    scores, labels = random_array(2, 21, 3, 4, dtype=dtype), labels_for((2, 21, 3, 4))
    loss, gradient, probabilities = reference(scores, labels, 1, "VALID")
    made, gradient_made, probabilities_made = run_in_form(scores, labels, layout, dtype)
    assert_near(made, loss)
    assert_near(gradient_made, gradient, dtype, terms=2)
    assert_near(probabilities_made, probabilities)


def run_in_form(scores, labels, layout, dtype):
    """Loss, gradient and probabilities for scores that are converted on the way in, as in a net's plan."""
    source, inside, targets, loss, probabilities = (
        core.Blob(shape, kind, order, DEVICE)
        for shape, kind, order in (
            (scores.shape, "float32", layout), (scores.shape, dtype, layout),
            (labels.shape, "float32", "plain"), ([], "float32", "plain"), (scores.shape, "float32", layout),
        )
    )  # fmt: skip
    source.data[...], targets.data[...] = scores, labels
    arguments = {
        "axis": 1, "normalization": "valid", "normalizer": 1.0, "ignores": False, "ignore_label": 0,
        "class_weights": [], "weighs_classes": False, "label_smoothing": 0.0, "probabilities": True,
    }  # fmt: skip
    steps = [
        core.Step(
            name=kind, layer=core.create_layer(kind, DEVICE, settings), bottoms=bottoms, tops=tops,
            loss_weights=weights, propagate_down=[True, False][: len(bottoms)], need_backward=True,
        )
        for kind, settings, bottoms, tops, weights in (
            ("Reorder", {}, [source], [inside], [0.0]),
            ("SoftmaxWithLoss", arguments, [inside, targets], [loss, probabilities], [1.0, 0.0]),
        )
    ]  # fmt: skip
    executor = core.Executor(steps, 0)
    total = executor.forward(0, 2)
    executor.backward(0, 2)
    return total, source.diff, probabilities.data


def test_the_loss_of_an_item_is_cut_at_the_smallest_float_but_its_gradient_is_not():
    net = loss_net([[0.0, 1000.0]], [0.0])
    assert_near(net.forward_loss(), -math.log(np.finfo(np.float32).tiny))
    net.backward()
    assert net.blobs["b0"].diff.tolist() == [[-1.0, 1.0]]


def test_small_probabilities_keep_their_digits():
    net = loss_net([[0.0, 80.125]], [0.0])
    assert_near(net.forward_loss(), 80.125)


def test_ignoring_every_label_gives_no_loss_and_no_gradient():
    net = loss_net(random_array(2, 3), [7.0, 7.0], "loss_param { ignore_label: 7 }")
    net.blobs["b0"].data[0, 0] = np.nan
    assert net.forward_loss() == 0.0
    net.backward()
    assert not net.blobs["b0"].diff.any()


def test_a_loss_weight_scales_loss_and_gradient():
    scores, labels = random_array(4, 3), labels_for((4, 3))
    loss, gradient, _ = reference(scores, labels, 1, "VALID")
    net = loss_net(scores, labels, "loss_weight: 0.5")
    assert_near(net.forward_loss(), 0.5 * loss)
    net.backward()
    assert_near(net.blobs["b0"].diff, 0.5 * gradient, terms=2)


def test_labels_are_truncated_towards_zero():
    scores = random_array(2, 3)
    exact, fractions = loss_net(scores, [0.0, 1.0]), loss_net(scores, [-0.5, 1.9])
    assert exact.forward_loss() == fractions.forward_loss()


def test_nan_scores_give_a_nan_loss():
    assert math.isnan(loss_net([[0.0, np.nan]], [0.0]).forward_loss())


def test_an_empty_batch_has_no_loss():
    net = loss_net(np.zeros((0, 3)), np.zeros(0))
    assert net.forward_loss() == 0.0


def test_the_same_scores_give_the_same_bits():
    scores, labels = random_array(1000, 21), labels_for((1000, 21))
    once = loss_net(scores, labels)
    wanted = once.forward_loss()
    assert all(once.forward_loss() == wanted for _ in range(3))
    assert_near(wanted, reference(scores, labels, 1, "VALID")[0])


@pytest.mark.parametrize("bad", [-1.0, 3.0, 1e10, math.nan, math.inf])
def test_labels_that_are_no_class_are_rejected(bad):
    net = loss_net(random_array(2, 3, 2, 2), np.zeros((2, 2, 2)))
    net.blobs["b1"].data[1, 0, 1] = bad
    with pytest.raises(
        DataError, match=r"layer 'layer' .*: label .* at position 5 is not in the range 0 to 2"
    ):
        net.forward()


@pytest.mark.parametrize("labels", [(3,), (2, 2), (4, 1), ()])
def test_labels_that_do_not_fit_are_rejected(labels):
    with pytest.raises(ShapeError, match="labels") as error:
        loss_net(random_array(2, 3), np.zeros(labels))
    assert (error.value.layer, error.value.line) == ("layer", 4)


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
@pytest.mark.parametrize(("shape", "axis"), [((5, 4), 1), ((5, 1), 1), ((2, 4, 3, 5), 1), ((2, 3, 40), 2)])
def test_labels_can_be_smoothed(shape, axis, smoothing):
    scores, labels = random_array(*shape), labels_for(shape, axis)
    x = torch.tensor(scores, dtype=torch.float64, requires_grad=True)
    target = torch.tensor(labels).long().reshape(-1)
    rows = x.movedim(axis, -1).reshape(-1, shape[axis])
    loss = torch.nn.functional.cross_entropy(rows, target, ignore_index=1, label_smoothing=smoothing)
    loss.backward()
    param = f"loss_param {{ label_smoothing: {smoothing} ignore_label: 1 }} softmax_param {{ axis: {axis} }}"
    if shape[axis] == 1:
        param = param.replace("ignore_label: 1", "")
    net = loss_net(scores, labels, param)
    assert_near(net.forward_loss(), loss.item(), terms=2)
    net.backward()
    assert_near(net.blobs["b0"].diff, x.grad, terms=2)


def test_smoothed_labels_can_be_weighted():
    scores, labels, weights = random_array(3, 4), labels_for((3, 4)), np.array([0.5, 2, 0.25, 3])
    plain = loss_net(scores, labels, "loss_param { label_smoothing: 0.2 normalization: NONE }")
    single = [
        loss_net(scores[[i]], labels[[i]], "loss_param { label_smoothing: 0.2 }").forward_loss()
        for i in range(3)
    ]
    assert_near(plain.forward_loss(), sum(single))
    fields = " ".join(f"class_weighting: {weight}" for weight in weights)
    fields += " label_smoothing: 0.2 normalization: NONE"
    weighted = loss_net(scores, labels, f"loss_param {{ weight_by_label_freqs: true {fields} }}")
    assert_near(weighted.forward_loss(), weights[labels.astype(int)] @ single)
    plain.backward()
    weighted.backward()
    gradient = plain.blobs["b0"].diff * weights[labels.astype(int)][:, None]
    assert_near(weighted.blobs["b0"].diff, gradient)


@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan"])
def test_smoothing_outside_0_to_1_is_refused(value):
    with pytest.raises(ConfigError, match="label_smoothing must be a number >= 0 and <= 1"):
        loss_net(random_array(2, 3), [0, 1], f"loss_param {{ label_smoothing: {value} }}")


def test_another_normalization_of_the_scores_is_refused():
    with pytest.raises(ConfigError, match="field normalize_type of SoftmaxParameter is not supported"):
        loss_net(random_array(2, 3), [0, 1], 'softmax_param { normalize_type: "L2" }')


def test_a_gradient_of_the_labels_is_rejected():
    text = """
    force_backward: true
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 2 } } }
    layer {
      name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "y" top: "loss"
      propagate_down: true propagate_down: true
    }
    """
    net = net_from_text(text)
    net.forward()
    with pytest.raises(ConfigError, match=r"layer 'loss' .*: labels have no gradient"):
        net.backward()
