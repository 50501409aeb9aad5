import numpy as np
import pytest
from helpers.direct import DEVICE, assert_near, random_array
from helpers.layer_facts import ELEMENTWISE, Example
from helpers.oracle import torch

import caffe
from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import layer_net, net_from_text

_FILLED = 'weight_filler { type: "gaussian" std: 0.5 } bias_filler { type: "uniform" min: -1 max: 1 }'
EXAMPLE = Example(
    f"recurrent_param {{ num_output: 5 {_FILLED} }}",
    bottoms=((3, 2, 4), (3, 2)),
    given={1: (0, 1, 1, 1, 0)},
)
FIELDS = {"expose_hidden": None}  # it takes more bottoms
BACKWARD = {
    "alone": [("LSTM b0 b1", EXAMPLE.fields)],
    "with a static bottom": [("LSTM b0 b1 x2", EXAMPLE.fields)],
}
IMPOSSIBLE = [
    ("recurrent_param { num_output: 0 }", [(3, 2, 4), (3, 2)], "num_output"),
    ("recurrent_param { num_output: 1073741824 }", [(3, 2, 4), (3, 2)], "4294967296"),
    ("recurrent_param { num_output: 5 }", [(3, 2, 4), (2, 3)], "cont"),
    ("recurrent_param { num_output: 5 }", [(3, 2, 4), (3, 2), (3, 6)], "x_static"),
    ("recurrent_param { num_output: 5 expose_hidden: true }", [(3, 2, 4), (3, 2)], "expose_hidden"),
]
TOLERANCE = ELEMENTWISE
SANITIZED = True

both_types = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])

# T, N, shape of x for one step and item, H
SIZES = {
    "single": (1, 1, (1,), 1),
    "one_step": (1, 4, (5,), 6),
    "one_item": (7, 1, (5,), 6),
    "one_unit": (5, 3, (4,), 1),
    "tail_127": (8, 9, (127,), 129),
    "even_128": (6, 16, (128,), 128),
    "maps": (22, 3, (2, 3, 2), 5),
    "many_items": (2, 300, (3,), 17),
    "many_steps": (60, 2, (3,), 9),
}
CONTS = {
    "goes_on": lambda rng, shape: np.ones(shape),
    "begins": lambda rng, shape: np.concatenate([np.zeros((1, shape[1])), np.ones((shape[0] - 1, shape[1]))]),
    "mixed": lambda rng, shape: rng.integers(0, 2, shape),
    "never": lambda rng, shape: np.zeros(shape),
    "half": lambda rng, shape: rng.choice([0.0, 0.5, 1.0], shape),
}


