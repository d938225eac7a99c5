"""How the ranks of a mesh lie on the hosts of a cluster.

Policy. Ranks fill one host, and in it one socket, after another; those of a model are neighbours,
so that what they exchange in every layer takes the shortest links.
"""

from __future__ import annotations

from dataclasses import dataclass

from majelpy.mesh import Mesh
from majelpy.plan.constants import Cluster, Link


@dataclass(frozen=True)
class Spread:
    """The ranks of a mesh on a cluster."""

    cluster: Cluster
    mesh: Mesh

    @property
    def per_host(self) -> int:
        """Ranks of the fullest host."""
        return min(self.cluster.ranks_per_host, self.mesh.ranks)

    @property
    def groups(self) -> int:
        """Groups of ranks that sum a gradient vector, each of its own parameters."""
        return 1 if self.mesh.whole_everywhere else self.mesh.model

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
        size = self.mesh.model
        starts = range(0, self.mesh.ranks, size)
        links = {self.link(range(start, start + size)) for start in starts}
        return max(links, key=lambda link: (1 / link.beta_gb_s, link.alpha_us))

    @property
    def members(self) -> int:
        """Ranks that sum one gradient vector."""
        return self.mesh.ranks // self.groups

    @property
    def local_members(self) -> int:
        """Those of them on one host."""
        return max(1, self.per_host // self.groups)

    @property
    def hosts(self) -> int:
        """Hosts that the members are on."""
        return -(-self.members // self.local_members)

    def local_link(self) -> Link:
        """The slowest link among the ranks of a host."""
        return self.link(range(self.per_host))
