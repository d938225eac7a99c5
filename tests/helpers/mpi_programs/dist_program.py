"""Check distributed arrays on this world; rank 0 prints one JSON object of digests.

What is asserted holds on any world. What is printed must be the same on every world.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from makers import digest, exact_data, same_bits, touchy_data, touchy_double

import majelpy as mj
from majelpy import distributed as dist
from majelpy.comm.world import World
from majelpy.distributed import DistArray, Partial, Replicate, Shard, WorldMesh, distribute
from majelpy.distributed.placement import Placement
from majelpy.errors import MajelError, PlacementError

PARTS = 8


def meshes(world: World) -> Iterator[WorldMesh]:
    """Yield the meshes of one axis and of two."""
    yield WorldMesh(world, {"x": world.size})
    rows = 3 if world.size == 6 else 2
    if world.size % rows == 0 and world.size > rows:
        yield WorldMesh(world, {"x": rows, "y": world.size // rows})


def combinations(mesh: WorldMesh, ndim: int, parts: int) -> list[tuple[Placement, ...]]:
    """Return all placements of an array that can be combined."""
    one: list[Placement] = [Replicate(), Partial(parts), *(Shard(i) for i in range(ndim))]
    found = list(itertools.product(one, repeat=mesh.ndim))
    if ndim:
        found.append((Shard(0, 4),) * mesh.ndim)
        found.append((Shard(ndim - 1, 5), *[Partial(parts)] * (mesh.ndim - 1)))
    return found


def whole(x: DistArray) -> np.ndarray:
    """Return the whole array, on every rank."""
    found = x.gather()
    assert found is not None
    return found.numpy()


def own_part(x: DistArray, data: np.ndarray) -> np.ndarray:
    """Return what this rank should hold of the data."""
    box = x.layout.box(x.mesh.world.rank)
    return data[tuple(slice(first, last) for first, last in box)]


def pairs(world: World) -> int:
    """Bring arrays from all placements to all others; return how many were checked."""
    count = 0
    for mesh in meshes(world):
        shapes = [(7, 5), (2, 3), (0, 4), ()] if mesh.ndim == 1 else [(7, 5)]
        for shape in shapes:
            data = touchy_data(shape, 11)
            found = combinations(mesh, len(shape), 3)
            for source in found:
                x = distribute(data, mesh, [Replicate()] * mesh.ndim).redistribute(source)
                for target in found:
                    count += 1
                    # Most pairs differ in little; on many ranks some of them will do.
                    if mesh.ndim == 2 and count % world.size:
                        continue
                    y = x.redistribute(target)
                    if y.layout.partial is None:
                        assert same_bits(y.local.numpy(), own_part(y, data)), (x, y)
                    else:
                        assert same_bits(whole(y), data), (x, y)
    return count


def sharings(mesh: WorldMesh) -> Iterator[tuple[Any, Any]]:
    """Yield placements of two matrices that can be multiplied."""
    inner = Shard(1, PARTS), Shard(0, PARTS)
    rest: list[Placement] = [Replicate()] * (mesh.ndim - 1)
    yield {}, {}
    yield {}, [*rest, Shard(1)]
    yield [inner[0]] * mesh.ndim, [inner[1]] * mesh.ndim
    yield [inner[0]] * mesh.ndim, {}
    if mesh.ndim > 1:
        yield [inner[0], *rest], [inner[1], *rest]
        yield [Shard(0), inner[0]], [*rest, inner[1]]
        yield [Shard(0), *rest], [*rest, Shard(1)]


def sums(world: World) -> dict[str, str]:
    """Join touchy parts in every way; the digests are the same on any mesh."""
    found: dict[str, set[str]] = {}
    a, b = touchy_data((5, 300), 1), touchy_data((300, 6), 2)
    wide = touchy_double((9, 40, 3), 3)
    for mesh in meshes(world):
        rest: list[Placement] = [Replicate()] * (mesh.ndim - 1)
        for left, right in sharings(mesh):
            x, y = distribute(a, mesh, left), distribute(b, mesh, right)
            product = dist.matmul(x, y, parts=PARTS)
            data = whole(product)
            for target in ([Shard(0)] * mesh.ndim, [*rest, Shard(1)]):
                moved = product.redistribute(target)
                assert same_bits(moved.local.numpy(), own_part(moved, data))
            found.setdefault("matmul", set()).add(digest(data))
            found.setdefault("negative", set()).add(digest(whole(-product)))
        cut = [Shard(1, PARTS)] * mesh.ndim
        for placements in ({}, cut, [Shard(0), *cut[1:]]):
            z = distribute(wide, mesh, placements)
            for name in ("sum", "prod", "max", "min"):
                operand = z if name != "prod" else dist.apply(mj.tanh, z)
                total = getattr(dist, name)(operand, axis=1, parts=PARTS)
                found.setdefault(name, set()).add(digest(whole(total)))
            z = distribute((wide * 3).astype(np.int64), mesh, placements)
            total = dist.sum(z, axis=1, parts=PARTS, keepdims=True)
            found.setdefault("integers", set()).add(digest(whole(total)))
    assert all(len(digests) == 1 for digests in found.values()), found
    return {name: digests.pop() for name, digests in found.items()}


def batches(world: World) -> None:
    """Multiply batches of matrices that are divided in every useful way."""
    a, b, c = exact_data((6, 4, 5), 4), exact_data((6, 5, 3), 5), exact_data((5, 3), 6)
    for mesh in meshes(world):
        rest: list[Placement] = [Replicate()] * (mesh.ndim - 1)
        for left, right in (
            ([Shard(0), *rest], [Shard(0), *rest]),
            ([Shard(0), *rest], [Replicate(), *rest]),
            ([Replicate(), *rest], [Shard(2), *rest]),
            ([Shard(1), *rest], [Replicate(), *rest]),
        ):
            product = distribute(a, mesh, left) @ distribute(b, mesh, right)
            assert same_bits(whole(product), a @ b), product
            assert same_bits(product.local.numpy(), own_part(product, a @ b))
        product = distribute(a, mesh, [Shard(0), *rest]) @ distribute(c, mesh, [Replicate(), *rest])
        assert same_bits(whole(product), a @ c)


def elementwise(world: World) -> None:
    """Apply functions to arrays whose placements agree, cover one another, or do not."""
    a, b, row = exact_data((7, 5), 7), exact_data((7, 5), 8), exact_data((1, 5), 9)
    for mesh in meshes(world):
        rest: list[Placement] = [Replicate()] * (mesh.ndim - 1)
        for left in ([Shard(0), *rest], [*rest, Shard(1)], [Replicate()] * mesh.ndim):
            for right in (left, [Replicate()] * mesh.ndim):
                x, y = distribute(a, mesh, left), distribute(b, mesh, right)
                both = x + y
                assert both.placements == tuple(left)
                assert same_bits(both.local.numpy(), own_part(both, a + b))
                assert same_bits(whole(2.0 * x - y), 2 * a - b)
                assert same_bits(whole(dist.apply(mj.where, x < y, x, y)), np.minimum(a, b))
                clipped = dist.apply(mj.clip, x, min=-1.0, max=1.0)
                assert same_bits(whole(clipped), np.clip(a, -1, 1))
        x = distribute(a, mesh, [Shard(0), *rest])
        assert same_bits(whole(x * distribute(row, mesh, {})), a * row)
        assert same_bits(whole(x + distribute(row[0], mesh, {})), a + row)
        if mesh.ndim == 2:
            y = distribute(row, mesh, [Replicate(), Shard(1)])
            assert (x + y).placements == (Shard(0), Shard(1))
            assert same_bits(whole(x + y), a + row)
        if world.size > 1:
            try:
                x + distribute(b, mesh, [Shard(1), *rest])
            except PlacementError as error:
                assert f"needs x.redistribute({[Shard(0), *rest]}) first" in str(error), error
            else:
                raise AssertionError("nothing was said")


def slices(world: World) -> None:
    """Index along axes that are not sharded."""
    data = touchy_data((6, 5, 4), 10)
    for mesh in meshes(world):
        rest: list[Placement] = [Replicate()] * (mesh.ndim - 1)
        x = distribute(data, mesh, [Shard(1), *rest])
        for key in (
            2,
            -1,
            (slice(1, 5, 2), ...),
            (..., 3),
            (0, slice(None), slice(None, None, -1)),
        ):
            assert same_bits(whole(x[key]), data[key]), key
        p = distribute(data, mesh, {}).redistribute([Partial(3), *rest])
        assert same_bits(whole(p[1, :, 2]), data[1, :, 2])


def roots(world: World, folder: Path) -> None:
    """Distribute from one rank, gather on one rank, in every type."""
    last = world.size - 1
    mesh = WorldMesh(world, {"x": world.size})
    for kind in ("bool", "int8", "uint64", "float16", "bfloat16", "float64"):
        data = mj.astype(
            mj.asarray(exact_data((7, 3), 12)), mj.bfloat16 if kind == "bfloat16" else kind
        )
        x = distribute(data if world.rank == last else None, mesh, [Shard(0)], root=last)
        moved = x.redistribute([Shard(1)])
        found = moved.gather(last)
        assert (found is None) == (world.rank != last)
        assert found is None or same_bits(found.numpy(), data.numpy())
        dist.save(folder / kind, moved)
        loaded = dist.load(folder / kind, mesh, [Shard(0)])
        assert loaded.dtype == data.dtype and same_bits(loaded.local.numpy(), x.local.numpy())
    for shape in ((), (0, 3), (1,)):
        x = dist.full(shape, 7, mesh, [Replicate()], dtype="int32")
        dist.save(folder / "small", x)
        assert same_bits(whole(dist.load(folder / "small", mesh, [Replicate()])), whole(x))


def from_locals(world: World) -> None:
    """Bring what each rank has, also the parts of a sum."""
    mesh = WorldMesh(world, {"x": world.size})
    box = dist.layout("test", (9,), mesh, [Shard(0)]).box(world.rank)
    data = touchy_data(9, 13)
    x = dist.from_local(data[box[0][0] : box[0][1]].copy(), (9,), mesh, [Shard(0)])
    assert same_bits(whole(x), data)
    ones = dist.from_local(mj.ones((1, 4)), (4,), mesh, [Partial()])
    assert ones.placements == (Partial(world.size),)
    assert same_bits(whole(ones), np.full(4, world.size, np.float32))


def memory(world: World) -> None:
    """Nothing stays in the pool."""
    from majelpy.memory.place import CPU
    from majelpy.memory.pool import pool

    before = pool(CPU).statistics.in_use
    mesh = WorldMesh(world, {"x": world.size})
    x = dist.zeros((64, 64), mesh, [Shard(0)])
    y = dist.matmul(x.redistribute([Shard(1, PARTS)]), x.redistribute([Shard(0, PARTS)]), parts=8)
    held = pool(CPU).statistics.in_use
    assert held > before
    del x, y
    assert pool(CPU).statistics.in_use == before


def all_checks(world: World, folder: str) -> None:
    """Run everything."""
    count = pairs(world)
    found = sums(world)
    batches(world)
    elementwise(world)
    slices(world)
    roots(world, Path(folder))
    from_locals(world)
    memory(world)
    if world.rank == 0:
        print(json.dumps({"pairs": count, "digests": found}))


def gpu(world: World) -> None:
    """Move and multiply arrays that lie on an emulated GPU each."""
    from gpu_place import emulated_gpu

    a, b = touchy_data((5, 4), 14), exact_data((4, 6), 15)
    d, e = touchy_data((6, 96), 16), touchy_data((96, 5), 17)
    with emulated_gpu():
        mesh = WorldMesh(world, {"x": world.size})
        x = distribute(a, mesh, [Shard(0)], device="gpu:0")
        y = x.redistribute([Shard(1)])
        assert str(y.place) == "gpu:0" and repr(y).endswith("on gpu:0)")
        assert same_bits(y.local.to_device("cpu").numpy(), own_part(y, a))
        product = x @ distribute(b, mesh, {}, device="gpu:0")
        found = product.gather()
        assert found is not None
        host = distribute(a, mesh, [Shard(0)]) @ distribute(b, mesh, {})
        assert same_bits(found.to_device("cpu").numpy(), whole(host))
        inner = [distribute(v, mesh, [Shard(axis, parts=4)]) for v, axis in ((d, 1), (e, 0))]
        there = [
            distribute(v, mesh, [Shard(axis, parts=4)], device="gpu:0")
            for v, axis in ((d, 1), (e, 0))
        ]
        for compute in (
            lambda u, v: dist.matmul(u, v, parts=4).redistribute([Replicate()]),
            lambda u, v: dist.sum(u, axis=1, parts=4).redistribute([Replicate()]),
            lambda u, v: u + u,
        ):
            one, other = compute(*inner).to_local(), compute(*there).to_local()
            assert str(other.place) == "gpu:0" and same_bits(one, other.to_device("cpu"))
        p = x.redistribute([Partial(3)]).redistribute([Shard(1)])
        assert same_bits(p.local.to_device("cpu").numpy(), own_part(p, a))


def save(world: World, path: str) -> None:
    """Save touchy data."""
    mesh = WorldMesh(world, {"x": world.size})
    dist.save(path, distribute(touchy_data((23, 11), 16), mesh, [Shard(1)]))


def load(world: World, path: str) -> None:
    """Load them again."""
    mesh = WorldMesh(world, {"x": world.size})
    x = dist.load(path, mesh, [Shard(0)])
    assert same_bits(whole(x), touchy_data((23, 11), 16))


def mesh_misfit(world: World) -> None:
    WorldMesh(world, {"data": 2, "model": 4})


def one_local_misfit(world: World) -> None:
    mesh = WorldMesh(world, {"x": world.size})
    dist.from_local(
        mj.zeros((3 if world.rank == 1 else 2, 4)), (2 * world.size, 4), mesh, [Shard(0)]
    )


def one_other_type(world: World) -> None:
    mesh = WorldMesh(world, {"x": world.size})
    kind = "int32" if world.rank == 1 else "int64"
    dist.from_local(mj.zeros((2, 4), kind), (2 * world.size, 4), mesh, [Shard(0)])


def one_other_target(world: World) -> None:
    x = dist.zeros((6, 4), WorldMesh(world, {"x": world.size}), [Shard(0)])
    x.redistribute([Replicate() if world.rank == 1 else Shard(1)])


def no_file(world: World) -> None:
    dist.load("no.h5", WorldMesh(world, {"x": world.size}), [Replicate()])


def no_folder(world: World) -> None:
    x = dist.zeros((6, 4), WorldMesh(world, {"x": world.size}), [Shard(0)])
    dist.save("no/x.h5", x)


def dies(world: World) -> None:
    """Be killed on rank 1 in the middle of an exchange."""
    _in_an_exchange(world, lambda: os.kill(os.getpid(), signal.SIGKILL))


def fails(world: World) -> None:
    """Run out of memory on rank 1 in the middle of an exchange."""
    from majelpy.errors import PoolError

    def fail() -> None:
        raise PoolError("pool: nothing left")

    _in_an_exchange(world, fail)


def _in_an_exchange(world: World, act) -> None:  # type: ignore[no-untyped-def]
    x = dist.zeros((60, 40), WorldMesh(world, {"x": world.size}), [Shard(0)])
    if world.rank == 1:
        world.send = lambda *_: act()  # type: ignore[method-assign]
    x.redistribute([Shard(1)])


if __name__ == "__main__":
    start = World.start()
    start.install_excepthook()
    try:
        globals()[sys.argv[1]](start, *sys.argv[2:])
    except MajelError as error:
        if start.size > 1:
            raise  # the hook ends all ranks
        start.abort(str(error), 2)
    start.exit(0)