class Case:
    """Values of all bottoms and learned blobs; `goal` is the gradient of the top."""

    def __init__(self, size, cont="mixed", statics=(), exposed=False):
        self.steps, self.items, inputs, self.units = SIZES[size] if isinstance(size, str) else size
        self.exposed = exposed
        self.x = random_array(self.steps, self.items, *inputs, dtype="bfloat16")
        self.cont = CONTS[cont](np.random.default_rng(1), (self.steps, self.items)).astype(np.float32)
        self.x_static = random_array(self.items, *statics, seed=2) if statics else None
        self.h_0, self.c_0 = (random_array(1, self.items, self.units, seed=3 + k) for k in range(2))
        self.goal = random_array(self.steps, self.items, self.units, dtype="bfloat16", seed=5)
        rows, columns = 4 * self.units, [int(np.prod(inputs)), *([int(np.prod(statics))] if statics else [])]
        weights = [self._weights(rows, count, seed) for seed, count in enumerate([*columns, self.units])]
        self.params = [weights[0], random_array(rows, seed=6), *weights[1:]]

    @staticmethod
    def _weights(rows, columns, seed):
        """Numbers that bfloat16 can hold, small enough for gates that are neither open nor shut."""
        scale = 2.0 ** -np.ceil(np.log2(columns) / 2)
        return random_array(rows, columns, dtype="bfloat16", seed=10 + seed) * np.float32(scale)

    @property
    def bottoms(self):
        hidden = [self.h_0, self.c_0] if self.exposed else []
        return [self.x, self.cont, *([] if self.x_static is None else [self.x_static]), *hidden]

    def net(self, dtype="float32", phase=caffe.TRAIN, **options):
        """x, ..., LSTM, and the sum of its top times `goal` as loss."""
        bottoms = [*self.bottoms, self.goal]
        lines = ["force_backward: true"]
        for index, array in enumerate(bottoms):
            dims = " ".join(f"dim: {dim}" for dim in array.shape)
            lines.append(
                f'layer {{ name: "b{index}" type: "Input" top: "b{index}" '
                f"input_param {{ shape {{ {dims} }} }} }}"
            )
        names = " ".join(f'bottom: "b{index}"' for index in range(len(bottoms) - 1))
        tops = 'top: "h"' + (' top: "h_T" top: "c_T"' if self.exposed else "")
        lines.append(
            f'layer {{ name: "lstm" type: "LSTM" {names} {tops} recurrent_param {{ num_output: {self.units} '
            f"expose_hidden: {str(self.exposed).lower()} }} }}"
        )
        lines.append(
            f'layer {{ name: "goal" type: "Eltwise" bottom: "h" bottom: "b{len(bottoms) - 1}" top: "goal" '
            "eltwise_param { operation: PROD } loss_weight: 1 }"
        )
        net = net_from_text("\n".join(lines), phase, precision=dtype, **options)
        for index, array in enumerate(bottoms):
            net.blobs[f"b{index}"].data[...] = array
        for blob, values in zip(net.params["lstm"], self.params):
            blob.data[...] = values
        return net

    def in_torch(self):
        """Tops, and gradients of x, the params and x_static, by automatic differentiation in float64.

        Also how large the terms of each gradient are together, with which its rounding error grows.
        """
        x, cont, h, c, *params = (
            torch.tensor(each, dtype=torch.float64, requires_grad=True)
            for each in (self.x, self.cont, self.h_0, self.c_0, *self.params)
        )
        rows, w_x, w_h = x.reshape(self.steps, self.items, -1), params[0], params[-1]
        pre, leaves = rows @ w_x.T + params[1], [x, *params]
        if self.x_static is not None:
            leaves.append(torch.tensor(self.x_static, dtype=torch.float64, requires_grad=True))
            once = leaves[-1].reshape(self.items, -1)
            pre = pre + once @ params[2].T
        pre.retain_grad()
        h, c = (each.detach()[0] * self.exposed for each in (h, c))
        tops, conted = [], []
        for step, keeps in zip(pre, cont.detach()[..., None]):
            conted.append(keeps * h)
            i, f, o, g = (step + conted[-1] @ w_h.T).chunk(4, dim=1)
            c = keeps * f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            tops.append(h)
        top = torch.stack(tops)
        top.backward(torch.tensor(self.goal, dtype=torch.float64))
        gradients = [np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy() for leaf in leaves]
        da = pre.grad.abs().flatten(0, 1)
        sizes = [da @ w_x.abs(), da.T @ rows.abs().flatten(0, 1), da.sum(0)]
        if self.x_static is not None:
            summed = pre.grad.abs().sum(0)
            sizes.append(summed.T @ once.abs())
        sizes.append(da.T @ torch.stack(conted).abs().flatten(0, 1))
        if self.x_static is not None:
            sizes.append(summed @ params[2].abs())
        return (
            [each.detach().numpy() for each in (top, h[None], c[None])],
            gradients,
            [size.detach().max().item() for size in sizes],
        )

    @property
    def terms(self):
        """Products that the longest sum is made of."""
        return 4 * self.steps * self.items * (self.x[0, 0].size + 5 * self.units)


def run(net):
    net.clear_param_diffs()
    net.forward_loss()
    net.backward()


