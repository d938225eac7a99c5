"""File systems that are soon full."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import needs


@contextmanager
def mounted(folder: Path, kibibytes: int) -> Iterator[Path]:
    """Mount a file system of that size; only root can."""
    folder.mkdir()
    size = f"size={kibibytes}k"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        needs.lacking("tmpfs", "needs the right to mount one")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
