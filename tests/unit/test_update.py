"""The solver update of all params at once, on the device under test, against the rules in float64."""

import numpy as np
import pytest
from helpers.direct import DEVICE, random_array

import caffe
from pycaffe_like import _core as core
from pycaffe_like.testing import net_from_text

# Around what a thread, and a block of threads, takes at once.
SIZES = [(1,), (3,), (4,), (5,), (7, 11), (4095,), (4096,), (4097,), (33, 1000)]
LR_MULTS = [1.0, 2.0, 0.0, 0.5, 1.0, 1.0, 3.0, 1.0, 1.0]
DECAY_MULTS = [1.0, 0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 1.0, 0.5]
RULES = ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"]


def settings(iteration=0, **changes):
    values = {
        "rate": 0.1 / (1 + iteration), "momentum": 0.9, "momentum2": 0.99, "rms_decay": 0.95, "delta": 1e-3,
        "weight_decay": 0.02, "l1": False, "gradient_scale": 0.5,
    }  # fmt: skip
    return {**values, **changes, "iteration": iteration}


def expected_change(rule, s, rate, gradient, first, second):
    """What is taken from the weights; the histories change in place."""
    if rule in ("SGD", "Nesterov"):
        before = first.copy()
        first[...] = s["momentum"] * first + rate * gradient
        return first if rule == "SGD" else (1 + s["momentum"]) * first - s["momentum"] * before
    if rule == "AdaGrad":
        first += gradient**2
        return rate * gradient / (np.sqrt(first) + s["delta"])
    if rule == "RMSProp":
        first[...] = s["rms_decay"] * first + (1 - s["rms_decay"]) * gradient**2
        return rate * gradient / (np.sqrt(first) + s["delta"])
    first[...] = s["momentum"] * first + (1 - s["momentum"]) * gradient ** (1 if rule == "Adam" else 2)
    if rule == "AdaDelta":
        step = gradient * np.sqrt((second + s["delta"]) / (first + s["delta"]))
        second[...] = s["momentum"] * second + (1 - s["momentum"]) * step**2
        return rate * step
    second[...] = s["momentum2"] * second + (1 - s["momentum2"]) * gradient**2
    time = s["iteration"] + 1
    rate *= np.sqrt(1 - s["momentum2"] ** time) / (1 - s["momentum"] ** time)
    return rate * first / (np.sqrt(second) + s["delta"])


class Oracle:
    """Params, gradients and histories in float64."""

    def __init__(self, rule, weights):
        self.rule = rule
        self.weights = [each.astype(np.float64) for each in weights]
        self.first, self.second = ([np.zeros_like(each) for each in self.weights] for _ in range(2))

    def update(self, s, gradients):
        self.changes = []
        for i, (weight, diff) in enumerate(zip(self.weights, gradients)):
            decay = s["weight_decay"] * DECAY_MULTS[i]
            gradient = s["gradient_scale"] * diff + decay * (np.sign(weight) if s["l1"] else weight)
            rate = s["rate"] * LR_MULTS[i]
            self.changes.append(
                expected_change(self.rule, s, rate, gradient, self.first[i], self.second[i]).copy()
            )
            weight -= self.changes[-1]

    @property
    def history(self):
        return self.first + (self.second if self.rule in ("AdaDelta", "Adam") else [])


def learned_blobs():
    blobs = []
    for seed, size in enumerate(SIZES):
        blobs.append(core.Blob(list(size), "float32", "plain", DEVICE))
        blobs[-1].data[...] = random_array(*size, seed=seed)
    return blobs


def gradients_of(iteration):
    return [random_array(*size, seed=100 * (iteration + 1) + i) for i, size in enumerate(SIZES)]


