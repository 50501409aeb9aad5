"""A plan in words: one line a step, with the form of what it reads and makes."""

from __future__ import annotations

from collections.abc import Iterator

from ..graph.nodes import Graph, Node, Value


def describe(graph: Graph) -> Iterator[str]:
    """Word the steps of a graph, before, between or after the passes.

    Examples
    --------
    ::

        conv1+relu1  Convolution  data -> conv1 [channels-last]
        ip1/reorder_conv1  Reorder  conv1 [channels-last] -> conv1 [plain]
    """
    for node in graph.nodes:
        blobs = f"{_forms(node.bottoms)} -> {_forms(node.tops)}"
        yield f"{node.name}  {node.definition.type}  {blobs}{_in_place(node)}"


def _forms(values: list[Value]) -> str:
    return " ".join(_form(value) for value in values) or "nothing"


def _form(value: Value) -> str:
    """A value's name, its layout where it has a choice of layouts, and its type where it is not float32."""
    words = [value.layout.replace("_", "-")] if len(value.shape) in (4, 5) else []
    words += [value.dtype] if value.dtype != "float32" else []
    return f"{value.name} [{', '.join(words)}]" if words else value.name


def _in_place(node: Node) -> str:
    return " in place" if any(top.memory_of is not None for top in node.tops) else ""
