import numpy as np
import pytest
from helpers.direct import assert_near, every_form, random_array
from helpers.layer_facts import SUMS, Example, Timed
from helpers.losses import MODES, check_loss, divisor, loss_net, run_in_form

EXAMPLE = Example(
    "loss_param { normalization: VALID ignore_label: 2 }", bottoms=((4, 3), (4, 3)), labels=(1,)
)
BACKWARD = {"alone": [("SigmoidCrossEntropyLoss x x2", "")]}
IMPOSSIBLE = [
    ("", [(4, 3), (4,)], "the same number of values"),
    ("", [(4, 3), (3, 4)], "the same first axis"),
    ("loss_param { pre_fixed_normalizer: 0 }", [(4, 3), (4, 3)], "pre_fixed_normalizer"),
]
FIELDS = {"loss_param.normalize": "loss_param { }"}
TOLERANCE = SUMS
SANITIZED = True
TIMED = {"": Timed("", ((64, 64, 112, 112), (64, 64, 112, 112)), forward=(1, 0), backward=(1, 0.5))}

FORM = {"normalization": "valid", "normalizer": 1.0, "ignores": True, "ignore_label": -1}


def reference(scores, targets, mode="BATCH_SIZE", ignore=None):
    """Loss and gradient in float64."""
    x, t = scores.astype(np.float64), targets.astype(np.float64).reshape(scores.shape)
    counts = np.trunc(t) != (np.nan if ignore is None else ignore)
    z = divisor(mode, x.size, counts.sum(), len(x))
    losses = t * np.logaddexp(0, -x) + (1 - t) * np.logaddexp(0, x)
    return losses[counts].sum() / z, np.where(counts, np.exp(-np.logaddexp(0, -x)) - t, 0) / z


def targets_for(*shape, seed=3):
    """Numbers in 0 .. 1, with -1 for about a quarter."""
    random = np.random.default_rng(seed)
    return np.where(random.random(shape) < 0.25, -1, random.random(shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("scores", "targets"),
    [
        ((5, 4), (5, 4)), ((1, 1), (1, 1)), ((6,), (6,)), ((2, 3, 4, 5), (2, 3, 4, 5)),
        ((2, 3, 4, 5), (2, 60)), ((2, 12), (2, 3, 2, 2)), ((1, 257), (1, 257)),
        ((3, 7, 50, 41), (3, 7, 50, 41)),
    ],
)  # fmt: skip
def test_scores_and_targets_of_any_shape(scores, targets):
    x, t = random_array(*scores), np.abs(targets_for(*targets))
    check_loss(loss_net("SigmoidCrossEntropyLoss", "", x, t), *reference(x, t))


@pytest.mark.parametrize("ignore", [None, -1, 7])
@pytest.mark.parametrize("mode", MODES)
def test_every_normalization(mode, ignore):
    x, t = random_array(3, 4, 2), targets_for(3, 4, 2)
    ignored = "" if ignore is None else f"ignore_label: {ignore}"
    net = loss_net("SigmoidCrossEntropyLoss", f"loss_param {{ normalization: {mode} {ignored} }}", x, t)
    check_loss(net, *reference(x, t, mode, ignore))


@pytest.mark.parametrize(
    ("fields", "mode"),
    [
        ("", "BATCH_SIZE"),
        ("normalize: true", "VALID"),
        ("normalize: false", "BATCH_SIZE"),
        ("normalize: true normalization: NONE", "NONE"),
    ],
)
def test_the_batch_size_is_the_default_and_the_older_normalize_counts_only_alone(fields, mode):
    x, t = random_array(3, 5), targets_for(3, 5)
    net = loss_net("SigmoidCrossEntropyLoss", f"loss_param {{ ignore_label: -1 {fields} }}", x, t)
    check_loss(net, *reference(x, t, mode, -1))


@every_form
def test_scores_in_any_form_give_a_float32_loss(layout, dtype):
    x, t = random_array(2, 5, 3, 4, dtype=dtype), targets_for(2, 5, 3, 4)
    loss, gradient = reference(x, t, "VALID", -1)
    made, [made_gradient] = run_in_form("SigmoidCrossEntropyLoss", FORM, [x, t], 1, layout, dtype)
    assert_near(made, loss)
    assert_near(made_gradient, gradient, dtype, terms=2)


def test_ignored_targets_are_truncated_towards_zero_and_their_scores_may_be_nan():
    t = [[0.9, -0.9, 1.0, 1.9]]
    net = loss_net(
        "SigmoidCrossEntropyLoss", "loss_param { ignore_label: 0 }", [[np.nan, np.inf, 2.0, 3.0]], t
    )
    wanted, gradient = reference(np.array([[2.0, 3.0]]), np.array([[1.0, 1.9]]))
    check_loss(net, wanted, [[0, 0, *gradient[0]]])


@pytest.mark.parametrize("score", [-100.0, -30.0, -16.5, -0.01, 0.0, 0.01, 16.5, 30.0, 100.0])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_losses_of_sure_scores_keep_their_digits(score, target):
    x, t = np.array([[score]]), np.array([[target]])
    net = loss_net("SigmoidCrossEntropyLoss", "", x, t)
    loss, gradient = reference(x.astype(np.float32), t)
    assert abs(net.forward_loss() - loss) <= 1e-5 * loss + 1e-37
    net.backward()
    assert np.abs(net.blobs["b0"].diff - gradient) <= 1e-7


def test_targets_outside_0_to_1_follow_the_formula():
    x, t = random_array(3, 4), 3 * random_array(3, 4, seed=1)
    check_loss(loss_net("SigmoidCrossEntropyLoss", "", x, t), *reference(x, t))


def test_targets_are_not_rounded_in_a_bfloat16_form():
    x, t = random_array(1, 3, dtype="bfloat16"), np.array([[257.0, 0.123, 1001.0]], np.float32)
    arguments = {**FORM, "ignore_label": 1001}
    made, _ = run_in_form("SigmoidCrossEntropyLoss", arguments, [x, t], 1, "plain", "bfloat16")
    assert_near(made, reference(x, t, "VALID", 1001)[0])


def test_nan_scores_give_a_nan_loss():
    assert np.isnan(loss_net("SigmoidCrossEntropyLoss", "", [[0.0, np.nan]], [[0.0, 1.0]]).forward_loss())
