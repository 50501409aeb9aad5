"""Values for fields of the schema, and what setting them may lead to; for the tests that try all fields."""

from __future__ import annotations

from typing import Any

from pycaffe_like.fields import Fields, is_default
from pycaffe_like.prototxt import text as prototext

VALUES: dict[str, list[str]] = {
    "BlobShape": ["dim: 3", "dim: [2, 3, 5, 4]", "dim: [2, -1]"],
    "FillerParameter": ["value: 0.5"],
    "raw_diff": ["'" + 48 * "\\001" + "'"],
}
"""Texts of values to try, by message type or by the name of the field."""


def values_of(descriptor: Any) -> list[str]:
    """Texts of values to give to a field."""
    message = descriptor.message_type
    if own := VALUES.get(descriptor.name) or (message and VALUES.get(message.name)):
        return own if not message else [f"{{ {text} }}" for text in own]
    if message:
        return ["{ }"]
    if descriptor.enum_type:
        return [value.name for value in descriptor.enum_type.values]
    kinds = type(descriptor)
    if descriptor.cpp_type == kinds.CPPTYPE_BOOL:
        return ["true", "false"]
    if descriptor.cpp_type == kinds.CPPTYPE_STRING:
        return ['"x"']
    numbers = ["2", "3", "1", "0", "5"]
    if descriptor.cpp_type in (kinds.CPPTYPE_FLOAT, kinds.CPPTYPE_DOUBLE):
        return ["0.25", "0.75", *numbers]
    unsigned = descriptor.cpp_type in (kinds.CPPTYPE_UINT32, kinds.CPPTYPE_UINT64)
    return numbers if unsigned else [*numbers, "-1", "-3"]


def walk(message: Any, path: tuple[Any, ...]) -> Any:
    """The message down a path of names and indices."""
    for step in path:
        message = message[step] if isinstance(step, int) else getattr(message, step)
    return message


def with_value(message: Any, path: tuple[Any, ...], text: str) -> Any:
    """A copy of a message in which one field, of a message down `path`, is set."""
    copy = type(message)()
    copy.CopyFrom(message)
    *above, name = path
    inner = walk(copy, tuple(above))
    inner.ClearField(name)
    inner.MergeFrom(prototext.parse(f"{name}: {text}", type(inner)).message)
    return copy


def is_set(message: Any, path: tuple[Any, ...]) -> bool:
    """Whether a field is set to something that is not its default."""
    *above, name = path
    fields = walk(message, tuple(above)).ListFields()
    return any(field.name == name and not is_default(field, value) for field, value in fields)


def check_verdicts(verdicts: dict[str, str], declared: Fields, descriptor: Any) -> None:
    """See that a field does what is declared: nothing if ignored, something or an error otherwise."""
    assert verdicts
    if descriptor.name in declared.ignored:
        assert {"nothing"} <= set(verdicts.values()) <= {"nothing", "refused"}, verdicts
    elif descriptor.enum_type:
        assert "nothing" not in verdicts.values(), verdicts
    else:
        assert "effect" in verdicts.values() or set(verdicts.values()) == {"refused"}, verdicts
    if descriptor.name in declared.understood:
        assert "effect" in verdicts.values(), verdicts
