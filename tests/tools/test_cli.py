"""The `caffe` command: its texts, exit statuses and numbers, compared with logs of Caffe."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest

from pycaffe_like.net import TEST
from pycaffe_like.prototxt import schema
from pycaffe_like.pycaffe.net import Net
from pycaffe_like.solver.run_lock import RunLock
from pycaffe_like.tools import main as caffe

GOLDEN = Path(__file__).parents[1] / "golden"
LENET = "files/lenet"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command line in a folder that has Caffe's files; returns status, standard output and error."""
    (tmp_path / "files").symlink_to(GOLDEN / "files")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLOG_minloglevel", raising=False)

    def run(*argv):
        capsys.readouterr()
        status = caffe.main([str(word) for word in argv])
        out, err = capsys.readouterr()
        return status, out, err

    return run


def messages(text, *sources):
    """Messages of log lines that come from these source files; training is timed, so times are taken out."""
    found = re.findall(r"^[IWE]\d+ [\d:.]+ +\d+ (\S+):\d+\] (.*)$", text, re.MULTILINE)
    return [
        re.sub(r" \(\S+ iter/s, \S+ iters\)", "", message) for source, message in found if source in sources
    ]


def check_messages(got, want):
    """Equal texts, and numbers that agree to 4 digits."""
    assert [NUMBER.sub("#", line) for line in got] == [NUMBER.sub("#", line) for line in want]
    for mine, line in zip(got, want, strict=True):
        numbers = [[float(text) for text in NUMBER.findall(one)] for one in (mine, line)]
        np.testing.assert_allclose(*numbers, rtol=1e-4, atol=1e-5, err_msg=line)


@pytest.mark.parametrize("flags", [[], ["-skip_pass", "fusion,layout,memory"]], ids=["", "skipped passes"])
def test_train_prints_what_caffe_prints(run, flags):
    status, _, err = run(
        "train",
        "-solver",
        f"{LENET}/finetune_solver.prototxt",
        "-weights",
        f"{LENET}/lenet_iter_200.caffemodel",
        *flags,
    )
    assert status == 0
    golden = (GOLDEN / "files/logs/finetune_reproducible.log").read_text()
    want = messages(golden, "caffe.cpp", "solver.cpp", "sgd_solver.cpp")
    got = messages(err, "common.py", "train_net.py", "loop.py", "nets.py", "display.py")
    check_messages(got, want)


def test_test_prints_what_caffe_prints(run):
    status, _, err = run(
        "test", "-model", f"{LENET}/finetune_net.prototxt", "-weights", f"{LENET}/lenet_iter_200.caffemodel",
        "-iterations", 10,
    )  # fmt: skip
    assert status == 0
    golden = (GOLDEN / "files/logs/test_reproducible.log").read_text()
    check_messages(messages(err, "common.py", "eval_net.py"), messages(golden, "caffe.cpp"))


def test_scores_that_are_not_finite_are_an_error(run, tmp_path):
    text = (
        'layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 2 } '
        "data_filler { value: 3e38 } } }\n"
        'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 1 '
        "weight_filler { value: 3e38 } } }"
    )
    (tmp_path / "net.prototxt").write_text(text)
    Net("net.prototxt", TEST).save("w.caffemodel")
    status, _, err = run("test", "-model", "net.prototxt", "-weights", "w.caffemodel", "-iterations", 1)
    assert status == 1
    assert "layer 'ip': an output of the test net is not finite at batch 0" in err


def test_weights_of_which_no_layer_fits_need_a_flag(run, tmp_path):
    layers = """
layer {{ name: "x" type: "DummyData" top: "x" dummy_data_param {{ shape {{ dim: 2 dim: 2 }} }} }}
layer {{ name: "{}" type: "InnerProduct" bottom: "x" top: "y" inner_product_param {{ num_output: 1 }} }}"""
    for name in ("mine", "theirs"):
        (tmp_path / f"{name}.prototxt").write_text(layers.format(name))
    Net("theirs.prototxt", TEST).save("w.caffemodel")
    command = ("test", "-model", "mine.prototxt", "-weights", "w.caffemodel", "-iterations", 1)
    status, _, err = run(*command)
    assert status == 1
    assert "nothing was loaded" in err
    assert run(*command, "-allow_unused_weights")[0] == 0


