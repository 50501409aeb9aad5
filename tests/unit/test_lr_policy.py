import logging
import math

import pytest

from pycaffe_like.errors import ConfigError
from pycaffe_like.prototxt import schema
from pycaffe_like.prototxt import text as prototext
from pycaffe_like.solver.lr_policy import Progress, check_policy, learning_rate


def solver(text):
    return prototext.parse(text, schema.SolverParameter, "solver.prototxt")


def rates(text, iterations):
    document = solver(text)
    check_policy(document)
    progress = Progress()
    result = []
    for iteration in iterations:
        progress.iteration = iteration
        result.append(learning_rate(document.message, progress))
    return result


FORMULAS = {
    'lr_policy: "fixed" base_lr: 0.5': lambda t: 0.5,
    'lr_policy: "step" base_lr: 1 gamma: 0.5 stepsize: 4': lambda t: 0.5 ** (t // 4),
    'lr_policy: "exp" base_lr: 2 gamma: 0.75': lambda t: 2 * 0.75**t,
    'lr_policy: "inv" base_lr: 0.5 gamma: 0.25 power: 0.75': lambda t: 0.5 * (1 + 0.25 * t) ** -0.75,
    'lr_policy: "poly" base_lr: 2 power: 1.5 max_iter: 20': lambda t: 2 * (1 - t / 20) ** 1.5,
    'lr_policy: "sigmoid" base_lr: 1 gamma: 0.5 stepsize: 7': lambda t: 1 / (1 + math.exp(-0.5 * (t - 7))),
    'lr_policy: "cosine" base_lr: 1 min_lr: 0.5 max_iter: 20': lambda t: (
        0.75 + 0.25 * math.cos(t * math.pi / 20)
    ),
    'lr_policy: "fixed" base_lr: 1 warmup_iter: 8': lambda t: min(t / 8, 1),
    'lr_policy: "fixed" base_lr: 1 rampup_interval: 8': lambda t: min(t / 8, 1) ** 2,
    'lr_policy: "multifixed" stageiter: [2, 5] stagelr: [1, 0.5]': lambda t: 1 if t <= 2 else 0.5,
}


@pytest.mark.parametrize("text", FORMULAS)
def test_rate_follows_formula(text):
    iterations = range(20)
    assert rates(text, iterations) == pytest.approx([FORMULAS[text](t) for t in iterations], rel=1e-12)


def test_step_keeps_current_step():
    document, progress = solver('lr_policy: "step" base_lr: 1 gamma: 0.5 stepsize: 4'), Progress(11)
    learning_rate(document.message, progress)
    assert progress.current_step == 2


def test_multistep_advances_once_an_evaluation():
    text = 'lr_policy: "multistep" base_lr: 1 gamma: 0.5 stepvalue: [2, 2, 4]'
    twice_an_iteration = [t for t in range(6) for _ in range(2)]
    read_before_step = rates(text, twice_an_iteration)[::2]
    assert read_before_step == [1, 1, 0.5, 0.25, 0.125, 0.125]
    assert rates(text, range(6)) == [1, 1, 0.5, 0.25, 0.125, 0.125]


def test_multistep_logs_each_step(caplog):
    logging.getLogger("caffe").propagate = True
    with caplog.at_level(logging.INFO, logger="caffe"):
        rates('lr_policy: "multistep" base_lr: 1 gamma: 0.5 stepvalue: [2]', range(4))
    assert [record.getMessage() for record in caplog.records] == ["MultiStep Status: Iteration 2, step = 1"]


def test_step_without_gamma_drops_to_zero():
    assert rates('lr_policy: "step" base_lr: 1 stepsize: 2', [0, 1, 2, 3]) == [1, 1, 0, 0]


def test_poly_is_exactly_zero_at_max_iter_and_nan_beyond():
    at_end, beyond = rates('lr_policy: "poly" base_lr: 1 power: 0.5 max_iter: 4', [4, 5])
    assert at_end == 0
    assert math.isnan(beyond)


def test_sigmoid_far_below_its_middle_does_not_overflow():
    (rate,) = rates('lr_policy: "sigmoid" base_lr: 1 gamma: 10 stepsize: 100000', [0])
    assert 0 <= rate < 1e-300


def test_min_lr_is_a_floor():
    assert rates('lr_policy: "exp" base_lr: 1 gamma: 0.5 min_lr: 0.25', [0, 1, 2, 3]) == [1, 0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base_lr: 1\nlr_policy: "multstep"', ":2:1: unknown lr_policy 'multstep'\n  did you mean multistep"),
        ("base_lr: 1", "solver.prototxt:1:1: lr_policy is not set\n  known policies: cosine, exp, fixed"),
        ('lr_policy: "step"', "lr_policy 'step' needs stepsize >= 1, got 0"),
        ('lr_policy: "step" stepsize: 5\n gamma: -1', ":2:2: lr_policy 'step' needs gamma >= 0, got -1"),
        ('lr_policy: "poly"', "lr_policy 'poly' needs max_iter >= 1, got 0"),
        ('gamma: 1\nlr_policy: "fixed"', ":2:1: base_lr is not set\n  set base_lr"),
        ('base_lr: 1\nlr_policy: "multistep"', ":2:1: lr_policy 'multistep' needs at least one stepvalue"),
        (
            'base_lr: 1 lr_policy: "multistep"\nstepvalue: [4, 2]',
            ":2:16: stepvalue must not fall, got 2 behind 4\n  sort",
        ),
        ('lr_policy: "multifixed" stageiter: 2', "needs one stagelr for each stageiter, got 0 and 1"),
    ],
)  # fmt: skip
def test_bad_policy_is_refused_with_its_position(text, message):
    with pytest.raises(ConfigError) as caught:
        check_policy(solver(text))
    assert message in str(caught.value)


def test_rate_of_zero_is_warned_of(caplog):
    check_policy(solver('lr_policy: "fixed"\nbase_lr: 0'))
    assert "solver.prototxt:2:1: base_lr is 0: weights do not change" in caplog.text
