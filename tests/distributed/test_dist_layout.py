"""Meshes, local ranges and routes of distributed arrays: integers, without a message."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from dist_worlds import SaidWorld, said_mesh

from majelpy import tree
from majelpy.distributed import Layout, Partial, Replicate, Shard, WorldMesh, layout
from majelpy.distributed.placement import Placement, common, sizes_of
from majelpy.distributed.route import Route, collection, need_of, redistribution, scattering
from majelpy.errors import MajelError, PlacementError, RangeError, ShapeError, WorldError

MESHES = [
    said_mesh(x=1),
    said_mesh(x=3),
    said_mesh(x=8),
    said_mesh(x=2, y=3),
    said_mesh(hosts=2, x=2, y=2, z=2),
]
SHAPES = [(7, 5), (2, 3), (16, 8), (0, 4), (1,), ()]


def volume(box: object) -> int:
    return 0 if box is None else math.prod(sizes_of(box))  # type: ignore[arg-type]


def all_placements(mesh: WorldMesh, ndim: int, *, partial: bool) -> list[tuple[Placement, ...]]:
    one: list[Placement] = [Replicate(), *(Shard(i) for i in range(ndim))]
    one += [Partial(5)] if partial else []
    return list(itertools.product(one, repeat=mesh.ndim))


# --- meshes ------------------------------------------------------------------------------------


def test_ranks_stand_in_row_major_order() -> None:
    mesh = said_mesh(rank=4, data=2, model=3)
    assert [mesh.coordinates(r) for r in range(6)] == list(itertools.product(range(2), range(3)))
    assert [mesh.rank_at(mesh.coordinates(r)) for r in range(6)] == list(range(6))
    assert (mesh.coordinate("data"), mesh.coordinate("model"), mesh.size("model")) == (1, 1, 3)
    assert mesh.ranks_along("model") == (3, 4, 5) and mesh.ranks_along("data") == (1, 4)
    assert mesh.ranks_along("data", 2) == (2, 5)
    assert repr(mesh) == "mesh(data=2, model=3)"


def test_a_mesh_has_all_ranks() -> None:
    world = said_mesh(x=3).world
    said = r"mesh\(data=2, model=2\) has 4 ranks and the world has 3"
    with pytest.raises(WorldError, match=said):
        WorldMesh(world, {"data": 2, "model": 2})
    with pytest.raises(WorldError, match="axis 'x' of size 0"):
        WorldMesh(world, {"x": 0})
    with pytest.raises(RangeError, match="no axis 'y'"):
        WorldMesh(world, {"x": 3}).coordinate("y")
    with pytest.raises(RangeError, match="rank 3; needs 0 to 2"):
        WorldMesh(world, {"x": 3}).coordinates(3)


# --- local ranges --------------------------------------------------------------------------------


@pytest.mark.parametrize("mesh", MESHES, ids=repr)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_element_is_held_as_often_as_placements_say(
    mesh: WorldMesh, shape: tuple[int, ...]
) -> None:
    for placements in all_placements(mesh, len(shape), partial=True):
        found = layout("test", shape, mesh, placements)
        held = np.zeros(shape, int)
        for rank in range(mesh.world.size):
            held[tuple(slice(*r) for r in found.box(rank))] += 1
            stack = (len(found.nodes(rank)),) if found.partial else ()
            assert found.local_shape(rank) == (*stack, *sizes_of(found.box(rank)))
        divided = [isinstance(p, Shard) for p in found.placements]
        copies = [1 if d else n for d, n in zip(divided, mesh.sizes, strict=True)]
        assert (held == math.prod(copies)).all()


def test_mesh_axes_that_share_an_array_axis_divide_it_in_their_order() -> None:
    mesh = said_mesh(x=2, y=3)
    both = layout("test", (7,), mesh, [Shard(0), Shard(0)])
    assert [both.box(r)[0] for r in range(6)] == [tree.leaf_range(7, 6, r) for r in range(6)]
    one = layout("test", (7,), mesh, [Shard(0), Replicate()])
    for rank in range(6):  # a finer division stays within the coarser one
        assert common(both.box(rank), one.box(rank)) == both.box(rank)


def test_whole_parts_are_what_a_sum_in_parts_needs() -> None:
    found = layout("test", (10,), said_mesh(x=3), [Shard(0, parts=8)])
    cut = [p * 10 // 8 for p in range(9)]
    assert [found.box(r)[0] for r in range(3)] == [
        (cut[first], cut[last]) for first, last in (tree.leaf_range(8, 3, r) for r in range(3))
    ]
    assert [found.box(r)[0] for r in range(3)] == [(0, 2), (2, 6), (6, 10)]
    assert layout("test", (10,), said_mesh(x=3), [Shard(0)]).box(1) == ((3, 6),)


def test_partial_ranks_hold_the_nodes_of_their_parts() -> None:
    found = layout("test", (4,), said_mesh(x=3), [Partial(8)])
    assert [found.nodes(r) for r in range(3)] == [
        tree.nodes(8, *p) for p in [(0, 2), (2, 5), (5, 8)]
    ]
    few = layout("test", (4,), said_mesh(x=3), [Partial(2)])
    assert [few.local_shape(r) for r in range(3)] == [(0, 4), (1, 4), (1, 4)]
    assert layout("test", (4,), said_mesh(x=3), [Partial()]).placements == (Partial(3),)


def test_placements_by_name_and_from_the_end() -> None:
    mesh = said_mesh(data=2, model=2)
    named = layout("test", (6, 4), mesh, {"model": Shard(-1)})
    assert named.placements == (Replicate(), Shard(1))


BAD: list[tuple[type[MajelError], str, Sequence[int], object]] = [
    (PlacementError, "1 placements .* needs 2", (6, 4), [Shard(0)]),
    (RangeError, r"Shard\(2\) of shape \(6, 4\); there is no such axis", (6, 4), [Shard(2)] * 2),
    (RangeError, r"Shard\(0\) of shape \(\)", (), [Shard(0)] * 2),
    (RangeError, "no axis 'z'", (6, 4), {"z": Shard(0)}),
    (PlacementError, "needs Shard, Replicate or Partial", (6, 4), [0, Shard(0)]),
    (PlacementError, "cannot be combined; needs equal ones", (6,), [Partial(2), Partial(4)]),
    (PlacementError, "cannot be combined", (6,), [Partial(2), Partial(2, "max")]),
    (PlacementError, "cannot be combined", (6,), [Shard(0, 4), Shard(0)]),
    (PlacementError, "parts must be 1 or more", (6,), [Partial(0), Replicate()]),
    (PlacementError, "parts must be 1 or more", (6,), [Shard(0, -1), Replicate()]),
    (PlacementError, "operation needs one of sum, prod", (6,), [Partial(2, "mean"), Replicate()]),
    (ShapeError, "sizes must not be negative", (6, -4), [Replicate()] * 2),
]


@pytest.mark.parametrize(("kind", "said", "shape", "placements"), BAD, ids=[b[1] for b in BAD])
def test_what_does_not_fit_is_refused(
    kind: type[MajelError], said: str, shape: Sequence[int], placements: object
) -> None:
    with pytest.raises(kind, match=said) as caught:
        layout("zeros", shape, said_mesh(x=2, y=2), placements)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


# --- routes ---------------------------------------------------------------------------------------


def lacking(source: Layout, target: Layout, rank: int) -> int:
    """Return how many elements a rank needs and does not hold."""
    need = need_of(source, target, rank)
    return 0 if need is None else volume(need) - volume(common(source.box(rank), need))


@pytest.mark.parametrize("mesh", MESHES, ids=repr)
@pytest.mark.parametrize("shape", SHAPES)
def test_only_what_a_rank_lacks_comes_to_it(mesh: WorldMesh, shape: tuple[int, ...]) -> None:
    found = [layout("t", shape, mesh, p) for p in all_placements(mesh, len(shape), partial=False)]
    for source, target in itertools.product(found, repeat=2):
        route = redistribution(source, target, 4)
        for rank in range(mesh.world.size):
            assert route.received(rank) == 4 * lacking(source, target, rank)
            assert route.received(rank) + route.kept(rank) == 4 * volume(target.box(rank))
        for move in route.moves:  # the giver has what it gives
            assert common(source.box(move.source), move.box) == move.box


def moved(mesh: WorldMesh, shape: tuple[int, ...], source: Placement, target: Placement) -> Route:
    one = layout("t", shape, mesh, [source])
    return redistribution(one, layout("t", shape, mesh, [target]), 4)


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_bytes_reach_the_lower_bounds(n: int) -> None:
    mesh, shape = said_mesh(x=n), (24, 48)
    size = 4 * 24 * 48
    assert moved(mesh, shape, Shard(0), Shard(1)).nbytes == size * (n - 1) // n
    assert moved(mesh, shape, Shard(0), Replicate()).nbytes == size * (n - 1)
    assert moved(mesh, shape, Replicate(), Shard(1)).nbytes == 0
    # A reduce-scatter, and an allreduce: twice (n-1)/n S for each rank.
    scattered = moved(mesh, shape, Partial(n), Shard(0))
    assert {scattered.sent(r) for r in range(n)} == {size * (n - 1) // n}
    reduced = moved(mesh, shape, Partial(n), Replicate())
    assert {reduced.sent(r) for r in range(n)} == {2 * size * (n - 1) // n}
    assert {reduced.received(r) for r in range(n)} == {2 * size * (n - 1) // n}


def test_every_node_is_joined_once_in_the_order_of_the_parts() -> None:
    for mesh in MESHES:
        for placements in all_placements(mesh, 2, partial=True):
            source = layout("t", (7, 5), mesh, placements)
            if source.partial is None:
                continue
            target = layout("t", (7, 5), mesh, [Replicate()] * mesh.ndim)
            route = redistribution(source, target, 4)
            joined = np.zeros((7, 5), int)
            for total in route.sums:
                nodes = [node for move in total.arrivals for node in source.nodes(move.source)]
                assert nodes[0][0] == 0 and nodes[-1][1] == 5
                assert len(nodes) - sum(tree.node_merges(5, nodes)) == 1
                joined[tuple(slice(*r) for r in total.box)] += 1
            assert (joined == 1).all()
            for rank in range(mesh.world.size):  # and everybody gets every element once
                arriving = [volume(m.box) for m in route.moves if m.target == rank]
                assert sum(arriving) == 35


def test_partial_nodes_stay_where_the_same_mesh_axes_are_partial() -> None:
    mesh = said_mesh(x=2, y=2)
    source = layout("t", (6, 4), mesh, [Partial(4), Shard(0)])
    route = redistribution(source, layout("t", (6, 4), mesh, [Partial(4), Shard(1)]), 4)
    assert not route.sums
    assert route.nbytes == 2 * 4 * 6 * 4 // 2  # in each half of the mesh, half of its node


def test_neighbours_give_first_and_share_the_work() -> None:
    mesh = WorldMesh(SaidWorld(4, 0, ((0, 3), (1, 2))), {"x": 2, "y": 2})  # type: ignore[arg-type]
    rows = layout("t", (8, 8), mesh, [Replicate(), Shard(0)])
    route = redistribution(rows, layout("t", (8, 8), mesh, [Replicate()] * 2), 4)
    assert route.between_hosts == 0 and {route.sent(r) for r in range(4)} == {4 * 32}
    spread = said_mesh(x=4, y=2)
    one = layout("t", (8, 8), spread, [Replicate(), Shard(0)])
    other = layout("t", (8, 8), spread, [Replicate()] * 2)
    route = redistribution(one, other, 4)
    assert {route.sent(r) for r in range(8)} == {4 * 32}


def test_one_rank_gathers_and_scatters_each_element_once() -> None:
    mesh = said_mesh(x=2, y=3)
    rows = layout("t", (7, 5), mesh, [Shard(0), Shard(1)])
    got = collection(rows, 4, ((0, 7), (0, 5)), 2)
    assert got.received(2) + got.kept(2) == 4 * 35 and got.nbytes == got.received(2)
    given = scattering(rows, 4, 2)
    assert given.sent(2) == given.nbytes == got.nbytes


def test_a_plan_prints_its_bytes() -> None:
    route = moved(said_mesh(hosts=2, x=2), (4, 2), Shard(0), Shard(1))
    assert str(route).splitlines() == [
        "redistribute (4, 2) of 4 B elements on mesh(x=2): [Shard(0)] -> [Shard(1)]",
        "rank  sends B  receives B  keeps B",
        "   0        8           8        8",
        "   1        8           8        8",
        "16 B between ranks, of these 16 B between hosts",
    ]