def test_time_prints_one_pair_of_lines_a_step_and_averages(run):
    status, _, err = run("time", "--model", f"{LENET}/deploy.prototxt", "--iterations=3", "-phase", "TEST")
    assert status == 0
    lines = messages(err, "time_net.py")
    begin = lines.index("Average time per layer: ")
    assert lines[:2] == ["Performing Forward", "Initial loss: 0"]
    assert sum("forward-backward time:" in line for line in lines) == 3
    layers = [line for line in lines[begin + 1 :] if "\t" in line]
    assert len(layers) % 2 == 0
    assert re.fullmatch(r" {8}c1\tforward: \S+ ms\.|.{10,}\tforward: \S+ ms\.", layers[0])
    names = [
        "Average Forward pass: ",
        "Average Backward pass: ",
        "Average Forward-Backward: ",
        "Total Time: ",
    ]
    values = {name: float(line.split(name)[1].split()[0]) for name in names for line in lines if name in line}
    assert list(values) == names
    assert all(value > 0 for value in values.values())
    assert values["Total Time: "] == pytest.approx(3 * values["Average Forward-Backward: "], rel=1e-4)
    assert lines[-1] == "*** Benchmark ends ***"


def test_time_with_roofline_adds_a_table(run):
    status, out, _ = run("time", "-model", f"{LENET}/deploy.prototxt", "-iterations", 2, "-roofline")
    lines = out.splitlines()
    assert status == 0
    assert lines[0].startswith("peaks on ")
    assert lines[1].split()[:3] == ["step", "type", "pass"]
    assert any(line.split()[1:3] == ["Convolution", "forward"] for line in lines[2:-1])
    assert lines[-1].endswith("of their roof")


def test_classify_shows_the_five_best_classes(run, tmp_path):
    with lmdb.open(str(GOLDEN / "files/fmnist_lmdb"), readonly=True, lock=False) as database:
        value = bytes(database.begin().get(next(iter(database.begin().cursor()))[0]))
    image = np.frombuffer(schema.Datum.FromString(value).data, np.uint8).reshape(28, 28)
    cv2.imwrite(str(tmp_path / "one.png"), image)
    (tmp_path / "labels.txt").write_text("\n".join(f"class {index}" for index in range(10)))
    weights = f"{LENET}/lenet_iter_200.caffemodel"
    status, out, _ = run(
        "classify", "-model", f"{LENET}/deploy.prototxt", "-weights", weights, "-scale", 0.00390625,
        "-labels", "labels.txt", "one.png",
    )  # fmt: skip
    assert status == 0
    net = Net(f"{LENET}/deploy.prototxt", TEST, weights=weights)
    net.blobs["data"].data[...] = image * np.float32(0.00390625)
    prob = net.forward()["prob"][0]
    best = np.argsort(-prob)[:5]
    want = [f'{prob[index]:.4f} - "class {index}"' for index in best]
    assert out.splitlines() == ["---------- Prediction for one.png ----------", *want]


def test_summary_counts_operations_and_bytes(run):
    status, out, _ = run("summary", "-model", f"{LENET}/deploy.prototxt")
    assert status == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    # 16 images of 20 maps of 24 x 24 outputs, each 25 multiply-adds and a bias
    assert rows["c1"] == ["Convolution", "16x20x24x24", "520", f"{16 * 20 * 24 * 24 * 51:,}"]
    assert rows["f1"] == ["InnerProduct", "16x500", "400,500", f"{16 * 500 * 1601:,}"]
    assert rows["params"] == [f"{4 * 431080:,}"]
    assert "history" not in rows


def test_summary_shows_the_plan_after_each_pass_that_changes_it(run):
    _, out, _ = run("summary", "-model", f"{LENET}/deploy.prototxt", "-plan", "-precision", "bfloat16")
    passes = re.findall(r"^plan, (\w+):$", out, re.MULTILINE)
    assert passes[0] == "declared"
    assert passes[-2:] == ["precision", "layout"]
    declared, layout = (out.split(f"plan, {name}:\n")[1].split("\n\n")[0] for name in ("declared", "layout"))
    assert "  c1  Convolution  data [plain] -> c1 [plain]" in declared
    assert "Reorder" not in declared
    assert re.search(r"reorder_s2  Reorder  s2 \[channels-last, bfloat16\] -> s2 \[plain, bfloat16\]", layout)


@pytest.mark.parametrize("command", ["train", "test", "time", "summary"])
def test_unknown_pass_to_skip_is_refused(run, command):
    file = f"{LENET}/finetune_solver.prototxt" if command == "train" else f"{LENET}/deploy.prototxt"
    weights = ["-weights", f"{LENET}/lenet_iter_200.caffemodel"] if command == "test" else []
    argv = ["-solver" if command == "train" else "-model", file, *weights, "-skip_pass", "fusion,fuse"]
    status, _, err = run(command, *argv)
    assert status == 1
    assert "there is no pass 'fuse' to skip" in err
    passes = "dropout, fusion, residual, relu_pooling, winograd, precision, layout, gradient_sums, memory"
    assert f"known passes: {passes}" in err


