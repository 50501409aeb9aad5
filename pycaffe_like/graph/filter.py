"""Which layers belong to a net's state: phase, level and stages."""

from __future__ import annotations

from typing import Any

from ..prototxt.definition import LayerDefinition


def filter_layers(layers: list[LayerDefinition], state: Any) -> list[LayerDefinition]:
    """Keep the layers whose include and exclude rules fit the state.

    Parameters
    ----------
    layers : list of LayerDefinition
        In file order.
    state : NetState
        Phase, level and stages of the net.

    Raises
    ------
    ConfigError
        If a layer has both include and exclude rules.
    """
    return [layer for layer in layers if _stays(layer, state)]


def _stays(layer: LayerDefinition, state: Any) -> bool:
    message = layer.message
    if message.include and message.exclude:
        raise layer.error("give include rules or exclude rules, not both", "exclude")
    if message.include:
        return any(_meets(rule, state) for rule in message.include)
    return not any(_meets(rule, state) for rule in message.exclude)


def _meets(rule: Any, state: Any) -> bool:
    return bool(
        (not rule.HasField("phase") or rule.phase == state.phase)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and set(rule.stage) <= set(state.stage)
        and not set(rule.not_stage) & set(state.stage)
    )
