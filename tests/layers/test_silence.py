import numpy as np
import pytest
from helpers.direct import every_form, random_array, run
from helpers.layer_facts import EXACT, MAP, Example

from pycaffe_like.errors import ConfigError
from pycaffe_like.testing import layer_net

EXAMPLE = Example(bottoms=(MAP, (2,)), tops=0)
BACKWARD = None
IMPOSSIBLE = []  # takes every shape
TOLERANCE = EXACT
FORMULA = False


@every_form
def test_backward_sets_wanted_diffs_to_zero(layout, dtype):
    arrays = [random_array(2, 3, 4, 5, dtype=dtype, seed=seed) for seed in range(2)]
    result = run("Silence", {}, *arrays, top_diffs=[], layout=layout, dtype=dtype)
    for diff in result.bottom_diffs:
        assert np.array_equal(diff, np.zeros((2, 3, 4, 5)))


def test_old_diffs_are_cleared():
    net = layer_net('type: "Silence"', [1.0], [2.0], tops=0)
    net.forward()
    for name in ("b0", "b1"):
        net.blobs[name].diff[...] = 7
    net.backward()
    assert net.blobs["b0"].diff == net.blobs["b1"].diff == [0.0]


def test_a_silenced_blob_is_no_output():
    assert layer_net('type: "Silence"', [1.0], [2.0], tops=0).outputs == []


def test_a_top_is_rejected():
    with pytest.raises(ConfigError, match="takes exactly 0 top") as error:
        layer_net('type: "Silence"', [1.0], tops=1)
    assert error.value.layer == "layer"
