"""Matrix products and reductions, whose sums have a fixed number of parts.

Policy. The summed axis is cut in `parts` parts (majelpy.tree.leaf_range). The result of a part
is the canonical sum within it; parts are joined along the tree. A rank computes the parts that lie
in its shard, so any mesh of up to `parts` ranks gives the same bits, one rank included, and an
axis that is not sharded may become so without a change. A sharded one gives a `Partial`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from majelpy import tree
from majelpy.array import Array, empty
from majelpy.array.checks import axes_of, broadcast
from majelpy.distributed import operators
from majelpy.distributed.array import DistArray
from majelpy.distributed.exchange import fold
from majelpy.distributed.placement import Layout, Partial, bound, layout
from majelpy.distributed.propagation import Cut, cuts, one_mesh, placements_of, sliced
from majelpy.errors import DTypeError, PlacementError, ShapeError
from majelpy.memory.dtypes import promote
from majelpy.standard import linalg, statistics

_JOINED = -1  # the label of the axis that is summed


def matmul(a: DistArray, b: DistArray, *, parts: int = 1) -> DistArray:
    """Return the matrix product; leading axes are batches and broadcast.

    Parameters
    ----------
    a : (..., m, k)
    b : (..., k, n)
    parts : int
        Parts of the inner axis.

    Returns
    -------
    DistArray of shape (..., m, n)
        Sharded along m where a is, along n where b is, along batches where either is; partial
        where the inner axis is sharded.

    Raises
    ------
    PlacementError
        If an operand must be redistributed first, or if the inner axis is sharded and `parts` is 1.
    ShapeError
        If the shapes do not fit.

    Notes
    -----
    Order: the canonical sum over each part of the inner axis, parts along the tree.
    """
    _check_operands("matmul", a, b)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: shapes {a.shape} and {b.shape}; needs (..., m, k) and (..., k, n)"
        )
    batch = broadcast("matmul", a.shape[:-2], b.shape[:-2])
    shape = (*batch, a.shape[-2], b.shape[-1])
    rows, columns, inner = len(batch), len(batch) + 1, a.shape[-1]
    labels = [
        [*_batch_labels(a.shape[:-2], batch), rows, _JOINED],
        [*_batch_labels(b.shape[:-2], batch), _JOINED, columns],
    ]
    wanted = _wanted("matmul", [a, b], labels, parts)
    x, y = (
        sliced("matmul", number, operand, names, wanted)
        for number, (operand, names) in enumerate(zip((a, b), labels, strict=True), 1)
    )
    target = layout("matmul", shape, a.mesh, placements_of(wanted, {_JOINED: Partial(parts)}))

    def part(first: int, last: int) -> Array:
        if last - first == x.shape[-1]:
            return linalg.matmul(x, y)
        return linalg.matmul(x[..., first:last], y[..., first:last, :])

    dtype = promote("matmul", x.dtype, y.dtype)
    return _by_parts(target, Partial(parts), inner, part, dtype, x)


operators.FUNCTIONS["matmul"] = matmul


def sum(x: DistArray, /, *, axis: Any = None, keepdims: bool = False, parts: int = 1) -> DistArray:
    """Return the sum over axes, the first of them in `parts` parts; partial where it is sharded.

    Other axes of several must not be sharded.

    Notes
    -----
    Order: the canonical sum over each part in row-major order, parts along the tree.
    """
    return _reduced("sum", x, axis, keepdims, parts)


def prod(x: DistArray, /, *, axis: Any = None, keepdims: bool = False, parts: int = 1) -> DistArray:
    """Return the product over axes; see `sum`."""
    return _reduced("prod", x, axis, keepdims, parts)


def max(x: DistArray, /, *, axis: Any = None, keepdims: bool = False, parts: int = 1) -> DistArray:
    """Return the largest element over axes; see `sum`. No part may be empty."""
    return _reduced("max", x, axis, keepdims, parts)


def min(x: DistArray, /, *, axis: Any = None, keepdims: bool = False, parts: int = 1) -> DistArray:
    """Return the smallest element over axes; see `sum`. No part may be empty."""
    return _reduced("min", x, axis, keepdims, parts)


def _reduced(operation: str, x: DistArray, axis: Any, keepdims: bool, parts: int) -> DistArray:
    _check_operands(operation, x)
    axes = axes_of(operation, axis, x.ndim)
    if not axes:
        raise ShapeError(f"{operation}: shape {x.shape} over axes {axes}; needs an axis or more")
    first, size = axes[0], x.shape[axes[0]]
    if operation in ("max", "min") and parts > size:
        raise ShapeError(f"{operation}: {parts} parts of {size} elements; needs one in each part")
    kept = [i for i in range(x.ndim) if keepdims or i not in axes]
    labels: list[int | None] = [
        _JOINED if i == first else None if i in axes else kept.index(i) for i in range(x.ndim)
    ]
    wanted = _wanted(operation, [x], [labels], parts)
    local = sliced(operation, 1, x, labels, wanted)
    partial = Partial(parts, operation)
    shape = [1 if i in axes else x.shape[i] for i in kept]
    target = layout(operation, shape, x.mesh, placements_of(wanted, {_JOINED: partial}))
    function = getattr(statistics, operation)

    def part(low: int, high: int) -> Array:
        whole = high - low == local.shape[first]
        slab = local if whole else local[(*[slice(None)] * first, slice(low, high))]
        reduced: Array = function(slab, axis=axes, keepdims=keepdims)
        return reduced

    dtype = x.dtype
    if operation in ("sum", "prod"):
        dtype = function(empty((0,), x.dtype), axis=0).dtype
    return _by_parts(target, partial, size, part, dtype, local)


def _check_operands(operation: str, *operands: Any) -> None:
    for x in operands:
        if not isinstance(x, DistArray):
            raise DTypeError(f"{operation}: {type(x).__name__} found; needs distributed arrays")
    one_mesh(operation, *operands)


def _batch_labels(sizes: tuple[int, ...], batch: tuple[int, ...]) -> list[int | None]:
    skipped = len(batch) - len(sizes)
    return [i if size == batch[i] else None for i, size in enumerate(sizes, skipped)]


def _wanted(
    operation: str, operands: Sequence[DistArray], labels: Sequence[Any], parts: int
) -> list[Cut | None]:
    """What each mesh axis divides; the joined axis is divided by whole parts."""
    if not isinstance(parts, int) or parts < 1:
        raise PlacementError(f"{operation}: parts is {parts!r}; needs 1 or more")
    wanted = cuts(operation, [x.layout for x in operands], labels)
    ranks = 1
    for cut, size in zip(wanted, operands[0].mesh.sizes, strict=True):
        ranks *= size if cut is not None and cut[0] == _JOINED else 1
    if ranks > 1 and parts == 1:
        raise PlacementError(
            f"{operation}: the summed axis is sharded over {ranks} ranks; needs parts of at least "
            f"{ranks}, so that the bits do not depend on the ranks"
        )
    return [(_JOINED, parts) if cut is not None and cut[0] == _JOINED else cut for cut in wanted]


def _by_parts(
    target: Layout,
    partial: Partial,
    size: int,
    part: Callable[[int, int], Array],
    dtype: Any,
    like: Array,
) -> DistArray:
    """Compute this rank's parts of an axis of that size and join what can be joined."""
    me, parts = target.mesh.world.rank, partial.parts or 1
    first, last = target.parts(me) or (0, parts)
    origin = bound(size, parts, first)
    items = [
        part(bound(size, parts, p) - origin, bound(size, parts, p + 1) - origin)
        for p in range(first, last)
    ]
    nodes = fold(partial.operation, items, tree.merges(parts, first, last))
    if target.partial is None:
        return DistArray(target, nodes[0])
    stack = empty(target.local_shape(me), dtype, like.place)
    for i, node in enumerate(nodes):
        stack[i] = node
    return DistArray(target, stack)