def assert_close(got, wanted):
    np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("l1", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_weights_histories_and_changes_follow_the_rule(rule, l1):
    blobs = learned_blobs()
    oracle = Oracle(rule, [blob.data for blob in blobs])
    updater = core.Updater(rule, blobs, LR_MULTS, DECAY_MULTS)
    for iteration in range(3):
        gradients = gradients_of(iteration)
        for blob, gradient in zip(blobs, gradients):
            blob.diff[...] = gradient
        s = settings(iteration, l1=l1)
        updater.update(core.UpdateSettings(**s))
        oracle.update(s, gradients)
    for blob, weight, change in zip(blobs, oracle.weights, oracle.changes):
        assert_close(blob.data, weight)
        assert_close(blob.diff, change)
    assert len(updater.history) == len(oracle.history)
    for blob, wanted in zip(updater.history, oracle.history):
        assert_close(blob.data, wanted)


def test_cleared_gradients_count_as_zeros():
    blobs = learned_blobs()
    weights = [blob.data.copy() for blob in blobs]
    updater = core.Updater("SGD", blobs, LR_MULTS, DECAY_MULTS)
    for blob in blobs:
        blob.diff[...] = 7
    updater.clear_gradients()
    assert updater.update(core.UpdateSettings(**settings(weight_decay=0.0, clip_gradients=1))) == 0
    for blob, weight in zip(blobs, weights):
        assert np.array_equal(blob.data, weight)


def test_history_that_is_written_goes_into_the_next_update():
    blobs = learned_blobs()
    updater = core.Updater("SGD", blobs, LR_MULTS, DECAY_MULTS)
    updater.update(core.UpdateSettings(**settings()))
    weights = [blob.data.copy() for blob in blobs]
    for blob in blobs:
        blob.diff[...] = 0
    for blob in updater.history:
        blob.data[...] = 2
    updater.update(core.UpdateSettings(**settings(weight_decay=0.0)))
    for blob, weight in zip(blobs, weights):
        assert_close(blob.data, weight - 1.8)


def test_params_that_get_other_memory_are_found_there():
    blobs = learned_blobs()
    updater = core.Updater("SGD", blobs, LR_MULTS, DECAY_MULTS)
    updater.update(core.UpdateSettings(**settings()))
    kept = [blob.data.copy() for blob in blobs]
    for blob, old in zip(blobs, kept):
        own = core.Blob(blob.shape, "float32", "plain", DEVICE)
        own.data[...] = old
        blob.share_data(own)
        blob.diff[...] = 1
    updater.update(core.UpdateSettings(**settings(momentum=0.0, weight_decay=0.0)))
    for blob, old, lr_mult in zip(blobs, kept, LR_MULTS):
        assert_close(blob.data, old - 0.05 * lr_mult)


@pytest.mark.parametrize("part", [0.25, 4])  # of the norm that is allowed: gradients are scaled, or not
def test_gradients_are_clipped_by_the_norm_of_all(part):
    gradients = gradients_of(0)
    norm = float(np.sqrt(sum(np.sum(gradient.astype(np.float64) ** 2) for gradient in gradients)))
    results = []
    for limit, scale in ((norm * part, 0.5), (-1, 0.5 * min(1, part))):
        blobs = learned_blobs()
        for blob, gradient in zip(blobs, gradients):
            blob.diff[...] = gradient
        updater = core.Updater("SGD", blobs, LR_MULTS, DECAY_MULTS)
        found = updater.update(core.UpdateSettings(**settings(gradient_scale=scale, clip_gradients=limit)))
        assert found == (pytest.approx(norm, rel=1e-6) if limit > 0 else 0)
        results.append([blob.data.copy() for blob in blobs])
    for clipped, scaled in zip(*results):
        assert_close(clipped, scaled)


NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 8 dim: 6 dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 16 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "ip" type: "InnerProduct" bottom: "pool" top: "ip" %s
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""
LABELLED = """
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


def iterate(net, updater, settings, passes):
    """Do by single calls what a training step does; return its loss and norm."""
    updater.clear_gradients()
    losses = []
    for _ in range(passes):
        losses.append(net.forward_loss())
        net.backward()
    return sum(losses) / passes, updater.update(settings)


def net_and_updater(rule, precision):
    text = NET % "loss_weight: 1" if precision == "float32" else NET % "" + LABELLED  # a loss is float32
    net = net_from_text(text, caffe.TRAIN, seed=3, precision=precision)
    net.blobs["data"].data[...] = random_array(4, 8, 6, 6)
    if "label" in net.blobs:
        net.blobs["label"].data[...] = [0, 2, 1, 1]
    params = [param.blob for param in net.graph.learnable]
    return net, core.Updater(rule, params, [1.0] * len(params), [1.0] * len(params))


@pytest.mark.skipif(DEVICE == "cpu", reason="the CPU records nothing")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("rule", ["SGD", "Adam"])
@pytest.mark.parametrize("passes", [1, 2, 4])
def test_recorded_work_takes_the_numbers_of_each_iteration(rule, precision, passes):
    if precision == "bfloat16" and "SoftmaxWithLoss" not in core.registered_layers(DEVICE):
        pytest.skip("a step with a loss on the CPU is not recorded")
    (net, updater), (other, other_updater) = (net_and_updater(rule, precision) for _ in range(2))
    step = core.TrainingStep(net.plan.executor, updater)
    for iteration in range(8):
        # Memory is found in the first two; from the fourth on gradients are clipped, from the seventh more.
        clip = {} if iteration < 3 else {"clip_gradients": 0.5 if iteration < 6 else 0.1}
        s = core.UpdateSettings(**settings(iteration, rate=0.01 * (iteration - 2), **clip))
        loss, norm = step.wait(step.run(s, passes))
        assert (loss, norm) == iterate(other, other_updater, s, passes)
        assert (norm > 0.5) == bool(clip)
        assert step.repeated == (iteration not in (0, 1, 3))
    for number in (-1, 3, 8):  # never, too long ago, not yet
        with pytest.raises(RuntimeError, match="not kept"):
            step.wait(number)
    with pytest.raises(ValueError, match="one pass or more"):
        step.run(s, 0)
    for mine, its in zip(net.graph.learnable, other.graph.learnable):
        assert np.array_equal(mine.blob.data, its.blob.data)
    for mine, its in zip(updater.history, other_updater.history):
        assert np.array_equal(mine.data, its.data)
