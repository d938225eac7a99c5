"""Ordinary memory that this process may still take, as far as the system says.

Policy. The least of what the machine has free, what the control groups of the process leave (a
batch system or a container sets them), and what its own limit leaves. Pages that only hold copies
of files count as free. What a system does not tell does not limit.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def free_bytes() -> int:
    """Return the bytes of memory that this process may still take."""
    return max(0, min([_of_machine(), *_of_groups(), *_of_limit()]))


def _of_machine() -> int:
    page = os.sysconf("SC_PAGE_SIZE")
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        known = {line.partition(":")[0]: int(line.split()[1]) << 10 for line in lines}
        free = known["MemAvailable"]
        if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2":
            free = min(free, known["CommitLimit"] - known["Committed_AS"])
    except (OSError, ValueError, KeyError, IndexError):
        return os.sysconf("SC_PHYS_PAGES") * page  # a system without these files
    return free


def _of_groups() -> Iterator[int]:
    """What each control group that the process is in leaves, in both versions of the files."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            root, files = _GROUPS, ("memory.max", "memory.current", "inactive_file")
        elif controllers == "memory":
            root = _GROUPS / "memory"
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        inner = root / path.lstrip("/")
        for folder in (inner, *inner.parents):
            yield from _left(folder, *files)
            if folder == root:
                break


def _left(folder: Path, most: str, used: str, cached: str) -> Iterator[int]:
    try:
        limit, now = (folder / most).read_text(), (folder / used).read_text()
        lines = (folder / "memory.stat").read_text().splitlines()
        files = sum(int(line.split()[1]) for line in lines if line.split()[0] == cached)
        yield int(limit) - int(now) + files
    except (OSError, ValueError, IndexError):  # no such group here, or "max": no limit
        return


def _of_limit() -> Iterator[int]:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        pages = 0
    yield soft - pages * os.sysconf("SC_PAGE_SIZE")
