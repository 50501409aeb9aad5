"""Snapshots: names, contents, resuming, and what is left when the disk refuses."""

import errno
import logging
import os
import re
import shutil

import numpy as np
import pytest

from pycaffe_like.errors import ConfigError, DataError, DivergedError, MissingFileError, WriteError
from pycaffe_like.prototxt import schema
from pycaffe_like.prototxt.text import parse
from pycaffe_like.solver import snapshot
from pycaffe_like.solver.signals import Action
from pycaffe_like.solver.types import solver_class
from pycaffe_like.weights.caffemodel import read_weights
from pycaffe_like.weights.solverstate import read_solverstate, solverstate_bytes

NET = """
name: "linear"
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" loss_weight: 1
  inner_product_param { num_output: 1 weight_filler { type: "gaussian" } } }
"""


@pytest.fixture
def make(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)

    def make(text=""):
        settings = 'net: "net.prototxt" lr_policy: "fixed" base_lr: .1'
        if "snapshot_prefix:" not in text:
            settings += ' snapshot_prefix: "s"'
        if "type:" not in text:
            settings += ' type: "SGD" momentum: .9'
        document = parse(f"{settings} {text}", schema.SolverParameter, "solver.prototxt")
        solver = solver_class(document)(document)
        solver.net.blobs["x"].data[...] = [[1, 2], [3, -4]]
        return solver

    return make


def params(solver):
    return np.concatenate([blob.data.ravel() for blob in solver.net.params["ip"]])


def test_pair_has_the_names_and_contents_of_caffe(make, tmp_path):
    solver = make("random_seed: 5")
    solver.step(3)
    solver.snapshot()
    assert sorted(path.name for path in tmp_path.glob("s_*")) == [
        "s_iter_3.caffemodel",
        "s_iter_3.solverstate",
    ]
    (ip,) = [layer for layer in read_weights("s_iter_3.caffemodel") if layer.blobs]
    np.testing.assert_array_equal(ip.blobs[0].data, solver.net.params["ip"][0].data)
    state = read_solverstate("s_iter_3.solverstate")
    assert (state.message.iter, state.message.learned_net) == (3, "s_iter_3.caffemodel")
    assert (state.message.solver_type, state.message.random_seed) == ("SGD", 5)
    for stored, own in zip(state.history, solver.history, strict=True):
        np.testing.assert_array_equal(stored, own.data)


@pytest.mark.parametrize(
    "text", ["", 'type: "Nesterov"', 'type: "AdaGrad"', 'type: "RMSProp"', 'type: "AdaDelta"', 'type: "Adam"']
)
def test_resumed_run_ends_with_the_same_bits(make, text):
    text += " max_iter: 10 snapshot: 4 average_loss: 3"
    whole = make(text)
    whole.solve()
    resumed = make(text)
    resumed.restore("s_iter_4.solverstate")
    resumed.solve()
    np.testing.assert_array_equal(params(resumed), params(whole))
    assert list(resumed._smoothed.losses) == list(whole._smoothed.losses)
    for one, other in zip(resumed.history, whole.history, strict=True):
        np.testing.assert_array_equal(one.data, other.data)


def test_multistep_resumes_in_its_step(make):
    text = 'lr_policy: "multistep" gamma: .5 stepvalue: [2, 3] max_iter: 6 snapshot: 4'
    document = parse(
        f'net: "net.prototxt" base_lr: .1 snapshot_prefix: "s" {text}',
        schema.SolverParameter,
        "solver.prototxt",
    )
    whole = solver_class(document)(document)
    whole.step(4)
    resumed = solver_class(document)(document)
    resumed.restore("s_iter_4.solverstate")
    assert resumed.lr == pytest.approx(0.025)


def test_seed_from_entropy_is_recorded_and_taken_up_again(make):
    solver, other = make(), make()
    assert solver.seed != other.seed
    solver.snapshot()
    other.restore("s_iter_0.solverstate")
    assert other.seed == solver.seed
    assert other.net.seed == solver.net.seed


