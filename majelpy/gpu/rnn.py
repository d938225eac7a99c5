"""Launches of the recurrent layers (kernels/gpu/rnn.cu, rnn_persistent.cu).

Policy. One launch runs all steps where the weights fit on the chip and its blocks are surely there
together, else there is a product and a launch a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from majelpy import tree
from majelpy.gpu import build, gemm, sums
from majelpy.gpu.launcher import Buffer, Launcher, ceil_div, host, matrix, utterance_rows
from majelpy.gpu.leaves import Leaves
from majelpy.gpu.rnn_shape import Shape, persistent_shape

TEAM = build.constant("MJ_TEAM")
"""Numbers from the counter of a team of blocks to that of the next."""


@dataclass(frozen=True)
class _Way:
    """A direction through a cell: names of its kernels, and columns a unit.

    Of all that is carried, ``states`` columns are the state that sums are made of; ``own_at`` is
    the column of what a unit carries for itself, -1 if nothing.
    """

    name: str
    gates: int
    carried: int
    states: int
    own_at: int

    @property
    def backward(self) -> bool:
        return self.name.endswith("backward")


FORWARD = (
    _Way("rnn_forward", 1, 1, 1, -1),
    _Way("gru_forward", 3, 1, 1, 0),
    _Way("lstm_forward", 4, 2, 1, 1),
)
BACKWARD = (
    _Way("rnn_backward", 1, 1, 1, -1),
    _Way("gru_backward", 3, 4, 3, 3),
    _Way("lstm_backward", 4, 5, 4, 4),
)
"""By the number of the cell (kernels/entry_points.h)."""


@dataclass(frozen=True)
class _Layer:
    """What both ways to run all steps need."""

    on: Launcher
    way: _Way
    first: int
    directions: int
    utterances: int
    lengths: np.ndarray
    offsets: Buffer
    order: Buffer
    hidden: int
    parts: int
    rounded: int
    weight: int
    carried: Buffer | None
    initial: int
    last: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def memory(self, directions: int, copies: int, state_gate: int) -> tuple[Buffer, Buffer]:
        """State, and what units carry for themselves."""
        rows = directions * self.utterances
        state = self.on.scratch(4 * copies * rows * self.way.states * state_gate)
        return state, self.on.scratch(4 * rows * self.hidden if self.way.own_at >= 0 else 0)

    def carry(
        self, start: int, directions: int, state_gate: int, memory: tuple[Buffer, Buffer]
    ) -> None:
        """Put the states that utterances are carried on from where the first step reads them."""
        way = self.way
        skipped = 4 * start * self.utterances * way.carried * self.hidden
        sizes = (self.hidden, way.carried, way.states, state_gate, way.own_at, self.rounded)
        known = (self.carried or 0, self.initial + skipped if self.carried else 0)
        arguments = (self.utterances, self.order, *sizes, *known, *memory, self.last + skipped)
        name = "mj_rnn_carried_kernel"
        matrix(self.on, name, self.utterances, self.hidden, arguments, layers=directions)

    def persistent(self, shape: Shape) -> bool:
        """Run all steps in a launch for ``shape.at_once`` directions at a time, if its blocks can
        wait for one another; else return False.
        """
        kernel = f"mj_{self.way.name}_persistent_kernel"
        at_once, threads, shared = shape.at_once, 32 * shape.warps, shape.shared
        grid = (shape.blocks, shape.groups, at_once)
        if math.prod(grid) > self.on.resident(kernel, threads, shared):
            return False
        state_gate = ceil_div(self.hidden, 4) * 4
        memory = self.memory(at_once, 2, state_gate)
        for start in range(0, self.directions, at_once):
            self.carry(start, at_once, state_gate, memory)
            arrived = self.on.upload(np.zeros(at_once * shape.groups * TEAM, dtype=np.uint32))
            self.on.launch(
                kernel,
                grid,
                (threads,),
                (
                    self.first,
                    self.directions,
                    start,
                    self.utterances,
                    self.offsets,
                    self.order,
                    self.hidden,
                    self.parts,
                    shape.sums.chunks,
                    shape.columns,
                    shape.tile,
                    shape.apart,
                    shape.rows,
                    shape.quads,
                    shape.ring,
                    shape.sweep,
                    shape.sums_at,
                    self.rounded,
                    self.carried or 0,
                    self.inputs[0],
                    self.weight,
                    *self.inputs[1:],
                    *memory,
                    arrived,
                    *self.outputs,
                    self.last,
                ),
                shared=shared,
                together=True,
            )
        return True

    def step_by_step(self) -> None:
        """Run products of all directions, and a launch, a step."""
        hidden, parts = self.hidden, self.parts
        memory = self.memory(self.directions, 1, hidden)
        self.carry(0, self.directions, hidden, memory)
        bounds = [start for start, _ in tree.parts(hidden, parts)]
        merges = np.array(tree.merges(parts, 0, parts), dtype=np.int32)
        terms = Leaves(self.on, np.array([*bounds, hidden]), merges)
        size = self.directions * self.utterances * self.way.gates * hidden
        of_chunks = self.on.scratch(4 * terms.chunks * size)
        totals = self.on.scratch(4 * tree.depth(parts, 0, parts) * size)
        for step in range(int(self.lengths.max())):
            live = int((self.lengths > step).sum())
            if step or self.carried:
                self._sums(live, terms, memory[0], of_chunks)
                now = self.directions * live * self.way.gates * hidden
                sums.totals(self.on, terms, now, of_chunks, totals.pointer, now, 0)
            sizes = (hidden, self.rounded, self.carried or 0, step, live, self.utterances)
            matrix(
                self.on,
                f"mj_{self.way.name}_step_kernel",
                live,
                hidden,
                (
                    self.first,
                    self.directions,
                    self.utterances,
                    self.offsets,
                    self.order,
                    *sizes,
                    *(totals, *self._apart(live)),
                    *memory,
                    self.last,
                    *self.inputs,
                    *self.outputs,
                ),
                layers=self.directions,
            )

    def _apart(self, live: int) -> tuple[int, int]:
        """How far apart the recurrent sums of utterances and of gates are."""
        hidden, way = self.hidden, self.way
        if way.backward:
            return hidden, self.directions * live * hidden
        return way.gates * hidden, hidden

    def _sums(self, live: int, terms: Leaves, state: Buffer, to: Buffer) -> None:
        """Chunks of the recurrent sums: forward of all gates at once, backward of each."""
        hidden, way = self.hidden, self.way
        row, square = way.states * hidden, hidden * hidden
        products = (self.directions, self.utterances * row, way.gates * square)
        size = self.directions * live * hidden
        width = hidden if way.backward else way.gates * hidden
        device = (self.on.multiprocessors, self.on.shared_bytes)
        # The products of all directions side by side are like one of as many more columns.
        many = self.directions * width
        tile = gemm.choose(*device, live, many, terms.terms, terms.chunks, gemm.BY_CHUNKS).tile
        for gate in range(way.gates if way.backward else 1):
            left = (state.pointer + 4 * gate * hidden, row, 1)
            weight = self.weight + 4 * gate * square
            right = (weight, 1, hidden) if way.backward else (weight, hidden, 1)
            gemm.chunk_sums(
                self.on,
                tile,
                terms,
                live,
                width,
                left,
                right,
                to.pointer + 4 * gate * size,
                products=products,
                apart=way.gates * size,
            )


def _recurrent(
    on: Launcher,
    way: _Way,
    sizes: tuple[int, ...],
    weight: int,
    carried: int | None,
    initial: int | None,
    last: int,
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
) -> None:
    """Run all steps."""
    first, directions, utterances, offsets, hidden, parts, rounded = sizes
    if utterances == 0 or hidden == 0 or directions == 0:
        return
    rows = host(offsets, utterances + 1, np.int64)
    lengths = np.diff(rows)
    order = np.argsort(-lengths, kind="stable").astype(np.int64)
    goes_on = on.upload(host(carried, utterances, np.int64)) if carried else None
    layer = _Layer(
        on,
        way,
        first,
        directions,
        utterances,
        lengths,
        on.upload(rows),
        on.upload(order),
        hidden,
        parts,
        rounded,
        weight,
        goes_on,
        initial or 0,
        last,
        inputs=inputs,
        outputs=outputs,
    )
    shape = persistent_shape(
        on.multiprocessors,
        on.shared_bytes,
        directions,
        utterances,
        hidden,
        parts,
        way.gates,
        way.states,
    )
    if shape is None or not layer.persistent(shape):
        layer.step_by_step()


def mj_rnn_forward_rows(
    on: Launcher,
    cell: int,
    first: int,
    directions: int,
    utterances: int,
    offsets: int,
    hidden: int,
    parts: int,
    rounded: int,
    x: int,
    weight: int,
    carried: int | None,
    initial: int | None,
    h: int,
    kept: int | None,
    last: int,
) -> None:
    sizes = (first, directions, utterances, offsets, hidden, parts, rounded)
    going = (weight, carried, initial, last)
    _recurrent(on, FORWARD[cell], sizes, *going, (x,), (h, kept or 0))


def mj_rnn_backward_rows(
    on: Launcher,
    cell: int,
    first: int,
    directions: int,
    utterances: int,
    offsets: int,
    hidden: int,
    parts: int,
    rounded: int,
    dy: int,
    weight: int,
    kept: int,
    carried: int | None,
    initial: int | None,
    dx: int,
    ds: int | None,
    last: int,
) -> None:
    sizes = (first, directions, utterances, offsets, hidden, parts, rounded)
    going = (weight, carried, initial, last)
    _recurrent(on, BACKWARD[cell], sizes, *going, (dy, kept), (dx, ds or 0))


def _one_step(
    on: Launcher,
    way: _Way,
    sizes: tuple[int, ...],
    memory: tuple[int, int, int],
    operands: tuple[int, ...],
) -> None:
    directions, utterances, offsets, order, hidden, step, live, rounded = sizes
    where = on.upload(host(offsets, utterances + 1, np.int64))
    listed = on.upload(host(order, utterances, np.int64))
    known = (0, directions, utterances, where, listed, hidden, rounded, 0, step, live, live)
    recurrent, state, own = memory
    summed = (recurrent, way.gates * hidden, hidden)
    name = f"mj_{way.name}_step_kernel"
    arguments = (*known, *summed, state, own, 0, *operands)
    matrix(on, name, live, hidden, arguments, layers=directions)


def mj_rnn_forward_step(
    on: Launcher,
    cell: int,
    directions: int,
    utterances: int,
    offsets: int,
    order: int,
    hidden: int,
    step: int,
    live: int,
    rounded: int,
    x: int,
    sums: int | None,
    own: int | None,
    state: int,
    h: int,
    kept: int | None,
) -> None:
    sizes = (directions, utterances, offsets, order, hidden, step, live, rounded)
    _one_step(on, FORWARD[cell], sizes, (sums or 0, state, own or 0), (x, h, kept or 0))


def mj_rnn_backward_step(
    on: Launcher,
    cell: int,
    directions: int,
    utterances: int,
    offsets: int,
    order: int,
    hidden: int,
    step: int,
    live: int,
    rounded: int,
    dy: int,
    kept: int,
    sums: int | None,
    own: int | None,
    state: int,
    dx: int,
    ds: int | None,
) -> None:
    sizes = (directions, utterances, offsets, order, hidden, step, live, rounded)
    _one_step(on, BACKWARD[cell], sizes, (sums or 0, state, own or 0), (dy, kept, dx, ds or 0))


def mj_rnn_previous_rows(
    on: Launcher,
    first: int,
    directions: int,
    utterances: int,
    offsets: int,
    hidden: int,
    h: int,
    carried: int | None,
    initial: int | None,
    initial_row: int,
    out: int,
) -> None:
    rows = host(offsets, utterances + 1, np.int64)
    goes_on = on.upload(host(carried, utterances, np.int64)) if carried else None
    states = (h, goes_on or 0, initial or 0, initial_row)
    arguments = (first, directions, utterances, on.upload(rows), hidden, *states, out)
    utterance_rows(on, "mj_rnn_previous_rows_kernel", rows, directions * hidden, arguments)
