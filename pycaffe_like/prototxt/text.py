"""Reads prototxt: protobuf's text format, checked against the schema, with the place of every field kept.

protobuf's own parser forgets where a field stood; errors found later, while a net is built, could then not
name line and column. This one takes the same texts, keeps a tree of offsets beside the message, and words
its errors as errors.py asks: where, what, what to do. Files are taken as hostile: size, nesting and the
number of messages are limited.
"""

from __future__ import annotations

import bisect
import functools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from ..errors import ConfigError, DataError, MissingFileError, Position, nearest
from ..files import open_regular

MAX_BYTES = 16 << 20
MAX_NESTING = 100
MAX_ENTRIES = 100_000
"""Messages in one repeated field, so layers in a net."""
MAX_MESSAGES = 1_000_000

FieldPath = tuple[str | int, ...]


class Positions:
    """Where the fields of one message were written: offsets into the text, -1 where unknown.

    An entry of `fields` is the offset of a scalar's name, the `Positions` of a message, or a list of either.
    """

    __slots__ = ("fields", "offset")

    def __init__(self, offset: int = -1) -> None:
        self.offset = offset
        self.fields: dict[str, Any] = {}

    def find(self, path: FieldPath, nearest: bool = False) -> int:
        """Return the offset of the field at `path`, or of what encloses it if `nearest` is set; else -1."""
        offset, here = self.offset, self
        for step in path:
            try:
                here = here[step] if isinstance(step, int) else here.fields[step]  # type: ignore[index]
            except (KeyError, IndexError, AttributeError, TypeError):
                return offset if nearest else -1
            known = first_offset(here)
            offset = known if known >= 0 or not nearest else offset
        return offset


def first_offset(entry: Any) -> int:
    """Offset of an entry of `Positions.fields`; a list stands where its first entry does."""
    if isinstance(entry, list):
        return first_offset(entry[0]) if entry else -1
    return entry.offset if isinstance(entry, Positions) else int(entry)


