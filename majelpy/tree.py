r"""The one tree by which leaf results are added: pure integers, no floats, no MPI.

A minibatch has K leaves, and their vectors are added by one binary tree: a node over n
leaves has the first p of them as its left child, where p is the largest power of two
below n. The tree depends on K alone; ranks only choose *where* a node is added::

    leaves   0   1   2 | 3   4   5 | 6   7       8 leaves on 3 ranks: 0-2, 3-5, 6-7
              \ /     \ /      \ /      \ /
              01       23       45       67      rank 0 is left with 01, 2
                \     /          \      /        rank 1            with 3, 45
                 0123              4567          rank 2            with 67
                     \            /
                          root                   the same expression for every world

A *node* is a half-open range ``(first, last)`` of leaves. Whoever adds does so with a
stack: take the items in ascending order, push each, and after pushing item i add the top
two entries ``merges[i]`` times (``stack[-2] = stack[-2] + stack[-1]``, then pop). Two
entries are added exactly when they are siblings of the tree, so what is left are the
maximal subtrees of the items, in order, and a stack position is a slot of memory. Items may
leave gaps: a rank that has a part of each of several leaves adds what is its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from majelpy.errors import ShapeError

Node = tuple[int, int]


class Stack(NamedTuple):
    """How items are added one after the other.

    Attributes
    ----------
    merges : list of int
        How often to add after pushing each item.
    nodes : list of Node
        The maximal subtrees: what is on the stack in the end, in order.
    depth : int
        The stack's largest height: how many slots it needs.
    """

    merges: list[int]
    nodes: list[Node]
    depth: int


def split(n: int) -> int:
    """Return how many of `n` leaves are in the left child: the largest power of two below n.

    Raises
    ------
    ShapeError
        Fewer than two leaves have no children.
    """
    if n < 2:
        raise ShapeError(f"split: {n} leaves; a node with children has at least 2")
    return 1 << ((n - 1).bit_length() - 1)


def leaf_range(leaves: int, size: int, position: int) -> Node:
    """Return the leaves of one rank: contiguous, and as even as they go.

    Parameters
    ----------
    leaves
        Number of things to divide.
    size
        Number of ranks.
    position
        Which of them, from 0.

    Raises
    ------
    ShapeError
        There is no such position.
    """
    if leaves < 0 or not 0 <= position < size:
        raise ShapeError(
            f"leaf_range: position {position} of {size} over {leaves} leaves; "
            "needs 0 <= position < size and leaves >= 0"
        )
    return position * leaves // size, (position + 1) * leaves // size


LINE = 16
"""Units at whose multiples a layer is cut in parts: a cache line of floats."""


def parts(units: int, count: int) -> list[Node]:
    """Return the units ``(first, last)`` of each part of a layer, as even as whole lines allow.

    Raises
    ------
    ShapeError
        A part would be empty.
    """
    lines = -(-units // LINE)
    if not 0 < count <= lines and (units, count) != (0, 1):
        raise ShapeError(
            f"parts: {units} units in {count} parts; needs 1 to {lines} parts of {LINE} units"
        )
    bounds = [min(part * lines // count * LINE, units) for part in range(count + 1)]
    return list(itertools.pairwise(bounds))


def stack(leaves: int, ranges: Sequence[Node]) -> Stack:
    """Return how to add, leaf by leaf, the leaves of ascending ranges, gaps between them or not.

    Raises
    ------
    ShapeError
        A range is not within the leaves, or they do not ascend.
    """
    return node_stack(
        leaves, [leaf for first, last in ranges for leaf in _single_leaves(leaves, first, last)]
    )


def node_merges(leaves: int, items: Sequence[Node]) -> list[int]:
    """Return how often to add after pushing each of `items`, ascending nodes of the tree.

    Raises
    ------
    ShapeError
        The items are not nodes of the tree or do not ascend.
    """
    return node_stack(leaves, items).merges


def node_stack(leaves: int, items: Sequence[Node]) -> Stack:
    """Return how to add `items`, ascending nodes of the tree, gaps between them or not.

    Raises
    ------
    ShapeError
        The items are not nodes of the tree or do not ascend.
    """
    counts: list[int] = []
    left: list[Node] = []
    height = 0
    for first, last in items:
        if not _is_node(leaves, first, last) or (left and left[-1][1] > first):
            raise ShapeError(
                f"tree: ({first}, {last}) after {left[-1] if left else 'nothing'}; "
                f"needs ascending nodes of the tree over {leaves} leaves"
            )
        left.append((first, last))
        height = max(height, len(left))
        count = 0
        # Two neighbours without a gap are siblings when together they are a node. Had the node
        # another middle, one of them would straddle it and not be a node itself.
        while (
            len(left) > 1
            and left[-2][1] == left[-1][0]
            and _is_node(leaves, left[-2][0], left[-1][1])
        ):
            right = left.pop()
            left[-1] = (left[-1][0], right[1])
            count += 1
        counts.append(count)
    return Stack(counts, left, height)


def merges(leaves: int, first: int, last: int) -> list[int]:
    """Return how often to add after each leaf of ``[first, last)``; one number per leaf."""
    return stack(leaves, [(first, last)]).merges


def nodes(leaves: int, first: int, last: int) -> list[Node]:
    """Return the maximal subtrees of ``[first, last)``, in leaf order: what the stack keeps."""
    return stack(leaves, [(first, last)]).nodes


def depth(leaves: int, first: int, last: int) -> int:
    """Return the slots that adding ``[first, last)`` leaf by leaf needs: the stack's height."""
    return stack(leaves, [(first, last)]).depth


