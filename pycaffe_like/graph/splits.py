"""Split insertion: a blob version with several uses gets one Split layer, with Caffe's names."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import nearest_names
from ..layer_type import layer_types
from ..prototxt import schema
from ..prototxt.definition import LayerDefinition


@dataclass
class _Version:
    """One version of a blob: what layer `producer` made as its top number `top`."""

    blob: str
    producer: int
    top: int
    uses: list[tuple[int, int]] = field(default_factory=list)  # (layer, bottom index), in order
    loss_weight: float = 0.0  # explicit one; counts as a use

    @property
    def needs_split(self) -> bool:
        return len(self.uses) + (self.loss_weight != 0) > 1


def insert_splits(layers: list[LayerDefinition]) -> list[LayerDefinition]:
    """Insert Split layers and rename the bottoms that read them.

    Raises
    ------
    ConfigError
        If a bottom names a blob that no earlier layer makes.
    """
    versions = _find_versions(layers)
    result: list[LayerDefinition] = []
    copies = [_copy(layer) for layer in layers]
    for number, layer in enumerate(copies):
        result.append(layer)
        for version in versions[number]:
            if version.needs_split:
                result.append(_split(version, copies))
    return result


def _copy(layer: LayerDefinition) -> LayerDefinition:
    message = schema.LayerParameter()
    message.CopyFrom(layer.message)
    return LayerDefinition(message, layer.source, layer.index)


def _find_versions(layers: list[LayerDefinition]) -> list[list[_Version]]:
    """For each layer, the versions it makes, with all their uses."""
    current: dict[str, _Version] = {}
    versions: list[list[_Version]] = []
    for number, layer in enumerate(layers):
        for index, blob in enumerate(layer.bottoms):
            if blob not in current:
                hint = _nearest_tops(blob, current, layers)
                problem = f"unknown bottom blob '{blob}' (bottom index {index})"
                raise layer.error(problem, "bottom", index, hint=hint)
            current[blob].uses.append((number, index))
        made = []
        for index, blob in enumerate(layer.tops):
            weights = layer.message.loss_weight
            version = _Version(
                blob, number, index, loss_weight=weights[index] if index < len(weights) else 0.0
            )
            current[blob] = version
            made.append(version)
        versions.append(made)
    return versions


def _nearest_tops(name: str, current: dict[str, _Version], layers: list[LayerDefinition]) -> str:
    """Name tops that are close, with their layers: the mistake may be in either place."""
    close = [
        f"'{top}' of layer '{layers[current[top].producer].name}'" for top in nearest_names(name, current)
    ]
    return f"did you mean {' or '.join(close)}?" if close else f"blobs so far: {', '.join(current) or 'none'}"


def _split(version: _Version, layers: list[LayerDefinition]) -> LayerDefinition:
    """Make the Split of one version and connect its users."""
    producer = layers[version.producer]
    name = f"{version.blob}_{producer.name}_{version.top}_split"
    message = schema.LayerParameter(name=name, type="Split", bottom=[version.blob])
    taken = 0
    if version.loss_weight:
        _move_loss_weight(producer, version.top)
        message.loss_weight.append(version.loss_weight)
        message.loss_weight.extend([0.0] * len(version.uses))
        message.top.append(f"{name}_0")
        taken = 1
    for number, (layer, bottom) in enumerate(version.uses):
        message.top.append(f"{name}_{number + taken}")
        layers[layer].message.bottom[bottom] = f"{name}_{number + taken}"
    if producer.message.HasField("phase"):
        message.phase = producer.message.phase
    return LayerDefinition(message, producer.source, producer.index)


def _move_loss_weight(producer: LayerDefinition, top: int) -> None:
    """Take the weight that the Split now carries off its producer.

    Caffe clears the whole list, which makes a loss layer append its default weight again and count its loss
    twice; here only the weight that moved goes, and the loss counts once.
    """
    weights = producer.message.loss_weight
    weights[top] = 0.0
    kind = layer_types().get(producer.type)
    if not any(weights) and not (kind and kind.loss):
        del weights[:]
