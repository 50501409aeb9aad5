"""Runs the check: ``python -m benchmarks.gpu_check``. Needs nothing but Python's own library itself.

Builds the GPU part, tests it, and measures it beside PyTorch. Results lie in `--output` after every step.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from .program import ROOT, Settings, choose, make_stages
from .report import Report
from .step import PASSED, SKIPPED, Runner
from .wheels import download_arguments, site_folder

RESULTS = Path(__file__).parents[1] / "results"


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--seconds", type=float, default=480, help="for everything; least important last")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help="folder for gpu-check.json, .md and .log"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "gpu", help="to build and work in")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install before the build")
    parser.add_argument("--list-wheels", action="store_true", help="print how pip downloads them, and stop")
    parser.add_argument("--fashion-mnist", type=Path, help="folder of the data set's four files")
    parser.add_argument("--only", nargs="+", default=[], metavar="STEP", help="steps that begin so")
    parser.add_argument("--skip", nargs="+", default=[], metavar="STEP", help="not the steps that begin so")
    parser.add_argument("--list", action="store_true", help="print the steps and stop")
    parser.add_argument("--commit", default="", help="name of what is measured, where git cannot tell")
    parser.add_argument("--emulated", action="store_true", help="rehearse on the emulated GPU")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run the steps, print the page; returns 1 if a step failed."""
    options = parse_options(arguments)
    if options.list_wheels:
        print("python3 -m pip", *download_arguments(), "-d WHEELS")
        return 0
    settings = Settings(options.folder, options.wheels, options.fashion_mnist, options.emulated)
    stages = choose(make_stages(settings), options.only, options.skip)
    if options.list:
        print(*("  ".join(step.name for step in stage) for stage in stages), sep="\n")
        return 0
    logs = options.folder / "check"
    logs.mkdir(parents=True, exist_ok=True)
    report = Report(options.output, logs, options.commit)
    runner = Runner(logs, environment(options.folder), options.seconds, report.add)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and so end what runs
    try:
        runner.run(stages)
    finally:
        print(f"\n{report.page}", flush=True)
    return 0 if all(item.status in (PASSED, SKIPPED) for item in runner.outcomes.values()) else 1


def environment(folder: Path) -> dict[str, str]:
    """Variables of all steps: the package that is built, then its wheels, then these benchmarks."""
    places = [folder / "package", site_folder(folder / "wheels"), ROOT]
    paths = [str(place.resolve()) for place in places]
    return {
        "PYTHONPATH": os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "XDG_CACHE_HOME": str((folder / "cache").resolve()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 2) // 4))),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
