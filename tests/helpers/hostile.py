"""Layers that somebody might declare by mistake or on purpose, and what a process makes of them.

As a program: builds and runs every case of every type in one process with little memory, prints the outcome
of each as a line of JSON, then trains a small net and prints its losses.
"""

from __future__ import annotations

import itertools
import json
import math
import resource
import signal
import sys
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from helpers.layer_examples import fill, message_of, net_text
from helpers.layer_facts import Example, Shape, example
from pycaffe_like.errors import ConfigError, DataError, DeviceError
from pycaffe_like.layer_type import layer_types
from pycaffe_like.net import TEST, TRAIN
from pycaffe_like.testing import net_from_text

SHAPES: list[Shape] = [
    (), (0,), (1,), (7,), (2, 0), (0, 3, 5, 4), (2, 0, 5, 4), (2, 3, 0, 4), (2, 3, 5, 0), (1, 1, 1, 1),
    (3, 3, 5, 4), (2, 4, 5, 4), (2, 3, 4, 5), (2, 3, 5), (2, 3, 5, 4, 2), (2, 3, 5, 4, 2, 2),
    (1,) * 32, (1,) * 33, (-1, 3), (2, 3, -5, 4), (46340, 46340), (65536, 65536),
    (2**31 - 1,), (2**31,), (2**63 - 1,), (2**31 - 1, 2**31 - 1, 2**31 - 1, 4),
]  # fmt: skip
INTEGERS = [0, -1, 1, 2, 7, 2**15, 2**30, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**62, 2**63 - 1, -(2**63)]
REALS = [0.0, -1.0, 1.0, 1e38, -1e38, 1e-45, math.nan, math.inf, -math.inf]
TEXTS = ["", "nope", "..", "/dev/null", "x" * 5000]
REPEATS = [0, 1, 2, 40]

MEMORY_BYTES = 3 << 30  # of the whole process
RUN_BYTES = 64 << 20  # nets that need more are only built
SECONDS = 20  # for one case

Case = tuple[str, str, int]
"""Name, net text, phase."""


def cases(kind: str) -> Iterator[Case]:
    """All hostile nets around one layer type."""
    shapes = example(kind).bottoms
    for name, message in itertools.chain(_structures(kind), _parameters(kind)):
        yield name, net_text(message, shapes), TRAIN
    for name, changed in _shapes(shapes):
        for phase in (TRAIN, TEST):
            yield name, net_text(message_of(kind), changed), phase


def _shapes(shapes: tuple[Shape, ...]) -> Iterator[tuple[str, list[Shape]]]:
    for shape in SHAPES:
        if shapes:
            yield f"all bottoms {shape}", [shape] * len(shapes)
        for index in range(len(shapes) if len(shapes) > 1 else 0):
            changed = list(shapes)
            changed[index] = shape
            yield f"bottom {index} {shape}", changed


def _structures(kind: str) -> Iterator[tuple[str, Any]]:
    """Wrong numbers of what comes in lists."""
    for count in range(4):
        message = message_of(kind)
        message.bottom[:] = ["b0"] * count if example(kind).bottoms else ["b"] * count
        yield f"{count} equal bottoms", message
        message = message_of(kind)
        message.top[:] = [f"t{index}" for index in range(count)]
        yield f"{count} tops", message
    message = message_of(kind)
    message.top[:] = ["t"] * 2
    yield "repeated tops", message
    message = message_of(kind)
    message.top[:] = message.bottom
    yield "in place", message
    message = message_of(kind)
    message.top[:] = list(message.bottom)[::-1]
    yield "in place, crossed", message
    for field, count in itertools.product(("propagate_down", "loss_weight"), (1, 2, 9)):
        message = message_of(kind)
        getattr(message, field).extend([1] * count)
        yield f"{count} {field}", message
    for weight in (math.nan, math.inf, -1.0):
        message = message_of(kind)
        message.loss_weight.extend([weight] * len(message.top))
        yield f"loss_weight {weight}", message
    for count in (1, 2, 9):
        message = message_of(kind)
        for _ in range(count):
            message.param.add(name="shared", lr_mult=math.nan)
        yield f"{count} param", message
        message = message_of(kind)
        for _ in range(count):
            message.blobs.add().shape.dim.extend([2, 2**40])
        yield f"{count} blobs", message


