"""Measures of a machine that take a moment."""

from __future__ import annotations

from majelpy.plan import measure

QUICK = measure.Effort(
    (4,), (16,), (16, 64), (2,), (16,), (3,), vector=1 << 12, seconds=1e-4, rounds=1
)
"""Measures in a moment."""
