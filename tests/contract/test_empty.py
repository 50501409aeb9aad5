"""A batch of no items runs through every layer type, and leaves no trace."""

import numpy as np
import pytest
from helpers.golden import GOLDEN
from helpers.layer_examples import build, fill, message_of, net_text, run
from helpers.layer_facts import example

import caffe
from pycaffe_like.layer_type import layer_types
from pycaffe_like.testing import net_from_text

TYPES = [kind for kind in layer_types() if example(kind).bottoms]
PHASES = [caffe.TRAIN, caffe.TEST]


@pytest.fixture(autouse=True)
def _golden_folder(monkeypatch):
    """Where examples find their files."""
    monkeypatch.chdir(GOLDEN)


def emptied(shape, kind):
    """The shape without items; what all items of a larger batch share, as prior boxes, stays."""
    return shape if shape[0] == 1 < example(kind).bottoms[0][0] else (0, *shape[1:])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", TYPES)
def test_empty_batch_runs_and_teaches_nothing(kind, phase, precision):
    empty = [emptied(shape, kind) for shape in example(kind).bottoms]
    net = net_from_text(net_text(message_of(kind), empty), phase, seed=1, precision=precision)
    fill(net, example(kind))
    results = run(net)
    assert all(np.isfinite(values).all() for values in results.values())
    learned = [values for name, values in results.items() if name.startswith("gradient")]
    assert not any(values.any() for values in learned)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", TYPES)
def test_batch_that_was_empty_once_computes_as_if_it_had_not_been(kind, phase):
    net, untouched = build(kind, phase), build(kind, phase)
    shapes = {name: tuple(net.blobs[name].shape) for name in net.inputs}
    resize(net, {name: emptied(shape, kind) for name, shape in shapes.items()})
    run(net)
    resize(net, shapes)
    fill(net, example(kind))
    net.iteration = 0
    results, wanted = run(net), run(untouched)
    assert list(results) == list(wanted)
    for name, values in results.items():
        np.testing.assert_array_equal(values, wanted[name], name)


def resize(net, shapes):
    for name, shape in shapes.items():
        net.blobs[name].reshape(*shape)
    net.reshape()
