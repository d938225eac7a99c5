"""Time that a rank computes in a step, layer by layer.

Policy. `Clock` turns sizes into seconds by the measured rates; `step` adds up the work of the
layers (majelpy/plan/layers.py) over the frames of a rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from majelpy import tree
from majelpy.comm.bucket import FLOAT_BYTES
from majelpy.mesh import Mesh
from majelpy.nn.layer import Layer
from majelpy.plan.constants import Rates
from majelpy.plan.grid import interpolate
from majelpy.plan.kinds import held
from majelpy.plan.layers import works
from majelpy.plan.work import Pass, Product, Work
from majelpy.plan.workload import Leaf, Workload
from majelpy.train.trainer import DIGEST_STEPS


class Clock:
    """Seconds of operations at given rates."""

    def __init__(self, rates: Rates):
        self._rates = rates
        self._known: dict[tuple[str, tuple[int, ...]], float] = {}

    @property
    def call(self) -> float:
        """An operation's own cost, whatever its size."""
        return self._rates.call_us * 1e-6

    def gemm(self, m: int, n: int, k: int) -> float:
        """A product of (m, k) and (k, n)."""
        if 0 in (m, n, k):
            return 0.0
        rates = self._rates.gemm
        axes = (rates.m, rates.n, rates.k)
        return 2e-9 * m * n * k / self._rate("gemm", axes, rates.gflops, (m, n, k))

    def step(self, utterances: int, hidden: int) -> float:
        """A time step of one direction of the recurrent layer."""
        rates = self._rates.recurrent
        axes = (rates.utterances, rates.hidden)
        rate = self._rate("recurrent", axes, rates.gflops, (utterances, hidden))
        return 2e-9 * utterances * hidden * hidden / rate

    def recurrence(self, lengths: Sequence[int], hidden: int) -> float:
        """All time steps of one direction; an utterance takes part as long as it lasts."""
        descending = sorted(lengths, reverse=True)
        return sum(
            (longer - shorter) * self.step(active, hidden)
            for active, (longer, shorter) in enumerate(pairwise([*descending, 0]), 1)
            if longer > shorter
        )

    def ctc(self, frames: int, labels: int) -> float:
        """Loss and gradient of an utterance."""
        states, rates = 2 * labels + 1, self._rates.ctc
        return (
            1e-6 * frames * states / self._rate("ctc", (rates.states,), rates.mega_per_s, (states,))
        )

    def elementwise(self, floats: int) -> float:
        """Reading and writing so many floats."""
        return FLOAT_BYTES * floats / (self._rates.elementwise_gb_s * 1e9)

    def softmax(self, elements: int) -> float:
        return 1e-6 * elements / self._rates.softmax_mega_per_s

    def dropout(self, elements: int) -> float:
        return 1e-6 * elements / self._rates.dropout_mega_per_s

    def update(self, parameters: int, states: int) -> float:
        """Norm and update: 1 float read, then parameter, gradient and states read, all but the
        gradient written; the digest now and then.
        """
        bytes_ = FLOAT_BYTES * parameters
        digest = bytes_ / DIGEST_STEPS / (self._rates.digest_gb_s * 1e9)
        return (4 + 2 * states) * bytes_ / (self._rates.optimizer_gb_s * 1e9) + digest

    def _rate(
        self,
        name: str,
        axes: tuple[tuple[int, ...], ...],
        values: tuple[float, ...],
        point: tuple[int, ...],
    ) -> float:
        found = self._known.get((name, point))
        if found is None:
            found = self._known[name, point] = interpolate(axes, values, point)
        return found


@dataclass(frozen=True)
class Compute:
    """Seconds of a rank's step.

    Attributes
    ----------
    forward : float
        CTC's gradient included.
    backward : tuple of (float, int)
        Of each layer, last first: seconds until its gradients are whole, and their floats.
    update : float
    """

    forward: float
    backward: tuple[tuple[float, int], ...]
    update: float

    @property
    def total(self) -> float:
        return self.forward + sum(seconds for seconds, _ in self.backward) + self.update


