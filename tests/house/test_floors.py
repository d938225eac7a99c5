"""Right: the floors and folders of tools/floors.py hold."""

from __future__ import annotations

import ast

import floors
import pytest


@pytest.mark.parametrize("name", floors.MODULES)
def test_imports_go_downwards(name: str) -> None:
    assert floors.climbs(name) == []


def test_every_module_has_a_floor() -> None:
    assert floors.homeless() == []


def test_folders_are_small_or_say_why() -> None:
    assert set(floors.crowded()) == set(floors.CROWDED)


def test_nothing_is_left_to_say() -> None:
    assert floors.faults() == []


def test_it_would_see_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ast.parse("def f():\n    from majelpy.train import loop\n    from . import gemm")
    assert list(floors.imported(tree)) == ["majelpy.train.loop", "."]
    for name in ("majelpy.ops.gemm", "majelpy.attic.old"):
        monkeypatch.setitem(floors.MODULES, name, tree)
    assert floors.climbs("majelpy.ops.gemm") == ["majelpy.train.loop", "."]
    assert floors.homeless() == ["majelpy.attic.old"]
    assert floors.faults() == ["majelpy.attic.old: on no floor of tools/floors.py"]
    monkeypatch.delitem(floors.MODULES, "majelpy.attic.old")
    assert floors.faults() == [
        "majelpy.ops.gemm imports majelpy.train.loop, which is not below it",
        "majelpy.ops.gemm imports ., which is not below it",
    ]
    monkeypatch.setattr(floors, "MOST", 1000)
    assert floors.crowded() == {}
