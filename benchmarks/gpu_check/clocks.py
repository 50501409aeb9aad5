"""What the driver says of the device: its state while figures are taken. Nothing is ever set."""

from __future__ import annotations

import subprocess

_FIELDS = {
    "clocks.sm": "sm_mhz",
    "clocks.mem": "memory_mhz",
    "power.draw": "watts",
    "temperature.gpu": "celsius",
    "memory.used": "used_mib",
}


def query(*fields: str) -> list[str]:
    """Ask nvidia-smi for fields of the first device; empty where it cannot be asked."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits", "--id=0"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return []
    return [value.strip() for value in result.stdout.split(",")]


def read_clocks() -> dict[str, str]:
    """Clocks, power, temperature and used memory now."""
    return dict(zip(_FIELDS.values(), query(*_FIELDS)))
