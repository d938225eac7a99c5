"""The machine that a benchmark ran on: its name, and its peaks as measured."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).parent / "peak.cpp"
FLAGS = ("-O3", "-march=native", "-ffp-contract=fast", "-std=gnu++17", "-pthread")


def processor() -> str:
    """Return the processor's name."""
    try:
        found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found.group(1) if found else platform.machine()


def peaks(threads: list[int]) -> dict[str, Any]:
    """Return operations and bytes a second that so many threads reach in a loop of C++."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise SystemExit("benchmarks: no C++ compiler to measure the machine's peak with")
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / "peak")
        subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", program], check=True)

        def measure(what: str, count: int) -> float:
            command = [program, what, str(count)]
            return float(subprocess.run(command, capture_output=True, check=True).stdout)

        return {
            "processor": processor(),
            "cores": os.cpu_count(),
            "fma_flops": {str(n): measure("fma", n) for n in threads},
            "triad_bytes": {str(n): measure("triad", n) for n in threads},
        }