def results(net, case):
    """Data of the tops; gradients of x, of the params, and of x_static."""
    tops = [net.blobs[name].data.copy() for name in ("h", "h_T", "c_T")[: 1 + 2 * case.exposed]]
    gradients = [net.blobs["b0"].diff.copy(), *(blob.diff.copy() for blob in net.params["lstm"])]
    if case.x_static is not None:
        gradients.append(net.blobs["b2"].diff.copy())
    return tops, gradients


def check(case, dtype):
    net = case.net(dtype)
    run(net)
    tops, gradients = results(net, case)
    wanted_tops, wanted_gradients, sizes = case.in_torch()
    for got, wanted in zip(tops, wanted_tops):
        assert_near(got, wanted, dtype, case.terms)
    for got, wanted, size in zip(gradients, wanted_gradients, sizes, strict=True):
        if dtype == "float32":
            assert_near(got, wanted, terms=case.terms)
        else:
            assert not np.any(~(np.abs(got - wanted) <= 2.0**-7 * size))


@both_types
@pytest.mark.parametrize("cont", CONTS)
@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients_are_those_of_the_formula(size, cont, dtype):
    check(Case(size, cont), dtype)


@both_types
@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize("statics", [(), (6,), (2, 3)])
@pytest.mark.parametrize("size", ["one_step", "maps", "tail_127"])
def test_static_and_hidden_bottoms_take_part(size, statics, exposed, dtype):
    check(Case(size, "mixed", statics, exposed), dtype)


@pytest.mark.parametrize("size", ["single", "one_item", "even_128", "many_steps"])
def test_a_sequence_that_goes_on_is_pytorchs_lstm(size):
    case = Case(size, "goes_on")
    weights = [np.concatenate(np.split(values, 4)[:2] + np.split(values, 4)[:1:-1]) for values in case.params]
    lstm = torch.nn.LSTM(case.x.shape[2], case.units).double()
    given = [weights[0], weights[2], weights[1], np.zeros_like(weights[1])]
    for param, values in zip(lstm.parameters(), given, strict=True):
        param.data = torch.tensor(values, dtype=torch.float64)
    x = torch.tensor(case.x, dtype=torch.float64, requires_grad=True)
    y, _ = lstm(x)
    y.backward(torch.tensor(case.goal, dtype=torch.float64))
    net = case.net()
    run(net)
    (h,), (dx, d_input, d_bias, d_hidden) = results(net, case)
    assert_near(h, y.detach().numpy(), terms=case.terms)
    assert_near(dx, x.grad.numpy(), terms=case.terms)
    for got, param in zip((d_input, d_hidden, d_bias), lstm.parameters()):
        i, f, o, g = np.split(got, 4)
        assert_near(np.concatenate([i, f, g, o]), param.grad.numpy(), terms=case.terms)


# State


@both_types
@pytest.mark.parametrize("exposed", [False, True])
def test_two_batches_are_one_of_twice_the_length(exposed, dtype):
    whole = Case((40, 3, (5,), 6), "mixed", exposed=exposed)
    wanted = whole.in_torch()[0][0]
    net = whole.net(dtype)
    made = []
    for half in (slice(0, 20), slice(20, 40)):
        for name, values in (("b0", whole.x[half]), ("b1", whole.cont[half])):
            net.blobs[name].reshape(*values.shape)
            net.blobs[name].data[...] = values
        net.blobs[net.inputs[-1]].reshape(20, 3, 6)
        net.forward()
        made.append(net.blobs["h"].data.copy())
        if exposed:
            net.blobs["b2"].data[...], net.blobs["b3"].data[...] = (
                net.blobs[name].data for name in ("h_T", "c_T")
            )
    assert_near(np.concatenate(made), wanted, dtype, whole.terms)


