"""Carrying out a route: boxes are packed, sent as bytes, and laid where they belong.

Policy. All memory is the pool's. Messages are contiguous bytes between hosts' memories; what lies
on a GPU goes there and back by a copy. Nodes of partial arrays are joined on the CPU along the
tree, so their bits depend neither on the ranks nor on the place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from majelpy import tree
from majelpy.array import Array, empty
from majelpy.comm.tags import Tag
from majelpy.comm.world import World
from majelpy.distributed.placement import Box, Layout, Partial, sizes_of, within
from majelpy.distributed.route import Move, Route
from majelpy.memory import CPU
from majelpy.standard.arithmetic import add, maximum, minimum, multiply

JOIN: dict[str, Callable[[Any, Any], Array]] = {
    "sum": add,
    "prod": multiply,
    "max": maximum,
    "min": minimum,
}
"""What joins two nodes, left and right."""


def fold(operation: str, items: Sequence[Array], merges: Sequence[int]) -> list[Array]:
    """Return what stays on the stack when items are pushed and joined by a program of the tree.

    Notes
    -----
    Order: each merge is left and right neighbour; `merges` comes from majelpy.tree.
    """
    stack: list[Array] = []
    for item, count in zip(items, merges, strict=True):
        stack.append(item)
        for _ in range(count):
            right = stack.pop()
            stack[-1] = JOIN[operation](stack[-1], right)
    return stack


def exchange(
    world: World,
    route: Route,
    local: Array,
    origin: Box | None,
    need: Box | None,
    *,
    nodes: int | None = None,
    resolve: Layout | None = None,
) -> Array | None:
    """Carry out a route with all ranks; return what this one needs, on the place of `local`.

    Parameters
    ----------
    world
        The ranks.
    route
        The same on all of them.
    local
        What this rank holds: the box `origin`, behind an axis of nodes where it is partial.
    origin, need
        The box that this rank holds and the one that it needs, None for none.
    nodes
        Nodes of a stack that moves as it is.
    resolve
        Layout of a partial array whose nodes are joined.

    Notes
    -----
    Order: nodes are joined along the tree of the layout's parts.
    """
    host = local.to_device(CPU).numpy()
    pieces: dict[Box, np.ndarray] = {}
    if resolve is not None:
        pieces = _joined(world, route, host, resolve)

    def source(move: Move) -> np.ndarray:
        if resolve is not None:
            return pieces[move.box]
        assert origin is not None
        found: np.ndarray = host[within(move.box, origin)]
        return found

    result = None
    if need is not None:
        lead = () if nodes is None else (nodes,)
        result = empty((*lead, *sizes_of(need)), local.dtype)
    target = None if result is None else result.numpy()

    def place(move: Move) -> np.ndarray:
        assert target is not None and need is not None
        found: np.ndarray = target[within(move.box, need)]
        return found

    _deliver(world, route.moves_of.get(world.rank, []), source, place, Tag.ARRAY_BOX)
    return None if result is None else result.to_device(local.place)


def _joined(world: World, route: Route, host: np.ndarray, layout: Layout) -> dict[Box, np.ndarray]:
    """Bring each sum's nodes to its owner; return this rank's results by box."""
    partial, origin = layout.partial, layout.box(world.rank)
    assert isinstance(partial, Partial) and partial.parts is not None
    stacks: dict[tuple[int, Box], Array] = {}
    for total in route.sums:
        for move in total.arrivals if total.owner == world.rank else ():
            shape = (len(layout.nodes(move.source)), *sizes_of(move.box))
            stacks[move.source, move.box] = empty(shape, host.dtype)
    _deliver(
        world,
        route.arrivals_of.get(world.rank, []),
        lambda move: host[within(move.box, origin)],
        lambda move: stacks[move.source, move.box].numpy(),
        Tag.ARRAY_NODES,
    )
    results = {}
    for total in route.sums:
        if total.owner != world.rank:
            continue
        items, nodes = [], []
        for move in total.arrivals:
            stack = stacks.pop((move.source, move.box))
            items += [stack[i] for i in range(stack.shape[0])]
            nodes += layout.nodes(move.source)
        (root,) = fold(partial.operation, items, tree.node_merges(partial.parts, nodes))
        results[total.box] = root.numpy()
    return results


def _deliver(
    world: World,
    moves: Sequence[Move],
    source: Callable[[Move], np.ndarray],
    place: Callable[[Move], np.ndarray],
    tag: Tag,
) -> None:
    """Send, receive and copy; two ranks see their messages in the order of the route."""
    pending, late, sending = [], [], []
    for move in moves:
        if move.target == world.rank != move.source:
            goal = place(move)
            buffer = goal if goal.flags.c_contiguous else empty(goal.shape, goal.dtype).numpy()
            pending.append(world.receive(_bytes(buffer), move.source, tag))
            late.append((goal, buffer))
    for move in moves:
        if move.source == world.rank != move.target:
            message = _packed(source(move))
            sending.append(message)  # it must last until all is sent
            pending.append(world.send(_bytes(message), move.target, tag))
    for move in moves:
        if move.source == world.rank == move.target:
            place(move)[...] = source(move)
    world.wait(pending)
    for goal, buffer in late:
        if buffer is not goal:
            goal[...] = buffer


def _packed(view: np.ndarray) -> np.ndarray:
    """The elements side by side: the view itself, or a copy in the pool."""
    if view.flags.c_contiguous:
        return view
    new = empty(view.shape, view.dtype).numpy()
    new[...] = view
    return new


def _bytes(contiguous: np.ndarray) -> np.ndarray:
    return contiguous.reshape(-1).view(np.uint8)
