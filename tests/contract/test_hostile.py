"""Nothing that a net's text says ends the process: what cannot be is refused, with layer and line."""

import collections
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.golden import GOLDEN
from helpers.hostile import cases
from helpers.layer_examples import EXAMPLES, net_text

import caffe
from pycaffe_like.errors import ConfigError
from pycaffe_like.layer_type import layer_types
from pycaffe_like.testing import net_from_text

ROOT = Path(__file__).parents[2]
TYPES = list(layer_types())


@pytest.fixture(scope="module")
def outcomes():
    """Name and outcome of every hostile net by type, all from one process; at "" the losses it had last."""
    command = [sys.executable, "-m", "helpers.hostile"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
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


# What must be refused: type, fields, shapes of the bottoms, words of the message.
_IP, _LRN, _RESHAPE = "inner_product_param", "lrn_param", "reshape_param"
_CONV, _POOL = "convolution_param", "pooling_param"
IMPOSSIBLE = [
    ("Accuracy", "", [(4, 3), (5,)], "label"),
    ("Accuracy", "accuracy_param { axis: 2 }", [(4, 3), (4,)], "axis 2"),
    ("Accuracy", "accuracy_param { top_k: 4 }", [(4, 3), (4,)], "top_k"),
    ("BatchNorm", "batch_norm_param { eps: -1 }", [(2, 3)], "eps"),
    ("Bias", "bias_param { num_axes: 3 }", [(2, 3)], "axes"),
    ("Bias", "", [(2, 3), (4,)], r"\(4\)"),
    ("Concat", "concat_param { axis: 4 }", [(2, 3), (2, 3)], "axis 4"),
    ("Concat", "", [(2, 3), (3, 3)], r"\(3, 3\)"),
    ("Concat", "", [(46340, 46340), (46340, 46340)], "92680"),
    ("Convolution", f"{_CONV} {{ num_output: 0 kernel_size: 1 }}", [(1, 3, 5, 5)], "num_output"),
    ("Convolution", f"{_CONV} {{ num_output: 2 }}", [(1, 3, 5, 5)], "kernel_size"),
    ("Convolution", f"{_CONV} {{ num_output: 2 kernel_size: 0 }}", [(1, 3, 5, 5)], "kernel_size"),
    ("Convolution", f"{_CONV} {{ num_output: 2 kernel_size: 3 stride: 0 }}", [(1, 3, 5, 5)], "stride"),
    ("Convolution", f"{_CONV} {{ num_output: 2 kernel_size: 6 }}", [(1, 3, 5, 5)], "6"),
    ("Convolution", f"{_CONV} {{ num_output: 2 kernel_size: 3 dilation: 3 }}", [(1, 3, 5, 5)], "kernel"),
    ("Convolution", f"{_CONV} {{ num_output: 3 kernel_size: 1 group: 2 }}", [(1, 4, 5, 5)], "group"),
    ("Convolution", f"{_CONV} {{ num_output: 4 kernel_size: 1 group: 2 }}", [(1, 3, 5, 5)], "group"),
    ("Convolution", f"{_CONV} {{ num_output: 4 kernel_size: 1 group: 0 }}", [(1, 3, 5, 5)], "group"),
    ("Convolution", f"{_CONV} {{ num_output: 2147483647 kernel_size: 2 }}", [(1, 2, 5, 5)], "2147483647"),
    ("Convolution", f"{_CONV} {{ num_output: 1 kernel_size: 1 pad: 32768 }}", [(9, 1, 1, 1)], "65537"),
    ("Convolution", f"{_CONV} {{ num_output: 1 kernel_size: 1 axis: 9 }}", [(1, 1, 5, 5)], "axis 9"),
    ("Convolution", f"{_CONV} {{ num_output: 1 kernel_size: 1 }}", [(1, 1, 5, 5), (1, 2, 5, 5)], "top"),
    ("Dropout", "dropout_param { dropout_ratio: 1 }", [(2, 3)], "dropout_ratio"),
    ("Eltwise", "", [(2, 3), (3, 2)], r"\(3, 2\)"),
    ("Eltwise", "eltwise_param { coeff: 1 }", [(2, 3), (2, 3)], "coeff"),
    ("Flatten", "flatten_param { axis: 3 }", [(2, 3)], "axis 3"),
    ("Flatten", "flatten_param { axis: 2 end_axis: 1 }", [(2, 3, 4)], "end_axis"),
    ("InnerProduct", f"{_IP} {{ num_output: 0 }}", [(2, 3)], "num_output"),
    ("InnerProduct", f"{_IP} {{ num_output: 3 axis: -3 }}", [(2, 3)], "axis -3"),
    ("InnerProduct", f"{_IP} {{ num_output: 2147483647 }}", [(1, 2)], "2147483647"),
    ("InnerProduct", f"{_IP} {{ num_output: 2147483647 axis: 0 }}", [(2147483647,)], "2147483647"),
    ("Input", "input_param { shape { dim: -1 } }", [], "-1"),
    ("Input", "input_param { shape { dim: 65536 dim: 32768 } }", [], "65536"),
    ("Input", "input_param { shape { dim: 4294967296 dim: 4294967296 } }", [], "4294967296"),
    ("LRN", f"{_LRN} {{ local_size: 4 }}", [(1, 3, 5, 5)], "local_size"),
    ("LRN", f"{_LRN} {{ local_size: 3 }}", [(1, 3)], r"\(1, 3\)"),
    ("Pooling", f"{_POOL} {{ kernel_size: 0 }}", [(1, 3, 5, 5)], "kernel_size"),
    ("Pooling", f"{_POOL} {{ kernel_size: 2 stride: 0 }}", [(1, 3, 5, 5)], "stride"),
    ("Pooling", f"{_POOL} {{ kernel_size: 6 }}", [(1, 3, 5, 5)], "6"),
    ("Pooling", f"{_POOL} {{ kernel_size: 2 pad: 2 }}", [(1, 3, 5, 5)], "pad"),
    ("Pooling", f"{_POOL} {{ kernel_size: 4294967295 pad: 4294967294 }}", [(1, 3, 5, 5)], "4294967295"),
    ("Pooling", f"{_POOL} {{ kernel_size: 2 }}", [(1, 3, 5)], r"\(1, 3, 5\)"),
    ("Reshape", f"{_RESHAPE} {{ shape {{ dim: 4 dim: 2 }} }}", [(2, 3)], r"4, 2"),
    ("Reshape", f"{_RESHAPE} {{ shape {{ dim: -1 dim: 4 }} }}", [(2, 3)], "4"),
    ("Reshape", f"{_RESHAPE} {{ shape {{ dim: -1 dim: -1 }} }}", [(2, 3)], "-1"),
    ("Reshape", f"{_RESHAPE} {{ shape {{ dim: 3037000500 dim: 3037000500 }} }}", [(2, 3)], "3037000500"),
    ("Reshape", f"{_RESHAPE} {{ shape {{ dim: 6 }} axis: 3 }}", [(2, 3)], "axis"),
    ("Scale", "scale_param { num_axes: 3 }", [(2, 3)], "axes"),
    ("Scale", "", [(2, 3), (2,)], r"\(2\)"),
    ("Softmax", "softmax_param { axis: 2 }", [(2, 3)], "axis 2"),
    ("SoftmaxWithLoss", "", [(4, 3), (5,)], "label"),
    ("SoftmaxWithLoss", "softmax_param { axis: -3 }", [(4, 3), (4,)], "axis -3"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "shapes", "words"), IMPOSSIBLE)
def test_impossible_layer_is_refused(kind, fields, shapes, words):
    names = "".join(f'bottom: "b{index}" ' for index in range(len(shapes)))
    text = net_text(f'name: "bad" type: "{kind}" {names} top: "t" {fields}', shapes)
    with pytest.raises(ConfigError) as caught:
        net_from_text(text, caffe.TRAIN)
    assert caught.value.layer == "bad"
    assert caught.value.line > 1 + len(shapes)
    assert re.search(words, str(caught.value))


def test_every_type_with_a_shape_rule_has_an_impossible_case():
    without = {
        "Data",
        "DummyData",
        "Python",
        "ReLU",
        "Silence",
        "Split",
        "TanH",
    }  # refuse counts of blobs, files and values only
    assert {kind for kind, *_ in IMPOSSIBLE} == set(EXAMPLES) - without
