"""What the results belong to: processor, system, versions and peaks."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from pycaffe_like.roofline import Machine

from .peers import PEERS

_FIELDS = ("model name", "cpu family", "model")


def machine_name() -> str:
    """Name for files and titles, such as "AMD EPYC, family 25, model 17, 2 processors"."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines())
    values = {name.strip(): value.strip() for name, _, value in lines}
    name, family, model = (values.get(field, "unknown") for field in _FIELDS)
    return f"{name}, family {family}, model {model}, {os.cpu_count()} processors"


def file_stem() -> str:
    """The machine's name with nothing but letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", machine_name().lower()).strip("-")


def describe_machine(peaks: Machine, threads: int) -> dict[str, Any]:
    """Facts that go into the file of results."""
    return {
        "name": machine_name(),
        "system": f"{platform.system()}, {' '.join(platform.libc_ver())}, Python {platform.python_version()}",
        "threads": threads,
        "gflops": {name: round(rate, 1) for name, rate in peaks.gflops.items()},
        "copy_gbytes": round(peaks.gbytes, 1),
        "versions": sorted({peer.version for peer in PEERS.values()} | {f"oneDNN {_onednn()}"}),
    }


def _onednn() -> str:
    try:
        return f"wheel {metadata.version('onednn-cpu-gomp')}"
    except metadata.PackageNotFoundError:
        return "of this build"
