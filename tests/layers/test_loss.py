"""What holds for every loss: weights, normalisation, empty batches, bits that do not depend on threads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.golden import GOLDEN
from helpers.layer_examples import build, message_of, net_text, run
from helpers.layer_facts import example

import caffe
from pycaffe_like.errors import ConfigError
from pycaffe_like.layer_type import layer_types
from pycaffe_like.layers.loss import NormalizedLoss
from pycaffe_like.prototxt import schema
from pycaffe_like.testing import net_from_text

KINDS = [kind for kind, layer_type in layer_types().items() if layer_type.loss]
NORMALIZED = [kind for kind in KINDS if issubclass(layer_types()[kind], NormalizedLoss)]
TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _golden_folder(monkeypatch):
    """Let examples find their files."""
    monkeypatch.chdir(GOLDEN)


def net_of(message, bottoms, values=None, more=""):
    """Net of one loss, filled as the example of its type."""
    net = net_from_text(net_text(message, bottoms) + more, caffe.TRAIN)
    for name, array in (values or inputs_of(message.type)).items():
        net.blobs[name].data[...] = array
    return net


def inputs_of(kind):
    net = build(kind)
    return {name: net.blobs[name].data.copy() for name in net.inputs}


def gradients_of(net):
    """Gradients of the bottoms that have one."""
    facts = layer_types()[net.layer_dict["layer"].type].bottom_facts(len(net.inputs))
    return [net.blobs[name].diff.copy() for index, name in enumerate(net.inputs) if facts[index].gradient]


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_weight_scales_loss_and_gradients(kind):
    net = build(kind)
    loss = net.forward_loss()
    net.backward()
    message = message_of(kind)
    message.loss_weight.append(-0.25)
    weighed = net_of(message, example(kind).bottoms)
    assert weighed.forward_loss() == -0.25 * loss != 0
    weighed.backward()
    for got, wanted in zip(gradients_of(weighed), gradients_of(net), strict=True):
        np.testing.assert_array_equal(got, -0.25 * wanted)
        assert wanted.any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_another_layer_reads_counts_once(kind):
    net = build(kind)
    loss = net.forward_loss()
    net.backward()
    message = message_of(kind)
    message.loss_weight.append(2)
    thrice = 'bottom: "t0" top: "thrice" eltwise_param { coeff: 1 coeff: 2 } loss_weight: 1 }'
    shared = net_of(
        message, example(kind).bottoms, more=f'layer {{ name: "thrice" type: "Eltwise" bottom: "t0" {thrice}'
    )
    np.testing.assert_allclose(shared.forward_loss(), (2 + 3) * loss, rtol=1e-6)
    shared.backward()
    for got, wanted in zip(gradients_of(shared), gradients_of(net), strict=True):
        np.testing.assert_allclose(got, (2 + 3) * wanted, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_top_may_be_left_out(kind):
    message = message_of(kind)
    del message.top[:]
    net = net_of(message, example(kind).bottoms)
    assert net.forward_loss() == build(kind).forward_loss()


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_batch_has_no_loss(kind):
    net = net_of(message_of(kind), example(kind).bottoms)
    for name in net.inputs:
        net.blobs[name].reshape(0, *net.blobs[name].shape[1:])
    net.reshape()
    assert net.forward_loss() == 0.0
    net.backward()


@pytest.mark.parametrize("kind", KINDS)
def test_runs_that_repeat_themselves_see_new_values(kind):
    repeated, inputs = build(kind), inputs_of(kind)
    for number in range(4):  # a GPU repeats a recording from the third on
        moved = {name: np.roll(values, number, axis=0) for name, values in inputs.items()}
        moved["b0"] = moved["b0"] / (number + 1)
        fresh = net_of(message_of(kind), example(kind).bottoms, moved)
        for name, values in moved.items():
            repeated.blobs[name].data[...] = values
        wanted, got = run(fresh), run(repeated)
        for name, values in wanted.items():
            np.testing.assert_array_equal(got[name], values)


@pytest.mark.parametrize(
    ("kind", "bottom"),
    [
        (kind, index)
        for kind in KINDS
        for index in range(len(example(kind).bottoms))
        if not layer_types()[kind].bottom_facts(len(example(kind).bottoms))[index].gradient
    ],
)
def test_a_gradient_of_the_labels_is_rejected(kind, bottom):
    message = message_of(kind)
    message.propagate_down.extend(index in (0, bottom) for index in range(len(message.bottom)))
    with pytest.raises(ConfigError, match=r"layer 'layer' .*labels have no gradient"):
        run(net_of(message, example(kind).bottoms))


def loss_in_mode(kind, mode, **fields):
    message = message_of(kind)
    param = message.loss_param
    param.Clear()
    param.normalization = schema.LossParameter.NormalizationMode.Value(mode)
    for name, value in fields.items():
        setattr(param, name, value)
    return net_of(message, example(kind).bottoms).forward_loss()


@pytest.mark.parametrize("kind", NORMALIZED)
def test_a_fixed_normalizer_divides_the_sum(kind):
    total = loss_in_mode(kind, "NONE")
    np.testing.assert_allclose(
        loss_in_mode(kind, "PRE_FIXED", pre_fixed_normalizer=2.5), total / 2.5, rtol=1e-6
    )
    assert loss_in_mode(kind, "PRE_FIXED") == total
    assert loss_in_mode(kind, "PRE_FIXED", pre_fixed_normalizer=0.1) == total, "it counts as 1 at least"


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
@pytest.mark.parametrize("kind", NORMALIZED)
def test_a_fixed_normalizer_that_is_not_positive_is_refused(kind, value):
    with pytest.raises(ConfigError, match="pre_fixed_normalizer must be a number > 0, got"):
        loss_in_mode(kind, "PRE_FIXED", pre_fixed_normalizer=value)


@pytest.mark.parametrize("kind", NORMALIZED)
def test_ignoring_every_label_gives_no_loss_and_no_gradient(kind):
    message = message_of(kind)
    message.loss_param.ignore_label = 77
    inputs = inputs_of(kind)
    inputs["b1"][...] = 77
    inputs["b0"][0] = np.nan
    net = net_of(message, example(kind).bottoms, inputs)
    assert net.forward_loss() == 0.0
    net.backward()
    assert not net.blobs["b0"].diff.any()


PROGRAM = """
import hashlib, sys
import numpy as np
from helpers.layer_examples import fill, net_text, message_of, run
from helpers.layer_facts import example
from pycaffe_like.testing import net_from_text

for kind in sys.argv[1:]:
    shapes = [(4321, *shape[1:]) for shape in example(kind).bottoms]
    net = net_from_text(net_text(message_of(kind), shapes), 0, device="cpu")
    fill(net, example(kind))
    for name, values in sorted(run(net).items()):
        print(kind, name, hashlib.sha256(values.tobytes()).hexdigest())
"""


def test_any_number_of_threads_gives_the_same_bits():
    printed = [_printed_with(threads) for threads in (1, 3)]
    assert printed[0].count("data t0") == len(KINDS)
    assert printed[0] == printed[1]


def _printed_with(threads):
    paths = os.pathsep.join(str(path) for path in (TESTS, *sys.path) if str(path))
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "passive",
        "PYTHONPATH": paths,
    }
    command = [sys.executable, "-c", PROGRAM, *KINDS]
    return subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout
