"""Builds the nets of a solver: which file or message, for which state, with which weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError
from ..net import TEST, TRAIN
from ..plan.options import NetOptions
from ..prototxt import schema
from ..prototxt.text import Document
from ..prototxt.upgrade import NetDocument, embedded_net, read_net
from ..pycaffe.net import Net
from .checks import TRAIN_SOURCES

log = logging.getLogger("caffe")


@dataclass(frozen=True)
class _Source:
    """One way of giving a net: a field of the solver, and the entry of that field."""

    solver: Document
    field: str
    index: int = 0

    def read(self) -> NetDocument:
        """Parse the net; one that is written inside the solver keeps its positions there."""
        if self.field.endswith("_param"):
            return embedded_net(self.solver, self.field, self.index)
        return read_net(self.file)

    @property
    def file(self) -> str:
        """Path of the net's file."""
        value = getattr(self.solver.message, self.field)
        return str(value if isinstance(value, str) else value[self.index])

    def __str__(self) -> str:
        return self.field if self.field.endswith("_param") else f"{self.field} file: {self.file}"


def build_train_net(solver: Document, options: NetOptions, *, allow_unused_weights: bool = False) -> Net:
    """Build the net that is trained; weights must fit it in part, unless they may be unused."""
    field = next(field for field in TRAIN_SOURCES if solver.message.HasField(field))
    source = _Source(solver, field)
    specified = f"specified in {field}." if field.endswith("_param") else f"from {source}"
    log.info("Creating training net %s", specified)
    net = _build(source, TRAIN, solver.message.train_state, solver, options, allow_unused_weights)
    _check_loss(net, source)
    return net


def _check_loss(net: Net, source: _Source) -> None:
    """Refuse a train net without layers, and warn of one without a loss: it learns nothing."""
    nodes = net.graph.nodes
    position = source.solver.position((source.field,)) or source.solver.position(())
    if not nodes:
        hint = "is it the right file, and are all layers left out by include and exclude?"
        raise ConfigError(f"the train net ({source}) has no layers", where=position, hint=hint)
    if not any(any(node.loss_weights) for node in nodes):
        place = nodes[-1].definition.position() or position
        log.warning("%s: the train net has no loss: nothing is learned", place)


def warn_of_zero_weights(net: Net) -> None:
    """Warn of weights that are zero because their filler was left out: layers below get no gradient."""
    for node in net.graph.nodes:
        message: Any = getattr(node.definition.message, node.kind.param, None) if node.kind.param else None
        fields = message.DESCRIPTOR.fields_by_name if message is not None else {}
        if "weight_filler" not in fields or message.HasField("weight_filler") or not node.params:
            continue
        weights = node.params[0]
        if weights.lr_mult and not np.any(weights.blob.data):
            problem = "weights are all zero, and layers below learn nothing from them"
            log.warning("%s", node.definition.error(problem, node.kind.param, hint="set weight_filler"))


def build_test_nets(solver: Document, options: NetOptions) -> list[Net]:
    """Build one net for each `test_iter`."""
    nets = []
    for number, source in enumerate(_test_sources(solver)):
        log.info("Creating test net (#%d) specified by %s", number, source)
        states = solver.message.test_state
        own = states[number] if states else schema.NetState()
        nets.append(_build(source, TEST, own, solver, options, allow_unused_weights=True))
    return nets


def _test_sources(solver: Document) -> Iterator[_Source]:
    """All test_net_param, then all test_net, then the generic net as often as test_iter asks for more."""
    param = solver.message
    for field in ("test_net_param", "test_net"):
        for index in range(len(getattr(param, field))):
            yield _Source(solver, field, index)
    generic = "net_param" if param.HasField("net_param") else "net"
    for _ in range(len(param.test_iter) - len(param.test_net_param) - len(param.test_net)):
        yield _Source(solver, generic)


def _build(
    source: _Source,
    phase: int,
    own_state: Any,
    solver: Document,
    options: NetOptions,
    allow_unused_weights: bool,
) -> Net:
    """Build one net; its state is the phase, then what the net file says, then what the solver says."""
    document = source.read()
    state = schema.NetState(phase=phase)
    state.MergeFrom(document.message.state)
    state.MergeFrom(own_state)
    net = Net.from_document(document, state, options)
    for path in weight_files(solver.message):
        log.info("Finetuning from %s", path)
        net.copy_from(path, allow_unused=allow_unused_weights)
    return net


def weight_files(param: Any) -> list[str]:
    """Split the entries of `weights`, each possibly a comma list."""
    return [path.strip() for entry in param.weights for path in entry.split(",") if path.strip()]
