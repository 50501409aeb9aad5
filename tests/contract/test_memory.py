"""Layers write all of what is theirs and nothing else, and take the bytes that their plan foretells."""

import gc

import pytest
from helpers.golden import GOLDEN
from helpers.guarded import Guarded
from helpers.layer_examples import between_matrix_layers, build, fill, give_gradients
from helpers.layer_facts import example

import caffe
from pycaffe_like import _core as core
from pycaffe_like.device import default_device
from pycaffe_like.layer_type import layer_types

TYPES = list(layer_types())
PHASES = [caffe.TRAIN, caffe.TEST]
PRECISIONS = ["float32", "bfloat16"]
SINGLE_STEPS = ("fusion", "residual")


@pytest.fixture(autouse=True)
def _golden_folder(monkeypatch):
    """Let the Data example find its database."""
    monkeypatch.chdir(GOLDEN)


def check_writes(net):
    """Run forward and backward: the layer writes its tops and gradients whole, and nothing behind them."""
    [node] = [node for node in net.plan.graph.nodes if "layer" in node.members]
    bottoms, tops = ([net.plan.blob(value) for value in values] for values in (node.bottoms, node.tops))
    wanted = [blob for blob, flag in zip(bottoms, node.propagate_down) if flag]
    shared = {blob.data_id for blob in bottoms} | {blob.diff_id for blob in tops}
    shared |= {param.blob.data_id for param in node.params}  # a learned blob may be a top
    given = {net.blobs[name].data_id for name in net.inputs}  # an Input layer's tops are the user's to write
    arrays = [Guarded(blob, "data") for blob in tops if blob.data_id not in shared | given]
    arrays += [Guarded(blob, "diff") for blob in wanted if blob.diff_id not in shared]
    net.forward()
    net.clear_param_diffs()
    learned = [Guarded(param.blob, "diff", zero=True) for param in node.params]
    give_gradients(net)
    net.backward()
    assert [array.unwritten() for array in arrays] == [0] * len(arrays)
    assert [array.overwritten() for array in (*arrays, *learned)] == [0] * (len(arrays) + len(learned))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", TYPES)
def test_tops_and_gradients_are_written_whole_and_nothing_behind_them(kind, phase, precision):
    if precision == "float32":
        check_writes(build(kind, phase))
    else:
        check_writes(between_matrix_layers(kind, phase, precision=precision, skip_passes=SINGLE_STEPS))


@pytest.mark.parametrize("kind", [kind for kind in TYPES if example(kind).bottoms])
def test_another_batch_size_is_written_whole_too(kind):
    net = build(kind)
    net.forward()
    for batch in (5, 1):
        change_batch(net, batch)
        fill(net, example(kind))
        check_writes(net)


def change_batch(net, batch):
    for name in net.inputs:
        net.blobs[name].reshape(batch, *net.blobs[name].shape[1:])
    net.reshape()


@pytest.mark.parametrize("kind", [kind for kind in TYPES if layer_types()[kind].writes_gradients])
def test_gradients_of_bottoms_lie_apart_from_those_of_tops(kind):
    net = build(kind)
    node = net.plan.graph.nodes[-1]
    bottoms = {net.plan.blob(value).diff_id for value, flag in zip(node.bottoms, node.propagate_down) if flag}
    assert not bottoms & {net.plan.blob(top).diff_id for top in node.tops}


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_a_guard_sees_values_left_out_and_words_too_many(dtype):
    blob = core.Blob([3], dtype)
    guarded = Guarded(blob, "data")
    assert (guarded.unwritten(), guarded.overwritten()) == (3, 0)
    end = blob.bytes // 2
    guarded.words[: end - 2] = 0
    assert (guarded.unwritten(), guarded.overwritten()) == (1 if dtype == "float32" else 2, 0)
    guarded.words[: end + 1] = 0
    assert (guarded.unwritten(), guarded.overwritten()) == (0, 1)


# Bytes

BATCH = 67  # so that what a layer keeps for each item is more than arrays are rounded up by
ALIGNMENT = 64
MOST_STORAGES = 4  # of one layer
LEAN = {"keep_data": False, "keep_diffs": False}
COUNTED = [kind for kind in TYPES if kind in core.registered_layers("cpu")]  # others keep arrays of NumPy


@pytest.fixture(scope="module")
def _quick_collection():
    """Leave what there is alone in each collection of garbage."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def run_whole(net):
    """One forward, and one backward if the plan has it, of all steps."""
    net.forward_loss()
    if any(node.need_backward and (node.bottoms or node.params) for node in net.plan.graph.nodes):
        net.clear_param_diffs()
        give_gradients(net)
        net.plan.executor.backward(0, len(net.plan.executor))


def rounding(net, sizes):
    """What the allocated arrays, arena and scratch of a plan are rounded up by; `sizes` are those planned."""
    plan = net.plan
    allocated = {blob.data_id for blob in sizes if blob.data_allocated and not blob.data_pooled}
    allocated |= {blob.diff_id for blob in sizes if blob.diff_allocated and not blob.diff_pooled}
    bytes_of = {identity: size for blob, size in sizes.items() for identity in (blob.data_id, blob.diff_id)}
    arrays = [bytes_of[identity] for identity in allocated]
    return sum(-size % ALIGNMENT for size in (*arrays, plan.arena.bytes, net.memory().scratch))


@pytest.mark.usefixtures("_quick_collection")
@pytest.mark.skipif(default_device() != "cpu", reason="the host's copies count there; see test_room.py")
@pytest.mark.parametrize("options", [{}, LEAN], ids=["kept", "lean"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", COUNTED)
def test_a_net_takes_the_bytes_that_its_plan_foretells(kind, phase, precision, options):
    gc.collect()
    before, _ = core.allocations()
    if precision == "bfloat16" and example(kind).bottoms:
        net = between_matrix_layers(kind, phase, precision=precision, **options)
    else:
        net = build(kind, phase, **options)
        if example(kind).bottoms and not options:  # what has grown takes no more turns
            change_batch(net, BATCH)
            fill(net, example(kind))
    memory = net.memory()  # before it runs: shapes that only a run tells are planned at their largest
    blobs = [*net.plan.blobs.values(), *(param.blob for param in net.plan.graph.params)]
    sizes = {blob: blob.bytes for blob in blobs}
    run_whole(net)
    gc.collect()
    more = core.allocations()[0] - before - memory.total - rounding(net, sizes)
    keepers = sum(layer.private_bytes(True) > 0 for layer in net.plan.layers)
    assert 0 <= more <= keepers * MOST_STORAGES * (ALIGNMENT - 1)
