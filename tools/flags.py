"""Flags as Caffe's commands take them (gflags): `-flag value`, `--flag=value`, `-flag` and `-noflag`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import ConfigError, nearest

_TRUE = frozenset({"true", "t", "yes", "y", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "0"})


class Flag(NamedTuple):
    """A flag of a command: its type is that of the default value (bool, int, float or str)."""

    default: bool | int | float | str
    help: str


def parse_flags(argv: Sequence[str], spec: Mapping[str, Flag]) -> tuple[dict[str, Any], list[str]]:
    """Split a command line into flags and positional arguments.

    Parameters
    ----------
    argv : sequence of str
        Arguments after the command's name.
    spec : mapping of str to Flag
        The flags the command knows.

    Returns
    -------
    values : dict
        A value for every flag of `spec`; of a flag given twice the last one.
    positional : list of str
        Everything else, in order; what follows ``--`` is never a flag.

    Raises
    ------
    ConfigError
        Unknown flag, missing value or value of the wrong type.

    Examples
    --------
    >>> spec = {"gray": Flag(False, "decode to gray"), "width": Flag(0, "pixels")}
    >>> parse_flags(["-gray", "in.txt", "--width=28"], spec)
    ({'gray': True, 'width': 28}, ['in.txt'])
    """
    values: dict[str, Any] = {name: flag.default for name, flag in spec.items()}
    positional: list[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return values, positional + rest
        if not argument.startswith("-") or argument == "-":
            positional.append(argument)
            continue
        name, equals, text = argument.lstrip("-").partition("=")
        if not equals and _is_switch(name, spec):
            values[name if name in spec else name[2:]] = name in spec
            continue
        if name not in spec:
            raise ConfigError(f"unknown flag -{name}", hint=nearest(name, spec) or _list_flags(spec))
        if not equals:
            if not rest:
                raise ConfigError(f"flag -{name} needs a value", hint=f"{name}: {spec[name].help}")
            text = rest.pop(0)
        values[name] = _convert(name, text, type(spec[name].default))
    return values, positional


def format_usage(summary: str, arguments: str, spec: Mapping[str, Flag]) -> str:
    """Word what a command prints when it is called wrongly.

    Parameters
    ----------
    summary : str
        What the command does, in a line.
    arguments : str
        Name of the command and its arguments: ``convert_imageset [flags] ROOTFOLDER/ LISTFILE DB_NAME``.
    spec : mapping of str to Flag

    Returns
    -------
    str
    """
    lines = [summary, f"usage: {arguments}"]
    lines += [f"  -{name} ({flag.help}) default: {flag.default!r}" for name, flag in spec.items()]
    return "\n".join(lines)


def _is_switch(name: str, spec: Mapping[str, Flag]) -> bool:
    known = spec.get(name) or (spec.get(name[2:]) if name.startswith("no") else None)
    return known is not None and isinstance(known.default, bool)


def _list_flags(spec: Mapping[str, Flag]) -> str:
    return "known flags: " + " ".join(f"-{name}" for name in spec) if spec else "this command has no flags"


def _convert(name: str, text: str, kind: type) -> Any:
    try:
        if kind is not bool:
            return kind(text)
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
    except ValueError:
        pass
    raise ConfigError(f"flag -{name} must be {_KIND_NAMES[kind]}, got {text!r}")


_KIND_NAMES = {bool: "true or false", int: "an int", float: "a number", str: "text"}
