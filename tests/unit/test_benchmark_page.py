"""What becomes of measured rows: kept in a file, written as a page, compared with a baseline."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from benchmarks.__main__ import main
from benchmarks.matrix import is_wanted, list_tasks
from benchmarks.page import page
from benchmarks.result import Result, Store, regressions

ROOT = Path(__file__).parents[2]
ROW = Result(
    "lenet", "train", 64, "float32", 2, "eager", "abc1234", "2026-11-20",
    ratio=(1.4, 1.5, 1.6), ms=(5.0, 7.5), share=(0.6, 0.4), mib=(95.0, 373.0), kept=15, agreement="1e-7",
)  # fmt: skip
MACHINE = {
    "name": "a machine", "system": "a system", "threads": 2, "gflops": {"float32": 235.0},
    "copy_gbytes": 30.0, "versions": ["PyTorch 2"],
}  # fmt: skip


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "results" / "machine.json")
    store.machine = MACHINE
    store.add(ROW)
    return store


def with_ratio(*ratio, **fields):
    return dataclasses.replace(ROW, ratio=ratio, **fields)


def test_results_survive_the_file(store):
    again = Store(store.path)
    assert again.machine == MACHINE
    assert again.rows == {"lenet/train/b64/float32/t2/eager": ROW}


def test_newer_result_takes_the_place_of_an_older(store):
    store.add(with_ratio(1.7, 1.8, 1.9))
    assert [row.ratio for row in Store(store.path).rows.values()] == [(1.7, 1.8, 1.9)]


@pytest.mark.parametrize(
    ("now", "behind"),
    [
        (with_ratio(1.2, 1.3, 1.39), True),
        (with_ratio(1.2, 1.3, 1.41), False),  # the spreads touch
        (with_ratio(2.0, 2.1, 2.2), False),
        (with_ratio(problem="results differ"), True),
        (with_ratio(0.1, 0.1, 0.1, batch=32), False),  # another row
    ],
)
def test_regression_is_a_spread_below_the_old_one(store, tmp_path, now, behind):
    new = Store(tmp_path / "new.json")
    new.add(now)
    assert regressions(new, store) == ([(now, ROW)] if behind else [])


def test_row_without_result_in_the_baseline_cannot_regress(tmp_path):
    old, new = Store(tmp_path / "old.json"), Store(tmp_path / "new.json")
    old.add(with_ratio(problem="machine too busy"))
    new.add(ROW)
    assert regressions(new, old) == []


def test_page_shows_rows_and_means(store):
    store.add(dataclasses.replace(ROW, net="vgg16", ratio=(5.0, 6.0, 7.0)))
    store.add(dataclasses.replace(ROW, net="resnet50", problem="results differ"))
    text = page(store, ["results/speed.png"])
    assert "| Training, float32 | 3.00 (2) | - |" in text  # sqrt(1.5 * 6)
    assert "| lenet | 64 | PyTorch | **1.50** (1.40-1.60) | 5.000 | 7.500 | 60% | 40% | 95 | 373 |" in text
    assert "| resnet50 | 64 | PyTorch | no result: results differ |" in text
    assert "![results/speed.png](results/speed.png)" in text


def test_rows_are_chosen_by_words():
    key = "lenet/infer/b1/float32/t2/openvino"
    assert is_wanted(key, [])
    assert is_wanted(key, ["vgg16,lenet", "b1"])
    assert not is_wanted(key, ["lenet", "b32"])
    assert not is_wanted("resnet50/infer/b1/float32/t2/openvino", ["resnet"])


def test_matrix_has_every_net_mode_and_peer():
    tasks = list(list_tasks(ROOT / "models", quick=False))
    assert all(Path(task.net).is_file() for task in tasks)
    rows = {(task.mode, task.precision, task.engine) for task in tasks}
    assert ("infer", "bfloat16", "openvino") in rows
    assert ("train", "float32", "openvino") not in rows
    quick = list(list_tasks(ROOT / "models", quick=True))
    assert {task.name for task in quick} == {task.name for task in tasks}
    assert len(quick) < len(tasks) / 2


def test_check_fails_on_a_regression(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("benchmarks.__main__.file_stem", lambda: "machine")
    for name, row in (("machine", with_ratio(1.0, 1.1, 1.2)), ("machine-baseline", ROW)):
        store = Store(tmp_path / "results" / f"{name}.json")
        store.machine = MACHINE
        store.add(row)
    arguments = ["--output", str(tmp_path), "--page", "--check"]
    assert main(arguments) == 1
    assert (
        "behind the baseline: lenet/train/b64/float32/t2/eager  1.10 (1.00-1.20)" in capsys.readouterr().out
    )
    assert main([*arguments, "--accept"]) == 1
    assert main(arguments) == 0
    assert {path.name for path in (tmp_path / "results").glob("*.png")} == {"speed.png", "memory.png"}


@pytest.mark.slow
@pytest.mark.parametrize("words", [["lenet", "train", "float32", "eager"], ["lenet", "b1", "onnxruntime"]])
def test_command_measures_a_row(tmp_path, words):
    for package in ("torch", "onnxruntime", "onnx", "matplotlib"):
        pytest.importorskip(package)
    command = [sys.executable, "-m", "benchmarks", "--output", str(tmp_path), "--only", *words]
    command += ["--no-gate", "--pairs", "2", "--seconds", "1"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    (row,) = Store(next((tmp_path / "results").glob("*.json"))).rows.values()
    assert row.problem == ""
    assert 0.05 < row.ratio[1] < 50
    assert all(0 < share < 1.2 for share in row.share)
    assert "| lenet |" in (tmp_path / "RESULTS.md").read_text()
