import math

import numpy as np
import pytest
from helpers.direct import assert_near, every_form, random_array
from helpers.golden import GOLDEN
from helpers.layer_facts import SUMS, Example
from helpers.losses import MODES, check_loss, divisor, loss_net, run_in_form, slope

from pycaffe_like.errors import ConfigError, DataError, MissingFileError, ShapeError
from pycaffe_like.weights.binaryproto import write_blobproto

EXAMPLE = Example(
    'infogain_loss_param { source: "layers/aux/infogain_4.binaryproto" }', bottoms=((5, 4), (5,)), labels=(1,)
)
FIELDS = {"source": None}  # other matrices are tried below
BACKWARD = {
    "alone": [
        (
            "InfogainLoss b0 b1",
            f'infogain_loss_param {{ source: "{GOLDEN}/layers/aux/infogain_4.binaryproto" }}',
        )
    ]
}
IMPOSSIBLE = [
    ("", [(4, 3), (4,)], "infogain matrix is given nowhere"),
    ("", [(4, 3), (4,), (3, 2)], "3 classes needs 9 values, got 6"),
    ("", [(4, 3), (5,), (3, 3)], "label"),
    ("infogain_loss_param { axis: 2 }", [(4, 3), (4,), (3, 3)], "axis 2"),
    ("loss_param { normalize: true }", [(4, 3), (4,), (3, 3)], "field normalize of LossParameter"),
]
TOLERANCE = SUMS
SANITIZED = True

FORM = {"normalization": "valid", "normalizer": 1.0, "ignores": False, "ignore_label": 0, "axis": 1,
        "probabilities": False, "infogain": []}  # fmt: skip


def labels_for(shape, axis=1, seed=3):
    rows = [size for index, size in enumerate(shape) if index != axis % len(shape)]
    return np.random.default_rng(seed).integers(0, shape[axis], rows).astype(np.float32)


def loss_of(scores, labels, gains, axis=1, mode="VALID", ignore=None):
    """Loss in float64."""
    x = np.moveaxis(np.asarray(scores, np.float64), axis, -1)
    log_p = x - np.logaddexp.reduce(x, axis=-1, keepdims=True)
    rows, label = log_p.reshape(-1, x.shape[-1]), labels.reshape(-1).astype(int)
    counts = label != (-1 if ignore is None else ignore)
    losses = -gains.astype(np.float64)[label[counts]] * np.maximum(rows[counts], math.log(1e-20))
    return losses.sum() / divisor(mode, label.size, counts.sum(), math.prod(scores.shape[:axis]))


def check(scores, labels, gains, axis=1, mode="VALID", ignore=None, fields=""):
    """Compare with the formula, and the gradient with its slope."""
    settings = (labels, gains, axis, mode, ignore)
    gradient = slope(lambda x: loss_of(x, *settings), scores)
    net = loss_net(
        "InfogainLoss", f"infogain_loss_param {{ axis: {axis} }} {fields}", scores, labels, gains, tops=2
    )
    assert_near(net.forward_loss(), loss_of(scores, *settings), terms=2)
    exponentials = np.exp(scores.astype(np.float64))
    assert_near(net.blobs["t1"].data, exponentials / exponentials.sum(axis, keepdims=True))
    net.backward()
    assert_near(net.blobs["b0"].diff, gradient, terms=16)


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((5, 4), 1), ((5, 1), 1), ((2, 4, 3, 5), 1), ((2, 3, 4), 1), ((2, 3, 4), 2), ((2, 3, 4, 5), -1),
        ((2, 3, 2, 2, 3), 1), ((3, 37), 1), ((1, 33, 2, 2), 1),
    ],
)  # fmt: skip
def test_labels_are_read_in_the_order_of_the_rows(shape, axis):
    gains = np.abs(random_array(shape[axis], shape[axis], seed=1))
    scores = random_array(*shape)
    check(scores, labels_for(shape, axis), gains, axis % len(shape), fields="")


@pytest.mark.parametrize("ignore", [None, 2, 255])
@pytest.mark.parametrize("mode", MODES)
def test_every_normalization(mode, ignore):
    scores, labels, gains = random_array(3, 4, 2, 3), labels_for((3, 4, 2, 3)), random_array(4, 4, seed=1)
    if ignore == 255:
        labels[:, 0] = 255
    ignored = "" if ignore is None else f"ignore_label: {ignore}"
    check(scores, labels, gains, 1, mode, ignore, f"loss_param {{ normalization: {mode} {ignored} }}")