# Faults


def fail(monkeypatch, name, number, code):
    """Let the call `number` of os.`name` fail; writes fail after taking half of their data."""
    real, calls = getattr(os, name), iter(range(number))

    def failing(*args):
        if next(calls, None) is not None:
            return real(*args)
        monkeypatch.setattr(os, name, real)
        if name == "close":
            real(*args)
        elif name == "write":
            real(args[0], args[1][: len(args[1]) // 2])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, name, failing)


def count_calls(monkeypatch, name, action):
    real, count = getattr(os, name), 0

    def counting(*args):
        nonlocal count
        count += 1
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, counting)
        action()
    return count


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("name", ["open", "write", "fsync", "close", "rename"])
def test_disk_error_leaves_the_snapshot_before_it_intact(make, tmp_path, monkeypatch, name, code):
    solver = make()
    solver.snapshot()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("s_*")}
    solver.step(1)
    points = count_calls(monkeypatch, name, solver.snapshot)
    assert points >= 2
    for number in range(points):
        for path in tmp_path.glob("s_iter_1.*"):
            path.unlink()
        fail(monkeypatch, name, number, code)
        with pytest.raises(DataError, match=os.strerror(code)) as caught:
            solver.snapshot()
        assert "s_iter_1.solverstate" in str(caught.value)
        assert not list(tmp_path.glob("*.tmp"))
        after = {path.name: path.read_bytes() for path in tmp_path.glob("s_iter_0.*")}
        assert after == before
        snapshot.read_snapshot("s_iter_0.solverstate")
        if (tmp_path / "s_iter_1.solverstate").exists():  # committed: then all of it is there
            snapshot.read_snapshot("s_iter_1.solverstate")
        solver.snapshot()  # the next attempt works
        assert snapshot.read_snapshot("s_iter_1.solverstate").message.iter == 1


def test_snapshot_that_the_disk_refuses_does_not_end_training(make, tmp_path, caplog):
    """The next one is tried again, and the one at the end must be written."""
    (tmp_path / "out").mkdir()
    solver = make('snapshot_prefix: "out/s" snapshot: 2 max_iter: 6')
    moved = tmp_path / "gone"
    actions = iter([Action.NONE, Action.NONE, Action.SNAPSHOT, Action.NONE, Action.NONE, Action.NONE])

    def poll():
        if solver.iter == 1:
            (tmp_path / "out").rename(moved)
        if solver.iter == 4:
            moved.rename(tmp_path / "out")
        return next(actions)

    solver.poll_action = poll
    solver.solve()
    assert solver.iter == 6
    messages = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    assert len(messages) == 2  # of iterations 2 and 3
    for number, text in zip((2, 3), messages):
        assert f"cannot write snapshot 'out/s_iter_{number}.solverstate': No such file or directory" in text
        assert "Training goes on" in text
    states = sorted(path.name for path in (tmp_path / "out").glob("*.solverstate"))
    assert states == ["s_iter_4.solverstate", "s_iter_6.solverstate"]


def test_snapshot_at_the_end_that_the_disk_refuses_is_an_error(make, tmp_path):
    (tmp_path / "out").mkdir()
    solver = make('snapshot_prefix: "out/s" snapshot: 2 max_iter: 4')
    solver.poll_action = lambda: (shutil.rmtree("out", ignore_errors=True), Action.NONE)[1]
    with pytest.raises(WriteError, match=r"cannot write snapshot 'out/s_iter_4\.solverstate'"):
        solver.solve()


def test_training_stops_at_a_refused_snapshot_if_asked(make, tmp_path, monkeypatch):
    monkeypatch.setenv("CAFFE_ON_SNAPSHOT_ERROR", "stop")
    (tmp_path / "out").mkdir()
    solver = make('snapshot_prefix: "out/s" snapshot: 2 max_iter: 4')
    shutil.rmtree("out")
    with pytest.raises(WriteError, match=r"iter_2\.solverstate"):
        solver.step(4)
    monkeypatch.setenv("CAFFE_ON_SNAPSHOT_ERROR", "ignore")
    with pytest.raises(ConfigError, match="CAFFE_ON_SNAPSHOT_ERROR must be continue or stop, got 'ignore'"):
        make()


