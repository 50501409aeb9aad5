"""Do both engines compute the same? Asked in float32, before anything is timed.

Deep nets with BatchNorm amplify rounding until two correct float32 runs part: a ReLU that flips changes
gradients by percents. PyTorch in float64 tells such nets from mistakes: where PyTorch's own float32 losses
leave it, the question is asked again with a lower rate.

``python -m benchmarks.agreement TASK`` (JSON) says where the engines part, with status 2 if they do.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys

import numpy as np
import numpy.typing as npt

from . import engine_ours, engine_torch
from .peers import PEERS, checked_as
from .settings import RATE
from .task import Task

STEPS = 10
TOLERANCE = 1e-4  # relative
RATES = (RATE, 1e-2 * RATE, 1e-4 * RATE)
SLACK = 2  # times PyTorch's own error, where even the lowest rate leaves that above the tolerance
MOST_IMAGES = 4  # a step, to keep float64 affordable
WORST_SHOWN = 20
DISAGREE = 2  # exit status

Losses = npt.NDArray[np.float64]


def losses_agree(task: Task) -> tuple[bool, str]:
    """Compare the losses of ten training steps; returns the verdict and a sentence."""
    task = _comparable(task)
    text = ""
    for rate in RATES:
        ours = _run(engine_ours.OurTraining(task, rate))
        theirs = _run(engine_torch.TorchTraining(task, rate))
        error = _difference(ours, theirs)
        text += (
            f"rate {rate:g}: loss {ours[0]:.6g} to {ours[-1]:.6g} in {STEPS} steps, {error:.1e} from torch"
        )
        if error <= TOLERANCE:
            return True, text
        exact = _run(engine_torch.TorchTraining(task, rate).double())
        mine, other = _difference(ours, exact), _difference(theirs, exact)
        text += f" (from float64: ours {mine:.1e}, torch {other:.1e}); "
        if other <= TOLERANCE:
            break
    agree = mine <= max(TOLERANCE, SLACK * other)
    return agree, text if agree else f"{text}\n{gradient_differences(task)}"


def outputs_agree(task: Task) -> tuple[bool, str]:
    """Compare the outputs of one forward pass with those of `task.engine`; the verdict and a sentence."""
    task = _comparable(task)
    module = importlib.import_module(f".{PEERS[task.engine].module}", __package__)
    theirs = module.make_engine(task)
    theirs.step()
    results = zip(engine_ours.OurInference(task).net.forward().values(), theirs.outputs())
    error = max(_distance(mine, other) for mine, other in results)
    return error <= TOLERANCE, f"outputs differ by at most {error:.1e} of their size from {task.engine}"


def gradient_differences(task: Task) -> str:
    """Table of the largest errors of gradients at the first step, beside PyTorch's own."""
    ours = engine_ours.OurTraining(task)
    theirs, exact = engine_torch.TorchTraining(task), engine_torch.TorchTraining(task).double()
    for engine in (ours, theirs, exact):
        engine.compute_gradients()
    rows = []
    for param in ours.graph.params:
        place, shape = (param.layer, param.index), tuple(param.blob.shape)
        if place in exact.net.params and param.lr_mult:
            truth = exact.gradient(place, shape)
            error = _distance(param.blob.diff, truth)
            rows.append((error, _distance(theirs.gradient(place, shape), truth), place))
    lines = [
        f"  {layer} blob {index}: ours {mine:.1e}, torch {other:.1e}"
        for mine, other, (layer, index) in sorted(rows, reverse=True)[:WORST_SHOWN]
    ]
    return "gradients of the first step, differences to float64:\n" + "\n".join(lines)


def _comparable(task: Task) -> Task:
    batch = min(task.batch, MOST_IMAGES)
    engine = checked_as(task.engine)
    return dataclasses.replace(task, batch=batch, precision="float32", dropout=False, engine=engine)


def _run(engine: engine_ours.OurTraining | engine_torch.TorchTraining) -> Losses:
    return np.array([float(engine.step()) for _ in range(STEPS)])


def _difference(losses: Losses, reference: Losses) -> float:
    """Largest relative difference; infinite if there is a NaN."""
    error = float((np.abs(losses - reference) / np.abs(reference)).max())
    return error if error == error else float("inf")


def _distance(values: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> float:
    """Largest difference relative to the largest value; infinite if there is a NaN."""
    error = float(np.abs(values - reference).max() / max(np.abs(reference).max(), 1e-30))
    return error if error == error else float("inf")


def main() -> int:
    """Check one task; returns the exit status."""
    task = Task.from_json(sys.argv[1])
    if task.engine in PEERS and not PEERS[task.engine].whole:
        print(f"{task.name}: {task.engine} is part of a net, there are no results to compare")
        return 0
    agree, text = losses_agree(task) if task.mode == "train" else outputs_agree(task)
    print(f"{task.name}: {text}")
    return 0 if agree else DISAGREE


if __name__ == "__main__":
    sys.exit(main())
