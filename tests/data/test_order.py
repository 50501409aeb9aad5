"""Which record comes when."""

import doctest

import numpy as np
import pytest

from pycaffe_like.data import counter_random, order
from pycaffe_like.data.counter_random import permutation
from pycaffe_like.data.order import Order, draw_skip

COUNT = 23


def stream(count, start=0, **options):
    return Order(COUNT, **options).records(np.arange(start, start + count))


def test_without_shuffle_records_repeat_as_they_are_stored():
    np.testing.assert_array_equal(stream(60), np.arange(60) % COUNT)


@pytest.mark.parametrize("seed", [0, 5, 2**40 + 5, 2**64 - 1])
def test_each_shuffled_epoch_holds_every_record_once(seed):
    epochs = stream(7 * COUNT, seed=seed, shuffle=True).reshape(7, COUNT)
    np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(COUNT), (7, 1)))
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 7


def test_seeds_shuffle_in_other_ways():
    orders = {tuple(stream(COUNT, seed=seed, shuffle=True)) for seed in (0, 1, 2**32, 2**40, 2**63)}
    assert len(orders) == 5


@pytest.mark.parametrize("options", [{}, {"shuffle": True}, {"shuffle": True, "rand_skip": 9}])
@pytest.mark.parametrize("start", [1, 22, 23, 40, 1000])
def test_a_stream_can_be_entered_anywhere(options, start):
    whole = stream(start + 100, seed=3, **options)
    np.testing.assert_array_equal(stream(100, start, seed=3, **options), whole[start:])


def test_a_job_may_take_some_records_of_many_epochs():
    counters = np.arange(4, 400, 7)
    whole = stream(400, seed=3, shuffle=True)
    np.testing.assert_array_equal(Order(COUNT, 3, shuffle=True).records(counters), whole[counters])


def test_every_record_comes_first_equally_often():
    firsts = [permutation(COUNT, 1, epoch)[0] for epoch in range(200 * COUNT)]
    counts = np.bincount(firsts, minlength=COUNT)
    assert ((counts - 200.0) ** 2 / 200).sum() < 56  # chi-square, 22 degrees of freedom: 1 in 10,000


def test_orders_of_neighbours_have_nothing_to_do_with_each_other():
    """Of records next to each other in an epoch, of one place in two epochs, of two seeds."""
    shuffles = np.array([[permutation(COUNT, seed, epoch) for epoch in range(60)] for seed in range(60)])
    pairs = {
        "places": (shuffles[..., :-1], shuffles[..., 1:]),
        "epochs": (shuffles[:, :-1], shuffles[:, 1:]),
        "seeds": (shuffles[:-1], shuffles[1:]),
    }
    for name, (a, b) in pairs.items():
        expected = -1 / (COUNT - 1) if name == "places" else 0.0
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1] - expected) < 0.015, name


def test_rand_skip_begins_at_one_of_so_many_records():
    skips = [draw_skip(4, seed) for seed in range(400)]
    assert np.bincount(skips).min() > 60
    assert set(skips) == {0, 1, 2, 3}
    assert [draw_skip(rand_skip, 7) for rand_skip in (0, 1)] == [0, 0]


def test_the_skip_moves_the_stream():
    moved = Order(COUNT, 3, shuffle=True, rand_skip=COUNT)
    assert moved.skip > 0
    np.testing.assert_array_equal(
        moved.records(np.arange(50)), stream(50 + moved.skip, seed=3, shuffle=True)[moved.skip :]
    )
    assert moved.epoch(COUNT - moved.skip - 1) == 0
    assert moved.epoch(COUNT - moved.skip) == 1


@pytest.mark.parametrize("module", [order, counter_random])
def test_docstring_examples_give_what_they_say(module):
    failed, tried = doctest.testmod(module)
    assert (failed, tried > 0) == (0, True)
