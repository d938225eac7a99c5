"""Predictions: time of a step, its share of communication, efficiency and memory of each mesh.

Policy. A step ends when its slowest rank does. Of each minibatch two ranks are looked at, the one
with most frames and the one with the longest utterance, and the slower of them counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import fmean

from majelpy.errors import WorldError
from majelpy.mesh import ALONE, Mesh, choose_mesh, possible_meshes
from majelpy.plan.communication import exchanges, exposed, gradient_sum
from majelpy.plan.compute import Clock, Compute, parameters, step
from majelpy.plan.constants import Cluster
from majelpy.plan.memory import Memory, memory
from majelpy.plan.spread import Spread
from majelpy.plan.workload import Leaf, Workload


@dataclass(frozen=True)
class Prediction:
    """A mesh's step, averaged over the minibatches; seconds.

    Attributes
    ----------
    mesh : Mesh
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
        No other mesh of as many ranks is faster.
    chosen : bool
        `majel train` takes it, unless told otherwise.
    """

    mesh: Mesh
    compute: float
    exposed: float
    hidden: float
    imbalance: float
    sent_bytes: float
    memory: Memory
    efficiency: float = 1.0
    best: bool = False
    chosen: bool = False

    @property
    def step(self) -> float:
        return self.compute + self.exposed

    @property
    def exposed_share(self) -> float:
        """Part of the step that waits for communication."""
        return self.exposed / self.step


class Planner:
    """Predicts meshes of one workload on one cluster.

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
        """Return all meshes of so many ranks each, in ascending order, and mark of each number the
        fastest and the one that a training takes.

        Raises
        ------
        WorldError
            If no mesh has so many ranks, or the cluster fewer.
        """
        wanted = {count: self._meshes(count) for count in sorted(set(ranks))}
        alone = self.of(ALONE).step
        found = []
        for count, meshes in wanted.items():
            rows = [self.of(mesh) for mesh in meshes]
            fastest = min(row.step for row in rows)
            chosen, _ = choose_mesh(count, self.work.leaves, self.work.parts)
            found += [
                replace(
                    row,
                    efficiency=alone / (row.step * count),
                    best=row.step == fastest,
                    chosen=row.mesh == chosen,
                )
                for row in rows
            ]
        return found

    def _meshes(self, ranks: int) -> list[Mesh]:
        found, cluster = possible_meshes(ranks, self.work.leaves, self.work.parts), self.cluster
        if ranks > cluster.ranks:
            raise WorldError(
                f"plan: {ranks} ranks for hosts x ranks_per_host = {cluster.hosts} x "
                f"{cluster.ranks_per_host}; plan at most {cluster.ranks} or raise hosts in the "
                "cluster file"
            )
        return found

    def of(self, mesh: Mesh) -> Prediction:
        """Return the prediction of one mesh, not yet compared with others."""
        work, spread = self.work, Spread(self.cluster, mesh)
        total = gradient_sum(
            spread,
            work.leaves,
            parameters(work, mesh),
            self._clock,
            self._bucket_bytes,
            work.transport_bytes,
        )
        steps = [self._step(spread, minibatch) for minibatch in work.minibatches]
        waits = [
            exposed(compute.backward, total.messages) if self.overlap else total.messages
            for compute, _, _ in steps
        ]
        shares = [self._candidates(mesh, minibatch)[0][1] for minibatch in work.minibatches]
        return Prediction(
            mesh=mesh,
            compute=fmean(compute.total for compute, _, _ in steps),
            exposed=total.adds + fmean(waits) + fmean(model for _, model, _ in steps),
            hidden=total.messages - fmean(waits),
            imbalance=fmean(imbalance for _, _, imbalance in steps),
            sent_bytes=total.sent_bytes,
            memory=memory(work, mesh, max(shares, key=_frames)),
        )

    def _step(self, spread: Spread, minibatch: tuple[Leaf, ...]) -> tuple[Compute, float, float]:
        """The slowest rank's computing, its exchanges along the model axis, and the imbalance."""
        mesh = spread.mesh
        shares = self._candidates(mesh, minibatch)
        found = []
        for first, share in shares:
            wait = 0.0
            if mesh.model > 1:
                wait = exchanges(self.work, mesh, share, spread.model_link())
            found.append((step(self.work, mesh, first, share, self._clock), wait))
        compute, wait = max(found, key=lambda pair: pair[0].total + pair[1])
        mean = _frames(minibatch) / mesh.data
        return compute, wait, max(_frames(share) for _, share in shares) / mean

    def _candidates(
        self, mesh: Mesh, minibatch: tuple[Leaf, ...]
    ) -> list[tuple[int, tuple[Leaf, ...]]]:
        """First leaf and leaves of the ranks that may be slowest."""
        shares = []
        for position in range(0, mesh.ranks, mesh.model):
            first, last = mesh.leaves(self.work.leaves, position)
            shares.append((first, minibatch[first:last]))
        most = max(shares, key=lambda pair: _frames(pair[1]))
        longest = max(shares, key=lambda pair: _longest(pair[1]))
        return [most] if most[0] == longest[0] else [most, longest]


def _frames(leaves: Iterable[Leaf]) -> int:
    return sum(utterance.frames for leaf in leaves for utterance in leaf)


def _longest(leaves: Iterable[Leaf]) -> int:
    return max((utterance.frames for leaf in leaves for utterance in leaf), default=0)
