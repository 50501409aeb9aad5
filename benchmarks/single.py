"""One task beside one or more peers, from the command line to the printed table."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from .compare import check_agreement, describe, measure
from .page import table
from .peak import measure_peak
from .task import Task


def run(task: Task, options: argparse.Namespace) -> int:
    """Check, time and print one task; returns the exit status."""
    machine = measure_peak(options.threads)
    rates = ", ".join(f"{rate:,.0f} GFLOP/s in {name}" for name, rate in machine.gflops.items())
    print(f"peak: {rates}; copies at {machine.gbytes:.0f} GB/s", file=sys.stderr)
    results = []
    for peer in options.peer:
        rival = task.run_by(peer)
        result = dataclasses.replace(
            describe(task, peer, options.threads), **check_agreement(rival, options.threads)
        )
        results.append(measure(rival, result, options, machine))
    print("\n".join(table(results)))
    return 1 if any(result.problem for result in results) else 0