def test_leftovers_of_a_killed_process_are_removed(make, tmp_path):
    ours = [tmp_path / f"s_iter_0.{kind}.{'0a' * 8}.tmp" for kind in ("caffemodel", "solverstate")]
    others = [tmp_path / name for name in ("s_iter_0.caffemodel.tmp", f"s_iter_1.caffemodel.{'0a' * 8}.tmp")]
    for path in [*ours, *others]:
        path.write_bytes(b"half")
    make().snapshot()
    assert not any(path.exists() for path in ours)
    assert all(path.read_bytes() == b"half" for path in others)


@pytest.mark.parametrize("write", ["snapshot", "probe"])
def test_links_at_temporary_names_are_not_followed(make, tmp_path, monkeypatch, write):
    """Whatever the names: the victim keeps its bytes, and the snapshot is written beside the links."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    tokens = iter(["aa" * 8, "bb" * 8, "cc" * 8, "dd" * 8])
    monkeypatch.setattr("pycaffe_like.files.secrets.token_hex", lambda _: next(tokens))
    monkeypatch.setattr("pycaffe_like.files.os.unlink", lambda path: None)  # nobody clears them away first
    solver = make()
    for stem in ("s_iter_0", "s_iter_0.caffemodel", "s_iter_0.solverstate"):
        for token in ("aa" * 8, "bb" * 8):
            (tmp_path / f"{stem}.{token}.tmp").symlink_to(victim)
        (tmp_path / f"{stem}.tmp").symlink_to(victim)
    (tmp_path / "s_iter_0.tempfile").symlink_to(victim)
    if write == "probe":
        snapshot.probe("s")
        assert (tmp_path / f"s_iter_0.{'cc' * 8}.tmp").is_file()
    else:
        tokens = iter(["aa" * 8, "cc" * 8, "bb" * 8, "dd" * 8])
        solver.snapshot()
        snapshot.read_snapshot("s_iter_0.solverstate")
    assert victim.read_bytes() == b"precious"


def test_writes_that_take_a_part_are_continued(make, monkeypatch):
    solver = make()
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:7]))
        solver.snapshot()
    assert len(read_weights("s_iter_0.caffemodel")) == 2


def test_state_is_named_last_after_everything_is_on_the_disk(make, monkeypatch):
    solver, events = make(), []
    names = {}

    def spy(name, describe):
        real = getattr(os, name)

        def call(*args):
            result = real(*args)
            events.append(describe(result, *args))
            return result

        monkeypatch.setattr(os, name, call)

    def opened(descriptor, path, *_):
        found = re.search(r"(\.\w+)\.[0-9a-f]{16}\.tmp$", str(path))
        names[descriptor] = found[1] if found else "folder"
        return None

    spy("open", opened)
    spy("fsync", lambda _, descriptor: ("fsync", names[descriptor]))
    spy("rename", lambda _, source, target: ("rename", os.path.splitext(target)[1]))
    solver.snapshot()
    monkeypatch.undo()
    assert [event for event in events if event] == [
        ("fsync", ".caffemodel"), ("fsync", ".solverstate"),
        ("rename", ".caffemodel"), ("fsync", "folder"),
        ("rename", ".solverstate"), ("fsync", "folder"),
    ]  # fmt: skip


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_never_written(make, tmp_path, value):
    solver = make()
    solver.net.params["ip"][0].data[0, 1] = value
    with pytest.raises(DataError, match=r"layer 'ip': blob 0 holds NaN or Inf"):
        solver.snapshot()
    assert not list(tmp_path.glob("s_*"))


def test_history_that_is_not_finite_is_never_written(make, tmp_path):
    solver = make()
    solver.history[1].data[0] = np.inf
    with pytest.raises(DataError, match="history blob 1"):
        solver.snapshot()
    assert not list(tmp_path.glob("s_*"))


def test_loss_that_is_not_finite_stops_within_the_iteration(make):
    solver = make()
    solver.step(2)
    before = params(solver)
    solver.net.blobs["x"].data[1, 0] = np.nan
    with pytest.raises(DivergedError, match=r"layer 'x': the loss is nan at iteration 2.*top 'x'"):
        solver.step(5)
    assert solver.iter == 2
    np.testing.assert_array_equal(params(solver), before)


def test_overflowing_rate_names_the_learned_blob(make):
    solver = make()
    solver.param.base_lr = 1e38
    with pytest.raises(DivergedError, match=r"layer 'ip': the loss is .* at iteration"):
        solver.step(10)


def test_last_update_that_overflows_is_an_error_of_solve(make, tmp_path):
    solver = make("max_iter: 1 snapshot_after_train: false")
    solver.param.base_lr = 3e38
    with pytest.raises(DivergedError, match=r"layer 'ip': learned blob 0 holds NaN or infinity after iter"):
        solver.solve()


def test_output_of_a_test_that_is_not_finite_names_layer_blob_and_iteration(make):
    solver = make("max_iter: 4 test_iter: 2 test_interval: 2")
    solver.step(1)
    solver.test_nets[0].blobs["x"].data[...] = np.inf
    with pytest.raises(DivergedError, match=r"layer 'x': an output .* at iteration 2, batch 0.*top 'x'"):
        solver.step(3)


def test_missing_folder_of_a_relative_prefix_names_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        snapshot.probe("no/such")
    assert caught.value.hint == (
        f"create the folder 'no'; the path is relative to the working directory, {tmp_path}"
    )


# Restoring


def restore_changed(make, change):
    """Write a snapshot, let `change` alter the message of its state, restore it."""
    solver = make("random_seed: 1")
    solver.step(1)
    solver.snapshot()
    state = read_solverstate("s_iter_1.solverstate")
    history = change(state.message) or state.history
    with open("s_iter_1.solverstate", "wb") as file:
        file.write(solverstate_bytes(state.message, history))
    fresh = make("random_seed: 1")
    fresh.restore("s_iter_1.solverstate")
    return fresh


BAD_FIELDS = [
    ("iter", lambda state: setattr(state, "iter", -5)),
    ("iter", lambda state: setattr(state, "iter", -(2**31))),
    ("current_step", lambda state: setattr(state, "current_step", -1)),
    ("iter_last_event", lambda state: setattr(state, "iter_last_event", -1)),
    ("minimum_loss", lambda state: setattr(state, "minimum_loss", np.nan)),
    ("thread_count", lambda state: setattr(state, "thread_count", 0)),
    ("weights_bytes", lambda state: setattr(state, "weights_bytes", -1)),
    ("random_seed", lambda state: setattr(state, "random_seed", -1)),
    ("learned_net", lambda state: setattr(state, "learned_net", "a\0b")),
    ("data_position", lambda state: state.data_position.add(layer="x", record=-1)),
    ("data_position", lambda state: state.data_position.add(layer="x", record=2**63 - 1)),
    ("data_position", lambda state: state.data_position.extend([schema.DataPosition(layer="x")] * 2)),
    ("layer_state", lambda state: state.layer_state.extend([schema.LayerState(layer="x")] * 2)),
    ("layer_state", lambda state: state.layer_state.add(layer="x").blobs.add(data=[np.nan])),
    ("loss_window", lambda state: state.loss_window.append(np.nan)),
    ("loss_window", lambda state: state.loss_window.append(-np.inf)),
    ("history", lambda state: [np.full((1, 2), np.nan, np.float32), np.zeros(1, np.float32)]),
    ("history", lambda state: [np.zeros((1, 2), np.float32), np.full(1, np.inf, np.float32)]),
]


@pytest.mark.parametrize(("field", "change"), BAD_FIELDS)
def test_value_that_no_run_has_written_is_refused_by_its_field(make, field, change):
    def apply(state):
        changed = change(state)
        return changed if isinstance(changed, list) else None

    with pytest.raises(DataError, match=rf"s_iter_1\.solverstate: {field} is "):
        restore_changed(make, apply)


def test_every_field_of_a_state_is_checked():
    """What is not among the bad values can hold any: texts that are compared, and the file's own checksum."""
    checked = {field for field, _ in BAD_FIELDS}
    free = {"solver_type", "weights_crc32", "state_crc32"}
    assert checked | free == {field.name for field in schema.SolverState.DESCRIPTOR.fields}


