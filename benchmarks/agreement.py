"""Do both engines compute the same? Asked in float32, before anything is timed.

``python -m benchmarks.agreement TASK`` (JSON) ends with status 1 and says where they part if they do not.
"""

from __future__ import annotations

import dataclasses
import sys

import numpy as np

from . import engine_ours, engine_torch
from .task import Task

STEPS = 10
TOLERANCE = 1e-4  # relative


def losses_agree(task: Task) -> tuple[bool, str]:
    """Compare the losses of ten training steps; returns the verdict and a sentence."""
    task = _comparable(task)
    ours, theirs = engine_ours.OurTraining(task), engine_torch.TorchTraining(task)
    pairs = np.array([(ours.step(), theirs.step().item()) for _ in range(STEPS)])
    step, error = _worst(pairs[:, 0], pairs[:, 1])
    text = f"loss {pairs[0, 0]:.6g} to {pairs[-1, 0]:.6g}, largest difference {error:.1e} at step {step}"
    if error <= TOLERANCE:
        return True, text
    return False, f"{text}\n{gradient_differences(task)}"


def outputs_agree(task: Task) -> tuple[bool, str]:
    """Compare the outputs of one forward pass; returns the verdict and a sentence."""
    task = _comparable(task)
    ours, theirs = engine_ours.OurInference(task), engine_torch.TorchInference(task)
    results = zip(ours.net.forward().values(), theirs.step())
    errors = [_distance(mine, other.numpy()) for mine, other in results]
    return max(errors) <= TOLERANCE, f"outputs differ by at most {max(errors):.1e} of their size"


def gradient_differences(task: Task) -> str:
    """Table of layers whose gradients differ at the first step, worst first."""
    ours, theirs = engine_ours.OurTraining(task), engine_torch.TorchTraining(task)
    ours.compute_gradients()
    theirs.compute_gradients()
    rows = []
    for param in ours.graph.params:
        parameter = theirs.net.params.get((param.layer, param.index))
        if parameter is not None and parameter.grad is not None:
            other = parameter.grad.numpy().reshape(param.blob.shape)
            rows.append((_distance(param.blob.diff, other), param.layer, param.index))
    lines = [f"  {layer} blob {index}: {error:.1e}" for error, layer, index in sorted(rows, reverse=True)[:20]]
    return "gradients of the first step, differences relative to their size:\n" + "\n".join(lines)


def _comparable(task: Task) -> Task:
    return dataclasses.replace(task, precision="float32", dropout=False, engine="eager")


def _worst(ours: np.ndarray, theirs: np.ndarray) -> tuple[int, float]:
    errors = np.abs(ours - theirs) / np.abs(theirs)
    errors[np.isnan(errors)] = np.inf
    return int(errors.argmax()), float(errors.max())


def _distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    error = float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-30))
    return error if error == error else float("inf")


def main() -> int:
    """Check one task; returns the exit status."""
    task = Task.from_json(sys.argv[1])
    agree, text = losses_agree(task) if task.mode == "train" else outputs_agree(task)
    print(f"{task.name}: {text}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