class Source:
    """A text and its name; turns offsets into lines and columns."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file

    @functools.cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    def position(self, offset: int) -> Position | None:
        """Return line and column of an offset, None for -1."""
        if offset < 0:
            return None
        line = bisect.bisect_right(self._line_starts, offset)
        return Position(self.file, line, offset - self._line_starts[line - 1] + 1)


@dataclass
class Document:
    """A message, and where its fields were written."""

    message: Any
    source: Source
    positions: Positions = field(repr=False)

    @property
    def file(self) -> str:
        """Name of the file the message came from."""
        return self.source.file

    def position(self, path: FieldPath) -> Position | None:
        r"""Return where a field was written.

        Parameters
        ----------
        path : tuple of str and int
            Field names from the outermost message inwards; a repeated field is followed by an index.

        Returns
        -------
        Position or None
            None if the text does not set the field.

        Examples
        --------
        >>> from pycaffe_like import schema
        >>> text = "layer { name: 'ip' }\nlayer { name: 'pool' }"
        >>> document = parse(text, schema.NetParameter, "net.prototxt")
        >>> str(document.position(("layer", 1, "name")))
        'net.prototxt:2:9'
        """
        return self.source.position(self.positions.find(path))


# Tokens

_NAME, _NUMBER, _STRING, _SYMBOL, _COMMENT, _OTHER = range(1, 7)
_END = 0

# A number is taken up to its last letter or digit, however odd: what it may be depends on the field.
# The escapes of one string are limited because `re` needs memory for each.
_TOKEN = re.compile(
    r"""\s*(?:
      ([A-Za-z_]\w*)
    | (-\s*[A-Za-z_]\w* | -?\s*\.?\d[\w.]*(?:(?<=[eE])[-+]\w*)?)
    | ("[^"\\\n]*(?:\\.[^"\\\n]*){0,20000}" | '[^'\\\n]*(?:\\.[^'\\\n]*){0,20000}')
    | ([{}<>\[\]:,;])
    | (\#[^\n]*)
    | (.)
    )?""",
    re.VERBOSE | re.ASCII | re.DOTALL,
)

_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)", re.ASCII)
_OCTAL = re.compile(r"-?0[0-7]+", re.ASCII)
_HEX = re.compile(r"-?0[xX][0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|0*\.[0-9]+)(?:[eE][-+]?[0-9]+)?[fF]?", re.ASCII)
_NOT_FINITE = re.compile(r"(-?)(inf|infinity|nan)f?", re.ASCII | re.IGNORECASE)
_ESCAPE = re.compile(
    r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)
_SIMPLE_ESCAPES = dict(zip("abfnrtv\\'\"?", "\a\b\f\n\r\t\v\\'\"?"))

_BOOLS = {
    "true": True, "t": True, "True": True, "1": True,
    "false": False, "f": False, "False": False, "0": False,
}  # fmt: skip


class _BadValue(Exception):
    """Why a token is not a value of the field's type."""


def _read_int(low: int, high: int, what: str) -> Callable[[str], int]:
    def read(token: str) -> int:
        if _DECIMAL.fullmatch(token):
            base = 10
        elif _HEX.fullmatch(token):
            base = 16
        elif _OCTAL.fullmatch(token):
            base = 8
        else:
            raise _BadValue(f"must be an integer, got {_shorten(token)}")
        if len(token) > 30 or not low <= int(token, base) <= high:
            raise _BadValue(f"must fit {what} ({low} to {high}), got {_shorten(token)}")
        return int(token, base)

    return read


def _read_float(token: str) -> float:
    if _FLOAT.fullmatch(token):
        return float(token.rstrip("fF"))
    match = _NOT_FINITE.fullmatch(token)
    if not match:
        raise _BadValue(f"must be a decimal number, got {_shorten(token)}")
    return float(match[1] + match[2])


def _read_bool(token: str) -> bool:
    try:
        return _BOOLS[token]
    except KeyError:
        raise _BadValue(f"must be true or false, got {_shorten(token)}") from None


def _unescape(quoted: str) -> bytes:
    """Return the bytes of a quoted string; octal and hexadecimal escapes are bytes, the others characters."""
    inner = quoted[1:-1]
    if "\\" not in inner:
        return inner.encode()
    parts = bytearray()
    end = 0
    for match in _ESCAPE.finditer(inner):
        parts += inner[end : match.start()].encode()
        parts += _escaped(match)
        end = match.end()
    return bytes(parts + inner[end:].encode())


def _escaped(match: re.Match[str]) -> bytes:
    octal, hexadecimal, short, long, letter = match.groups()
    try:
        if octal:
            return bytes([int(octal, 8)])
        if hexadecimal:
            return bytes([int(hexadecimal, 16)])
        if letter:
            return _SIMPLE_ESCAPES[letter].encode()
        return chr(int(short or long, 16)).encode()
    except (KeyError, ValueError, OverflowError):
        raise _BadValue(f"has an unknown escape {match[0]} in its string") from None


def _shorten(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


# Fields, prepared once for each message type

_INT32, _INT64 = (-(1 << 31), (1 << 31) - 1), (-(1 << 63), (1 << 63) - 1)
_UINT32, _UINT64 = (0, (1 << 32) - 1), (0, (1 << 64) - 1)

_READERS: dict[int, Callable[[str], Any]] = {
    FieldDescriptor.CPPTYPE_INT32: _read_int(*_INT32, "32 bits"),
    FieldDescriptor.CPPTYPE_INT64: _read_int(*_INT64, "64 bits"),
    FieldDescriptor.CPPTYPE_UINT32: _read_int(*_UINT32, "32 bits without a sign"),
    FieldDescriptor.CPPTYPE_UINT64: _read_int(*_UINT64, "64 bits without a sign"),
    FieldDescriptor.CPPTYPE_FLOAT: _read_float,
    FieldDescriptor.CPPTYPE_DOUBLE: _read_float,
    FieldDescriptor.CPPTYPE_BOOL: _read_bool,
}


def _enum_reader(enum: EnumDescriptor) -> Callable[[str], int]:
    by_name = {value.name: value.number for value in enum.values}
    numbers = {str(value.number): value.number for value in enum.values}

    def read(token: str) -> int:
        number = by_name.get(token, numbers.get(token))
        if number is None:
            close = nearest(token, by_name) or f"{enum.name} has {', '.join(by_name)}"
            raise _BadValue(f"has no value {_shorten(token)}", _shorten_list(close))
        return number

    return read


def _shorten_list(text: str) -> str:
    return text if len(text) <= 300 else text[:297] + "..."


@dataclass(slots=True)
class _Field:
    """What the parser needs to know about a field."""

    name: str
    repeated: bool
    message: Descriptor | None
    is_string: bool
    is_bytes: bool
    read: Callable[[str], Any] | None


def is_repeated(descriptor: FieldDescriptor) -> bool:
    """Tell whether a field may have several values."""
    if hasattr(type(descriptor), "is_repeated"):  # newer protobuf warns about `label`
        return bool(descriptor.is_repeated)
    return bool(descriptor.label == FieldDescriptor.LABEL_REPEATED)  # type: ignore[attr-defined]


@functools.cache
def _fields(message: Descriptor) -> dict[str, _Field]:
    table = {}
    for descriptor in message.fields:
        read = _READERS.get(descriptor.cpp_type)
        if descriptor.enum_type:
            read = _enum_reader(descriptor.enum_type)
        table[descriptor.name] = _Field(
            name=descriptor.name,
            repeated=is_repeated(descriptor),
            message=descriptor.message_type,
            is_string=descriptor.cpp_type == FieldDescriptor.CPPTYPE_STRING,
            is_bytes=descriptor.type == FieldDescriptor.TYPE_BYTES,
            read=read,
        )
    return table


class _Parser:
    """Recursive descent over the fields of a message, one token ahead."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.messages = 0
        self.open: list[tuple[str, int, Descriptor]] = []  # field, offset and parent of messages not closed
        self.end = 0
        self.advance()

    def advance(self) -> None:
        """Move to the next token that is not a comment."""
        while True:
            match = _TOKEN.match(self.source.text, self.end)
            assert match  # every part of the pattern is optional
            kind, self.end = match.lastindex or _END, match.end()
            if kind != _COMMENT:
                break
        self.kind = kind
        self.token, self.start = (match[kind], match.start(kind)) if kind else ("", self.end)
        if kind == _OTHER:
            self.fail_character()

    def fail(self, problem: str, offset: int | None = None, hint: str | None = None) -> NoReturn:
        where = self.source.position(self.start if offset is None else offset)
        raise ConfigError(problem, where=where, hint=hint or None)

    def fail_character(self) -> NoReturn:
        if self.token in "'\"":
            self.fail(
                "string without its closing quote",
                hint="a string ends on the line where it begins and has at most 20,000 escapes",
            )
        if "\udc80" <= self.token <= "\udcff":
            self.fail("text is not UTF-8", hint="save the file in UTF-8")
        self.fail(f"unexpected character {self.token!r}")

    def fail_expected(self, what: str) -> NoReturn:
        self.fail(f"expected {what}, got {_shorten(self.token) or 'the end of the text'}")

    def skip_symbol(self, symbols: str) -> bool:
        """Move past the token if it is one of these symbols."""
        if self.kind == _SYMBOL and self.token in symbols:
            self.advance()
            return True
        return False

    def parse_fields(self, message: Any, positions: Positions, closing: str, depth: int) -> None:
        """Parse fields up to `closing` (empty: the end of the text) and move past it."""
        table = _fields(message.DESCRIPTOR)
        while self.kind == _NAME:
            field = table.get(self.token)
            if field is None:
                self.fail_unknown(message.DESCRIPTOR, table)
            self.parse_field(field, message, positions, depth)
            self.skip_symbol(",;")
        if self.token != closing or self.kind not in (_SYMBOL, _END):
            if closing and self.kind == _END:
                self.fail_open(*self.open[-1][:2], "the text ends before")
            self.fail_expected(f"a field or '{closing}'" if closing else "a field")
        if closing:
            self.advance()

    def fail_open(self, field: str, offset: int, why: str) -> NoReturn:
        where = self.source.position(offset)
        line = f" of line {where.line}" if where else ""
        self.fail(f"the brace behind {field}{line} is not closed: {why}", hint="add the closing brace")

    def fail_unknown(self, message: Descriptor, table: dict[str, _Field]) -> NoReturn:
        for name, offset, parent in reversed(self.open):
            if self.token in _fields(parent):
                token = _shorten(self.token)
                self.fail_open(name, offset, f"{token} is a field of {parent.name}, not of {message.name}")
        close = nearest(self.token, table)
        if not close and len(table) <= 20:
            close = f"{message.name} has {', '.join(table)}" if table else f"{message.name} has no fields"
        self.fail(f"unknown field {_shorten(self.token)} in {message.name}", hint=close)

    def parse_field(self, field: _Field, message: Any, positions: Positions, depth: int) -> None:
        start, name = self.start, field.name
        if not field.repeated and name in positions.fields:
            first = self.source.position(first_offset(positions.fields[name]))
            hint = f"first given at line {first.line}; keep one of them" if first else None
            self.fail(f"{name} is given twice in {message.DESCRIPTOR.name}", hint=hint)
        self.advance()
        if self.kind == _SYMBOL and self.token == ":":
            self.advance()
        elif not field.message:
            self.fail_expected(f"':' after {name}")
        if field.repeated and self.kind == _SYMBOL and self.token == "[":
            for offset in self.list_items():
                self.parse_item(field, message, positions, offset, depth)
        else:
            self.parse_item(field, message, positions, start, depth)

    def list_items(self) -> Iterator[int]:
        """Yield the offset of each item of a `[a, b]` list; the caller parses the item in between."""
        self.advance()
        if self.skip_symbol("]"):
            return
        while True:
            yield self.start
            if self.skip_symbol("]"):
                return
            if not self.skip_symbol(","):
                self.fail_expected("',' or ']'")

    def parse_item(self, field: _Field, message: Any, positions: Positions, offset: int, depth: int) -> None:
        """Parse one value of a field: a message or a scalar."""
        entry: Positions | int
        if field.message:
            entry = Positions(offset)
            self.parse_message(field, message, positions, entry, depth + 1)
        else:
            entry = offset
            if self.kind == _STRING and field.name == "type":
                self.check_old_type(message.DESCRIPTOR)
            value = self.parse_scalar(field)
            if field.repeated:
                getattr(message, field.name).append(value)
            else:
                setattr(message, field.name, value)
        if field.repeated:
            positions.fields.setdefault(field.name, []).append(entry)
        else:
            positions.fields[field.name] = entry

    def check_old_type(self, message: Descriptor) -> None:
        """Explain what is wrong with a layer of today's form under the old name."""
        if message.name == "V1LayerParameter":
            token = _shorten(self.token)
            problem = f"`layers` is the old form of a layer (V1), whose type is no string, got {token}"
            self.fail(problem, hint=f"write every layer as `layer {{ type: {token} ... }}`")

    def parse_message(
        self, field: _Field, parent: Any, siblings: Positions, positions: Positions, depth: int
    ) -> None:
        if not (self.kind == _SYMBOL and self.token in "{<"):
            self.fail_expected(f"'{{' after {field.name}")
        self.check_limits(field, depth, siblings)
        if field.repeated:
            message = getattr(parent, field.name).add()
        else:
            message = getattr(parent, field.name)
            message.SetInParent()
        closing = "}" if self.token == "{" else ">"
        self.advance()
        self.open.append((field.name, positions.offset, parent.DESCRIPTOR))
        self.parse_fields(message, positions, closing, depth)
        self.open.pop()

    def check_limits(self, field: _Field, depth: int, siblings: Positions) -> None:
        self.messages += 1
        if depth > MAX_NESTING:
            self.fail(f"messages are nested more than {MAX_NESTING} deep")
        if field.repeated and len(siblings.fields.get(field.name, ())) >= MAX_ENTRIES:
            self.fail(f"more than {MAX_ENTRIES} entries of {field.name}")
        if self.messages > MAX_MESSAGES:
            self.fail(f"more than {MAX_MESSAGES} messages in one text")

    def parse_scalar(self, field: _Field) -> Any:
        try:
            if field.is_string:
                return self.parse_string(field)
            if self.token == "[":
                raise _BadValue("takes one value, got a list")
            if self.kind not in (_NAME, _NUMBER):
                self.fail_expected(f"a value of {field.name}")
            assert field.read  # scalars that are not strings have a reader
            token = self.token if self.token[0] != "-" else "-" + self.token[1:].lstrip()
            value = field.read(token)
        except _BadValue as error:
            self.fail(f"{field.name} {error.args[0]}", hint=error.args[1] if len(error.args) > 1 else None)
        self.advance()
        return value

    def parse_string(self, field: _Field) -> str | bytes:
        """Parse one string, or several that stand side by side and are joined."""
        if self.kind != _STRING:
            raise _BadValue(
                f"must be a string in quotes, got {_shorten(self.token) or 'the end of the text'}"
            )
        start, parts = self.start, []
        try:
            while self.kind == _STRING:
                parts.append(_unescape(self.token))
                self.advance()
            value = b"".join(parts)
            return value if field.is_bytes else value.decode()
        except UnicodeError:
            self.fail(f"{field.name} is not UTF-8", start, "save the file in UTF-8")


def parse(text: str | bytes, message_class: Any, file: str = "<string>") -> Document:
    """Parse a prototxt.

    Parameters
    ----------
    text : str or bytes
        At most 16 MiB; bytes are UTF-8 (comments may be in any encoding).
    message_class : type
        Class of the message the text describes, for example `schema.NetParameter`.
    file : str
        Name to use in errors.

    Returns
    -------
    Document

    Raises
    ------
    ConfigError
        The text is not a prototxt, or names a field or a value that the schema does not have. The error
        holds line and column.

    Notes
    -----
    As in Caffe, a field that is not repeated may be given once only.

    Examples
    --------
    >>> from pycaffe_like import schema
    >>> parse("name: 'LeNet' layer { type: 'ReLU' }", schema.NetParameter).message.layer[0].type
    'ReLU'
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(f"more than {MAX_BYTES} bytes of text", where=Position(file, 1, 1))
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="surrogateescape")
    source = Source(text.removeprefix("\ufeff"), file)
    document = Document(message_class(), source, Positions(0))
    _Parser(source).parse_fields(document.message, document.positions, "", 0)
    return document


def read(path: str | os.PathLike[str], message_class: Any) -> Document:
    """Parse a prototxt file; see `parse`.

    Raises
    ------
    MissingFileError
        There is no such file.
    DataError
        The file cannot be read.
    ConfigError
        As for `parse`.
    """
    return parse(_read_bytes(path), message_class, str(path))


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    try:
        with open_regular(path) as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise MissingFileError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def format(message: Any) -> str:
    """Return a message as prototxt, as protobuf prints it."""
    return text_format.MessageToString(message)
