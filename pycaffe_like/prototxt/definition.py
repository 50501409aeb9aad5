"""A layer as its prototxt declares it: the message, and where each field stands in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ..errors import ConfigError, DataError, Position

_Error = TypeVar("_Error", bound=ConfigError | DataError)


class PositionSource(Protocol):
    """Finds the place of a field of a layer; `upgrade.NetDocument` is one."""

    def layer_position(self, index: int, *path: str | int) -> Position | None:
        """Place of a field of layer `index`."""
        ...


@dataclass
class LayerDefinition:
    """One `layer { }` of a net, after filtering and split insertion.

    Attributes
    ----------
    message : LayerParameter
        The layer's message; its phase is set.
    source : PositionSource or None
        Where positions come from; None for layers that no file declares (Split).
    index : int
        Position of the layer in the source.
    """

    message: Any
    source: PositionSource | None = None
    index: int = -1

    @property
    def name(self) -> str:
        """Name of the layer."""
        return str(self.message.name)

    @property
    def type(self) -> str:
        """Type name of the layer."""
        return str(self.message.type)

    @property
    def bottoms(self) -> list[str]:
        """Names of the bottom blobs."""
        return list(self.message.bottom)

    @property
    def tops(self) -> list[str]:
        """Names of the top blobs."""
        return list(self.message.top)

    @property
    def training(self) -> bool:
        """Whether the layer runs in phase TRAIN."""
        return int(self.message.phase) == 0

    def position(self, *path: str | int) -> Position | None:
        """Place of a field in the file; the nearest enclosing one if that field is not written there."""
        return self.source.layer_position(self.index, *path) if self.source else None

    def error(self, problem: str, *path: str | int, hint: str | None = None) -> ConfigError:
        """Make a ConfigError about a field of this layer, to be raised by the caller."""
        return ConfigError(
            problem, where=self.position(*path), layer=self.name, layer_type=self.type, hint=hint
        )

    def located(self, error: _Error) -> _Error:
        """Give an error that knows only the problem this layer's name and place."""
        return type(error)(
            error.problem,
            where=error.where or self.position(),
            layer=error.layer or self.name,
            layer_type=error.layer_type or self.type,
            hint=error.hint,
        )
