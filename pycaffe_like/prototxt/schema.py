"""Message classes of Caffe's schema, made at run time from the descriptors that `proto/*.proto` compile to.

They live in a descriptor pool of their own, so that another `caffe_pb2` in the same process does not clash,
and no generated code ties the package to one version of protobuf. Messages, enums and enum values of the
schema are attributes of this module: `schema.NetParameter`, `schema.Phase`, `schema.TRAIN`.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.internal import enum_type_wrapper

from ..errors import DeviceError, nearest

PACKAGE = "caffe"


def _load_files() -> dict[str, descriptor_pb2.FileDescriptorProto]:
    try:
        data = resources.files(__package__).joinpath("schema.desc").read_bytes()
    except FileNotFoundError:
        raise DeviceError(
            "the schema of nets and solvers is not compiled", hint="build it with: pip install ."
        ) from None
    return {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(data).file}


def _make_pool(files: dict[str, descriptor_pb2.FileDescriptorProto]) -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()

    def add(name: str) -> None:
        if name in added:
            return
        added.add(name)
        for dependency in files[name].dependency:
            add(dependency)
        pool.AddSerializedFile(files[name].SerializeToString())

    for name in files:
        add(name)
    return pool


_FILES = _load_files()
_POOL = _make_pool(_FILES)
_MESSAGES = frozenset(message.name for file in _FILES.values() for message in file.message_type)
_ENUMS = {enum.name: enum for file in _FILES.values() for enum in file.enum_type}
_VALUES = {value.name: value.number for enum in _ENUMS.values() for value in enum.value}

__all__ = ["message_class", *sorted(_MESSAGES), *sorted(_ENUMS), *sorted(_VALUES)]


@functools.cache
def message_class(name: str) -> Any:
    """Return the class of a message of the schema.

    Parameters
    ----------
    name : str
        Name without package, for example `NetParameter`; nested ones as `Outer.Inner`.

    Returns
    -------
    type
        A protobuf message class, as generated code would hold it: nested enums and their values are
        attributes (`PoolingParameter.MAX`).

    Raises
    ------
    KeyError
        The schema has no such message.

    Examples
    --------
    >>> net = message_class("NetParameter")(name="LeNet")
    >>> net.name
    'LeNet'
    """
    try:
        descriptor = _POOL.FindMessageTypeByName(f"{PACKAGE}.{name}")
    except KeyError:
        raise KeyError(f"the schema has no message {name!r}; {nearest(name, _MESSAGES)}") from None
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(_POOL).GetPrototype(descriptor)  # type: ignore[attr-defined]  # 4.21


def __getattr__(name: str) -> Any:
    if name in _MESSAGES:
        value = message_class(name)
    elif name in _ENUMS:
        value = enum_type_wrapper.EnumTypeWrapper(_POOL.FindEnumTypeByName(f"{PACKAGE}.{name}"))
    elif name in _VALUES:
        value = _VALUES[name]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
