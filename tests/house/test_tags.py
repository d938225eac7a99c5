"""Right: each tag of a message is of the one list, and has one user."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from floors import MODULES

from majelpy.comm.tags import Tag

TAGGED = {"send": 2, "receive": 2, "Isend": 2, "Irecv": 2, "Message": 2, "Tag": 0}
"""What takes a tag, and at which place."""


def tag_literals(tree: ast.Module) -> Iterator[ast.expr]:
    """Yield the expressions of a file that make a tag of a number."""

    def numbers(value: ast.expr) -> bool:
        return any(isinstance(n, ast.Constant) and type(n.value) is int for n in ast.walk(value))

    for node in ast.walk(tree):
        found: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = (
                node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
            )
            if name in TAGGED:
                found = node.args[TAGGED[name] :]
            found = [*found, *(k.value for k in node.keywords if k.arg == "tag")]
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {n.id.lower() for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
            if any(re.search(r"(^|_)tags?(_|$)", name) for name in names):
                found = [node.value]
        yield from (value for value in found if numbers(value))


@pytest.mark.parametrize("name", sorted({*MODULES} - {"majelpy.comm.tags"}))
def test_tags_are_of_the_one_list(name: str) -> None:
    assert not [ast.unparse(value) for value in tag_literals(MODULES[name])]


def test_the_parser_would_see_a_tag_of_ones_own() -> None:
    for wrong in ("_TAG = 7", "_NODE_TAG, _BOX_TAG = 3, 4", "TAG: int = 3", "w.send(x, 1, 7)",
                  "w.receive(x, rank, 2 * lane + 1)", "m(x, tag=0)", "Tag(3)"):  # fmt: skip
        assert list(tag_literals(ast.parse(wrong))), wrong
    for right in ("w.send(x, 1, Tag.NODES)", "node_tag, result_tag = LANE_TAGS[lane]", "stage = 3"):
        assert not list(tag_literals(ast.parse(right))), right


def test_each_tag_has_one_user() -> None:
    assert len({*Tag}) == len(Tag.__members__)  # no alias
    assert all(0 <= tag <= 32767 for tag in Tag)  # what MPI promises at least
    for tag in Tag:
        users = [name for name, tree in MODULES.items() if f"Tag.{tag.name}" in ast.unparse(tree)]
        assert len(users) == 1, (tag, users)