def test_the_state_is_the_last_hidden_value_and_cell():
    case = Case("maps", "goes_on")
    net = case.net()
    h, c = next(node for node in net.graph.nodes if node.name == "lstm").state
    assert not h.data.any()
    assert not c.data.any()
    net.forward()
    _, wanted_h, wanted_c = case.in_torch()[0]
    assert_near(h.data, wanted_h, terms=case.terms)
    assert_near(c.data, wanted_c, terms=case.terms)


def test_the_state_of_another_number_of_items_is_zero_again():
    case, fewer = Case((4, 3, (5,), 6), "goes_on"), Case((4, 2, (5,), 6), "goes_on")
    net = case.net()
    net.forward()
    for name, values in zip(net.inputs, [*fewer.bottoms, fewer.goal]):
        net.blobs[name].reshape(*values.shape)
        net.blobs[name].data[...] = values
    net.forward()
    assert_near(net.blobs["h"].data, fewer.in_torch()[0][0], terms=fewer.terms)


@both_types
def test_where_a_sequence_begins_nothing_of_the_one_before_counts(dtype):
    case = Case((30, 3, (5,), 6), "begins")
    net, fresh = case.net(dtype), case.net(dtype)
    run(fresh)
    for blob in next(node for node in net.graph.nodes if node.name == "lstm").state:
        blob.data[...] = np.nan
    run(net)
    for got, want in zip(results(net, case), results(fresh, case)):
        for mine, theirs in zip(got, want):
            assert np.array_equal(mine, theirs)


def test_backward_leaves_the_state_as_it_is_and_can_be_repeated():
    net = Case("maps").net()
    run(net)
    state = [blob.data.copy() for node in net.graph.nodes for blob in node.state]
    once = [blob.diff.copy() for blob in net.params["lstm"]]
    net.backward()
    for blob, wanted in zip((blob for node in net.graph.nodes for blob in node.state), state):
        assert np.array_equal(blob.data, wanted)
    for blob, gradient in zip(net.params["lstm"], once):
        assert gradient.any()
        assert_near(blob.diff, 2 * gradient)


# Gradients


def test_hidden_bottoms_get_no_gradient_and_hidden_tops_give_none():
    case = Case("maps", "goes_on", exposed=True)
    net = case.net()
    net.forward()
    for name in ("b2", "b3"):
        net.blobs[name].diff[...] = 7
    for name in ("h_T", "c_T"):
        net.blobs[name].diff[...] = 1e6
    net.clear_param_diffs()
    net.backward()
    assert not net.blobs["b2"].diff.any()
    assert not net.blobs["b3"].diff.any()
    wanted = case.in_torch()[1]
    for got, want in zip(results(net, case)[1], wanted):
        assert_near(got, want, terms=case.terms)


@both_types
def test_gradients_of_params_are_added_to_what_is_there(dtype):
    case = Case("maps", "mixed", (3,))
    clean, dirty = case.net(dtype), case.net(dtype)
    run(clean)
    dirty.forward()
    for blob in dirty.params["lstm"]:
        blob.diff[...] = 0.5
    dirty.backward()
    for got, wanted in zip(dirty.params["lstm"], clean.params["lstm"]):
        assert_near(got.diff - np.float32(0.5), wanted.diff, terms=case.terms)


def test_frozen_params_get_no_gradient():
    x, cont = random_array(3, 2, 4), np.ones((3, 2), np.float32)
    frozen = "param { lr_mult: 0 }"
    lstm = 'type: "LSTM" loss_weight: 1 recurrent_param { num_output: 5 weight_filler { type: "gaussian" } }'
    every, some = (
        layer_net(f"{specs} {lstm}", x, cont, phase=caffe.TRAIN, backward=False, seed=1)
        for specs in ("", f"{frozen} param {{ }} {frozen}")
    )
    for net in (every, some):
        run(net)
    for index, blob in enumerate(some.params["layer"]):
        learns = index == 1
        assert np.array_equal(blob.diff, every.params["layer"][index].diff * learns)
    assert every.params["layer"][0].diff.any()


# Plans


