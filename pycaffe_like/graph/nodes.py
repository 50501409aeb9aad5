"""What a graph is made of. Passes of the plan take and return these; nothing here computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .. import _core as core
from ..facts import Bottom, Top
from ..layer_type import LayerType
from ..prototxt.definition import LayerDefinition


@dataclass(eq=False)
class Value:
    """One version of a blob: what one layer wrote under a name.

    Attributes
    ----------
    name : str
        Name of the blob. Several versions share it when layers work in place.
    shape : list of int
        Logical shape.
    dtype, layout : str
        "float32" or "bfloat16"; "plain" or "channels_last". Set by the plan.
    device : str
        "cpu" or "cuda".
    memory_of : Value or None
        The version whose memory this one overwrites, for in-place tops.
    hidden : bool
        Made by the plan: not among the net's blobs.
    need_backward : bool
        Some layer before it learns or was asked for a gradient.
    """

    name: str
    shape: list[int]
    dtype: str = "float32"
    layout: str = "plain"
    device: str = "cpu"
    memory_of: Value | None = None
    hidden: bool = False
    need_backward: bool = False

    @property
    def root(self) -> Value:
        """The version that owns the memory."""
        value = self
        while value.memory_of is not None:
            value = value.memory_of
        return value


@dataclass(eq=False)
class Param:
    """One learned blob of one layer.

    Attributes
    ----------
    layer, index
        Name of the layer and position among its learned blobs.
    name : str
        Name given in the prototxt, empty if none; equal names share.
    owner : Param or None
        The param whose memory this one uses, None for an owner.
    lr_mult, decay_mult : float
        Multipliers of the solver's rates; those of the owner count.
    learned : bool
        Whether it gets a gradient; statistics do not.
    blob : core.Blob
        Values and gradient, float32 and plain.
    """

    layer: str
    index: int
    name: str
    blob: core.Blob
    lr_mult: float = 1.0
    decay_mult: float = 1.0
    learned: bool = True
    owner: Param | None = None

    @property
    def display_name(self) -> str:
        """What logs call it: its name, or its index."""
        return self.name or str(self.index)


@dataclass(eq=False)
class Node:
    """One call of a layer: data, until the plan is lowered.

    Attributes
    ----------
    definition : LayerDefinition
        As declared.
    kind : type of LayerType
    device : str
        "cpu" or "cuda".
    arguments : dict
        Of the C++ layer's constructor: canonical, complete. Passes change them.
    bottoms, tops : list of Value
    params : list of Param
        Learned blobs, also those of other layers whose work it does.
    state : list of core.Blob
        What its layer carries from one forward to the next.
    loss_weights, propagate_down, param_propagate_down : list
        One for each top, bottom, param.
    members : list of str
        Names of the declared layers it stands for.
    label : str
        Name of a node that stands for none.
    stream : int
        Tells its random numbers from those of others in the net.
    started : core.Layer or None
        The layer object, for types that start before the plan is made: sources of data, users' own.
    """

    definition: LayerDefinition
    kind: type[LayerType]
    device: str
    arguments: dict[str, Any]
    bottoms: list[Value]
    tops: list[Value]
    params: list[Param] = field(default_factory=list)
    state: list[core.Blob] = field(default_factory=list)
    param_propagate_down: list[bool] = field(default_factory=list)
    loss_weights: list[float] = field(default_factory=list)
    propagate_down: list[bool] = field(default_factory=list)
    need_backward: bool = False
    members: list[str] = field(default_factory=list)
    label: str = ""
    stream: int = 0
    started: core.Layer | None = None

    @property
    def name(self) -> str:
        """Name in timings and logs."""
        return self.label or "+".join(self.members)

    @property
    def bottom_facts(self) -> list[Bottom]:
        """What is true of each bottom."""
        return self.kind.bottom_facts(len(self.bottoms))

    @property
    def top_facts(self) -> list[Top]:
        """What is true of each top."""
        return self.kind.top_facts(len(self.tops))


@dataclass
class Graph:
    """A net: its nodes in running order.

    Attributes
    ----------
    nodes : list of Node
        One for each declared layer, Splits included.
    params : list of Param
        All of them in layer order, sharers included.
    inputs, outputs : list of str
        Tops of Input layers in order; blobs nobody reads, sorted by name as in Caffe.
    """

    name: str
    training: bool
    nodes: list[Node]
    params: list[Param]
    inputs: list[str]
    outputs: list[str]

    @property
    def learnable(self) -> list[Param]:
        """Owners only, in order of first appearance: the order of a solver's history."""
        return [param for param in self.params if param.owner is None]

    def blobs(self) -> dict[str, Value]:
        """Last version of each visible blob, in order of first appearance."""
        found: dict[str, Value] = {}
        for node in self.nodes:
            for top in node.tops:
                if not top.hidden:
                    found[top.name] = top
        return found
