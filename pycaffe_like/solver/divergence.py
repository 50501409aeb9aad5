"""Finds out where NaN or infinity came from, after a loss has turned out not to be finite."""

from __future__ import annotations

from ..errors import DivergedError
from ..graph.nodes import Node
from ..pycaffe.net import Net


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
        hint="resume from the last snapshot with a smaller base_lr or clip_gradients, and check the data",
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