@both_types
def test_a_net_that_only_runs_forward_gives_the_same_bits(dtype):
    case = Case("even_128", "mixed", (3,))
    trains, tests = case.net(dtype), case.net(dtype, caffe.TEST, keep_data=False)
    for net in (trains, tests):
        for _ in range(2):
            net.forward_loss()
    wanted, got = ([blob.data for node in net.graph.nodes for blob in node.state] for net in (trains, tests))
    assert wanted[0].any()
    for mine, theirs in zip(got, wanted):
        assert np.array_equal(mine, theirs)
    assert tests.memory().private < trains.memory().private


def test_the_same_input_gives_the_same_bits():
    case = Case("many_items", "mixed", (3,), exposed=True)
    first, second = case.net(), case.net()
    for net in (first, second):
        run(net)
    for got, wanted in zip(results(first, case), results(second, case)):
        for mine, theirs in zip(got, wanted):
            assert mine.tobytes() == theirs.tobytes()


@pytest.mark.skipif(DEVICE != "cpu", reason="about the CPU's kernels")
@pytest.mark.parametrize(("steps", "dtype"), [(31, "float32"), (32, "bfloat16")])
def test_few_rows_that_learn_stay_float32(steps, dtype):
    net = Case((steps, 2, (4,), 5), "mixed").net("bfloat16")
    assert net.blobs["h"].dtype == dtype


def test_state_gates_and_exact_blobs_stay_float32():
    net = Case("even_128", "mixed", (3,), exposed=True).net("bfloat16")
    types = {name: net.blobs[name].dtype for name in ("h", "h_T", "c_T", "b1", "b2", "b3", "b4")}
    assert types.pop("h") == "bfloat16"
    assert set(types.values()) == {"float32"}


@pytest.mark.parametrize(("steps", "items"), [(0, 2), (3, 0), (0, 0)])
def test_an_empty_batch_gives_an_empty_top_and_no_gradient(steps, items):
    case = Case((steps, items, (4,), 5), "never")
    net = case.net()
    run(net)
    assert net.blobs["h"].data.shape == (steps, items, 5)
    assert not any(blob.diff.any() for blob in net.params["lstm"])


def test_a_batch_without_steps_leaves_the_state_as_it_is():
    net = Case((3, 2, (4,), 5), "goes_on").net()
    net.forward()
    before = [blob.data.copy() for node in net.graph.nodes for blob in node.state]
    net.blobs["b0"].reshape(0, 2, 4)
    net.blobs["b1"].reshape(0, 2)
    net.blobs["b2"].reshape(0, 2, 5)
    net.forward()
    for blob, wanted in zip((blob for node in net.graph.nodes for blob in node.state), before):
        assert wanted.any()
        assert np.array_equal(blob.data, wanted)


def test_learned_blobs_have_caffes_shapes_and_fillers():
    case = Case("maps", "mixed", (2, 3))
    shapes = [list(blob.shape) for blob in case.net().params["lstm"]]
    assert shapes == [[20, 12], [20], [20, 6], [20, 5]]
    fillers = "weight_filler { value: 2 } bias_filler { value: 3 }"
    net = layer_net(f'type: "LSTM" recurrent_param {{ num_output: 5 {fillers} }}', case.x, case.cont)
    assert [set(blob.data.ravel()) for blob in net.params["layer"]] == [{2.0}, {3.0}, {2.0}]


# What is refused


def lstm_net(param, *shapes, tops=1):
    return layer_net(
        f'type: "LSTM" recurrent_param {{\n{param} }}', *(np.zeros(shape) for shape in shapes), tops=tops
    )


@pytest.mark.parametrize(
    ("param", "problem"),
    [
        ("", "num_output must be >= 1, got nothing"),
        ("num_output: 0", "num_output must be an int >= 1, got 0"),
    ],
)
def test_bad_parameters_are_rejected(param, problem):
    with pytest.raises(ConfigError, match=problem) as error:
        lstm_net(param, (3, 2, 4), (3, 2))
    assert error.value.layer == "layer"
    assert error.value.line in (4, 5)


