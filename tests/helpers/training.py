"""Some iterations of training without a solver."""

from __future__ import annotations

from typing import Any

from pycaffe_like import _core as core
from pycaffe_like.pycaffe.net import Net


def train(net: Net, steps: int, rate: float) -> list[float]:
    """Train with SGD, momentum 0.9 and decay 0.001; returns the loss of each step."""
    learnable = net.graph.learnable
    updater: Any = core.Updater(
        "SGD", [p.blob for p in learnable], [p.lr_mult for p in learnable], [1.0] * len(learnable)
    )
    settings = core.UpdateSettings(
        rate=rate, momentum=0.9, momentum2=0, rms_decay=0, delta=0, weight_decay=1e-3, l1=False,
        gradient_scale=1, iteration=0,
    )  # fmt: skip
    losses = []
    for _ in range(steps):
        updater.clear_gradients()
        losses.append(net.forward_loss())
        net.backward()
        updater.update(settings)
    return losses
