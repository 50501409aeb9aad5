import numpy as np
import pytest
from helpers.direct import DEVICE, assert_near, every_form, random_array, rounded, run
from helpers.layer_facts import EXACT, Example, Timed

from pycaffe_like import _core as core
from pycaffe_like.errors import ConfigError
from pycaffe_like.net import TRAIN
from pycaffe_like.testing import layer_net

EXAMPLE = Example("dropout_param { dropout_ratio: 0.25 }")
BACKWARD = {"alone": [("Dropout", "")]}
IMPOSSIBLE = [("dropout_param { dropout_ratio: 1 }", [(2, 3)], "dropout_ratio")]
TOLERANCE = EXACT
ANY_LAYOUT = False  # the mask is drawn for places in memory; see the layer's notes
SANITIZED = True
TIMED = {"": Timed("", ((32768, 4096),), backward=(1, 1), layout="plain")}


def arguments(ratio=0.5, training=True, scale_train=True):
    return {"dropout_ratio": ratio, "training": training, "scale_train": scale_train}


@every_form
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("in_place", [False, True])
def test_training_drops_or_scales_and_backward_uses_the_same_mask(layout, dtype, ratio, in_place):
    x = np.abs(random_array(3, 129, 4, 5, dtype=dtype)) + 1
    x = rounded(x, dtype)
    diff = random_array(*x.shape, dtype=dtype, seed=1)
    form = {"layout": layout, "dtype": dtype, "in_place": in_place}
    result = run("Dropout", arguments(ratio), x, top_diffs=[diff], **form)
    kept = result.tops[0] != 0
    assert_near(result.tops[0], x * kept / (1 - ratio), dtype)
    assert_near(result.bottom_diffs[0], diff * kept / (1 - ratio), dtype)
    assert abs(kept.mean() - (1 - ratio)) < 4 * np.sqrt(ratio * (1 - ratio) / x.size) + 1e-9


@every_form
@pytest.mark.parametrize("in_place", [False, True])
def test_testing_changes_nothing(layout, dtype, in_place):
    x, diff = (random_array(2, 5, 3, 3, dtype=dtype, seed=seed) for seed in (0, 1))
    form = {"layout": layout, "dtype": dtype, "in_place": in_place}
    result = run("Dropout", arguments(training=False), x, top_diffs=[diff], **form)
    assert np.array_equal(result.tops[0], x)
    assert np.array_equal(result.bottom_diffs[0], diff)


@every_form
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_without_scale_train_testing_scales_and_training_only_drops(layout, dtype, in_place, training):
    x = rounded(np.abs(random_array(2, 65, 3, 3, dtype=dtype)) + 1, dtype)
    diff = random_array(*x.shape, dtype=dtype, seed=1)
    form = {"layout": layout, "dtype": dtype, "in_place": in_place}
    args = arguments(0.25, training=training, scale_train=False)
    result = run("Dropout", args, x, top_diffs=[diff], **form)
    kept = result.tops[0] != 0
    factor = kept if training else np.float32(0.75)
    assert_near(result.tops[0], x * factor, dtype)
    assert_near(result.bottom_diffs[0], diff * factor, dtype)
    assert kept.all() != training


def test_a_net_that_tests_scales_where_training_did_not():
    fields = 'type: "Dropout" dropout_param { dropout_ratio: 0.25 scale_train: false }'
    net = layer_net(fields, [[4.0, 8.0]], backward=False, keep_data=False)
    assert net.forward()["t0"].tolist() == [[3.0, 6.0]]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 16_385, 100_003])
def test_every_element_is_drawn(count):
    x = np.ones(count, np.float32)
    top = run("Dropout", arguments(), x).tops[0]
    assert set(np.unique(top)) <= {0.0, 2.0}
    assert abs(np.count_nonzero(top) - count / 2) <= 2 * np.sqrt(count) + 1


def mask(**options):
    return run("Dropout", arguments(), np.ones(4096, np.float32), **options).tops[0]


def test_the_mask_depends_on_seed_and_iteration_only():
    assert np.array_equal(mask(seed=1, iteration=5), mask(seed=1, iteration=5))
    for other in (mask(seed=2, iteration=5), mask(seed=1, iteration=6)):
        assert 0.4 < np.mean(other == mask(seed=1, iteration=5)) < 0.6


def test_two_layers_draw_different_masks():
    masks = []
    for stream in (1, 2):
        layer = core.create_layer("Dropout", DEVICE, arguments())
        layer.stream = stream
        x, y = (core.Blob([4096], "float32", "plain", DEVICE) for _ in range(2))
        x.data[...] = 1
        step = core.Step(
            name="drop", layer=layer, bottoms=[x], tops=[y],
            loss_weights=[0.0], propagate_down=[True], need_backward=True,
        )  # fmt: skip
        core.Executor([step], 0).forward(0, 1)
        masks.append(y.data.copy())
    assert 0.4 < np.mean(masks[0] == masks[1]) < 0.6


def philox(block, seed, stream, iteration):
    """Philox 4x32-10 of Salmon et al., in plain integers."""
    low = 0xFFFFFFFF
    c = [block & low, block >> 32, stream & low, iteration & low]
    k = [seed & low, (seed >> 32) ^ (stream >> 32)]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & low, (a >> 32) ^ c[3] ^ k[1], a & low]
        k = [(k[0] + 0x9E3779B9) & low, (k[1] + 0xBB67AE85) & low]
    return c


def test_the_mask_is_made_of_philox_words():
    top = run("Dropout", arguments(0.25), np.ones(200, np.float32), seed=0x123456789AB, iteration=3).tops[0]
    for element in (0, 15, 16, 63, 64, 130, 199):
        group, word, lane = element // 64, element % 64 // 16, element % 16
        bits = philox(16 * group + lane, 0x123456789AB, 0, 3)[word]
        assert (top[element] != 0) == (bits >= 2**30)


def test_a_net_draws_a_new_mask_in_every_iteration():
    net = layer_net('type: "Dropout"', np.ones(1000), phase=TRAIN, seed=3)
    first, second = (net.forward()["t0"].copy() for _ in range(2))
    assert 0.4 < np.mean(first == second) < 0.6
    again = layer_net('type: "Dropout"', np.ones(1000), phase=TRAIN, seed=3)
    assert np.array_equal(again.forward()["t0"], first)


def test_nan_is_not_hidden():
    top = run("Dropout", arguments(), np.full(100, np.nan, np.float32)).tops[0]
    assert np.isnan(top).all()


@pytest.mark.parametrize("ratio", ["1", "-0.1", "1.5", "nan"])
def test_a_ratio_outside_its_range_is_rejected(ratio):
    with pytest.raises(ConfigError, match="dropout_ratio must be a number >= 0 and < 1") as error:
        layer_net(f'type: "Dropout"\ndropout_param {{ dropout_ratio: {ratio} }}', [1.0])
    assert (error.value.layer, error.value.line) == ("layer", 4)