def step(work: Workload, mesh: Mesh, first: int, leaves: Sequence[Leaf], clock: Clock) -> Compute:
    """Return what one rank computes of a step.

    Parameters
    ----------
    first : int
        Number of its first leaf.
    leaves : sequence of Leaf
        Its leaves.
    """
    return _Step(work, mesh, first, leaves, clock).compute()


def parameters(work: Workload, mesh: Mesh) -> int:
    """Floats of the parameters that a rank keeps and updates: the largest share."""
    return sum(_floats(layer) for layer in work.model(mesh).layers)


def _floats(layer: Layer) -> int:
    return sum(parameter.size for parameter in held(layer))


@dataclass(frozen=True)
class _Rows:
    """Frames that a rank has of each utterance and of each leaf, and of whole utterances."""

    whole: list[int]
    utterances: list[int]
    leaves: list[int]

    @classmethod
    def of(cls, leaves: Sequence[Leaf], stride: int, slices: int) -> _Rows:
        whole = [[u.after(stride) for u in leaf] for leaf in leaves]
        mine = [[-(-frames // slices) for frames in leaf] for leaf in whole]
        return cls(
            [n for leaf in whole for n in leaf],
            [n for leaf in mine for n in leaf],
            [sum(leaf) for leaf in mine],
        )

    @property
    def all(self) -> int:
        return sum(self.leaves)


class _Step:
    """The operations of a step, for one rank's share of the frames and units."""

    def __init__(
        self, work: Workload, mesh: Mesh, first: int, leaves: Sequence[Leaf], clock: Clock
    ):
        self.way, self.model, self.clock = mesh.way, work.model(mesh), clock
        self.states = work.optimizer_states
        self.utterances = [u for leaf in leaves for u in leaf]
        self.merges = sum(tree.merges(work.leaves, first, first + len(leaves)))
        strides = {layer.outputs.stride for layer in self.model.layers}
        self.rows = {s: _Rows.of(leaves, s, mesh.slices) for s in strides}

    def compute(self) -> Compute:
        clock, forward, backward = self.clock, 0.0, []
        layers = works(self.model, self.way)
        for layer, work in layers:
            rows = self.rows[layer.outputs.stride]
            forward += self._pass(work.forward, rows) + self._recurrence(work, rows)
            forward += sum(self._product(rows.all, p.columns, p.terms, p) for p in work.products)
        stride = self.model.stride
        forward += sum(clock.ctc(u.after(stride), u.labels) for u in self.utterances)
        # The last gradients of a layer are whole before the gradient by its input.
        rest = 0.0
        for place in reversed(range(self.model.first_learning, len(layers))):
            layer, work = layers[place]
            rows = self.rows[layer.outputs.stride]
            until = self._pass(work.backward, rows) + self._recurrence(work, rows)
            until += sum(self._pushed(rows, p) for p in (*work.products, *work.weights))
            backward.append((rest + until, _floats(layer)))
            rest = sum(self._product(rows.all, p.terms, p.columns, p) for p in work.products)
        update = 3 * clock.call + clock.update(sum(map(_floats, self.model.layers)), self.states)
        return Compute(forward, tuple(backward), update)

    def _pass(self, work: Pass, rows: _Rows) -> float:
        clock, frames = self.clock, rows.all
        return (
            work.calls * clock.call
            + clock.elementwise(frames * work.floats)
            + clock.dropout(frames * work.dropped)
            + clock.softmax(frames * work.softmax)
        )

    def _product(self, frames: int, columns: int, terms: int, product: Product) -> float:
        return self.clock.call + self.clock.gemm(frames * product.rows, columns, terms)

    def _pushed(self, rows: _Rows, product: Product) -> float:
        """A weight's gradient: a product a leaf, and the merges along the tree."""
        m, n, clock = product.columns, product.terms, self.clock
        products = sum(clock.gemm(m, n, frames * product.rows) for frames in rows.leaves)
        return clock.call + products + clock.elementwise(3 * self.merges * m * n)

    def _recurrence(self, work: Work, rows: _Rows) -> float:
        """A pass through time; one direction alone keeps ranks that divide it waiting."""
        found = work.recurrence
        if found is None:
            return 0.0
        lengths = rows.utterances if found.bidirectional else rows.whole
        share = found.units / found.hidden
        return found.directions * found.gates * share * self.clock.recurrence(lengths, found.hidden)
