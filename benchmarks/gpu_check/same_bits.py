"""Step: LeNet trained from a database ends with the same bits, run again, recorded or step by step.

``python -m benchmarks.gpu_check.same_bits [--iterations 50]``
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.loader import raw_records
from pycaffe_like.data.lmdb_database import create_database
from pycaffe_like.prototxt.upgrade import read_solver
from pycaffe_like.solver.loop import Solver
from pycaffe_like.solver.types import solver_class

from .figures import Figures

MODEL = Path(__file__).parents[2] / "models" / "lenet"
RECORDS = 640
_SOLVER = """
net: "{folder}/train_val.prototxt"
base_lr: 0.01 lr_policy: "inv" gamma: 0.0001 power: 0.75 momentum: 0.9 weight_decay: 0.0005
display: {display} random_seed: 1 max_iter: 1000000
"""

Weights = dict[str, bytes]


def main() -> int:
    """Train, compare; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, default=50)
    iterations = parser.parse_args().iterations
    figures = Figures()
    same = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_net(folder)
        for precision in ("float32", "bfloat16"):
            first, recorded = train(folder, precision, iterations, display=0)
            again, _ = train(folder, precision, iterations, display=0)
            single, _ = train(folder, precision, iterations, display=1)
            figures.note(
                **{
                    precision: {
                        "recorded": recorded,
                        "run_twice": differing(first, again),
                        "step_by_step": differing(first, single),
                    }
                }
            )
            same &= first == again == single
    return 0 if same else 1


def write_net(folder: Path) -> None:
    """Write LeNet with databases of random digits."""
    with create_database(folder / "digits_lmdb") as writer:
        for index, record in enumerate(raw_records(RECORDS)):
            writer.put(b"%08d" % index, record)
        writer.commit()
    text = (MODEL / "train_val.prototxt").read_text()
    for part in ("train", "test"):
        text = text.replace(f"data/fashion-mnist_{part}_lmdb", str(folder / "digits_lmdb"))
    (folder / "train_val.prototxt").write_text(text)


def train(folder: Path, precision: str, iterations: int, display: int) -> tuple[Weights, bool]:
    """Train anew; returns the weights, and whether the last iteration repeated a recording."""
    path = folder / "solver.prototxt"
    path.write_text(_SOLVER.format(folder=folder, display=display))
    document = read_solver(str(path))
    solver: Solver = solver_class(document)(document, precision=precision, device="cuda")
    try:
        solver.step(iterations)
        weights = {
            f"{layer}/{index}": blob.data.tobytes()
            for layer, blobs in solver.net.params.items()
            for index, blob in enumerate(blobs)
        }
        return weights, solver._step is not None and solver._step.repeated
    finally:
        solver.close()


def differing(weights: Weights, others: Weights) -> list[str]:
    """Blobs that are not the same, byte by byte."""
    return [name for name, values in weights.items() if values != others[name]]


if __name__ == "__main__":
    sys.exit(main())
