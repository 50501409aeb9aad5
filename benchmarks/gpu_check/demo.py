"""Step: LeNet trained on Fashion-MNIST by the command `caffe`, and its accuracy beside the known one.

``python -m benchmarks.gpu_check.demo FOLDER [--fashion-mnist FOLDER] [--iterations N]``

Without the four files of the data set, the part of it that comes with the model does.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .figures import Figures

MODEL = Path(__file__).parents[2] / "models" / "lenet"
KNOWN = {"solver.prototxt": 0.899, "solver_small.prototxt": 0.872}
SLACK = 0.015


def main() -> int:
    """Convert, train, compare; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fashion-mnist", type=Path)
    parser.add_argument("--iterations", type=int, help="instead of the solver's, for a rehearsal")
    options = parser.parse_args()
    figures = Figures()
    solver = "solver.prototxt" if options.fashion_mnist else "solver_small.prototxt"
    figures.note(solver=solver, known_accuracy=KNOWN[solver])
    copy_model(options.folder, solver, options.iterations)
    data = (options.fashion_mnist or MODEL / "data").resolve()
    _caffe(options.folder, "dataset", "fashion-mnist", "--from", str(data), "--output", "data")
    start = time.perf_counter()
    text = _caffe(options.folder, "train", "-solver", f"models/lenet/{solver}", "-gpu", "0")
    figures.note(seconds=round(time.perf_counter() - start, 1))
    accuracies = [float(value) for value in re.findall(r"accuracy = ([0-9.]+)", text)]
    figures.note(accuracies=accuracies)
    if options.iterations:
        return 0
    return 0 if accuracies and accuracies[-1] >= KNOWN[solver] - SLACK else 1


def copy_model(folder: Path, solver: str, iterations: int | None) -> None:
    """Make a folder to train in, with the model's files and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    model = folder / "models" / "lenet"
    model.mkdir(parents=True)
    shutil.copy(MODEL / "train_val.prototxt", model)
    text = (MODEL / solver).read_text()
    if iterations:
        text = re.sub(r"max_iter: \d+", f"max_iter: {iterations}", text)
        text = re.sub(r"test_(iter|interval): \d+", rf"test_\1: {iterations}", text)
    (model / solver).write_text(text)


def _caffe(folder: Path, *arguments: str) -> str:
    """Run the command; prints and returns what it says."""
    command = [sys.executable, "-m", "pycaffe_like.tools.main", *arguments]
    process = subprocess.Popen(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout
    lines = []
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    if process.wait():
        sys.exit(f"caffe {arguments[0]} ended with status {process.returncode}")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
