import numpy as np
import pytest
from helpers.direct import assert_near, random_array, run
from helpers.layer_facts import ELEMENTWISE, Example
from helpers.oracle import torch

from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.testing import layer_net

EXAMPLE = Example(bottoms=((1, 2, 3), (1, 2, 12), (1, 2)), tops=2, given={2: (0, 1)})
BACKWARD = {"alone": [("LSTMUnit b0 b1 b2", 'top: "h"')]}
IMPOSSIBLE = [
    ('top: "h"', [(2, 3), (1, 2, 12), (1, 2)], r"c must have shape \(T, N, H\)"),
    ('top: "h"', [(1, 2, 3), (1, 2, 9), (1, 2)], "gates must have shape"),
    ('top: "h"', [(1, 2, 3), (1, 2, 12), (2, 1)], "cont must have shape"),
]
TOLERANCE = ELEMENTWISE

SIZES = {"single": (1, 1), "tail_127": (3, 127), "even_128": (16, 128), "many_items": (700, 3)}  # N, H


def bottoms_of(size, cont):
    items, units = SIZES[size]
    return (
        random_array(1, items, units),
        random_array(1, items, 4 * units, seed=1),
        np.resize(cont, (1, items)),
    )


def in_torch(c, gates, cont, d_c, d_h):
    """Tops and gradients of c and the gates by automatic differentiation in float64."""
    c, gates = (torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in (c, gates))
    i, f, o, g = gates.chunk(4, dim=2)
    after = torch.tensor(cont, dtype=torch.float64)[..., None] * f.sigmoid() * c + i.sigmoid() * g.tanh()
    h = o.sigmoid() * after.tanh()
    torch.autograd.backward([after, h], [torch.tensor(each, dtype=torch.float64) for each in (d_c, d_h)])
    return [after.detach().numpy(), h.detach().numpy()], [c.grad.numpy(), gates.grad.numpy()]


@pytest.mark.parametrize("cont", [(1.0,), (0.0,), (1.0, 0.0, 0.5)])
@pytest.mark.parametrize("size", SIZES)
def test_values_and_gradients_are_those_of_the_formula(size, cont):
    bottoms = bottoms_of(size, cont)
    net = layer_net('type: "LSTMUnit"', *bottoms, tops=2)
    diffs = [random_array(*bottoms[0].shape, seed=2 + k) for k in range(2)]
    net.forward()
    for name, diff in zip(("t0", "t1"), diffs):
        net.blobs[name].diff[...] = diff
    net.backward()
    tops, gradients = in_torch(*bottoms, *diffs)
    for name, wanted in zip(("t0", "t1"), tops):
        assert_near(net.blobs[name].data, wanted, terms=4)
    for name, wanted in zip(("b0", "b1"), gradients):
        assert_near(net.blobs[name].diff, wanted, terms=16)


@pytest.mark.parametrize("wanted", [0, 1])
def test_a_gradient_may_be_left_out(wanted):
    bottoms = bottoms_of("tail_127", (1.0, 0.0))
    diffs = [random_array(*bottoms[0].shape, seed=2 + k) for k in range(2)]
    flags = [index == wanted for index in range(3)]
    result = run("LSTMUnit", {}, *bottoms, top_diffs=diffs, propagate_down=flags)
    assert_near(result.bottom_diffs[wanted], in_torch(*bottoms, *diffs)[1][wanted], terms=16)


def test_where_a_sequence_begins_a_nan_of_the_one_before_is_forgotten():
    c, gates, cont = bottoms_of("tail_127", (0.0,))
    clean, dirty = (
        layer_net('type: "LSTMUnit"', each, gates, cont, tops=2).forward()
        for each in (c, np.full_like(c, np.nan))
    )
    for name in ("t0", "t1"):
        assert np.array_equal(clean[name], dirty[name])


def test_an_empty_batch_gives_empty_tops():
    net = layer_net('type: "LSTMUnit"', np.zeros((1, 0, 3)), np.zeros((1, 0, 12)), np.zeros((1, 0)), tops=2)
    assert net.forward()["t1"].shape == (1, 0, 3)
    net.backward()


@pytest.mark.parametrize(("bottoms", "tops"), [(2, 2), (3, 1)])
def test_it_takes_three_bottoms_and_makes_two_tops(bottoms, tops):
    arrays = bottoms_of("single", (1.0,))[:bottoms]
    with pytest.raises(ConfigError, match=r"LSTMUnit takes exactly \d") as error:
        layer_net('type: "LSTMUnit"', *arrays, tops=tops)
    assert error.value.line


def test_a_wrong_shape_is_named():
    c, gates, cont = bottoms_of("tail_127", (1.0,))
    with pytest.raises(ShapeError, match=r"the gates must have shape \(T, N, 4 H\) for c, got \(1, 3, 127\)"):
        layer_net('type: "LSTMUnit"', c, gates[:, :, :127], cont, tops=2)