@pytest.mark.parametrize(
    ("shapes", "problem"),
    [
        ([(3,), (3, 2)], r"x must have shape \(T, N, ...\), got \(3\)"),
        ([(3, 2, 0), (3, 2)], r"x must have shape \(T, N, ...\) with values for each item, got \(3, 2, 0\)"),
        ([(3, 2, 4), (4, 2)], r"cont must have shape \(T, N\) = \(3, 2\), got \(4, 2\)"),
        ([(3, 2, 4), (3, 1)], r"cont must have shape \(T, N\) = \(3, 2\), got \(3, 1\)"),
        ([(3, 2, 4), (3, 2, 1)], r"cont must have shape \(T, N\) = \(3, 2\), got \(3, 2, 1\)"),
        ([(3, 2, 4), (3, 2), (3, 5)], r"x_static must have the N = 2 items of x, got \(3, 5\)"),
        ([(3, 2, 4), (3, 2), (2, 0)], r"x_static must have shape \(N, ...\) with values for each item"),
    ],
)
def test_bottoms_that_do_not_fit_are_rejected(shapes, problem):
    with pytest.raises(ShapeError, match=problem) as error:
        lstm_net("num_output: 5", *shapes)
    assert error.value.layer == "layer"
    assert error.value.line


@pytest.mark.parametrize(
    ("h_0", "c_0", "problem"),
    [
        ((1, 2, 4), (1, 2, 5), r"h_0 must have shape \(1, N, H\) = \(1, 2, 5\), got \(1, 2, 4\)"),
        ((1, 2, 5), (2, 5), r"c_0 must have shape \(1, N, H\) = \(1, 2, 5\), got \(2, 5\)"),
    ],
)
def test_hidden_bottoms_that_do_not_fit_are_rejected(h_0, c_0, problem):
    with pytest.raises(ShapeError, match=problem):
        lstm_net("num_output: 5 expose_hidden: true", (3, 2, 4), (3, 2), h_0, c_0, tops=3)


@pytest.mark.parametrize(
    ("exposed", "bottoms", "tops", "problem"),
    [
        (False, 4, 1, "with expose_hidden false LSTM takes 2 or 3 bottoms, got 4"),
        (False, 2, 3, r"with expose_hidden false LSTM takes 1 top\(s\), got 3"),
        (True, 3, 3, "with expose_hidden true LSTM takes 4 or 5 bottoms, got 3"),
        (True, 4, 1, r"with expose_hidden true LSTM takes 3 top\(s\), got 1"),
        (False, 1, 1, "LSTM takes 2 to 5 bottom"),
    ],
)
def test_the_number_of_blobs_follows_from_expose_hidden(exposed, bottoms, tops, problem):
    shapes = [(3, 2, 4), (3, 2), (1, 2, 5), (1, 2, 5), (1, 2, 5)][:bottoms]
    with pytest.raises(ConfigError, match=problem) as error:
        lstm_net(f"num_output: 5 expose_hidden: {str(exposed).lower()}", *shapes, tops=tops)
    assert error.value.line


def test_another_input_size_than_the_weights_have_is_rejected():
    net = lstm_net("num_output: 5", (3, 2, 4), (3, 2))
    net.forward()
    net.blobs["b0"].reshape(3, 2, 6)
    with pytest.raises(ShapeError, match=r"learned blob 0 is \(20, 4\), the bottoms want \(20, 6\)") as error:
        net.forward()
    assert error.value.layer == "layer"


def test_the_gradient_of_cont_cannot_be_asked_for():
    down = "propagate_down: true propagate_down: true"
    with pytest.raises(ConfigError, match="cont has no gradient"):
        layer_net(
            f'type: "LSTM" {down} recurrent_param {{ num_output: 2 }}',
            np.zeros((3, 2, 4)), np.zeros((3, 2)),
        )  # fmt: skip