def _parameters(kind: str) -> Iterator[tuple[str, Any]]:
    """Every number, text and list in the layer's parameters, one at a time."""
    fields = {field.name for field, _ in message_of(kind).ListFields() if field.type == field.TYPE_MESSAGE}
    fields |= {layer_types()[kind].param} - {""}
    for field in sorted(fields):
        for path in _paths(getattr(message_of(kind), field).DESCRIPTOR, ()):
            steps = [field, *(step.name for step in path)]
            for value in _values(path[-1]):
                message = message_of(kind)
                if _set(message, steps, value):
                    yield f"{'.'.join(steps)} = {str(value)[:60]}", message


def _paths(descriptor: Any, above: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """Chains of field descriptors that lead to all scalar fields, at most three deep."""
    for field in descriptor.fields:
        if field.type == field.TYPE_MESSAGE:
            if len(above) < 2:
                yield from _paths(field.message_type, (*above, field))
        else:
            yield (*above, field)


def _values(field: Any) -> list[Any]:
    """What to set a field to."""
    kind = field.cpp_type
    singles: list[Any] = INTEGERS
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        singles = REALS
    elif kind == FieldDescriptor.CPPTYPE_BOOL:
        singles = [False, True]
    elif kind == FieldDescriptor.CPPTYPE_STRING:
        singles = TEXTS
    elif kind == FieldDescriptor.CPPTYPE_ENUM:
        singles = [value.number for value in field.enum_type.values]
    if _repeated(field):
        return [[value] * count for value in singles for count in REPEATS]
    return singles


def _repeated(field: Any) -> bool:
    return bool(field.is_repeated) if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED


def _set(message: Any, path: list[str], value: Any) -> bool:
    """Set one field; False if its type cannot hold the value."""
    for step in path[:-1]:
        message = getattr(message, step)
        if not hasattr(message, "DESCRIPTOR"):  # a list of messages
            message = message[0] if len(message) else message.add()
    try:
        if isinstance(value, list):
            getattr(message, path[-1])[:] = value
        else:
            setattr(message, path[-1], value)
    except (ValueError, TypeError):
        return False
    return True


def outcome(text: str, phase: int) -> str:
    """Build and run a net: "runs", "refused" with all that an error must say, or what went wrong."""
    try:
        net = net_from_text(text, phase, seed=1)
        if net.memory().total < RUN_BYTES:
            fill(net, Example())
            net.forward()
            net.backward()
    except (ConfigError, DataError, DeviceError) as error:
        if isinstance(error, DeviceError):  # the net as a whole may need too much
            return "refused"
        if error.layer is None:
            return f"no layer in: {error}"
        return "refused" if error.where else f"no line in: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "runs"


def _give_up(*_: Any) -> None:
    raise TimeoutError(f"more than {SECONDS} seconds")


def _train() -> list[float]:
    """Losses of a small net that learns to tell two classes apart."""
    import numpy as np

    text = net_text(
        'name: "ip" type: "InnerProduct" bottom: "b0" top: "ip" inner_product_param { num_output: 2 '
        'weight_filler { type: "xavier" } } }'
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "b1" top: "loss"',
        [(8, 5), (8,)],
    ).replace("force_backward: true", "")
    net = net_from_text(text, TRAIN, seed=1)
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, 8)
    net.blobs["b0"].data[...] = random.normal(size=(8, 5)) + 3 * labels[:, None]
    net.blobs["b1"].data[...] = labels
    losses = []
    for _ in range(50):
        net.clear_param_diffs()
        losses.append(net.forward_loss())
        net.backward()
        for blob in net.params["ip"]:
            blob.data[...] -= 0.1 * blob.diff
    return losses


def main(kinds: list[str]) -> None:
    """Run all cases of these types."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGALRM, _give_up)
    for kind in kinds:
        for name, text, phase in cases(kind):
            print(json.dumps([kind, name, "started"]), flush=True)
            signal.alarm(SECONDS)
            result = outcome(text, phase)
            signal.alarm(0)
            print(json.dumps([kind, name, result]), flush=True)
    print(json.dumps(["", "losses", _train()]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(layer_types()))
