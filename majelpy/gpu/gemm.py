"""Launches of the matrix products (kernels/gpu/gemm.cu).

Policy. The same sums can be had from tiles of three shapes, and by blocks that run all terms of a
tile or one chunk of it; `choose` takes what should be done first. No choice changes a bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from majelpy import tree
from majelpy.gpu import build, sums
from majelpy.gpu.launcher import MOST_BLOCKS, Buffer, Launcher, ceil_div, host
from majelpy.gpu.leaves import CHUNK, Leaves

STAGE = build.constant("MJ_STEP")
"""Terms that are brought in at a time."""

SCRATCH = 1 << 26
"""Most floats of chunks' sums that are held at a time."""


@dataclass(frozen=True)
class Tile:
    """The output of a block.

    Attributes
    ----------
    rows, columns, threads : int
    blocks : int
        That a multiprocessor's registers hold.
    share : float
        Of the FMA peak that the inner loop's instructions allow (tools/gpu_machine_code.py).
    """

    rows: int
    columns: int
    threads: int
    blocks: int
    share: float

    @property
    def name(self) -> str:
        return f"{self.rows}x{self.columns}"

    @property
    def stages(self) -> int:
        """Bytes of two stages, each line padded by 4."""
        return 4 * 2 * STAGE * (self.rows + 4 + self.columns + 4)

    @property
    def totals(self) -> int:
        """Bytes of the totals of the chunks before."""
        return 4 * self.rows * self.columns

    def grid(self, m: int, n: int) -> int:
        """Return how many tiles cover m rows and n columns."""
        return ceil_div(m, self.rows) * ceil_div(n, self.columns)


LARGE, TALL, WIDE = TILES = (
    Tile(128, 128, 128, 2, 0.87),
    Tile(128, 32, 64, 6, 0.79),
    Tile(32, 128, 64, 6, 0.79),
)


@dataclass(frozen=True)
class Way:
    """A tile, and whether its blocks run a chunk each."""

    tile: Tile
    by_chunks: bool

    @property
    def name(self) -> str:
        return f"{self.tile.name}{' by chunks' if self.by_chunks else ''}"


WHOLE, BY_CHUNKS = (tuple(Way(t, by_chunks) for t in TILES) for by_chunks in (False, True))
WAYS = WHOLE + BY_CHUNKS


