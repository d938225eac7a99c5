"""Cases that only `scripts/test --all` runs, as CI does: more of what the others show."""

from __future__ import annotations

from typing import Any

import pytest


def extra(*cases: Any) -> list[Any]:
    """Return cases of `parametrize` with the mark; a tuple has the values of several names."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.extra)
        for case in cases
    ]
