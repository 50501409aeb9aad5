"""What a layer type is to the graph builder: arity, traits, parameter rules, arguments.

Each module of `pycaffe_like.layers` holds one subclass of `LayerType`; the folder is walked, there is no
list. The C++ layer of the same type name does the computing.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from . import _core as core
from .errors import ConfigError, nearest
from .facts import Bottom, Learned, Reads, Top, count_of, facts_of
from .prototxt import schema
from .prototxt.definition import LayerDefinition
from .rules import Rule

if TYPE_CHECKING:
    from .graph.nodes import Node

Shape = Sequence[int]


def top_count(node: Node) -> int:
    """Values that a node makes."""
    return sum(prod(top.shape) for top in node.tops)


def bottom_count(node: Node) -> int:
    """Values that a node is given."""
    return sum(prod(bottom.shape) for bottom in node.bottoms)


def masks_by_top(node: Node) -> bool:
    """Whether backward masks the top's gradient by the top's data, for a ReLU that the node does as well."""
    return bool(node.arguments.get("relu") and node.arguments.get("relu_backward", True))


class LayerType:
    """One layer type. Subclasses state the traits and turn parameters into constructor arguments.

    Attributes
    ----------
    type : str
        Name in the prototxt's `type` field, and of the C++ layer.
    param : str
        Field of LayerParameter that holds the type's parameters, empty if it has none.
    fields : tuple of str
        Fields of the parameters that it understands; a name with a dot is of another message of the layer, as
        in "loss_param.normalization", and one with a dot at its end is that whole message.
    ignored : mapping of str to str
        Fields that are accepted without effect, and why.
    bottoms, tops : tuple of Bottom, of Top
        What it takes and makes, and what is true of each.
    same_count : bool
        As many tops as bottoms.
    in_place : bool
        Whether a top may be the bottom at the same position.
    loss : bool
        The first top gets loss weight 1 when none is given, and tops that are left out are made anonymously.
    layout : {"any", "channels_last", "plain"}
        What it wants of its bottoms: "any" takes what comes and passes it on, "channels_last" computes 4-D
        and 5-D blobs channels-last, "plain" needs C-contiguous ones.
    takes_plain : bool
        Whether a "channels_last" type can compute on plain blobs as well, for plans without the layout pass.
    precision : {"any", "matrix", "float32"}
        In a bfloat16 plan "matrix" computes in bfloat16, "float32" does not, and "any" does if all its
        bottoms that are not exact are bfloat16.
    backward_reads : Reads
        Whose data must survive until backward.
    writes_gradients : bool
        Whether backward writes each bottom's gradient itself, all of it, to memory that no top shares.
    recomputable : bool
        Whether forward may run once more before backward, to make data again that was dropped.
    runs_user_code : bool
        Whether somebody else's code runs in it, which may look at any of its blobs.
    constraints : mapping of str to Rule
        Fields of the parameter message and the values they may have.
    """

    type: ClassVar[str]
    param: ClassVar[str] = ""
    fields: ClassVar[tuple[str, ...]] = ()
    ignored: ClassVar[Mapping[str, str]] = {}
    bottoms: ClassVar[tuple[Bottom, ...]] = (Bottom(),)
    tops: ClassVar[tuple[Top, ...]] = (Top(),)
    same_count: ClassVar[bool] = False
    in_place: ClassVar[bool] = False
    loss: ClassVar[bool] = False
    layout: ClassVar[Literal["any", "channels_last", "plain"]] = "any"
    takes_plain: ClassVar[bool] = False
    precision: ClassVar[Literal["any", "matrix", "float32"]] = "any"
    backward_reads: ClassVar[Reads] = Reads(bottoms=True, tops=True)
    writes_gradients: ClassVar[bool] = True
    recomputable: ClassVar[bool] = True
    runs_user_code: ClassVar[bool] = False
    constraints: ClassVar[Mapping[str, Rule]] = {}

    @classmethod
    def arguments(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> dict[str, Any]:
        """Keyword arguments of the C++ layer: canonical, complete, plain Python values."""
        return {}

    @classmethod
    def learned(cls, layer: LayerDefinition) -> list[Learned]:
        """What is learned, in the order of Caffe's blobs."""
        return []

    @classmethod
    def start(
        cls, layer: LayerDefinition, bottoms: Sequence[Shape], device: str, seed: int
    ) -> core.Layer | None:
        """Make the layer object before the plan is made, for types written in Python. `seed` is its own."""
        return None

    @classmethod
    def takes(cls, node: Node, argument: str) -> bool:
        """Whether a pass may set this argument of this very node, and so let it do another layer's work."""
        return False

    @classmethod
    def work(cls, node: Node) -> dict[str, Any]:
        """Arguments by which another step does this node's work as well; empty if none can."""
        return {}

    @classmethod
    def passes_on(cls, layer: LayerDefinition) -> bool:
        """Whether the top is the bottom, so that the layer need not run."""
        return False

    @classmethod
    def flops(cls, node: Node) -> int:
        """Operations of one forward pass, 2 for each multiply-add; one for each value made by default."""
        return top_count(node)

    @classmethod
    def device_of(cls, layer: LayerDefinition, bottoms: Sequence[Shape], wanted: str) -> str:
        """Where this very layer runs in a net on `wanted`: without a kernel for the GPU on the CPU."""
        return wanted if cls.type in core.registered_layers(wanted) else "cpu"

    @classmethod
    def layout_of(cls, layer: LayerDefinition, bottoms: Sequence[Shape]) -> str:
        """Layout this very layer wants; `layout` unless its parameters or shapes say otherwise."""
        return cls.layout

    @classmethod
    def precision_of(cls, layer: LayerDefinition, bottom: Shape, *, learns: bool) -> str:
        """Precision this very layer computes in; `precision` unless more is known.

        Parameters
        ----------
        bottom : tuple of int
            Shape of the first bottom.
        learns : bool
            Whether it runs backward.
        """
        return cls.precision

    @classmethod
    def backward_reads_of(cls, node: Node) -> Reads:
        """What backward of this very node reads; `backward_reads` unless more is known."""
        return cls.backward_reads

    @classmethod
    def default_loss_weights(cls, tops: int) -> list[float]:
        """Loss weights of the tops when the prototxt gives none."""
        return [float(cls.loss and index == 0) for index in range(tops)]

    @classmethod
    def bottom_facts(cls, count: int) -> list[Bottom]:
        """What is true of each of `count` bottoms."""
        return facts_of(cls.bottoms, count)

    @classmethod
    def top_facts(cls, count: int) -> list[Top]:
        """What is true of each of `count` tops."""
        return facts_of(cls.tops, count)

    @classmethod
    def allows_in_place(cls, layer: LayerDefinition) -> bool:
        """Whether this very layer may work in place."""
        return cls.in_place

    @classmethod
    def check(cls, layer: LayerDefinition) -> None:
        """Check counts of blobs and values of parameters; raises ConfigError at the field that is wrong."""
        cls._check_counts(layer)
        if cls.param:
            check_constraints(layer, cls.param, cls.constraints)

    @classmethod
    def _check_counts(cls, layer: LayerDefinition) -> None:
        for field, count, names in (
            ("bottom", count_of(cls.bottoms), layer.bottoms),
            ("top", count_of(cls.tops), layer.tops),
        ):
            missing_is_automatic = field == "top" and cls.loss and len(names) < count.least
            if not count.accepts(len(names)) and not missing_is_automatic:
                raise layer.error(f"{cls.type} takes {count} {field} blob(s), got {len(names)}", field)
        if cls.same_count and len(layer.bottoms) != len(layer.tops):
            problem = (
                f"{cls.type} takes as many tops as bottoms, got {len(layer.tops)} and {len(layer.bottoms)}"
            )
            raise layer.error(problem, "top")


