import signal

import pytest

from pycaffe_like.errors import ConfigError
from pycaffe_like.solver.signals import Action, SignalActions, parse_action


def test_hangup_is_looked_at_first_and_each_poll_takes_one():
    with SignalActions() as actions:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        assert [actions.poll() for _ in range(3)] == [Action.SNAPSHOT, Action.STOP, Action.NONE]


def test_effects_can_be_chosen():
    with SignalActions(sigint=Action.NONE, sighup=Action.STOP) as actions:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGHUP)
        assert [actions.poll() for _ in range(2)] == [Action.STOP, Action.NONE]


def test_handlers_come_back():
    before = signal.getsignal(signal.SIGINT)
    with SignalActions():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before


def test_unknown_effect_is_refused_with_the_nearest():
    with pytest.raises(
        ConfigError, match=r"-sigint_effect: unknown effect 'snapshoot'\n  did you mean snapshot"
    ):
        parse_action("snapshoot", "sigint_effect")
