"""NumPy's side: products by the BLAS that its wheel brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
from workload import matrices


def set_threads(threads: int) -> None:
    """Use so many threads."""
    threadpool_limits(threads)


def verify() -> dict[str, Any]:
    """Say what runs."""
    (blas,) = (found for found in threadpool_info() if found["user_api"] == "blas")
    return {
        "library": f"NumPy {np.__version__}, {blas['internal_api']} {blas['version']}",
        "kernel": blas["architecture"],
        "threads": blas["num_threads"],
    }


def gemm(m: int, n: int, k: int) -> Callable[[], object]:
    """One product."""
    a, b = matrices(m, n, k)
    return lambda: a @ b


CASES = {"gemm": gemm}
