"""Ways to divide a training among ranks, and where the ranks lie.

Policy. Ranks form a mesh (data, model); the ranks of a model axis are neighbours, so that what they
exchange in every layer takes the shortest links. Ranks fill one host, and in it one socket, after
another.
"""

from __future__ import annotations

from dataclasses import dataclass

from majelpy.comm.bucket import LINE
from majelpy.errors import WorldError
from majelpy.plan.constants import Cluster, Link

WAYS = ("data", "directions", "time", "hidden")
"""What the model axis divides: nothing, directions, frames, units."""


@dataclass(frozen=True)
class Layout:
    """A mesh of ranks.

    Attributes
    ----------
    way : str
        One of `WAYS`.
    data, model : int
        Ranks on either axis.
    """

    way: str
    data: int
    model: int = 1

    def __str__(self) -> str:
        return f"data {self.data}" + (f" x {self.way} {self.model}" if self.model > 1 else "")

    @property
    def ranks(self) -> int:
        return self.data * self.model

    @property
    def groups(self) -> int:
        """Groups of ranks that sum a gradient vector, each of its own parameters."""
        return self.model if self.way in ("directions", "hidden") else 1

    @property
    def slices(self) -> int:
        """Ranks on which the frames of a leaf are divided."""
        return self.model if self.way == "time" else 1

    def directions(self, count: int) -> int:
        """Directions of a recurrent layer that a rank runs."""
        return 1 if self.way == "directions" else count

    def units(self, units: int) -> int:
        """Units of a layer that the rank with the most of them has."""
        if self.way != "hidden":
            return units
        lines = -(-units // LINE)
        return min(units, -(-lines // self.model) * LINE)


def layouts(ranks: int, leaves: int, parts: int) -> list[Layout]:
    """Return the layouts of so many ranks.

    Raises
    ------
    WorldError
        If there are more ranks than leaves times parts.
    """
    if ranks > leaves * parts:
        raise WorldError(
            f"plan: {ranks} ranks for {leaves} leaves x {parts} parts; plan at most "
            f"{leaves * parts} ranks or raise data.leaves or model.parts in the recipe"
        )
    found = [Layout("data", ranks)]
    if ranks % 2 == 0:
        found.append(Layout("directions", ranks // 2, 2))
        found += [Layout("time", ranks // 2, 2)] if parts >= 2 else []
    model = 2
    while model <= parts:
        found += [Layout("hidden", ranks // model, model)] if ranks % model == 0 else []
        model *= 2
    return [layout for layout in found if layout.data <= leaves]


@dataclass(frozen=True)
class Placement:
    """Where the ranks of a layout lie on a cluster."""

    cluster: Cluster
    layout: Layout

    @property
    def per_host(self) -> int:
        """Ranks of the fullest host."""
        return min(self.cluster.ranks_per_host, self.layout.ranks)

    def link(self, ranks: range) -> Link:
        """The slowest link among these ranks; those of a host share its way to the others."""
        local, sockets = self.cluster.ranks_per_host, self.cluster.sockets
        links = self.cluster.links
        if ranks[0] // local != ranks[-1] // local:
            return Link(links.fabric.alpha_us, links.fabric.beta_gb_s / self.per_host)
        if ranks[0] % local * sockets // local != ranks[-1] % local * sockets // local:
            return links.host
        return links.socket

    def model_link(self) -> Link:
        """The slowest link within any model axis."""
        size = self.layout.model
        starts = range(0, self.layout.ranks, size)
        links = {self.link(range(start, start + size)) for start in starts}
        return max(links, key=lambda link: (1 / link.beta_gb_s, link.alpha_us))

    @property
    def members(self) -> int:
        """Ranks that sum one gradient vector."""
        return self.layout.ranks // self.layout.groups

    @property
    def local_members(self) -> int:
        """Those of them on one host."""
        return max(1, self.per_host // self.layout.groups)

    @property
    def hosts(self) -> int:
        """Hosts that the members are on."""
        return -(-self.members // self.local_members)

    def local_link(self) -> Link:
        """The slowest link among the ranks of a host."""
        return self.link(range(self.per_host))