def check_constraints(layer: LayerDefinition, param: str, constraints: Mapping[str, Rule]) -> None:
    """Check the fields of one parameter message; the one place that words a bad value."""
    message = getattr(layer.message, param)
    for field, rule in constraints.items():
        value = getattr(message, field)
        repeated = not isinstance(value, (int, float))
        if not repeated and not message.HasField(field):
            if rule.required:
                raise layer.error(f"{field} must be {rule}, got nothing", param, hint=f"set {param}.{field}")
            continue
        for index, item in enumerate(value if repeated else [value]):
            if item != item or not rule.accepts(item):
                kind = "an int" if isinstance(item, int) else "a number"
                path = (param, field, index) if repeated else (param, field)
                raise layer.error(f"{field} must be {kind} {rule}, got {item:g}", *path)


@cache
def layer_types() -> dict[str, type[LayerType]]:
    """Find all layer types by walking the `layers` folder.

    Returns
    -------
    dict
        Type name to class, sorted by name.
    """
    from . import layers

    found: dict[str, type[LayerType]] = {}
    for module in pkgutil.iter_modules(layers.__path__):
        for value in vars(importlib.import_module(f"{layers.__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, LayerType) and "type" in vars(value):
                found[value.type] = value
    return dict(sorted(found.items()))


@cache
def _types_of_caffe() -> frozenset[str]:
    """Types that Caffe and its forks have, here or not: those of the old enum, and those with a message."""
    from .prototxt.upgrade import V1_TYPES

    messages = (field.message_type for field in schema.LayerParameter.DESCRIPTOR.fields if field.message_type)
    return frozenset(V1_TYPES.values()) | {message.name.removesuffix("Parameter") for message in messages}


def find_layer_type(layer: LayerDefinition) -> type[LayerType]:
    """Look up the type of a layer; raises ConfigError naming the known ones."""
    types = layer_types()
    if layer.type in types:
        return types[layer.type]
    if layer.type in _types_of_caffe():
        raise ConfigError(
            f"layer type '{layer.type}' of Caffe or one of its forks is not in this version",
            where=layer.position("type"),
            layer=layer.name,
            hint="a layer written in Python can take its place",
        )
    hint = nearest(layer.type, types) or f"known types: {', '.join(types)}"
    raise ConfigError(
        f"unknown layer type '{layer.type}'", where=layer.position("type"), layer=layer.name, hint=hint
    )
