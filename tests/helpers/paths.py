"""Where things lie in the checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

TESTS = ROOT / "tests"
HELPERS = TESTS / "helpers"
BUILDS = "MAJELPY_TEST_BUILDS"
"""Variable with the folder of what tests build once, for processes with a TMPDIR of their own."""

GOLDEN = TESTS / "golden"
"""Digests that must not change; tools/make_golden.py makes them."""

PROGRAMS = HELPERS / "mpi_programs"
"""Programs that tests start under mpirun."""
