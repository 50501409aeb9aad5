"""Pictures of the results: speed ratios with their spread, and memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot

from .page import Section, by_section, title
from .peers import PEERS
from .result import Result, Store

_COLOURS = dict(zip(PEERS, ("#4c72b0", "#55a868", "#c44e52", "#8172b3", "#ccb974", "#8c8c8c")))
_OURS = "#333333"


def draw(store: Store, folder: Path) -> list[Path]:
    """Write speed.png and memory.png; returns their paths."""
    sections = {
        section: [result for result in results if not result.problem]
        for section, results in by_section(store).items()
    }
    sections = {section: results for section, results in sections.items() if results}
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [(folder / "speed.png", _draw_speed), (folder / "memory.png", _draw_memory)] if sections else []
    for path, draw_panel in drawn:
        figure, panels = pyplot.subplots(
            len(sections), 1, figsize=(10, 2.6 * len(sections)), squeeze=False, layout="constrained"
        )
        for panel, (section, results) in zip(panels[:, 0], sections.items()):
            _draw_section(panel, section, results, draw_panel)
        figure.savefig(path, dpi=110)
        pyplot.close(figure)
    return [path for path, _ in drawn]


def _draw_section(panel: Any, section: Section, results: list[Result], draw_panel: Any) -> None:
    nets = list(dict.fromkeys(result.net for result in results))
    peers = [peer for peer in PEERS if any(result.peer == peer for result in results)]
    draw_panel(panel, results, nets, peers)
    panel.set_xticks(range(len(nets)), nets)
    panel.set_title(title(section), loc="left", fontsize=10)
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(axis="y", alpha=0.3)
    panel.set_axisbelow(True)
    panel.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def _draw_speed(panel: Any, results: list[Result], nets: list[str], peers: list[str]) -> None:
    """One bar a net and peer, with a line from the 25 % to the 75 % point."""
    width = 0.8 / len(peers)
    for index, peer in enumerate(peers):
        rows = [result for result in results if result.peer == peer]
        places = [nets.index(row.net) + (index - (len(peers) - 1) / 2) * width for row in rows]
        medians = [row.ratio[1] for row in rows]
        spread = [
            [row.ratio[1] - row.ratio[0] for row in rows],
            [row.ratio[2] - row.ratio[1] for row in rows],
        ]
        name = PEERS[peer].title
        panel.bar(places, medians, width, yerr=spread, color=_COLOURS[peer], label=name, error_kw={"lw": 1})
    panel.axhline(1, color="black", lw=1)
    panel.set_ylabel("speed / theirs")


def _draw_memory(panel: Any, results: list[Result], nets: list[str], peers: list[str]) -> None:
    """One bar for ours, then one for each peer."""
    width = 0.8 / (len(peers) + 1)
    ours = {row.net: row.mib[0] for row in results}
    panel.bar(
        [nets.index(net) - len(peers) / 2 * width for net in ours],
        list(ours.values()),
        width,
        color=_OURS,
        label="ours",
    )
    for index, peer in enumerate(peers, start=1):
        rows = [result for result in results if result.peer == peer]
        places = [nets.index(row.net) + (index - len(peers) / 2) * width for row in rows]
        panel.bar(places, [row.mib[1] for row in rows], width, color=_COLOURS[peer], label=PEERS[peer].title)
    panel.set_ylabel("MiB")
