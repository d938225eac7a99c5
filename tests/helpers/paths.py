"""Where things lie in the checkout."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

TESTS = ROOT / "tests"
HELPERS = TESTS / "helpers"
GOLDEN = TESTS / "golden"
"""Digests that must not change; tools/make_golden.py makes them."""

PROGRAMS = HELPERS / "mpi_programs"
"""Programs that tests start under mpirun."""
