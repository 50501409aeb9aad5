"""Makes `docs/layers.md`, the reference of all layer types, from their docstrings.

Run `python tests/helpers/make_layer_page.py` after a change of a layer's docstring.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path

from pycaffe_like.layer_type import layer_types

PAGE = Path(__file__).parents[2] / "docs" / "layers.md"

HEAD = """# Layers

Made from the docstrings in `pycaffe_like/layers` by `python tests/helpers/make_layer_page.py`; edit those,
not this page. `python -c "from pycaffe_like.layers.pooling import Pooling as p; help(p)"` shows the same
text.

"""


def make_page() -> str:
    """Text of the page."""
    types = layer_types()
    contents = " · ".join(f"[{name}](#{name.lower()})" for name in types)
    parts = [f"## {name}\n\n{to_markdown(inspect.getdoc(kind) or '')}" for name, kind in types.items()]
    return HEAD + contents + "\n\n" + "\n\n".join(parts) + "\n"


def to_markdown(docstring: str) -> str:
    """Turn a numpydoc docstring into Markdown."""
    summary, *sections = re.split(r"^(\w+)\n-+\n", docstring, flags=re.MULTILINE)
    parts = [_code(summary)]
    for heading, body in zip(sections[::2], sections[1::2]):
        convert = {"Parameters": _items, "Returns": _items, "Raises": _items, "Examples": _examples}
        parts.append(f"**{heading}**\n\n{convert.get(heading, _code)(body)}")
    return "\n\n".join(part.strip() for part in parts)


def _code(text: str) -> str:
    return text.replace("``", "`").strip()


def _items(body: str) -> str:
    """Lines at the margin are terms; what is indented below explains them."""
    lines = []
    for line in _code(body).splitlines():
        if line and not line.startswith(" "):
            name, colon, kind = line.partition(" : ")
            lines.append(f"- `{name}`{colon}{kind}  ")  # two spaces at the end: a line break
        else:
            lines.append(f"  {line.strip()}".rstrip())
    return "\n".join(lines)


def _examples(body: str) -> str:
    """Prototxt stands indented after `::`, Python after `>>>`."""
    blocks = []
    for block in re.split(r"\n\s*\n(?=\S|    )", body.strip()):
        if block.strip() == "::":
            continue
        language = "python" if block.startswith(">>>") else "prototxt"
        blocks.append(f"```{language}\n{textwrap.dedent(block).strip()}\n```")
    return "\n\n".join(blocks)


if __name__ == "__main__":
    PAGE.write_text(make_page())