def cost(
    way: Way, multiprocessors: int, shared_bytes: int, m: int, n: int, terms: int, chunks: int
) -> float:
    """Return the time of a product, in multiply-adds of a multiprocessor at its peak.

    A model: a multiprocessor needs 8 warps to be busy all the time, moves 20 bytes of scratch
    while it does 128 multiply-adds, and a launch takes as long as 600,000 of these.
    """
    tile = way.tile
    blocks = tile.grid(m, n) * (chunks if way.by_chunks else 1)
    each = ceil_div(blocks, multiprocessors)
    shared = tile.stages + (0 if way.by_chunks else tile.totals)
    together = min(each, tile.blocks, shared_bytes // shared)
    if together == 0:
        return float("inf")
    busy = min(1.0, together * tile.threads / 32 / 8)
    of_block = min(terms, CHUNK) if way.by_chunks else terms
    time = each * tile.rows * tile.columns * of_block / (tile.share * busy)
    if way.by_chunks:
        time += (8 * chunks + 4) * m * n / multiprocessors / 20 * 128 + 600_000
    return time


@lru_cache(maxsize=4096)
def choose(
    multiprocessors: int,
    shared_bytes: int,
    m: int,
    n: int,
    terms: int,
    chunks: int,
    ways: tuple[Way, ...],
) -> Way:
    """Return the way with the smallest `cost`; by chunks only where their sums can be held."""
    held = [way for way in ways if not way.by_chunks or chunks * m * n <= SCRATCH]
    sizes = (multiprocessors, shared_bytes, m, n, terms, chunks)
    return min(held or ways, key=lambda way: cost(way, *sizes))


def product(
    on: Launcher,
    leaves: Leaves,
    m: int,
    n: int,
    a: tuple[int, int, int],
    b: tuple[int, int, int],
    slots: tuple[int, int, int],
    rounded: int,
) -> None:
    """Launch a matrix product over leaves of terms.

    Parameters
    ----------
    a, b : pointer, stride of an output's row (column), stride of a term
    slots : pointer, row stride, slot stride
    rounded : whether the tree keeps bfloat16
    """
    if m == 0 or n == 0 or leaves.count == 0:
        return
    ways = WAYS if slots[1] == n and leaves.chunks > 1 else WHOLE
    sizes = (m, n, leaves.terms, leaves.chunks)
    way = choose(on.multiprocessors, on.shared_bytes, *sizes, ways)
    tile = way.tile
    if way.by_chunks:
        of_chunks = on.scratch(4 * leaves.chunks * m * n)
        chunk_sums(on, tile, leaves, m, n, a, b, of_chunks.pointer)
        sums.totals(on, leaves, m * n, of_chunks, slots[0], slots[2], rounded)
        return
    terms = (leaves.count, leaves.offsets, leaves.merges)
    factors = (*a, b[0], b[2], b[1])
    on.launch(
        f"mj_gemm_{tile.name}_kernel",
        (tile.grid(m, n),),
        (tile.threads,),
        (*terms, m, n, *factors, *slots, rounded),
        shared=tile.stages + tile.totals,
    )


def chunk_sums(
    on: Launcher,
    tile: Tile,
    leaves: Leaves,
    m: int,
    n: int,
    a: tuple[int, int, int],
    b: tuple[int, int, int],
    out: int,
    *,
    products: tuple[int, int, int] = (1, 0, 0),
    apart: int | None = None,
) -> None:
    """Launch the sums of chunks, of one product or of some that lie evenly apart.

    Parameters
    ----------
    a, b : pointer, stride of an output's row (column), stride of a term
    out : pointer to (chunks, products, m, n)
    products : their number, and how far apart are their a and their b
    apart : how far apart are the chunks in ``out``, if not a chunk's size
    """
    count, a_apart, b_apart = products
    factors = (*a, a_apart, b[0], b[2], b[1], b_apart)
    on.launch(
        f"mj_gemm_{tile.name}_chunks_kernel",
        (tile.grid(m, n), min(leaves.chunks, MOST_BLOCKS), count),
        (tile.threads,),
        (leaves.chunks, leaves.starts, m, n, *factors, out, apart or count * m * n),
        shared=tile.stages,
    )


def mj_gemm(
    on: Launcher,
    m: int,
    n: int,
    k: int,
    parts: int,
    a: int,
    a_row: int,
    a_column: int,
    b: int,
    b_row: int,
    b_column: int,
    c: int,
    c_row: int,
) -> None:
    nodes: list[Buffer] = [on.scratch(4 * m * n) for _ in range(parts if parts > 1 else 0)]
    for part, (first, last) in enumerate(tree.parts(k, parts)):
        to = (nodes[part].pointer, n, 0) if nodes else (c, c_row, 0)
        terms = Leaves(on, np.array([first, last]))
        product(on, terms, m, n, (a, a_row, a_column), (b, b_column, b_row), to, 0)
    if nodes:
        addresses = np.array([node.pointer for node in nodes], dtype=np.int64)
        program = np.array(tree.merges(parts, 0, parts), dtype=np.int32)
        target = np.array([c], dtype=np.int64)
        operands = (addresses.ctypes.data, program.ctypes.data, 1, target.ctypes.data)
        sums.mj_tree_sum(on, parts, *operands, m * n, 0)


def mj_gemm_leaves(
    on: Launcher,
    leaves: int,
    offsets: int,
    merges: int,
    m: int,
    n: int,
    a: int,
    a_row: int,
    b: int,
    b_row: int,
    slots: int,
    slot_stride: int,
    rounded: int,
) -> None:
    of = Leaves(on, host(offsets, leaves + 1, np.int64), host(merges, leaves, np.int32))
    product(on, of, m, n, (a, 1, a_row), (b, 1, b_row), (slots, n, slot_stride), rounded)
