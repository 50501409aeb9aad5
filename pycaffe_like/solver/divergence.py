"""Finds NaN and infinity in losses, outputs and weights, and where they came from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import DivergedError
from ..graph.nodes import Node
from ..pycaffe.net import Net

HINT = "resume from the last snapshot with a smaller base_lr or clip_gradients, and check the data"


def diverged(net: Net, loss: float, iteration: int) -> DivergedError:
    """Make the error for a loss that is not finite; runs the net once more on the same batch.

    Parameters
    ----------
    net : Net
        As it is after the forward pass that gave the loss.
    loss : float
    iteration : int
        Of the solver.
    """
    layer, what = _first_not_finite(net) or (None, "no blob: the sum of the losses overflows")
    return DivergedError(
        f"the loss is {loss:g} at iteration {iteration}; the first value that is not finite is in {what}",
        layer=layer,
        hint=HINT,
    )


def require_finite_outputs(net: Net, loss: float, values: np.ndarray[Any, Any], when: str) -> None:
    """Refuse NaN and infinity in what a test net has just given; `when` names iteration and batch.

    Raises
    ------
    DivergedError
        With the layer and the blob in which they come up first.
    """
    if math.isfinite(loss) and np.isfinite(values).all():
        return
    layer, what = _first_not_finite(net) or (None, "no blob: the sum of the losses overflows")
    raise DivergedError(
        f"an output of the test net is not finite at {when}; the first value that is not is in {what}",
        layer=layer,
        hint="is the data prepared as for training (scale, mean)? Have the weights diverged?",
    )


def require_finite_weights(net: Net, iteration: int) -> None:
    """Refuse NaN and infinity in the weights; no loss tells what the last update did.

    Raises
    ------
    DivergedError
        With the layer and the number of its blob.
    """
    for param in net.graph.learnable:
        if not param.blob.data_is_finite():
            raise DivergedError(
                f"learned blob {param.index} holds NaN or infinity after iteration {iteration}",
                layer=param.layer,
                hint=HINT,
            )


def _first_not_finite(net: Net) -> tuple[str, str] | None:
    net.plan.executor.iteration = max(net.iteration - 1, 0)
    for index, node in enumerate(net.plan.graph.nodes):
        if node.bottoms:  # layers without bottoms would deliver the next batch
            net.plan.executor.forward(index, index + 1)
        if what := _not_finite(net, node):
            return node.name, what
    return None


def _not_finite(net: Net, node: Node) -> str | None:
    for param in node.params:
        if not param.blob.data_is_finite():
            return f"its learned blob {param.index}"
    for top in node.tops:
        if not net.plan.blob(top).data_is_finite():
            return f"its top '{top.name}'"
    return None
