"""Predictions: time of a step, its share of communication, efficiency and memory of each layout.

Policy. A step ends when its slowest rank does. Of each minibatch two ranks are looked at, the one
with most frames and the one with the longest utterance, and the slower of them counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from majelpy import tree
from majelpy.errors import WorldError
from majelpy.plan.communication import exchanges, exposed, gradient_sum
from majelpy.plan.compute import Clock, Compute, parameters, step
from majelpy.plan.constants import Cluster
from majelpy.plan.layout import Layout, Placement, layouts
from majelpy.plan.memory import Memory, memory
from majelpy.plan.workload import Leaf, Workload


@dataclass(frozen=True)
class Prediction:
    """A layout's step, averaged over the minibatches; seconds.

    Attributes
    ----------
    layout : Layout
    compute : float
        Of the slowest rank.
    exposed, hidden : float
        Communication that the step waits for, and that flies during the backward pass.
    imbalance : float
        Frames of the rank with most, divided by those of the average rank.
    sent_bytes : float
        Bytes that a host sends to others for the gradients.
    memory : Memory
        Of the rank that needs most, in the largest of the minibatches.
    efficiency : float
        Step of one rank, divided by this step times ranks.
    best : bool
        No other layout of as many ranks is faster.
    """

    layout: Layout
    compute: float
    exposed: float
    hidden: float
    imbalance: float
    sent_bytes: float
    memory: Memory
    efficiency: float = 1.0
    best: bool = False

    @property
    def step(self) -> float:
        return self.compute + self.exposed

    @property
    def exposed_share(self) -> float:
        """Part of the step that waits for communication."""
        return self.exposed / self.step


class Planner:
    """Predicts layouts of one workload on one cluster.

    Parameters
    ----------
    work : Workload
    cluster : Cluster
    bucket_bytes : int
        As in `Launch`.
    overlap : bool
        Messages between hosts begin during the backward pass, not after it.
    """

    def __init__(
        self, work: Workload, cluster: Cluster, *, bucket_bytes: int, overlap: bool = True
    ):
        self.work, self.cluster, self.overlap = work, cluster, overlap
        self._bucket_bytes = bucket_bytes
        self._clock = Clock(cluster.rates)

    def predict(self, ranks: Iterable[int]) -> list[Prediction]:
        """Return all layouts of so many ranks each, in ascending order, the fastest marked.

        Raises
        ------
        WorldError
            If there are more ranks than leaves times parts, or than the cluster holds.
        """
        wanted = {count: self._layouts(count) for count in sorted(set(ranks))}
        alone = self.layout(Layout("data", 1)).step
        found = []
        for count, names in wanted.items():
            rows = [self.layout(layout) for layout in names]
            fastest = min(row.step for row in rows)
            found += [
                Prediction(**vars(row) | {
                    "efficiency": alone / (row.step * count), "best": row.step == fastest
                })
                for row in rows
            ]  # fmt: skip
        return found

    def _layouts(self, ranks: int) -> list[Layout]:
        found, cluster = layouts(ranks, self.work.leaves, self.work.parts), self.cluster
        if ranks > cluster.ranks:
            raise WorldError(
                f"plan: {ranks} ranks for hosts x ranks_per_host = {cluster.hosts} x "
                f"{cluster.ranks_per_host}; plan at most {cluster.ranks} or raise hosts in the "
                "cluster file"
            )
        return found

    def layout(self, layout: Layout) -> Prediction:
        """Return the prediction of one layout; its efficiency is left at 1."""
        work, placement = self.work, Placement(self.cluster, layout)
        total = gradient_sum(
            placement,
            work.leaves,
            parameters(work, layout),
            self._clock,
            self._bucket_bytes,
            work.transport_bytes,
        )
        steps = [self._step(placement, minibatch) for minibatch in work.minibatches]
        waits = [
            exposed(compute.backward, total.messages) if self.overlap else total.messages
            for compute, _, _ in steps
        ]
        shares = [self._candidates(layout, minibatch)[0][1] for minibatch in work.minibatches]
        return Prediction(
            layout=layout,
            compute=fmean(compute.total for compute, _, _ in steps),
            exposed=total.adds + fmean(waits) + fmean(model for _, model, _ in steps),
            hidden=total.messages - fmean(waits),
            imbalance=fmean(imbalance for _, _, imbalance in steps),
            sent_bytes=total.sent_bytes,
            memory=memory(work, layout, max(shares, key=_frames)),
        )

    def _step(
        self, placement: Placement, minibatch: tuple[Leaf, ...]
    ) -> tuple[Compute, float, float]:
        """The slowest rank's computing, its exchanges along the model axis, and the imbalance."""
        layout = placement.layout
        shares = self._candidates(layout, minibatch)
        found = []
        for first, share in shares:
            wait = 0.0
            if layout.model > 1:
                wait = exchanges(self.work, layout, share, placement.model_link())
            found.append((step(self.work, layout, first, share, self._clock), wait))
        compute, wait = max(found, key=lambda pair: pair[0].total + pair[1])
        mean = _frames(minibatch) / layout.data
        return compute, wait, max(_frames(share) for _, share in shares) / mean

    def _candidates(
        self, layout: Layout, minibatch: tuple[Leaf, ...]
    ) -> list[tuple[int, tuple[Leaf, ...]]]:
        """First leaf and leaves of the ranks that may be slowest."""
        shares = []
        for position in range(layout.data):
            first, last = tree.leaf_range(self.work.leaves, layout.data, position)
            shares.append((first, minibatch[first:last]))
        most = max(shares, key=lambda pair: _frames(pair[1]))
        longest = max(shares, key=lambda pair: _longest(pair[1]))
        return [most] if most[0] == longest[0] else [most, longest]


def _frames(leaves: Iterable[Leaf]) -> int:
    return sum(utterance.frames for leaf in leaves for utterance in leaf)


def _longest(leaves: Iterable[Leaf]) -> int:
    return max((utterance.frames for leaf in leaves for utterance in leaf), default=0)
