"""All results on one page: ``python -m benchmarks`` measures what is missing and writes RESULTS.md.

A row takes up to a minute and a half. Each is stored as soon as it is measured, in
``results/<machine>.json``; rows of another commit count as missing.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import sys
from pathlib import Path

from pycaffe_like.roofline import Machine

from .compare import DIFFERENT, check_agreement, describe, measure
from .machine import describe_machine, file_stem
from .matrix import is_wanted, list_tasks
from .page import page
from .peak import measure_peak
from .peers import checked_as
from .plots import draw
from .result import Result, Store, regressions
from .task import Task, add_run_options

QUICK_PAIRS = 6


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the nets")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder of RESULTS.md")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="WORD",
        help="rows that have all these words: --only lenet,vgg16 train float32; --only infer b1 openvino",
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"the main peers alone, and {QUICK_PAIRS} pairs of blocks"
    )
    parser.add_argument("--again", action="store_true", help="measure rows anew that are up to date")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page")
    parser.add_argument(
        "--check", action="store_true", help="exit with status 1 if a row fell behind the baseline"
    )
    parser.add_argument("--accept", action="store_true", help="make the results the new baseline")
    add_run_options(parser)
    options = parser.parse_args(arguments)
    if options.quick:
        options.pairs = QUICK_PAIRS
    return options


def main(arguments: list[str]) -> int:
    """Measure, write the page, compare with the baseline; returns the exit status."""
    options = parse_options(arguments)
    folder = options.output / "results"
    store = Store(folder / f"{file_stem()}.json")
    if not options.page:
        measure_rows(store, options)
    if not store.rows:
        print("there are no results to write a page of", file=sys.stderr)
        return 1
    pictures = [path.relative_to(options.output).as_posix() for path in draw(store, folder)]
    (options.output / "RESULTS.md").write_text(page(store, pictures))
    baseline = folder / f"{file_stem()}-baseline.json"
    fallen = _report_regressions(store, Store(baseline))
    if options.accept:
        shutil.copyfile(store.path, baseline)
    return 1 if options.check and fallen else 0


def measure_rows(store: Store, options: argparse.Namespace) -> None:
    """Measure the rows that are wanted and not there yet."""
    machine = measure_peak(options.threads)
    store.machine = describe_machine(machine, options.threads)
    for task in list_tasks(options.models, quick=options.quick):
        empty = describe(task, task.engine, options.threads)
        old = store.rows.get(empty.key)
        done = old is not None and old.code == empty.code and not old.problem
        if is_wanted(empty.key, options.only) and (options.again or not done):
            print(empty.key, end="  ", flush=True)
            store.add(_measure_row(task, empty, store, options, machine))
            print(_outcome(store.rows[empty.key]), flush=True)


def _measure_row(
    task: Task, empty: Result, store: Store, options: argparse.Namespace, machine: Machine
) -> Result:
    checked = _known_agreement(empty, store) or check_agreement(task, options.threads)
    return measure(task, dataclasses.replace(empty, **checked), options, machine)


def _known_agreement(empty: Result, store: Store) -> dict[str, str] | None:
    """What was found of this commit's net beside this peer; batch and precision do not matter to it."""

    def what_is_compared(row: Result) -> tuple[str, ...]:
        return row.net, row.mode, row.code, checked_as(row.peer)

    for row in store.rows.values():
        if row.agreement and what_is_compared(row) == what_is_compared(empty):
            return {"agreement": row.agreement, "problem": row.problem if row.problem == DIFFERENT else ""}
    return None


def _outcome(result: Result) -> str:
    if result.problem:
        return f"no result: {result.problem}"
    low, median, high = result.ratio
    return f"{median:.2f} ({low:.2f}-{high:.2f})"


def _report_regressions(now: Store, baseline: Store) -> bool:
    """Print the rows that fell behind; returns whether there are any."""
    fallen = regressions(now, baseline)
    for new, old in fallen:
        print(f"behind the baseline: {new.key}  {_outcome(new)}, was {_outcome(old)} in {old.code}")
    return bool(fallen)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