def expression(leaves: int, hosts: Sequence[Sequence[Sequence[Node]]] | None = None) -> str:
    """Return the sum that is calculated, as text such as ``((0+1)+2)``; for tests.

    Parameters
    ----------
    leaves
        Number of leaves.
    hosts
        For each host, for each of its ranks, its ascending ranges of leaves; by default one
        rank. Each rank adds its leaves, each host its ranks' nodes, and then the hosts'
        nodes are added, as `majelpy.comm.reduce` does it.
    """
    host_texts: list[tuple[Node, str]] = []
    for ranks in hosts if hosts is not None else [[[(0, leaves)]]]:
        rank_texts: list[tuple[Node, str]] = []
        for ranges in ranks:
            single = [n for first, last in ranges for n in _single_leaves(leaves, first, last)]
            rank_texts += _added(leaves, [(node, str(node[0])) for node in single])
        host_texts += _added(leaves, rank_texts)
    return " ".join(text for _, text in _added(leaves, host_texts))


def _single_leaves(leaves: int, first: int, last: int) -> list[Node]:
    if not 0 <= first <= last <= leaves:
        raise ShapeError(
            f"tree: range [{first}, {last}) of {leaves} leaves; needs 0 <= first <= last <= leaves"
        )
    return [(leaf, leaf + 1) for leaf in range(first, last)]


def _is_node(leaves: int, first: int, last: int) -> bool:
    """Walk down from the root towards ``[first, last)``; say whether it is a node."""
    low, high = 0, leaves
    while low <= first < last <= high:
        if (low, high) == (first, last):
            return True
        middle = low + split(high - low)
        if first < middle:
            high = middle
        else:
            low = middle
    return False


def _added(leaves: int, items: Sequence[tuple[Node, str]]) -> list[tuple[Node, str]]:
    """Add texts of nodes, given in any order, by the stack program of their nodes."""
    items = sorted(items)
    found = node_stack(leaves, [node for node, _ in items])
    texts: list[str] = []
    for (_, text), count in zip(items, found.merges, strict=True):
        texts.append(text)
        for _ in range(count):
            right = texts.pop()
            texts[-1] = f"({texts[-1]}+{right})"
    return list(zip(found.nodes, texts, strict=True))
