"""What the stages of `scripts/gpu_check` share: results, the GPU, a pool of some size, children."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

Result = dict[str, Any]


def not_run(why: str) -> Result:
    """Return the result of a stage that this machine cannot run."""
    return {"ok": True, "not run": why}


def gpu(number: int = 0) -> Any:
    """Return a GPU's launcher."""
    from majelpy.gpu.device import device
    from majelpy.memory.place import Place

    return device(Place("gpu", number))


@contextmanager
def pool_of(nbytes: int, **options: Any) -> Iterator[Any]:
    """Let new arrays on the first GPU use a pool of that size."""
    from majelpy.memory.place import Place
    from majelpy.memory.pool import Pool, set_pool

    pool = Pool(nbytes, Place("gpu", 0), report=lambda line: None, **options)
    before = set_pool(pool)
    try:
        yield pool
    finally:
        if before is not None:
            set_pool(before)


def child(
    words: Sequence[str], limit: float, variables: dict[str, str] | None = None
) -> tuple[int | None, str, str]:
    """Return exit code and texts of a program; None is the code where it did not end in time."""
    found = os.environ | (variables or {}) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(words, env=found, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None, "", f"not ended within {limit:.0f} s"
    return done.returncode, done.stdout, done.stderr


def last_line(text: str) -> str:
    """Return the last line of a text, or nothing."""
    return (text.strip().splitlines() or [""])[-1]