@pytest.mark.parametrize("text", ["", 'layer { name: "x" type: "Input" top: "x" include { phase: TEST } }'])
def test_time_of_a_net_without_layers_is_refused(run, tmp_path, text):
    model = tmp_path / "net.prototxt"
    model.write_text(text)
    status, _, err = run("time", "-model", str(model), "-roofline")
    assert status == 1
    assert f"{model}: no layer runs in this phase" in err


def test_roofline_of_steps_too_short_to_time(run, tmp_path):
    model = tmp_path / "net.prototxt"
    model.write_text('layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }')
    status, out, _ = run("time", "-model", str(model), "-roofline", "-iterations", "3")
    assert status == 0
    assert "peaks on" in out


def test_skipped_passes_do_not_show_in_the_plan(run):
    model = ("summary", "-model", f"{LENET}/deploy.prototxt", "-plan")
    _, out, _ = run(*model)
    assert "+" in out
    assert "channels-last" in out
    _, out, _ = run(*model, "-skip_pass", "fusion,layout")
    assert "+" not in out.split("plan, declared")[1]
    assert "c1/reorder_data" not in out
    assert "s1/reorder_c1  Reorder  c1 [plain] -> c1 [channels-last]" in out


def _total(out):
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    return int(rows["total"][-1].replace(",", ""))


DEEP = """
layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
        shape { dim: 8 dim: 4 dim: 24 dim: 24 } shape { dim: 8 }
        data_filler { type: "gaussian" } data_filler { value: 1 } } }
""" + "".join(
    f"""layer {{ name: "c{k}" type: "Convolution" bottom: "{f"c{k - 1}" if k else "data"}" top: "c{k}"
    convolution_param {{ num_output: 16 kernel_size: 3 pad: 1 weight_filler {{ type: "xavier" }} }} }}
    layer {{ name: "r{k}" type: "ReLU" bottom: "c{k}" top: "c{k}" }}
    """
    for k in range(6)
) + """
layer { name: "ip" type: "InnerProduct" bottom: "c5" top: "ip" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""  # fmt: skip


def test_memory_limit_makes_backward_compute_more(run, tmp_path):
    (tmp_path / "net.prototxt").write_text(DEEP)
    (tmp_path / "solver.prototxt").write_text(
        'net: "net.prototxt" max_iter: 2 base_lr: 0.01 lr_policy: "fixed"'
    )
    summary = ("summary", "-solver", "solver.prototxt")
    _, free, _ = run(*summary)
    assert "made again" not in free
    limit = _total(free) * 85 // 100
    status, lean, _ = run(*summary, "-max_memory", limit)
    assert status == 0
    assert _total(lean) <= limit
    assert "made again for backward" in lean
    assert run("train", "-solver", "solver.prototxt", "-max_memory", limit)[0] == 0
    status, _, err = run("train", "-solver", "solver.prototxt", "-max_memory", "10K")
    assert status == 1
    assert "the net does not fit into 10,240 bytes, it needs" in err
    status, _, err = run(*summary, "-max_memory", "1.5G")
    assert status == 1
    assert "-max_memory must be a number of bytes, or one with K, M or G, got '1.5G'" in err


@pytest.mark.parametrize(("kind", "sets"), [("SGD", 1), ("Adam", 2)])
def test_summary_counts_the_history_of_a_solver(run, tmp_path, kind, sets):
    solver = tmp_path / "solver.prototxt"
    solver.write_text(f'net: "{LENET}/deploy.prototxt" type: "{kind}"')
    _, out, _ = run("summary", "-solver", solver)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert rows["history"] == [f"{4 * 431080 * sets:,}"]


def test_flag_order_and_spellings_of_gflags(run):
    solver = f"{LENET}/deploy.prototxt"
    assert run("--model", solver, "time", "--iterations", 1, "--phase=TEST")[0] == 0


def test_usage_without_a_command_and_version(run):
    status, out, _ = run()
    assert status == 0
    assert "usage: caffe <command>" in out
    assert all(command in out for command in ("train", "test", "time", "device_query", "convert_imageset"))
    status, out, _ = run("-version")
    assert status == 0
    assert out.startswith("caffe version 1.0.0\n")
    assert run("train", "extra_word") == (0, run("train", "-help")[1], "")


def test_device_query_says_that_there_is_only_a_cpu(run):
    status, _, err = run("device_query")
    assert status == 0
    assert "This build runs on the CPU only." in err


ERRORS = {
    ("trian",): "unknown command 'trian'\n  did you mean train",
    ("train",): "flag -solver is missing",
    ("train", "-solver", "no.prototxt"): "no.prototxt: no such file",
    ("train", "-solvr", "x"): "unknown flag -solvr\n  did you mean solver",
    ("train", "-solver", "x", "-snapshot", "a", "-weights", "b"): "-snapshot and -weights exclude each other",
    ("train", "-solver", "x", "-sigint_effect", "die"): "-sigint_effect: unknown effect 'die'",
    ("train", "-solver", f"{LENET}/finetune_solver.prototxt", "-gpu", "all"): "-gpu all: this build",
    ("train", "-solver", f"{LENET}/finetune_solver.prototxt", "-weights", "no.caffemodel"): "no.caffemodel",
    ("train", "-solver", f"{LENET}/finetune_net.prototxt"): "finetune_net.prototxt:1:1: unknown field name",
    ("test", "-model", f"{LENET}/deploy.prototxt"): "flag -weights is missing",
    ("time", "-model", f"{LENET}/deploy.prototxt", "-iterations", "0"): "-iterations must be >= 1, got 0",
    (
        "time",
        "-model",
        f"{LENET}/deploy.prototxt",
        "-phase",
        "test",
    ): "-phase must be TRAIN or TEST, got 'test'",
    (
        "time",
        "-model",
        f"{LENET}/deploy.prototxt",
        "-precision",
        "half",
    ): "-precision must be float32, tf32 or bfloat16",
    ("device_query", "-gpu", "0"): "-gpu 0: this build",
    ("classify", "-model", "a", "-weights", "b", "-gpu", "0", "i.png"): "-gpu 0: this build",
}


@pytest.mark.parametrize("argv", ERRORS, ids=" ".join)
def test_error_is_one_message_and_status_1(run, argv):
    status, out, err = run(*argv)
    assert status == 1
    assert out == ""
    assert ERRORS[argv] in err
    assert "Traceback" not in err
    assert err.count("\ncaffe: ") + err.startswith("caffe: ") == 1


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\nbroken"])
def test_file_that_is_no_image_is_named(run, tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    weights = f"{LENET}/lenet_iter_200.caffemodel"
    status, _, err = run("classify", "-model", f"{LENET}/deploy.prototxt", "-weights", weights, "bad.png")
    assert status == 1
    assert "image 'bad.png' cannot be decoded: image file " in err


def test_solver_mode_gpu_in_the_file_is_warned_of(run, tmp_path):
    text = (GOLDEN / LENET / "finetune_solver.prototxt").read_text()
    text = text.replace("solver_mode: CPU", "solver_mode: GPU").replace("max_iter: 10", "max_iter: 0")
    (tmp_path / "solver.prototxt").write_text(re.sub(r"test_i\w+: \d+", "", text))
    status, _, err = run("train", "-solver", "solver.prototxt")
    assert status == 0
    assert "sets solver_mode: GPU; this build trains on the CPU" in err


def test_command_is_installed_as_a_module():
    command = [sys.executable, "-m", "pycaffe_like.tools.main", "-version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.startswith(
        "caffe version"
    )


SMALL_RUN = """
net_param { layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 2 dim: 2 } } }
  layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" loss_weight: 1
    inner_product_param { num_output: 1 weight_filler { type: "xavier" } } } }