@every_form
def test_scores_in_any_form_give_a_float32_loss(layout, dtype):
    scores, labels, gains = (
        random_array(2, 5, 3, 4, dtype=dtype),
        labels_for((2, 5, 3, 4)),
        random_array(5, 5, seed=1),
    )
    gradient = slope(lambda x: loss_of(x, labels, gains), scores)
    made, [made_gradient] = run_in_form("InfogainLoss", FORM, [scores, labels, gains], 1, layout, dtype)
    assert_near(made, loss_of(scores, labels, gains), terms=2)
    assert_near(made_gradient, gradient, dtype, terms=16)


def test_unit_matrix_makes_it_the_loss_of_the_softmax():
    scores, labels = random_array(4, 3), labels_for((4, 3))
    net, other = (
        loss_net("InfogainLoss", "", scores, labels, np.eye(3)),
        loss_net("SoftmaxWithLoss", "", scores, labels),
    )
    check_loss(net, other.forward_loss())
    other.backward()
    assert_near(net.blobs["b0"].diff, other.blobs["b0"].diff)


@pytest.mark.parametrize("legacy_dims", [False, True])
def test_matrix_comes_from_a_file_or_a_bottom(tmp_path, legacy_dims):
    scores, labels, gains = random_array(4, 3), labels_for((4, 3)), random_array(3, 3, seed=1)
    write_blobproto(tmp_path / "gains.binaryproto", gains, legacy_dims)
    source = f'infogain_loss_param {{ source: "{tmp_path}/gains.binaryproto" }}'
    net, other = (
        loss_net("InfogainLoss", source, scores, labels),
        loss_net("InfogainLoss", "", scores, labels, gains),
    )
    assert net.forward_loss() == other.forward_loss() != 0
    net.backward()
    other.backward()
    np.testing.assert_array_equal(net.blobs["b0"].diff, other.blobs["b0"].diff)


def test_matrix_of_the_wrong_size_in_a_file_is_refused(tmp_path):
    write_blobproto(tmp_path / "gains.binaryproto", np.eye(3, dtype=np.float32))
    source = f'infogain_loss_param {{ source: "{tmp_path}/gains.binaryproto" }}'
    with pytest.raises(ShapeError, match="4 classes needs 16 values, got 9") as error:
        loss_net("InfogainLoss", source, random_array(2, 4), [0, 1])
    assert error.value.layer == "layer"


@pytest.mark.parametrize(("content", "error"), [(None, MissingFileError), (b"\xff\xff\xff", DataError)])
def test_file_that_cannot_be_read_is_told_with_its_layer(tmp_path, content, error):
    path = tmp_path / "gains.binaryproto"
    if content:
        path.write_bytes(content)
    with pytest.raises(error, match=r"gains\.binaryproto") as caught:
        loss_net("InfogainLoss", f'infogain_loss_param {{ source: "{path}" }}', random_array(2, 3), [0, 1])
    assert caught.value.layer == "layer"


def test_matrix_given_twice_is_refused():
    with pytest.raises(ConfigError, match="given twice") as error:
        loss_net("InfogainLoss", 'infogain_loss_param { source: "x" }', random_array(2, 3), [0, 1], np.eye(3))
    assert "not both" in error.value.hint


def test_matrix_may_change_between_runs():
    scores, labels, gains = random_array(4, 3), labels_for((4, 3)), random_array(3, 3, seed=1)
    net = loss_net("InfogainLoss", "", scores, labels, gains)
    once = net.forward_loss()
    net.blobs["b2"].data[...] *= 2
    assert net.forward_loss() == 2 * once


def test_the_loss_of_a_class_is_cut_but_its_gradient_is_not():
    net = loss_net("InfogainLoss", "", [[0.0, 1000.0]], [0.0], np.eye(2))
    check_loss(net, -math.log(1e-20), np.array([[-1.0, 1.0]]))


@pytest.mark.parametrize("bad", [-1.0, 3.0, math.nan])
def test_labels_that_are_no_class_are_rejected(bad):
    net = loss_net("InfogainLoss", "", random_array(2, 3), [0, bad], np.eye(3))
    with pytest.raises(
        DataError, match=r"layer 'layer' .*: label .* at position 1 is not in the range 0 to 2"
    ):
        net.forward()
