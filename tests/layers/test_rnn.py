import numpy as np
import pytest
from helpers.direct import assert_near, random_array
from helpers.layer_facts import ELEMENTWISE, Example
from helpers.oracle import torch

import caffe
from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import layer_net

_FILLED = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "uniform" min: -1 max: 1 }'
EXAMPLE = Example(
    f"recurrent_param {{ num_output: 5 {_FILLED} }}",
    bottoms=((3, 2, 4), (3, 2)),
    given={1: (0, 1, 1, 1, 0)},
)
FIELDS = {"expose_hidden": None}  # it takes more bottoms
BACKWARD = {
    "alone": [("RNN b0 b1", EXAMPLE.fields)],
    "with a static bottom": [("RNN b0 b1 x2", EXAMPLE.fields)],
}
IMPOSSIBLE = [
    ("recurrent_param { num_output: 0 }", [(3, 2, 4), (3, 2)], "num_output"),
    ("recurrent_param { num_output: 1073741824 }", [(3, 2, 4), (3, 2)], "1073741824"),
    ("recurrent_param { num_output: 5 }", [(3, 2, 4), (2, 3)], "cont"),
    ("recurrent_param { num_output: 5 expose_hidden: true }", [(3, 2, 4), (3, 2)], "expose_hidden"),
]
TOLERANCE = ELEMENTWISE

# T, N, shape of x for one step and item, H
SIZES = {
    "single": (1, 1, (1,), 1),
    "one_item": (7, 1, (5,), 6),
    "tail_127": (4, 3, (127,), 129),
    "maps": (3, 2, (2, 3, 2), 5),
    "many_items": (2, 300, (3,), 17),
    "many_steps": (60, 2, (3,), 9),
}


class Case:
    """Values of all bottoms and learned blobs, the gradient of the top, and what comes of them in float64."""

    def __init__(self, size, statics=(), exposed=False, cont=None):
        self.steps, self.items, inputs, self.units = SIZES[size]
        self.exposed = exposed
        self.x = random_array(self.steps, self.items, *inputs)
        drawn = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 1.0], (self.steps, self.items))
        self.cont = drawn if cont is None else np.full_like(drawn, cont)
        self.x_static = random_array(self.items, *statics, seed=2) if statics else None
        self.h_0 = random_array(1, self.items, self.units, seed=3)
        self.goal = random_array(self.steps, self.items, self.units, seed=4)
        columns = [
            int(np.prod(inputs)),
            *([int(np.prod(statics))] if statics else []),
            self.units,
            self.units,
        ]
        weights = [
            random_array(self.units, count, seed=5 + index) / np.float32(np.sqrt(count))
            for index, count in enumerate(columns)
        ]
        biases = [random_array(self.units, seed=9 + index) for index in range(2)]
        self.params = [weights[0], biases[0], *weights[1:], biases[1]]

    @property
    def bottoms(self):
        return [each for each in (self.x, self.cont, self.x_static) if each is not None] + (
            [self.h_0] if self.exposed else []
        )

    def net(self, **options):
        fields = f"num_output: {self.units} expose_hidden: {str(self.exposed).lower()}"
        net = layer_net(
            f'type: "RNN" recurrent_param {{ {fields} }}',
            *self.bottoms, tops=1 + self.exposed, phase=caffe.TRAIN, **options,
        )  # fmt: skip
        for blob, values in zip(net.params["layer"], self.params, strict=True):
            blob.data[...] = values
        return net

    def in_torch(self):
        """o, h_T, and gradients of x, the params and x_static by automatic differentiation."""
        x, *params = (
            torch.tensor(e, dtype=torch.float64, requires_grad=True) for e in (self.x, *self.params)
        )
        leaves = [x, *params]
        a = x.reshape(self.steps, self.items, -1) @ params[0].T + params[1]
        if self.x_static is not None:
            leaves.append(torch.tensor(self.x_static, dtype=torch.float64, requires_grad=True))
            a = a + leaves[-1].reshape(self.items, -1) @ params[2].T
        h, outputs = torch.tensor(self.h_0[0], dtype=torch.float64) * self.exposed, []
        for step, keeps in zip(a, torch.tensor(self.cont)[..., None]):
            h = (step + (keeps * h) @ params[-3].T).tanh()
            outputs.append((h @ params[-2].T + params[-1]).tanh())
        o = torch.stack(outputs)
        o.backward(torch.tensor(self.goal, dtype=torch.float64))
        gradients = [np.zeros(e.shape) if e.grad is None else e.grad.numpy() for e in leaves]
        return o.detach().numpy(), h[None].detach().numpy(), gradients

    @property
    def terms(self):
        return 4 * self.steps * self.items * (self.x[0, 0].size + 3 * self.units)


