"""Params with the same name share their memory."""

from __future__ import annotations

import logging

from ..prototxt.definition import LayerDefinition
from .nodes import Node, Param

log = logging.getLogger("caffe")


def share_params(nodes: list[Node]) -> None:
    """Let every later param of a name use the data and diff of the first.

    Parameters
    ----------
    nodes : list of Node
        In running order.

    Raises
    ------
    ConfigError
        If shapes (STRICT) or counts (PERMISSIVE) differ, or explicit lr_mult or decay_mult do.
    """
    owners: dict[str, Param] = {}
    explicit: dict[tuple[str, str], float] = {}
    for node in nodes:
        for param in node.params:
            if not param.name:
                continue
            owner = owners.setdefault(param.name, param)
            _merge_multipliers(param, owner, node.definition, explicit)
            if owner is not param:
                _share(param, owner, node.definition)


def _share(param: Param, owner: Param, layer: LayerDefinition) -> None:
    permissive = layer.message.param[param.index].share_mode == 1
    mine, theirs = list(param.blob.shape), list(owner.blob.shape)
    if (param.blob.count != owner.blob.count) if permissive else (mine != theirs):
        raise layer.error(
            f"param '{param.name}' of shape {tuple(mine)} cannot share with layer '{owner.layer}', "
            f"whose has shape {tuple(theirs)}",
            "param", param.index,
            hint="" if permissive else "share_mode: PERMISSIVE asks for equal counts only",
        )  # fmt: skip
    if (param.blob.device, param.blob.layout) != (owner.blob.device, owner.blob.layout):
        raise layer.error(
            f"param '{param.name}' is not laid out in memory like that of layer '{owner.layer}'",
            "param", param.index, hint="run the net on the CPU",
        )  # fmt: skip
    log.info(
        "Sharing parameters '%s' owned by layer '%s', param index %d", param.name, owner.layer, owner.index
    )
    param.owner = owner
    param.blob.share_data(owner.blob)
    param.blob.share_diff(owner.blob)


def _merge_multipliers(
    param: Param, owner: Param, layer: LayerDefinition, explicit: dict[tuple[str, str], float]
) -> None:
    """An explicit multiplier of any sharer holds for all; two that differ are refused."""
    spec = layer.message.param[param.index]
    for field in ("lr_mult", "decay_mult"):
        if not spec.HasField(field):
            continue
        value = getattr(spec, field)
        if explicit.setdefault((param.name, field), value) != value:
            raise layer.error(
                f"shared param '{param.name}' has {field} {value:g} here and "
                f"{explicit[param.name, field]:g} in a layer before (owner '{owner.layer}')",
                "param", param.index, field,
            )  # fmt: skip
        setattr(owner, field, value)
