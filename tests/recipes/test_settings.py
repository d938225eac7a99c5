"""Typed settings from tables: every message names the key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest

from majelpy.errors import RecipeError
from majelpy.settings import assign, parse, setting


@dataclass(frozen=True)
class Inner:
    rate: float = setting(0.5, least=0, most=1, help="rate")
    momentum: float = setting(0.9, help="momentum")
    count: int = setting(3, least=1, help="count")


@dataclass(frozen=True)
class Outer:
    inner: Inner
    path: str = setting(help="path of the corpus")
    sizes: tuple[int, ...] = setting((4, 5), least=1, most=9, help="sizes")
    mode: str = setting("error", choices=("error", "drop"), help="mode")
    fast: bool = setting(False, help="fast")


def test_defaults_and_values() -> None:
    assert parse(Outer, {"path": "x"}, "r.toml") == Outer(Inner(), "x")
    table = {
        "path": "p",
        "sizes": [1, 9],
        "mode": "drop",
        "fast": True,
        "inner": {"rate": 1, "momentum": -2.5, "count": 7},
    }
    found = parse(Outer, table, "r.toml")
    assert found == Outer(Inner(1.0, -2.5, 7), "p", (1, 9), "drop", True)
    assert type(found.inner.rate) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pathh": 1}, "unknown key 'pathh'; did you mean 'path'?"),
        ({"inner": {"momentun": 1.0}}, "unknown key 'inner.momentun'; did you mean 'momentum'?"),
        ({"inner": {"zzz": 1}}, "unknown key 'inner.zzz'; 'inner' has rate, momentum, count"),
        ({"zzz": 1}, "unknown key 'zzz'; the top level has inner, path, sizes, mode, fast"),
        ({"path": 3}, "path is 3; needs a text in quotes"),
        ({"inner": 3}, "inner is 3; needs a table of settings"),
        ({"inner": {"count": 1.0}}, "inner.count is 1.0; needs an integer"),
        ({"inner": {"count": True}}, "inner.count is True; needs an integer"),
        ({"inner": {"rate": "0.1"}}, "inner.rate is '0.1'; needs a number"),
        ({"inner": {"rate": True}}, "inner.rate is True; needs a number"),
        ({"fast": 1}, "fast is 1; needs true or false"),
        ({"sizes": 4}, "sizes is 4; needs a list, each entry an integer"),
        ({"sizes": []}, "sizes is empty; needs at least one entry"),
        ({"sizes": [4, "5"]}, "sizes[1] is '5'; needs an integer"),
        ({"sizes": [4, 0]}, "sizes[1] is 0; needs at least 1 and at most 9"),
        ({"mode": "ignore"}, "mode is 'ignore'; needs one of error, drop"),
        ({"inner": {"rate": 1.5}}, "inner.rate is 1.5; needs at least 0 and at most 1"),
        ({"inner": {"count": 0}}, "inner.count is 0; needs at least 1"),
        ({"inner": {"momentum": float("nan")}}, "inner.momentum is nan; needs a finite float32"),
        ({"inner": {"momentum": 1e39}}, "inner.momentum is 1e+39; needs a finite float32"),
    ],
)
def test_messages(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=f"^{re.escape('r.toml: ' + message)}$"):
        parse(Outer, {"path": "x"} | change, "r.toml")


def test_a_missing_setting_is_explained() -> None:
    with pytest.raises(RecipeError, match=r"^r\.toml: 'path' is missing: path of the corpus$"):
        parse(Outer, {}, "r.toml")


def test_the_bounds_themselves_are_allowed() -> None:
    for rate in (0, 1, 0.0, 1.0):
        assert parse(Inner, {"rate": rate}, "x").rate == rate


def test_assign_makes_tables() -> None:
    table: dict[str, Any] = {"a": 1, "t": {"x": 1}}
    assign(table, "t.y", 2)
    assign(table, "new.deep.key", 3)
    assign(table, "a", 4)
    assert table == {"a": 4, "t": {"x": 1, "y": 2}, "new": {"deep": {"key": 3}}}
    with pytest.raises(RecipeError, match=r"^--set a\.b: 'a' is a setting, not a table$"):
        assign(table, "a.b", 1)


def test_a_default_must_not_be_a_list() -> None:
    with pytest.raises(TypeError, match="mutable"):
        setting([1], help="x")
