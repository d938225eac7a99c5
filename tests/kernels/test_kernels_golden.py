"""Every kernel gives the digests of tests/golden/kernels.json: on any ISA, with any threads.

The file changes by `python tools/make_golden.py` alone.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence

import make_golden
import numpy as np
import pytest
from extras import extra
from makers import digest
from paths import ROOT

from majelpy import ARITHMETIC, native

THREADS = ("1", "2", "3", "5")
FEWER = dict(zip(native.available_isas(), itertools.cycle(THREADS[::-1]), strict=False))
"""A number of threads for each instruction set, where not all are tried with each."""
GOLDEN = json.loads(make_golden.PATH.read_text())


def test_every_kernel_has_a_digest() -> None:
    header = ROOT / "kernels" / "entry_points.h"
    kernels = set(native.parameters_of(header.read_text())) - {"mj_set_threads", "mj_set_alone"}
    assert {name.split()[0] for name in make_golden.CASES} == kernels
    assert set(make_golden.CASES) == set(GOLDEN["digests"])
    assert len(set(GOLDEN["digests"].values())) == len(make_golden.CASES)


def test_the_digests_are_of_this_arithmetic() -> None:
    assert GOLDEN["arithmetic"] == ARITHMETIC


@pytest.mark.parametrize("kernel", make_golden.CASES)
def test_unchanged(kernel: str) -> None:
    found = make_golden.outputs(kernel)
    assert digest(*found) == GOLDEN["digests"][kernel], (
        f"{kernel} gives other bits; if that is wanted, raise majelpy.ARITHMETIC"
    )


@pytest.mark.parametrize("kernel", make_golden.CASES)
def test_no_output_is_nan_or_all_zero(kernel: str) -> None:
    for found in make_golden.outputs(kernel):
        assert not np.isnan(found).any() and found.any()


@pytest.mark.parametrize(
    ("isa", "threads"),
    [
        *((isa, [count]) for isa, count in FEWER.items()),
        *extra(*((isa, THREADS) for isa in FEWER)),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_same_on_every_isa_with_any_threads(isa: str, threads: Sequence[str]) -> None:
    done = subprocess.run(
        [sys.executable, make_golden.__file__, "--print", *threads],
        env=os.environ | {"MAJELPY_ISA": isa},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(threads)
    for count, line in zip(threads, lines, strict=True):
        found = json.loads(line)
        wrong = [kernel for kernel, value in GOLDEN["digests"].items() if found[kernel] != value]
        assert not wrong, f"{isa} with {count} threads gives other bits of {', '.join(wrong)}"


def test_the_digest_sees_one_bit() -> None:
    found = make_golden.outputs("mj_add_arrays")
    changed = [x.copy() for x in found]
    changed[1].view(np.uint32)[-1] ^= 1
    assert digest(*changed) != digest(*found)
