"""Time of the messages and of the sum of gradients in a step.

Policy. What the ranks of a host add through shared memory is work of their own cores: nothing hides
it. Messages between hosts may fly while the backward pass goes on. What the ranks of a model axis
exchange is waited for at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from majelpy import tree
from majelpy.comm.bucket import FLOAT_BYTES
from majelpy.mesh import Mesh
from majelpy.plan.compute import Clock
from majelpy.plan.constants import Link
from majelpy.plan.layers import works
from majelpy.plan.spread import Spread
from majelpy.plan.workload import Leaf, Workload


@dataclass(frozen=True)
class GradientSum:
    """Seconds of summing the gradients.

    Attributes
    ----------
    adds : float
        On the host's own cores, its barriers included.
    messages : float
        Between hosts.
    sent_bytes : float
        By a host.
    """

    adds: float
    messages: float
    sent_bytes: float


@lru_cache(maxsize=4096)
def most_nodes(leaves: int, ranks: int, local: int) -> tuple[int, int]:
    """Most nodes that the ranks of a host hold, and to which they add up (`comm/schedule.py`)."""
    held = [len(tree.nodes(leaves, *tree.leaf_range(leaves, ranks, r))) for r in range(ranks)]
    most = added = 0
    for start in range(0, ranks, local):
        stop = min(start + local, ranks)
        first = tree.leaf_range(leaves, ranks, start)[0]
        last = tree.leaf_range(leaves, ranks, stop - 1)[1]
        most = max(most, sum(held[start:stop]))
        added = max(added, len(tree.nodes(leaves, first, last)))
    return most, added


def gradient_sum(
    spread: Spread,
    leaves: int,
    floats: int,
    clock: Clock,
    bucket_bytes: int,
    transport_bytes: int = FLOAT_BYTES,
) -> GradientSum:
    """Return the cost of summing gradient vectors of ``floats`` floats, one a group of ranks.

    In messages between hosts a number has ``transport_bytes``.
    """
    members, local, hosts = spread.members, spread.local_members, spread.hosts
    if members == 1:
        return GradientSum(0.0, 0.0, 0.0)
    # Two ranks that divide the frames of the same leaves hold the same nodes.
    slices = spread.mesh.slices
    nodes, added = most_nodes(leaves, members // slices, max(1, local // slices))
    nodes *= min(local, slices)
    mine = floats / local  # floats of the vector that this rank adds for its host
    adds = 0.0
    if local > 1:
        near, link = spread.local_link(), nodes * mine * (local - 1) / local * FLOAT_BYTES
        adds += clock.elementwise(math.ceil(nodes * mine / local + mine)) + near.seconds(link, 0)
        adds += near.seconds(0, 2 * math.ceil(math.log2(local)))
    if hosts == 1:
        return GradientSum(adds, 0.0, 0.0)
    root = (hosts - 1) * added + 2  # nodes of the other hosts, its own, and the result
    adds += clock.elementwise(math.ceil(root * floats / members))
    groups = min(spread.groups, spread.per_host)
    sent = groups * (added + 1) * transport_bytes * floats * (hosts - 1) / hosts
    buckets = math.ceil(FLOAT_BYTES * floats / bucket_bytes)
    messages = buckets * (added + 1) * (members - local) / local
    fabric = spread.cluster.links.fabric
    return GradientSum(adds, fabric.seconds(sent, messages), sent)


def exposed(backward: Sequence[tuple[float, int]], messages: float) -> float:
    """Return how long the messages last after the backward pass.

    Each layer's share of them begins when its gradients are whole and those of later layers have
    gone.

    Parameters
    ----------
    backward : sequence of (float, int)
        As in `Compute`.
    messages : float
        Seconds of all of them.
    """
    floats = sum(count for _, count in backward)
    now = sent = 0.0
    for seconds, count in backward:
        now += seconds
        sent = max(sent, now) + messages * count / floats
    return sent - now


def exchanges(work: Workload, mesh: Mesh, leaves: Sequence[Leaf], link: Link) -> float:
    """Return the seconds that a rank exchanges activations along the model axis in a step."""
    utterances = [u for leaf in leaves for u in leaf]
    # By hidden parts each has its own already, and waits for all others.
    divided = mesh.way == "hidden"
    foreign = (mesh.model - 1) / mesh.model if divided else 1.0
    messages, total = mesh.model - 1 if divided else 1, 0.0
    latency = math.ceil(math.log2(mesh.model))
    for layer, found in works(work.model(mesh), mesh.way):
        lengths = [u.after(layer.outputs.stride) for u in utterances]
        for message in found.messages:
            nbytes = FLOAT_BYTES * foreign * message.floats
            if message.each == "time step":
                steps = _live([frames - 1 for frames in lengths if frames])
                total += sum(link.seconds(nbytes * live, latency) * count for live, count in steps)
            else:
                counts = {"frame": sum(lengths), "utterance": len(lengths), "leaf": len(leaves)}
                total += link.seconds(nbytes * counts[message.each], messages)
    if divided:
        total += link.seconds(2 * FLOAT_BYTES, latency)  # the gradient's norm
    return total


def _live(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """How many utterances take a time step together, and how many such steps there are."""
    descending = sorted(lengths, reverse=True)
    for live, (longer, shorter) in enumerate(pairwise([*descending, 0]), 1):
        yield live, longer - shorter
