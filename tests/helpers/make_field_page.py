"""Makes `docs/fields.md`: fields that are accepted without effect, and those that are refused.

Run `python tests/helpers/make_field_page.py` after a change of what a layer type, a net or a solver declares.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pycaffe_like.data.transformer import TRANSFORM
from pycaffe_like.fields import INNER, Fields
from pycaffe_like.graph.declared import LAYER, NET, fields_of
from pycaffe_like.layer_type import layer_types
from pycaffe_like.prototxt import schema
from pycaffe_like.solver.checks import SOLVER

PAGE = Path(__file__).parents[2] / "docs" / "fields.md"

HEAD = """# Fields without effect

Made of the declarations in the code by `python tests/helpers/make_field_page.py`; edit those, not this page.

A field of the schema has its effect, or is refused with its place in the file, or stands on this page. A test
sets every one of them. Set to its default, a field may stand anywhere.

Nothing is said of what Caffe ignores by its nature, and what is ignored here too:

- numbers that the chosen type does not read: `std` of a filler that is not `gaussian`, `gamma` of a solver
  whose `lr_policy` is `fixed`, `momentum2` of one that is not `Adam`, `coeff` of an Eltwise that takes the
  maximum;
- the message of another layer type, as `pooling_param` in a ReLU: a warning names its place.

## Accepted without effect

"""

REFUSED = """
## Refused

Fields of forks that would change a result and do not yet. The error names the place.

"""


def make_page() -> str:
    """Text of the page."""
    ignored, refused = [], []
    for owner, message, fields in declarations():
        if fields.ignored:
            rows = [f"| `{names}` | {why} |" for why, names in by_reason(fields).items()]
            ignored.append(f"### {owner}\n\n| field | why |\n|---|---|\n" + "\n".join(rows) + "\n")
        unknown = [name for name in message.fields_by_name if name not in read(message, fields)]
        if unknown:
            refused.append(f"- {owner}: " + ", ".join(f"`{name}`" for name in sorted(unknown)))
    return HEAD + "\n".join(ignored) + REFUSED + "\n".join(refused) + "\n"


def declarations() -> Iterator[tuple[str, Any, Fields]]:
    """Whose fields they are, the message, and what is declared of it."""
    yield "SolverParameter", schema.SolverParameter.DESCRIPTOR, SOLVER
    yield "NetParameter", schema.NetParameter.DESCRIPTOR, NET
    yield "LayerParameter", schema.LayerParameter.DESCRIPTOR, LAYER
    yield "TransformationParameter", schema.TransformationParameter.DESCRIPTOR, TRANSFORM
    for name, fields in INNER.items():
        yield name, schema.message_class(name).DESCRIPTOR, fields
    for kind, made in layer_types().items():
        for name, fields in fields_of(made).items():
            message = schema.LayerParameter.DESCRIPTOR.fields_by_name[name].message_type
            if name != "transform_param":
                yield f"{kind}, {message.name}", message, fields


def by_reason(fields: Fields) -> dict[str, str]:
    """Names of the ignored fields that share a reason."""
    names: dict[str, list[str]] = {}
    for name, why in fields.ignored.items():
        names.setdefault(why, []).append(name)
    return {why: "`, `".join(those) for why, those in names.items()}


def read(message: Any, fields: Fields) -> set[str]:
    """Names of the fields that are not refused; upgrades of old forms take some away before."""
    moved = {"scale", "mean_file", "crop_size", "mirror"}  # to transform_param
    upgraded = {
        "SolverParameter": {"solver_type"},
        "DataParameter": moved,
        "ImageDataParameter": moved,
        "ConvolutionParameter": {"relu", "negative_slope"},
        "InnerProductParameter": {"relu", "negative_slope"},
        "BatchNormParameter": {"relu"},
    }
    messages = {name for name, field in message.fields_by_name.items() if name.endswith("_param")}
    others = messages if message.name == "LayerParameter" else set()
    return {*fields.understood, *fields.ignored, *upgraded.get(message.name, ()), *others}


if __name__ == "__main__":
    PAGE.write_text(make_page())
