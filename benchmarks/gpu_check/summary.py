"""The result of a check as a page that fits on a screen or two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Figures = dict[str, Any]

_WORST_SHOWN = 3
_LONGEST_PART = 120


def page(content: dict[str, Any]) -> str:
    """Make the page of what is known so far."""
    return "\n".join(_lines(content)) + "\n"


def _lines(content: dict[str, Any]) -> Iterator[str]:
    steps = {name: step["figures"] for name, step in content["steps"].items()}
    yield "# GPU check\n"
    yield "Written by `python -m benchmarks.gpu_check`; the README beside tells what each step does.\n"
    yield f"- {content['date']}, commit {content['commit'] or 'unknown'}, {content['seconds']:.0f} s"
    yield from _device(steps.get("device", {}))
    yield "\n## Steps\n"
    yield from _table(("step", "outcome", "s", "found"), _step_rows(content["steps"]))
    for title, make in _SECTIONS.items():
        lines = _section(make, steps)
        if lines:
            yield f"\n## {title}\n"
            yield from lines


def _section(make: Callable[[dict[str, Figures]], Iterator[str]], steps: dict[str, Figures]) -> list[str]:
    """Lines of a section; figures that it does not understand cost no more than the section."""
    try:
        return list(make(steps))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return [f"cannot be shown: {error!r}"]


def _device(figures: Figures) -> Iterator[str]:
    device = figures.get("device", {})
    if device:
        yield "- " + ", ".join(f"{name} {value}" for name, value in device.items())
    rates = [f"{name} {figures[name]}" for name in _RATES if name in figures]
    if rates:
        yield f"- PyTorch {figures.get('torch', '')} measured: {', '.join(rates)}"
    if "machine" in figures:
        yield f"- {figures['machine']}, {figures['system']}"


_RATES = ("copy_gbytes", "bfloat16_tflops", "tf32_tflops", "float32_tflops")


def _step_rows(steps: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, step in steps.items():
        yield name, step["status"], f"{step['seconds']:.0f}", _found(step)


def _found(step: Figures) -> str:
    """One line about a step."""
    figures, last_line = step["figures"], (step["tail"].splitlines() or [""])[-1]
    parts = [f"{name} {figures[name]}" for name in _TOLD if figures.get(name) not in (None, [], "")]
    parts += [f"{name}: {figures[name]}" for name in ("float32", "bfloat16") if name in figures]
    parts += [test.rpartition(".")[2] for test in figures.get("failures", [])[:_WORST_SHOWN]]
    if step["status"] in ("failed", "skipped") and not figures.get("failures"):
        parts.insert(0, last_line)
    return ", ".join(part[:_LONGEST_PART] for part in parts).replace("|", "/")


_TOLD = (
    *("compile_seconds", "tests", "skipped", "failed", "errors"),
    *("accuracies", "known_accuracy", "recording"),
)  # fmt: skip


def _parity(steps: dict[str, Figures]) -> Iterator[str]:
    """What the tests of parity have recorded, one line a layer."""
    errors: dict[str, dict[str, str]] = {}
    for figures in steps.values():
        for recorded in figures.get("recorded", {}).values():
            if "parity" in recorded:
                row = errors.setdefault(recorded["parity"], {})
                row[recorded["precision"]] = recorded["error"]
    precisions = ("float32", "bfloat16")
    rows = [(name, *(row.get(precision, "-") for precision in precisions)) for name, row in errors.items()]
    if rows:
        yield from _table(("layer or net", *precisions), sorted(rows))


def _speed(steps: dict[str, Figures]) -> Iterator[str]:
    rows = [
        (
            figures["net"],
            figures["batch"],
            figures["peer"],
            *(f"{rate:,.0f}" for rate in figures["images_per_second"]),
            "**{1:.2f}** ({0:.2f}-{2:.2f})".format(*figures["ratio"]),
            _percent(figures.get("of_peak")),
            *(_memory(sizes) for sizes in figures["device_mib"]),
            _sm_clock(figures),
        )
        for figures in steps.values()
        if "ratio" in figures
    ]
    if rows:
        titles = ("net", "batch", "beside", "ours, img/s", "theirs, img/s", "ratio (25-75 %)")
        yield from _table((*titles, "of peak", "ours, MiB", "theirs, MiB", "MHz"), rows)


def _memory(sizes: dict[str, int]) -> str:
    return ", ".join(f"{size:,} {name}" for name, size in sizes.items())


def _sm_clock(figures: Figures) -> str:
    clocks = (figures.get(f"clocks_{moment}", {}).get("sm_mhz", "") for moment in ("before", "after"))
    return " - ".join(filter(None, clocks))


def _timelines(steps: dict[str, Figures]) -> Iterator[str]:
    shown = {name: figures for name, figures in steps.items() if "step_ms" in figures}
    if not shown:
        return
    names = ("step_ms", "step_ms_three_ahead", "busy_ms", "kernels_a_step")
    rows = [
        (f["net"], f["engine"], *(f.get(name, "-") for name in names), _percent(f.get("idle_share")))
        for f in shown.values()
    ]
    titles = ("net", "engine", "step, ms", "three ahead, ms", "busy, ms", "kernels", "idle")
    yield from _table(titles, rows)
    for figures in shown.values():
        longest = list(figures.get("longest_kernels_ms", {}).items())[:8]
        if longest:
            yield f"\n{figures['net']}, {figures['engine']}, ms a step: " + "; ".join(
                f"`{name[:60]}` {ms:.3f}" for name, ms in longest
            )


def _kernels(steps: dict[str, Figures]) -> Iterator[str]:
    kernels = steps.get("kernels", {}).get("kernels", {})
    if kernels:
        rows = (
            (name, row["ms"], f"{row['gbytes']:,}", _percent(row["of_copy"])) for name, row in kernels.items()
        )
        yield from _table(("kernel", "ms", "GB/s", "of a copy"), rows)


def _roofs(steps: dict[str, Figures]) -> Iterator[str]:
    for step, figures in steps.items():
        if "types" not in figures:
            continue
        rows = (
            (name, int(row["steps"]), row["ms"], f"{row['gbytes']:,}", _percent(row["of_roof"]))
            for name, row in list(figures["types"].items())[:10]
        )
        yield from _table((step, "steps", "ms", "GB/s", "of roof"), rows)
        yield "\nMost lost: " + "; ".join(figures["most_lost"][:_WORST_SHOWN]) + "\n"


_SECTIONS = {
    "Parity with the CPU: largest error relative to the largest value": _parity,
    "Training beside PyTorch, bfloat16": _speed,
    "Timelines of training steps": _timelines,
    "Memory-bound kernels, bfloat16": _kernels,
    "Steps of nets beside their roofs": _roofs,
}


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _table(titles: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield "|---" * len(titles) + "|"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
