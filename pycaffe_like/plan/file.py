"""Writes a lowered plan to a file that C++ alone reads and runs: `layers_cpp/core/plan_file.hpp`.

The file holds what the executor needs and nothing else: blobs with their places in the arena, learned values,
steps with canonical arguments. It is little-endian and ends with the CRC-32 of all before.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import _core as core
from ..errors import ConfigError
from ..graph.nodes import Graph, Node
from .plan import Plan

MAGIC, VERSION = b"CAFFEPLN", 1
_OWN_MEMORY = -1
_DTYPES = ("float32", "bfloat16")
_LAYOUTS = ("plain", "channels_last")


def write_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write a plan that runs forward only.

    Parameters
    ----------
    plan : Plan
        Of a net for testing, on the CPU.
    path : str
        File to write.

    Raises
    ------
    ConfigError
        If a step needs the GPU, Python or a backward.
    """
    for node in plan.graph.nodes:
        _require_alone(node)
    body = b"".join([MAGIC, struct.pack("<I", VERSION), *_Writer(plan).parts()])
    with open(path, "wb") as stream:
        stream.write(body + struct.pack("<I", zlib.crc32(body)))


def _require_alone(node: Node) -> None:
    if node.device != "cpu" or node.started is not None:
        needs = "the GPU" if node.device != "cpu" else "Python"
        raise node.definition.error(f"{node.kind.type} needs {needs}, a plan in a file has C++ alone")
    if node.need_backward:
        raise ConfigError(
            "only plans that run forward can be written", hint="build with phase TEST, keep_data=False"
        )


class _Writer:
    """Numbers the blobs and learned arrays of a plan, and encodes them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.blobs = list(dict.fromkeys(plan.blobs.values()))
        self.numbers = {blob: number for number, blob in enumerate(self.blobs)}
        params = [param.blob for node in plan.graph.nodes for param in node.params]
        self.params = {blob.data_id: blob for blob in params}
        self.param_numbers = {identity: number for number, identity in enumerate(self.params)}

    def parts(self) -> Iterable[bytes]:
        graph = self.plan.graph
        yield _text(graph.name)
        yield struct.pack("<q", self.plan.arena.bytes)
        yield _list(self._blob(blob) for blob in self.blobs)
        yield _list(_param(blob) for blob in self.params.values())
        yield _list(self._step(node) for node in graph.nodes)
        yield _list(self._named(graph, name) for name in graph.inputs)
        yield _list(self._named(graph, name) for name in graph.outputs)

    def _blob(self, blob: core.Blob) -> bytes:
        place = self.plan.places.get(blob.data_id, _OWN_MEMORY)
        form = struct.pack("<BBq", _DTYPES.index(blob.dtype), _LAYOUTS.index(blob.layout), place)
        return _integers(blob.shape) + form

    def _step(self, node: Node) -> bytes:
        arguments = (_text(name) + _value(value) for name, value in sorted(node.arguments.items()))
        blobs = [
            [self.numbers[self.plan.blob(value)] for value in values] for values in (node.bottoms, node.tops)
        ]
        params = [self.param_numbers[param.blob.data_id] for param in node.params]
        states = (_integers(blob.shape) for blob in node.state)
        names = _text(node.name) + _text(node.kind.type) + struct.pack("<Q", node.stream)
        return names + _list(arguments) + b"".join(map(_integers, [*blobs, params])) + _list(states)

    def _named(self, graph: Graph, name: str) -> bytes:
        return _text(name) + struct.pack("<I", self.numbers[self.plan.blob(graph.blobs()[name])])


def _param(blob: core.Blob) -> bytes:
    return _integers(blob.shape) + np.ascontiguousarray(blob.data, "<f4").tobytes()


def _value(value: Any) -> bytes:
    """One argument, with the number of its type in `Args::Value`."""
    if isinstance(value, bool):
        return struct.pack("<BB", 0, value)
    if isinstance(value, int):
        return struct.pack("<Bq", 1, value)
    if isinstance(value, float):
        return struct.pack("<Bd", 2, value)
    if isinstance(value, str):
        return b"\3" + _text(value)
    if all(isinstance(item, int) for item in value):
        return b"\4" + _integers(value)
    return b"\5" + struct.pack(f"<I{len(value)}d", len(value), *value)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def _integers(values: Sequence[int]) -> bytes:
    return struct.pack(f"<I{len(values)}q", len(values), *values)


def _list(items: Iterable[bytes]) -> bytes:
    encoded = list(items)
    return struct.pack("<I", len(encoded)) + b"".join(encoded)
