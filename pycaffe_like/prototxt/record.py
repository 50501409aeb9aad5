"""A message and the places where its fields were written, changed together.

Upgrades move fields between messages; moving them through a `Record` keeps errors that come later pointing
at the line the user wrote.
"""

from __future__ import annotations

from typing import Any

from .text import Positions, first_offset, is_repeated


class Record:
    """One message of a document, with its positions."""

    def __init__(self, message: Any, positions: Positions) -> None:
        self.message = message
        self.positions = positions

    @property
    def offset(self) -> int:
        """Where the message was written, -1 if unknown."""
        return self.positions.offset

    def has(self, name: str) -> bool:
        """Tell whether a field is set, or a repeated one has entries."""
        if self.repeated(name):
            return len(getattr(self.message, name)) > 0
        return bool(self.message.HasField(name))

    def where(self, name: str, index: int = 0) -> int:
        """Return the offset of a field (of an entry, if repeated), else that of the message."""
        path = (name, index) if self.repeated(name) else (name,)
        return self.positions.find(path, nearest=True)

    def child(self, name: str, offset: int | None = None) -> Record:
        """Return a message field, set if it was not."""
        child = getattr(self.message, name)
        child.SetInParent()
        fields = self.positions.fields
        return Record(child, fields.setdefault(name, Positions(self.offset if offset is None else offset)))

    def items(self, name: str) -> list[Record]:
        """Return the entries of a repeated message field."""
        messages = getattr(self.message, name)
        return [Record(m, p) for m, p in zip(messages, self._entries(name, len(messages)))]

    def item(self, name: str, index: int, offset: int) -> Record:
        """Return an entry of a repeated message field, which grows up to it if need be."""
        messages = getattr(self.message, name)
        entries = self._entries(name, len(messages))
        while len(messages) <= index:
            messages.add()
            entries.append(Positions(offset))
        return Record(messages[index], entries[index])

    def add(self, name: str, offset: int) -> Record:
        """Append to a repeated message field."""
        return self.item(name, len(getattr(self.message, name)), offset)

    def put(self, name: str, value: Any, offset: int) -> None:
        """Set a scalar field, or append to a repeated one."""
        if self.repeated(name):
            entries = self._entries(name, len(getattr(self.message, name)))
            getattr(self.message, name).append(value)
            entries.append(offset)
        else:
            setattr(self.message, name, value)
            self.positions.fields[name] = offset

    def move(self, name: str, target: Record, new_name: str | None = None) -> None:
        """Move a field into another message, where its old value is replaced."""
        new_name = new_name or name
        value, places = getattr(self.message, name), self.positions.fields.get(name, -1)
        if target.repeated(new_name) and not self.repeated(name):
            target.put(new_name, value, first_offset(places))
        elif self.repeated(name):
            target.clear(new_name)
            getattr(target.message, new_name).extend(value)
            target.positions.fields[new_name] = places if isinstance(places, list) else []
        elif self.message.DESCRIPTOR.fields_by_name[name].message_type:
            getattr(target.message, new_name).CopyFrom(value)
            target.positions.fields[new_name] = places if isinstance(places, Positions) else Positions()
        else:
            target.put(new_name, value, first_offset(places))
        self.clear(name)

    def clear(self, name: str) -> None:
        """Take a field away."""
        self.message.ClearField(name)
        self.positions.fields.pop(name, None)

    def repeated(self, name: str) -> bool:
        """Tell whether a field may have several values."""
        return is_repeated(self.message.DESCRIPTOR.fields_by_name[name])

    def _entries(self, name: str, count: int) -> list[Any]:
        """Positions of a repeated field, filled up if the message did not come from a text."""
        entries: list[Any] = self.positions.fields.setdefault(name, [])
        is_message = self.message.DESCRIPTOR.fields_by_name[name].message_type
        entries.extend(Positions() if is_message else -1 for _ in range(count - len(entries)))
        return entries
