"""Which ranks compute one model together, and which do the same for other leaves of a minibatch.

Policy. A mesh has ``data`` times ``model`` ranks; those of one model are neighbours, on one host
where it can be. How they divide the model is a *way* (majelpy/nn/ways). The mesh and the way are
part of the launch: with the same recipe every one of them gives the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from majelpy import tree
from majelpy.array import Array, zeros
from majelpy.comm.neighbours import Neighbours
from majelpy.comm.world import Hosts, World
from majelpy.errors import RecipeError, WorldError
from majelpy.memory import CPU
from majelpy.nn.model import Model
from majelpy.nn.share import Share
from majelpy.nn.ways.directions import DirectionShare
from majelpy.nn.ways.hidden import HiddenShare
from majelpy.nn.ways.time import TimeShare
from majelpy.recipes.launch import Launch
from majelpy.recipes.recipe import Recipe

WAYS: Mapping[str, type[TimeShare] | type[DirectionShare] | type[HiddenShare]] = {
    "time": TimeShare,
    "directions": DirectionShare,
    "hidden": HiddenShare,
}


@dataclass(frozen=True)
class Mesh:
    """Ranks of a run as data x model, and the way that the model's ranks go; "" for one rank."""

    data: int
    model: int
    way: str

    def __str__(self) -> str:
        way = f" by {self.way}" if self.way else ""
        return f"data={self.data},model={self.model}{way}"


ALONE = Mesh(1, 1, "")


def choose_mesh(launch: Launch, ranks: int, leaves: int, parts: int) -> tuple[Mesh, str]:
    """Return the mesh of a launch, and why it is so if nobody asked for it.

    Raises
    ------
    WorldError, RecipeError
        If the mesh does not match the ranks, or the recipe cannot be divided so.
    """
    data, model = _asked(launch.mesh, ranks)
    reason = ""
    if not launch.mesh:
        # Leaves divide without any message within a step, so they come first.
        model = next((m for m in range(1, parts + 1) if ranks % m == 0 and ranks // m <= leaves), 0)
        if not model:
            raise WorldError(
                f"train: {ranks} ranks for {leaves} leaves; start at most {leaves} ranks, raise "
                "data.leaves in the recipe, or let ranks share a model (model.parts, --mesh)"
            )
        data = ranks // model
        if model > 1:
            reason = f"{ranks} ranks for {leaves} leaves, so {model} ranks share a model"
    if data > leaves:
        raise WorldError(
            f"train: --mesh data={data} for {leaves} leaves; needs at most {leaves}, or more "
            "data.leaves in the recipe"
        )
    if model > parts:
        raise RecipeError(
            f"train: --mesh model={model} for model.parts = {parts}; at most {parts} ranks can "
            "share a model (raising model.parts changes the bits)"
        )
    way = launch.model_parallel if model > 1 else ""
    if way == "auto":
        way = "time" if model == 2 else "hidden"
        why = (
            "two ranks, by time: it has the fewest messages"
            if model == 2
            else f"{model} ranks, by hidden parts: the others take two"
        )
        reason = f"{reason + '; ' if reason else ''}{why}"
    if way in ("time", "directions") and model != 2:
        raise WorldError(
            f"train: --model-parallel {way} with --mesh model={model}; it needs model=2"
        )
    return Mesh(data, model, way), reason


def _asked(text: str, ranks: int) -> tuple[int, int]:
    """Sizes that --mesh names; 1 where it does not."""
    sizes: dict[str, int] = {}
    for item in text.split(",") if text else []:
        name, _, number = item.partition("=")
        known = name in ("data", "model") and name not in sizes
        if not known or not number.isdecimal() or int(number) < 1:
            raise WorldError(f"train: --mesh {text!r}; needs the form data=2,model=2")
        sizes[name] = int(number)
    data, model = sizes.get("data", 1), sizes.get("model", 1)
    if text and data * model != ranks:
        raise WorldError(f"train: --mesh {text} has {data * model} ranks; {ranks} were started")
    return data, model


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
        if self._neighbours is None or not mesh.way:
            self.share = Share(parts)
        else:
            self.share = WAYS[mesh.way](parts, self._neighbours)
        held = {rank: (i, j) for i, row in enumerate(rows) for j, rank in enumerate(row)}
        self.whole_everywhere = mesh.way in ("", "time")
        self.reducers = (
            world if self.whole_everywhere else world.group(sorted(r[self._index] for r in rows))
        )
        members = (
            sorted(held) if self.whole_everywhere else sorted(row[self._index] for row in rows)
        )
        self.ranges = []
        for rank in members:
            data, model = held[rank]
            first, last = tree.leaf_range(leaves, mesh.data, data)
            if mesh.way == "time":
                low, high = model * parts // 2, (model + 1) * parts // 2
                items = [(leaf * parts + low, leaf * parts + high) for leaf in range(first, last)]
            else:
                items = [(first * parts, last * parts)]
            self.ranges.append(items)
        self.leaves = tree.leaf_range(leaves, mesh.data, held[world.rank][0])

    def whole(self, model: Model, vector: Array) -> dict[str, np.ndarray]:
        """Return the whole parameters, by name, of a flat vector of this rank's share.

        All ranks call it together.
        """
        here = vector.to_device(CPU)
        if self.whole_everywhere or self._neighbours is None:
            return {name: x.numpy() for name, x in model.layout.items(here)}
        found = {
            p.name: np.empty(model.layout.whole_shape(p.name), np.float32)
            for p in model.layout.parameters
        }
        layouts = [
            Model(model.architecture, self._share_of(i)).layout
            for i in range(self._neighbours.count)
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

    def _share_of(self, index: int) -> Share:
        """The share of the neighbour of that place, for its shapes alone."""
        count = self._neighbours.count if self._neighbours else 1
        return WAYS[self.mesh.way](self.share.parts, _Place(index, count))

    def whole_vector(self, model: Model, vector: Array, whole: Model) -> Array:
        """Return the flat vector of all parameters on this rank's place; all ranks together."""
        if self.whole_everywhere:
            return vector
        found = zeros(whole.layout.size)
        for name, tensor in self.whole(model, vector).items():
            whole.layout.put_whole(found, name, tensor)
        return found.to_device(vector.place)

    def gather_blocks(self, sums: Mapping[int, np.float32]) -> np.ndarray:
        """Return the numbers of all blocks, in order, from those of this rank's; all together."""
        mine = dict(sums)
        everywhere = [mine] if self.whole_everywhere else self._world.all_gather(mine)
        joined = {number: value for found in everywhere for number, value in found.items()}
        return np.array([joined[number] for number in sorted(joined)], dtype=np.float32)


@dataclass
class _Place:
    """Neighbours with whom nothing is exchanged."""

    index: int
    count: int

    def exchange(self, sent: object, shapes: object) -> list[Array]:
        raise WorldError("team: this place is only asked for its shapes")

    def others(self) -> list[int]:
        return [i for i in range(self.count) if i != self.index]


def check_parts(parts: int) -> None:
    """Raise RecipeError unless the number of parts is one."""
    if parts & (parts - 1):
        raise RecipeError(f"model.parts is {parts}; needs a power of two")