def test_damaged_weights_are_refused(make):
    solver = make()
    solver.snapshot()
    with open("s_iter_0.caffemodel", "r+b") as file:
        file.seek(-5, os.SEEK_END)
        file.write(b"?")
    with pytest.raises(
        DataError, match=r"is not the weights file that 's_iter_0\.solverstate' was written with"
    ):
        solver.restore("s_iter_0.solverstate")


def test_truncated_state_is_refused(make):
    solver = make()
    solver.snapshot()
    size = os.path.getsize("s_iter_0.solverstate")
    os.truncate("s_iter_0.solverstate", size - 3)
    with pytest.raises(DataError, match=r"s_iter_0\.solverstate"):
        solver.restore("s_iter_0.solverstate")


def test_moved_pair_is_found_beside_its_state(make, tmp_path):
    solver = make()
    solver.step(1)
    solver.snapshot()
    (tmp_path / "other").mkdir()
    for path in tmp_path.glob("s_iter_1.*"):
        shutil.move(path, tmp_path / "other")
    fresh = make()
    fresh.restore("other/s_iter_1.solverstate")
    np.testing.assert_array_equal(params(fresh), params(solver))


def test_missing_weights_are_named(make):
    solver = make()
    solver.snapshot()
    os.unlink("s_iter_0.caffemodel")
    with pytest.raises(MissingFileError, match=r"s_iter_0\.caffemodel"):
        solver.restore("s_iter_0.solverstate")


