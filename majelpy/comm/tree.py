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
maximal subtrees of the range, in order, and a stack position is a slot of memory.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from majelpy.errors import ShapeError

Node = tuple[int, int]


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


def node_merges(leaves: int, items: Sequence[Node]) -> list[int]:
    """Return how often to add after pushing each of `items`, consecutive nodes of the tree.

    Raises
    ------
    ShapeError
        The items are not nodes of the tree or do not follow one another.
    """
    return _program(leaves, items)[0]


def merges(leaves: int, first: int, last: int) -> list[int]:
    """Return how often to add after each leaf of ``[first, last)``; one number per leaf."""
    return _program(leaves, _single_leaves(leaves, first, last))[0]


def nodes(leaves: int, first: int, last: int) -> list[Node]:
    """Return the maximal subtrees of ``[first, last)``, in leaf order: what the stack keeps."""
    return _program(leaves, _single_leaves(leaves, first, last))[1]


def depth(leaves: int, first: int, last: int) -> int:
    """Return the slots that adding ``[first, last)`` leaf by leaf needs: the stack's height."""
    return _program(leaves, _single_leaves(leaves, first, last))[2]


def expression(leaves: int, hosts: Sequence[Sequence[Node]] | None = None) -> str:
    """Return the sum that is calculated, as text such as ``((0+1)+2)``; for tests.

    Parameters
    ----------
    leaves
        Number of leaves.
    hosts
        The ranks' leaf ranges, grouped in hosts, both in leaf order; by default one rank.
        Each rank adds its leaves, each host its ranks' nodes, and then the hosts' nodes
        are added, as `majelpy.comm.reduce` does it.
    """
    host_nodes: list[Node] = []
    host_texts: list[str] = []
    for ranges in hosts if hosts is not None else [[(0, leaves)]]:
        rank_nodes: list[Node] = []
        rank_texts: list[str] = []
        for first, last in ranges:
            rank_nodes += nodes(leaves, first, last)
            rank_texts += _added(
                [str(leaf) for leaf in range(first, last)], merges(leaves, first, last)
            )
        host_texts += _added(rank_texts, node_merges(leaves, rank_nodes))
        host_nodes += _program(leaves, rank_nodes)[1]
    return " ".join(_added(host_texts, node_merges(leaves, host_nodes)))


def _single_leaves(leaves: int, first: int, last: int) -> list[Node]:
    if not 0 <= first <= last <= leaves:
        raise ShapeError(
            f"tree: range [{first}, {last}) of {leaves} leaves; needs 0 <= first <= last <= leaves"
        )
    return [(leaf, leaf + 1) for leaf in range(first, last)]


def _program(leaves: int, items: Sequence[Node]) -> tuple[list[int], list[Node], int]:
    """Return the merges after each item, the nodes left over, and the stack's height."""
    counts: list[int] = []
    stack: list[Node] = []
    height = 0
    for first, last in items:
        if not _is_node(leaves, first, last) or (stack and stack[-1][1] != first):
            raise ShapeError(
                f"tree: ({first}, {last}) after {stack[-1] if stack else 'nothing'}; "
                f"needs consecutive nodes of the tree over {leaves} leaves"
            )
        stack.append((first, last))
        height = max(height, len(stack))
        count = 0
        # Two neighbours are siblings when together they are a node. Had the node another
        # middle, one of them would straddle it and not be a node itself.
        while len(stack) > 1 and _is_node(leaves, stack[-2][0], stack[-1][1]):
            right = stack.pop()
            stack[-1] = (stack[-1][0], right[1])
            count += 1
        counts.append(count)
    return counts, stack, height


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


def _added(texts: Sequence[str], counts: Sequence[int]) -> list[str]:
    stack: list[str] = []
    for text, count in zip(texts, counts, strict=True):
        stack.append(text)
        for _ in range(count):
            right = stack.pop()
            stack[-1] = f"({stack[-1]}+{right})"
    return stack
