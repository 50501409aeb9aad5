"""Results as a Markdown page."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from .matrix import TRAIN_BATCHES
from .peers import PEERS
from .result import Result, Store

HEADER = (
    "| net | batch | beside | speed ratio (25-75 %) | ours, ms | theirs, ms | ours, % of peak "
    "| theirs, % of peak | ours, MiB | theirs, MiB | pairs kept/discarded | code |\n"
    "|---|---:|---|" + "---:|" * 8 + "---|"
)

_CAFFE = """
*im2col + sgemm* is not Caffe: it is Caffe's algorithm for convolutions and inner products, image by image
in NumPy with NumPy's OpenBLAS, and nothing else of the net. Caffe itself takes longer by all the rest. BVLC
Caffe is not here because no wheel of it was found for a current Python; the package `caffe` of PyPI is an
empty placeholder."""

Section = tuple[str, str, int]  # mode, precision, batch (0 for training, where each net has its own)


def table(results: Sequence[Result]) -> Iterator[str]:
    """Lines of one table."""
    yield HEADER
    for result in results:
        start = f"| {result.net} | {result.batch} | {PEERS[result.peer].title} |"
        yield f"{start} {' | '.join(_cells(result))} |"


def _cells(result: Result) -> list[str]:
    if result.problem:
        return [f"no result: {result.problem}", *[""] * 7, result.code]
    low, median, high = result.ratio
    return [
        f"**{median:.2f}** ({low:.2f}-{high:.2f})",
        *(f"{ms:,.3f}" if ms < 10 else f"{ms:,.1f}" for ms in result.ms),
        *(f"{share:.0%}" for share in result.share),
        *(f"{mib:,.0f}" for mib in result.mib),
        f"{result.kept}/{result.discarded}",
        result.code,
    ]


def page(store: Store, plots: Sequence[str]) -> str:
    """The whole page; `plots` are paths of pictures beside it."""
    return "\n".join(_lines(store, plots)) + "\n"


def _lines(store: Store, plots: Sequence[str]) -> Iterator[str]:
    sections = by_section(store)
    yield "# Results\n"
    yield "Written by `python -m benchmarks`; how it measures is told in [README.md](README.md).\n"
    yield from _machine_lines(store)
    yield from (f"![{path}]({path})" for path in plots)
    yield "\n## Geometric means of the speed ratios, with the number of nets\n"
    yield from _summary(sections)
    for section, results in sections.items():
        yield f"\n## {title(section)}\n"
        yield from table(results)
    if any(row.peer == "im2col" for row in store.rows.values()):
        yield _CAFFE


def _machine_lines(store: Store) -> Iterator[str]:
    machine = store.machine
    dates = sorted(result.date for result in store.rows.values())
    peaks = ", ".join(f"{rate:,.0f} GFLOP/s {name}" for name, rate in machine["gflops"].items())
    yield f"- {machine['name']}; {machine['system']}"
    yield f"- {machine['threads']} threads; peaks: {peaks}, copies at {machine['copy_gbytes']:.0f} GB/s"
    yield f"- beside {', '.join(machine['versions'])}"
    yield f"- measured from {dates[0]} to {dates[-1]}; the last column names the commit\n"


def by_section(store: Store) -> dict[Section, list[Result]]:
    """Results by mode, precision and batch, in each the nets from small to large."""
    nets, peers = list(TRAIN_BATCHES), list(PEERS)

    def place(result: Result) -> tuple[int, int]:
        return nets.index(result.net) if result.net in nets else len(nets), peers.index(result.peer)

    sections: dict[Section, list[Result]] = {}
    for result in sorted(store.rows.values(), key=place):
        batch = 0 if result.mode == "train" else result.batch
        sections.setdefault((result.mode, result.precision, batch), []).append(result)
    return dict(
        sorted(
            sections.items(), key=lambda item: (item[0][0] != "train", item[0][2], item[0][1] != "float32")
        )
    )


def title(section: Section) -> str:
    """Name of a section."""
    mode, precision, batch = section
    return f"Training, {precision}" if mode == "train" else f"Inference, {precision}, batch {batch}"


def _summary(sections: dict[Section, list[Result]]) -> Iterator[str]:
    yield "| | " + " | ".join(peer.title for peer in PEERS.values()) + " |"
    yield "|---|" + "---:|" * len(PEERS)
    for section, results in sections.items():
        yield f"| {title(section)} | " + " | ".join(_mean(results, peer) for peer in PEERS) + " |"


def _mean(results: Sequence[Result], peer: str) -> str:
    ratios = [result.ratio[1] for result in results if result.peer == peer and not result.problem]
    return f"{statistics.geometric_mean(ratios):.2f} ({len(ratios)})" if ratios else "-"
