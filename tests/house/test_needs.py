"""No skip is silent: what lacks is named, and where it is required the test fails."""

from __future__ import annotations

import ast
from pathlib import Path

import needs
import pytest
from paths import TESTS

FILES = sorted(TESTS.rglob("*.py"))


def test_what_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAJELPY_REQUIRE", "mpi")
    with pytest.raises(pytest.skip.Exception, match=r"^torch: the package no_torch is not inst"):
        needs.module("torch", "no_torch")
    with pytest.raises(pytest.skip.Exception, match=r"^clang: there is no no-clang: buy one$"):
        needs.program("clang", "no-clang", "buy one")


def test_what_is_required_and_lacks_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAJELPY_REQUIRE", "mpi,torch")
    with pytest.raises(pytest.fail.Exception, match=r"^MAJELPY_REQUIRE has torch: the package"):
        needs.module("torch", "no_torch")


def test_what_is_there_is_returned() -> None:
    assert needs.module("torch", "ast") is ast
    assert Path(needs.program("clang", "sh", "")).exists()


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_tests_skip_by_this_module_alone(path: Path) -> None:
    if path.name in ("needs.py", "test_needs.py"):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            assert node.attr not in ("skip", "skipif", "importorskip"), f"line {node.lineno}"