base_lr: 0.1 lr_policy: "fixed" max_iter: 4 snapshot: 2 snapshot_prefix: "run"
"""


def test_snapshots_of_another_run_are_not_overwritten_unless_asked(run, tmp_path):
    (tmp_path / "solver.prototxt").write_text(SMALL_RUN)
    train = ("train", "-solver", "solver.prototxt")
    assert run(*train)[0] == 0
    written = {path.name for path in tmp_path.glob("run*")}
    assert written == {f"run_iter_{n}.{kind}" for n in (2, 4) for kind in ("caffemodel", "solverstate")}
    before = (tmp_path / "run_iter_2.caffemodel").read_bytes()
    status, _, err = run(*train)
    assert status == 1
    assert "'run_iter_2.caffemodel' is a snapshot of another run and would be overwritten" in err
    assert (tmp_path / "run_iter_2.caffemodel").read_bytes() == before
    assert run(*train, "-snapshot", "run_iter_2.solverstate")[0] == 0
    assert run(*train, "-overwrite")[0] == 0


def test_one_training_at_a_time_writes_snapshots_of_a_prefix(run, tmp_path):
    (tmp_path / "solver.prototxt").write_text(SMALL_RUN)
    (tmp_path / "run.lock").touch()  # left behind by a run that was killed
    with RunLock("run"):
        status, _, err = run("train", "-solver", "solver.prototxt")
        assert status == 1
        assert "another training with snapshot_prefix 'run' is running" in err
    assert run("train", "-solver", "solver.prototxt")[0] == 0
    assert not (tmp_path / "run.lock").exists()