@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("statics", [(), (2, 3)])
@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients_are_those_of_the_formula(size, statics, exposed):
    case = Case(size, statics, exposed)
    net = case.net()
    net.forward()
    net.blobs["t0"].diff[...] = case.goal
    if exposed:
        net.blobs["t1"].diff[...] = 1e6  # nothing comes of it
        net.blobs[f"b{len(case.bottoms) - 1}"].diff[...] = 7
    net.clear_param_diffs()
    net.backward()
    o, h, gradients = case.in_torch()
    assert_near(net.blobs["t0"].data, o, terms=case.terms)
    if exposed:
        assert_near(net.blobs["t1"].data, h, terms=case.terms)
        assert not net.blobs[f"b{len(case.bottoms) - 1}"].diff.any()
    got = [net.blobs["b0"].diff, *(blob.diff for blob in net.params["layer"])]
    got += [net.blobs["b2"].diff] if statics else []
    for mine, wanted in zip(got, gradients, strict=True):
        assert_near(mine, wanted, terms=case.terms)


def state_of(net):
    [state] = (blob for node in net.graph.nodes for blob in node.state)
    return state


def test_two_batches_are_one_of_twice_the_length():
    case = Case("many_steps", cont=1)
    net = case.net()
    made = []
    for half in (slice(0, 30), slice(30, 60)):
        for name, values in (("b0", case.x[half]), ("b1", case.cont[half])):
            net.blobs[name].reshape(*values.shape)
            net.blobs[name].data[...] = values
        made.append(net.forward()["t0"].copy())
    o, h, _ = case.in_torch()
    assert_near(np.concatenate(made), o, terms=case.terms)
    assert_near(state_of(net).data, h, terms=case.terms)


def test_the_state_of_another_number_of_items_is_zero_again():
    net = Case("maps", cont=1).net()
    net.forward()
    assert state_of(net).data.any()
    net.blobs["b0"].reshape(3, 4, 2, 3, 2)
    net.blobs["b1"].reshape(3, 4)
    net.reshape()
    assert list(state_of(net).shape) == [1, 4, 5]
    assert not state_of(net).data.any()


def test_where_a_sequence_begins_a_nan_of_the_one_before_is_forgotten():
    case = Case("maps", cont=0)
    net = case.net()
    state_of(net).data[...] = np.nan
    assert_near(net.forward()["t0"], case.in_torch()[0], terms=case.terms)


def test_a_net_that_only_runs_forward_gives_the_same_bits():
    case = Case("tail_127", (2, 3))
    trains, tests = case.net(), case.net(keep_data=False, keep_diffs=False, backward=False)
    assert trains.forward()["t0"].tobytes() == tests.forward()["t0"].tobytes()
    assert state_of(trains).data.tobytes() == state_of(tests).data.tobytes()


def test_frozen_params_get_no_gradient():
    frozen = "param { lr_mult: 0 }"
    rnn = 'type: "RNN" loss_weight: 1 recurrent_param { num_output: 5 weight_filler { type: "gaussian" } }'
    x, cont = random_array(3, 2, 4), np.ones((3, 2), np.float32)
    every, some = (
        layer_net(f"{specs} {rnn}", x, cont, phase=caffe.TRAIN, backward=False, seed=1)
        for specs in ("", f"{frozen} {frozen} {frozen} {frozen} param {{ }}")
    )
    for net in (every, some):
        net.clear_param_diffs()
        net.forward()
        net.backward()
    for index, blob in enumerate(some.params["layer"]):
        assert np.array_equal(blob.diff, every.params["layer"][index].diff * (index == 4))
    assert every.params["layer"][0].diff.any()
    assert some.params["layer"][4].diff.any()


@pytest.mark.parametrize(("steps", "items"), [(0, 2), (3, 0)])
def test_an_empty_batch_gives_an_empty_top(steps, items):
    rnn = 'type: "RNN" recurrent_param { num_output: 5 }'
    net = layer_net(rnn, np.zeros((steps, items, 4)), np.zeros((steps, items)))
    assert net.forward()["t0"].shape == (steps, items, 5)
    net.backward()


@pytest.mark.parametrize(
    ("exposed", "bottoms", "tops", "problem"),
    [
        (False, 4, 1, "with expose_hidden false RNN takes 2 or 3 bottoms, got 4"),
        (False, 2, 2, r"with expose_hidden false RNN takes 1 top\(s\), got 2"),
        (True, 2, 2, "with expose_hidden true RNN takes 3 or 4 bottoms, got 2"),
        (True, 3, 1, r"with expose_hidden true RNN takes 2 top\(s\), got 1"),
    ],
)
def test_the_number_of_blobs_follows_from_expose_hidden(exposed, bottoms, tops, problem):
    arrays = [np.zeros(shape) for shape in ((3, 2, 4), (3, 2), (1, 2, 5), (1, 2, 5))][:bottoms]
    fields = f"num_output: 5 expose_hidden: {str(exposed).lower()}"
    with pytest.raises(ConfigError, match=problem) as error:
        layer_net(f'type: "RNN" recurrent_param {{ {fields} }}', *arrays, tops=tops)
    assert error.value.line


def test_a_hidden_bottom_that_does_not_fit_is_rejected():
    arrays = [np.zeros(shape) for shape in ((3, 2, 4), (3, 2), (1, 3, 5))]
    fields = "num_output: 5 expose_hidden: true"
    with pytest.raises(ShapeError, match=r"h_0 must have shape \(1, N, H\) = \(1, 2, 5\), got \(1, 3, 5\)"):
        layer_net(f'type: "RNN" recurrent_param {{ {fields} }}', *arrays, tops=2)
