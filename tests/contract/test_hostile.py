"""Nothing that a net's text says ends the process: what cannot be is refused, with layer and line."""

import collections
import json
import os
import re
import subprocess
import sys

import pytest
from helpers.golden import GOLDEN
from helpers.hostile import cases
from helpers.layer_examples import net_text
from helpers.layer_facts import told

import caffe
from pycaffe_like.errors import ConfigError
from pycaffe_like.layer_type import layer_types
from pycaffe_like.testing import net_from_text

TYPES = list(layer_types())


@pytest.fixture(scope="module")
def outcomes():
    """Name and outcome of every hostile net by type, all from one process; at "" the losses it had last."""
    command = [sys.executable, "-m", "helpers.hostile"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    child = subprocess.run(command, cwd=GOLDEN, env=environment, capture_output=True, text=True, timeout=500)
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    assert child.returncode == 0, (
        f"the process died with {child.returncode} in {lines[-1:]}\n{child.stderr[-2000:]}"
    )
    found = collections.defaultdict(list)
    for kind, name, result in lines:
        if result != "started":
            found[kind].append((name, result))
    return found


@pytest.mark.parametrize("kind", TYPES)
def test_hostile_layer_runs_or_is_refused_with_its_place(kind, outcomes):
    assert len(outcomes[kind]) == len(list(cases(kind)))
    assert len(outcomes[kind]) >= 20
    assert "refused" in dict(outcomes[kind]).values()
    assert [entry for entry in outcomes[kind] if entry[1] not in ("runs", "refused")] == []


def test_process_still_trains_after_all_hostile_layers(outcomes):
    [(_, losses)] = outcomes[""]
    assert losses[-1] < losses[0] / 4


IMPOSSIBLE = [
    pytest.param(kind, *case, id=f"{kind}-{number}")
    for kind in TYPES
    for number, case in enumerate(told(kind, "IMPOSSIBLE"))
]


@pytest.mark.parametrize(("kind", "fields", "shapes", "words"), IMPOSSIBLE)
def test_impossible_layer_is_refused(kind, fields, shapes, words):
    names = "".join(f'bottom: "b{index}" ' for index in range(len(shapes)))
    text = net_text(f'name: "bad" type: "{kind}" {names} top: "t" {fields}', shapes)
    with pytest.raises(ConfigError) as caught:
        net_from_text(text, caffe.TRAIN)
    assert caught.value.layer == "bad"
    assert caught.value.line > 1 + len(shapes)
    assert re.search(words, str(caught.value))
