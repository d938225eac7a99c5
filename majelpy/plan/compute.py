"""Time that a rank computes in a step, operation by operation, as majelpy/nn/model.py does them.

Policy. `Clock` turns sizes into seconds by the measured rates; `step` lists the operations. Where a
layout divides a layer, a rank counts with the largest share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from majelpy.comm import tree
from majelpy.comm.bucket import FLOAT_BYTES
from majelpy.plan.constants import Rates
from majelpy.plan.grid import interpolate
from majelpy.plan.layout import Layout
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

    def update(self, parameters: int) -> float:
        """Norm and update: 1 float read, then 3 read and 2 written; the digest now and then."""
        bytes_ = FLOAT_BYTES * parameters
        digest = bytes_ / DIGEST_STEPS / (self._rates.digest_gb_s * 1e9)
        return 6 * bytes_ / (self._rates.optimizer_gb_s * 1e9) + digest

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


def step(
    work: Workload, layout: Layout, first: int, leaves: Sequence[Leaf], clock: Clock
) -> Compute:
    """Return what one rank computes of a step.

    Parameters
    ----------
    first : int
        Number of its first leaf.
    leaves : sequence of Leaf
        Its leaves.
    """
    return _Step(work, layout, first, leaves, clock).compute()


def parameters(work: Workload, layout: Layout) -> int:
    """Floats of the parameters that a rank keeps and updates: the largest share."""
    sizes, units = work.sizes, layout.units
    widths = [(2 * sizes.context + 1) * sizes.features, *sizes.dense]
    dense = sum(units(b) * (a + 1) for a, b in pairwise(widths))
    dense += units(sizes.output_dense) * (sizes.recurrent + 1)
    dense += units(sizes.alphabet) * (sizes.output_dense + 1)
    return dense + _recurrent_parameters(work, layout)


def _recurrent_parameters(work: Workload, layout: Layout) -> int:
    hidden, inputs = work.sizes.recurrent, work.sizes.dense[-1]
    return layout.directions * layout.units(hidden) * (inputs + hidden + 1)


class _Step:
    """The operations of a step, for one rank's share of the frames and units."""

    def __init__(
        self, work: Workload, layout: Layout, first: int, leaves: Sequence[Leaf], clock: Clock
    ):
        self.sizes, self.layout, self.work, self.clock = work.sizes, layout, work, clock
        self.utterances = [u for leaf in leaves for u in leaf]
        share = layout.slices
        self.lengths = [-(-u.frames // share) for u in self.utterances]
        self.leaf_frames = [sum(-(-u.frames // share) for u in leaf) for leaf in leaves]
        self.frames = sum(self.leaf_frames)
        self.merges = sum(tree.merges(work.leaves, first, first + len(leaves)))

    def compute(self) -> Compute:
        sizes, clock, frames = self.sizes, self.clock, self.frames
        context = (2 * sizes.context + 1) * sizes.features
        widths = [context, *sizes.dense]
        hidden, last, alphabet = sizes.recurrent, sizes.output_dense, sizes.alphabet
        forward = clock.call + clock.elementwise(frames * (sizes.features + context))
        forward += sum(self._dense(a, b) for a, b in pairwise(widths))
        forward += self._recurrent() + self._dense(hidden, last)
        forward += self._dense(last, alphabet, clipped=False)
        forward += 2 * clock.call + clock.softmax(frames * alphabet)
        forward += sum(clock.ctc(u.frames, u.labels) for u in self.utterances)
        backward = [
            self._dense_back(last, alphabet, clipped=False),
            self._dense_back(hidden, last),
            self._recurrent_back(),
        ]
        backward += [
            self._dense_back(widths[i], widths[i + 1], input_gradient=i > 0)
            for i in reversed(range(len(sizes.dense)))
        ]
        # The last gradients of a layer are whole before its input's gradient: see `_dense_back`.
        whole, rest = [], 0.0
        for until, after, floats in backward:
            whole.append((rest + until, floats))
            rest = after
        update = 3 * clock.call + clock.update(parameters(self.work, self.layout))
        return Compute(forward, tuple(whole), update)

    def _dropped(self, units: int) -> float:
        if not self.work.dropout:
            return 0.0
        return self.clock.call + self.clock.dropout(self.frames * units)

    def _dense(self, inputs: int, outputs: int, clipped: bool = True) -> float:
        clock, units = self.clock, self.layout.units(outputs)
        product = clock.gemm(self.frames, units, inputs) + clock.elementwise(
            2 * self.frames * units
        )
        return 2 * clock.call + product + (self._dropped(units) if clipped else 0.0)

    def _pushed(self, m: int, n: int) -> float:
        """A weight's gradient: a product a leaf, and the merges along the tree."""
        products = sum(self.clock.gemm(m, n, frames) for frames in self.leaf_frames)
        return self.clock.call + products + self.clock.elementwise(3 * self.merges * m * n)

    def _dense_back(
        self, inputs: int, outputs: int, *, clipped: bool = True, input_gradient: bool = True
    ) -> tuple[float, float, int]:
        """Seconds until the layer's gradients are whole, seconds after that, their floats."""
        clock, frames, units = self.clock, self.frames, self.layout.units(outputs)
        until = self._pushed(units, inputs) + clock.call + clock.elementwise(frames * units)
        if clipped:
            until += self._dropped(units) + clock.call + clock.elementwise(3 * frames * units)
        after = clock.call + clock.gemm(frames, inputs, units) if input_gradient else 0.0
        return until, after, units * (inputs + 1)

    def _recurrent(self) -> float:
        clock, frames, hidden = self.clock, self.frames, self.sizes.recurrent
        directions, units = self.layout.directions, self.layout.units(hidden)
        products = clock.gemm(frames, directions * units, self.sizes.dense[-1])
        both = clock.elementwise(2 * frames * directions * units)  # the bias
        both += clock.elementwise(3 * frames * units)  # the sum of the directions
        return 4 * clock.call + products + both + self._recurrence()

    def _recurrence(self) -> float:
        hidden = self.sizes.recurrent
        share = self.layout.units(hidden) / hidden
        return self.layout.directions * share * self.clock.recurrence(self.lengths, hidden)

    def _recurrent_back(self) -> tuple[float, float, int]:
        clock, frames, hidden = self.clock, self.frames, self.sizes.recurrent
        inputs, directions = self.sizes.dense[-1], self.layout.directions
        units = self.layout.units(hidden)
        until = 4 * clock.call + self._recurrence()
        until += clock.elementwise(frames * units * (1 + directions))  # repeat
        until += clock.elementwise(2 * frames * directions * hidden)  # the states before
        until += clock.elementwise(frames * directions * units)  # the bias's gradient
        until += directions * self._pushed(units, hidden)
        until += self._pushed(directions * units, inputs)
        after = clock.call + clock.gemm(frames, inputs, directions * units)
        return until, after, _recurrent_parameters(self.work, self.layout)