def test_missing_state_is_named(make):
    with pytest.raises(MissingFileError, match=r"no\.solverstate"):
        make().restore("no.solverstate")


def test_other_number_of_history_blobs_is_refused(make):
    make('type: "Adam"').snapshot()
    with pytest.raises(ConfigError, match="holds 4 history blobs, this solver has 2"):
        make().restore("s_iter_0.solverstate")


def test_other_shape_of_history_is_refused(make):
    with pytest.raises(ConfigError, match=r"history blob 0 of 's_iter_1\.solverstate' has shape"):
        restore_changed(make, lambda _: [np.zeros((1, 3), np.float32), np.zeros(1, np.float32)])


def test_legacy_shape_of_history_is_taken(make):
    solver = restore_changed(
        make, lambda _: [np.full((1, 1, 1, 2), 7, np.float32), np.zeros((1, 1, 1, 1), np.float32)]
    )
    np.testing.assert_array_equal(solver.history[0].data, [[7, 7]])


@pytest.mark.parametrize(
    ("field", "value"), [("solver_type", "Nesterov"), ("thread_count", 1000), ("random_seed", 2)]
)
def test_difference_that_changes_bits_is_warned_of(make, caplog, field, value):
    logging.getLogger("caffe").propagate = True
    restore_changed(make, lambda state: setattr(state, field, value))
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert f"{field} {value}" in warning


def test_state_without_own_fields_is_taken_as_of_caffe(make):
    def strip(state):
        for field in ("weights_bytes", "weights_crc32", "random_seed", "thread_count", "solver_type"):
            state.ClearField(field)
        del state.loss_window[:]

    assert restore_changed(make, strip).iter == 1


def test_hdf5_state_is_refused(make):
    with pytest.raises(ConfigError, match="HDF5"):
        make().restore("s_iter_0.solverstate.h5")
