import numpy as np
import pytest
from helpers.layer_facts import Example

from pycaffe_like.errors import ConfigError, ShapeError
from pycaffe_like.net import TRAIN
from pycaffe_like.testing import net_from_text

EXAMPLE = Example('dummy_data_param { shape { dim: 2 dim: 3 } data_filler { type: "gaussian" } }', bottoms=())
BACKWARD = None
IMPOSSIBLE = []  # has no bottoms; what its fields must not say is below
FIELDS = dict.fromkeys(
    ("num", "channels", "height", "width"), "dummy_data_param { num: 2 channels: 1 height: 1 width: 1 }"
)
TOLERANCE = (1e-6, 0.0)
FORMULA = False


def dummy_net(param, tops=1, **options):
    names = "".join(f' top: "t{index}"' for index in range(tops))
    text = f'layer {{ name: "dummy" type: "DummyData"\n{names} dummy_data_param {{\n{param} }} }}'
    return net_from_text(text, **options)


def test_values_are_zero_without_a_filler():
    net = dummy_net("shape { dim: 2 dim: 3 }")
    net.blobs["t0"].data[...] = 0
    assert np.array_equal(net.forward()["t0"], np.zeros((2, 3)))


def test_one_filler_and_one_shape_serve_all_tops():
    net = dummy_net("shape { dim: 2 dim: 3 } data_filler { value: 0.25 }", tops=3)
    for values in net.forward().values():
        assert np.array_equal(values, np.full((2, 3), 0.25))


def test_each_top_has_its_own_filler_and_legacy_dims():
    dims = "num: 2 num: 3 channels: 1 height: 2 width: 2 width: 5"
    net = dummy_net(f"{dims} data_filler {{ value: 7 }} data_filler {{ value: 8 }}", tops=2)
    out = net.forward()
    assert np.array_equal(out["t0"], np.full((2, 1, 2, 2), 7))
    assert np.array_equal(out["t1"], np.full((3, 1, 2, 5), 8))


def test_a_constant_top_is_filled_before_the_first_forward_and_then_left_alone():
    net = dummy_net("shape { dim: 4 } data_filler { value: 3 }")
    assert np.array_equal(net.blobs["t0"].data, np.full(4, 3))
    net.blobs["t0"].data[0] = 9
    assert np.array_equal(net.forward()["t0"], [9, 3, 3, 3])


def test_a_constant_top_is_filled_again_when_its_shape_changes():
    net = dummy_net("shape { dim: 4 } data_filler { value: 3 }")
    net.forward()
    net.blobs["t0"].reshape(5000)
    assert np.array_equal(net.forward()["t0"], np.full(5000, 3))


def test_random_values_are_new_in_every_iteration_and_the_same_in_every_run():
    text = 'shape { dim: 50 dim: 40 } data_filler { type: "gaussian" mean: 2 std: 3 }'
    net = dummy_net(text, phase=TRAIN, seed=5)
    first, second = (net.forward()["t0"].copy() for _ in range(2))
    assert not np.any(first == second)
    assert np.array_equal(dummy_net(text, phase=TRAIN, seed=5).forward()["t0"], first)
    assert not np.any(dummy_net(text, phase=TRAIN, seed=6).forward()["t0"] == first)
    assert abs(first.mean() - 2) < 4 * 3 / np.sqrt(2000)
    assert abs(first.std() - 3) < 4 * 3 / np.sqrt(4000)


def test_two_tops_draw_different_values():
    out = dummy_net('shape { dim: 100 } data_filler { type: "uniform" min: -1 max: 1 }', tops=2).forward()
    assert not np.any(out["t0"] == out["t1"])
    assert np.all(np.abs(out["t0"]) <= 1)


def test_random_values_do_not_depend_on_the_layout():
    filler = 'data_filler { type: "uniform" }'
    image = dummy_net(f"shape {{ dim: 2 dim: 3 dim: 4 dim: 5 }} {filler}", seed=1)
    assert image.blobs["t0"].layout == "channels_last"
    flat = dummy_net(f"shape {{ dim: 120 }} {filler}", seed=1)
    assert np.array_equal(image.forward()["t0"].reshape(-1), flat.forward()["t0"])


def test_only_the_copy_for_channels_last_tops_takes_private_memory():
    filler = 'data_filler { type: "uniform" }'
    assert dummy_net(f"shape {{ dim: 2 dim: 3 dim: 4 dim: 5 }} {filler}").memory().private == 480
    assert dummy_net(f"shape {{ dim: 120 }} {filler}").memory().private == 0


@pytest.mark.parametrize(
    ("param", "problem", "line"),
    [
        (
            "shape { dim: 1 } shape { dim: 2 }",
            "shape must be given once for all tops or once for each of 3, got 2",
            3,
        ),
        ("", "shape must be given once", 2),
        ("shape { dim: 1 }\nnum: 1", "give shape or num, not both", 4),
        ("num: 1 channels: 1 height: 1", "width must be given once", 2),
        ("num: 1 num: 2 channels: 1 height: 1 width: 1", "num must be given once", 3),
        ("shape { dim: 1 } data_filler { }\ndata_filler { }", "data_filler must be given once", 4),
        ('shape { dim: 1 }\ndata_filler { type: "magic" }', "unknown filler type 'magic'", 4),
        ('shape { dim: 1 }\ndata_filler { type: "gaussian" std: 0 }', "std must be > 0", 4),
        ('shape { dim: 1 }\ndata_filler { type: "uniform" min: 2 }', "min 2 > max 1", 4),
    ],
)
def test_bad_parameters_are_rejected_at_their_line(param, problem, line):
    with pytest.raises(ConfigError, match=problem) as error:
        dummy_net(param, tops=3)
    assert (error.value.layer, error.value.line) == ("dummy", line)


def test_a_negative_dim_is_rejected():
    with pytest.raises(ShapeError, match="negative dimension"):
        dummy_net("shape { dim: 2 dim: -1 }")


def test_a_filler_that_does_not_fit_its_shape_is_rejected():
    with pytest.raises(ConfigError, match="square 4-D blob"):
        dummy_net('shape { dim: 2 } data_filler { type: "bilinear" }')
