"""Which ranks compute one model together, and which do the same for other leaves of a minibatch.

Policy. The mesh (majelpy/mesh.py) is laid over the ranks host by host, so that those of one model
are on one host where it can be.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from majelpy.array import Array, zeros
from majelpy.comm.neighbours import Neighbours
from majelpy.comm.world import Hosts, World
from majelpy.memory import CPU
from majelpy.mesh import Mesh
from majelpy.nn.model import Model
from majelpy.nn.share import Share
from majelpy.nn.ways.shares import Shapes, share_of
from majelpy.recipes.recipe import Recipe


def models(hosts: Hosts, ranks: int) -> list[list[int]]:
    """Return the ranks of each model, ascending.

    They follow hosts, so that those of a model share one where it can be.
    """
    order = [rank for members in hosts for rank in members]
    return [sorted(order[at : at + ranks]) for at in range(0, len(order), ranks)]


class Team:
    """This rank's place in the mesh. All ranks make it together.

    Attributes
    ----------
    mesh : Mesh
    share : Share
        What this rank computes of the model.
    reducers : World
        The ranks that sum gradients with this one: those with the same share, or, by time, all.
    ranges : list of lists of (first, last)
        Items of the tree that each of these has; an item is a leaf, or a part of one.
    """

    def __init__(self, world: World, recipe: Recipe, mesh: Mesh):
        self.mesh, self._world = mesh, world
        parts, leaves = recipe.model.parts, recipe.data.leaves
        rows = models(world.hosts, mesh.model)
        mine = next(row for row in rows if world.rank in row)
        self._index = mine.index(world.rank)
        self._neighbours = Neighbours(world.group(mine)) if mesh.way else None
        self.share: Share = share_of(mesh.way, parts, self._neighbours or Shapes(0, 1))
        position = {rank: at for at, rank in enumerate(rank for row in rows for rank in row)}
        members = sorted(position)
        if mesh.whole_everywhere:
            self.reducers = world
        else:
            members = sorted(row[self._index] for row in rows)
            self.reducers = world.group(members)
        self.ranges = [mesh.items(leaves, parts, position[rank]) for rank in members]
        self.leaves = mesh.leaves(leaves, position[world.rank])

    def whole(self, model: Model, vector: Array) -> dict[str, np.ndarray]:
        """Return the whole parameters, by name, of a flat vector of this rank's share.

        All ranks call it together.
        """
        here = vector.to_device(CPU)
        if self._neighbours is None or self.mesh.whole_everywhere:
            return {name: x.numpy() for name, x in model.layout.items(here)}
        found = {
            p.name: np.empty(model.layout.whole_shape(p.name), np.float32)
            for p in model.layout.parameters
        }
        way, parts, count = self.mesh.way, self.share.parts, self._neighbours.count
        layouts = [
            Model(model.architecture, share_of(way, parts, Shapes(i, count))).layout
            for i in range(count)
        ]
        others = self._neighbours.others()
        vectors = self._neighbours.exchange(
            [(i, here) for i in others], [(i, (layouts[i].size,)) for i in others]
        )
        for i, x in [(self._index, here), *zip(others, vectors, strict=True)]:
            for name, held in layouts[i].items(x):
                target = layouts[i].of_whole(name, found[name])
                target[...] = held.numpy().reshape(target.shape)
        return found

    def whole_vector(self, model: Model, vector: Array, whole: Model) -> Array:
        """Return the flat vector of all parameters on this rank's place; all ranks together."""
        if self.mesh.whole_everywhere:
            return vector
        found = zeros(whole.layout.size)
        for name, tensor in self.whole(model, vector).items():
            whole.layout.put_whole(found, name, tensor)
        return found.to_device(vector.place)

    def gather_blocks(self, sums: Mapping[int, np.float32]) -> np.ndarray:
        """Return the numbers of all blocks, in order, from those of this rank's; all together."""
        mine = dict(sums)
        everywhere = [mine] if self.mesh.whole_everywhere else self._world.all_gather(mine)
        joined = {number: value for found in everywhere for number, value in found.items()}
        return np.array([joined[number] for number in sorted(joined)], dtype=np.float32)
