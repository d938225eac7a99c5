"""How the ranks of a training divide it: so many models, and so many ranks to each.

Policy. Pure integers. A mesh has ``data`` times ``model`` ranks; those of one model stand side by
side. Ranks of different models have different leaves of a minibatch; those of one model divide it
by a *way* (majelpy/nn/ways). The recipe bounds both: at most as many models as leaves, and at most
as many ranks to a model as parts. A mesh is part of the launch: with the same recipe every one of
them gives the same bits. `majel train` takes one of `possible_meshes`, and `majel plan` lists all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from majelpy import tree
from majelpy.errors import WorldError

WAYS = ("time", "directions", "hidden")
"""What the ranks of a model divide: the frames in halves, the directions, or the units."""

_PAIRS = ("time", "directions")
"""Ways that take two ranks."""


@dataclass(frozen=True)
class Mesh:
    """Ranks of a training as data x model, and the way that the ranks of a model go.

    Attributes
    ----------
    data, model : int
        Models with leaves of their own, and ranks of each.
    way : str
        One of `WAYS`; "" where a model has one rank.
    """

    data: int = 1
    model: int = 1
    way: str = ""

    def __str__(self) -> str:
        way = f" by {self.way}" if self.way else ""
        return f"data={self.data},model={self.model}{way}"

    @property
    def ranks(self) -> int:
        return self.data * self.model

    @property
    def whole_everywhere(self) -> bool:
        """Whether every rank holds all parameters, so that all sum gradients together."""
        return self.way in ("", "time")

    @property
    def slices(self) -> int:
        """Ranks that divide the frames of a leaf."""
        return self.model if self.way == "time" else 1

    def leaves(self, count: int, position: int) -> tree.Node:
        """Return the first and last leaf, exclusive, of the rank at a position."""
        return tree.leaf_range(count, self.data, position // self.model)

    def items(self, leaves: int, parts: int, position: int) -> list[tree.Node]:
        """Return the items of the tree, of leaves times parts, that the rank at a position has.

        An item is a part of a leaf; the ranges ascend.
        """
        first, last = self.leaves(leaves, position)
        if self.slices == 1:
            return [(first * parts, last * parts)]
        low, high = tree.leaf_range(parts, self.slices, position % self.model)
        return [(leaf * parts + low, leaf * parts + high) for leaf in range(first, last)]


ALONE = Mesh()


def possible_meshes(ranks: int, leaves: int, parts: int, way: str = "auto") -> list[Mesh]:
    """Return every mesh of so many ranks that a recipe allows, few ranks to a model first.

    Parameters
    ----------
    ranks : int
    leaves, parts : int
        Of the recipe.
    way : str
        The only one of `WAYS` that counts, or "auto".

    Raises
    ------
    WorldError
        If there is none.
    """
    meshes = [
        Mesh(ranks // model, model, name)
        for model in range(1, min(ranks, parts) + 1)
        if ranks % model == 0
        for name in (WAYS if model > 1 else ("",))
        if way == "auto" or name in ("", way)
    ]
    found = [mesh for mesh in meshes if not _obstacle(mesh, leaves, parts)]
    if not found:
        raise WorldError(_none_fits(ranks, leaves, parts, way))
    return found


def choose_mesh(
    ranks: int, leaves: int, parts: int, asked: str = "", way: str = "auto"
) -> tuple[Mesh, str]:
    """Return the mesh that a training takes, and why where nobody asked for it.

    Parameters
    ----------
    ranks : int
    leaves, parts : int
        Of the recipe.
    asked, way : str
        What the launch says: `Launch.mesh`, `Launch.model_parallel`.

    Raises
    ------
    WorldError
        If it says something that cannot be, or these ranks cannot divide the recipe.
    """
    if way not in ("auto", *WAYS):
        raise WorldError(f"--model-parallel is {way!r}; needs one of auto, {', '.join(WAYS)}")
    reasons = []
    if asked:
        data, model = _sizes(asked, ranks)
    else:
        # Leaves divide without any message within a step, so they come first.
        first = possible_meshes(ranks, leaves, parts, way)[0]
        data, model = first.data, first.model
        if model > 1:
            reasons.append(f"{ranks} ranks for {leaves} leaves, so {model} ranks share a model")
    if way == "auto" and model == 2:
        way = "time"
        reasons.append("two ranks, by time: it has the fewest messages")
    elif way == "auto" and model > 2:
        way = "hidden"
        reasons.append(f"{model} ranks, by hidden parts: the others take two")
    mesh = Mesh(data, model, way if model > 1 else "")
    obstacle = _obstacle(mesh, leaves, parts)
    if obstacle:
        raise WorldError(obstacle)
    return mesh, "; ".join(reasons)


def _obstacle(mesh: Mesh, leaves: int, parts: int) -> str:
    """Return why a recipe cannot be divided so; "" if it can."""
    if mesh.data > leaves:
        return (
            f"--mesh data={mesh.data} for data.leaves = {leaves}; at most {leaves} models can "
            "have leaves of their own (raising data.leaves changes the bits)"
        )
    if mesh.model > parts:
        return (
            f"--mesh model={mesh.model} for model.parts = {parts}; at most {parts} ranks can share "
            "a model (raising model.parts changes the bits)"
        )
    if mesh.way in _PAIRS and mesh.model != 2:
        return f"--model-parallel {mesh.way} with --mesh model={mesh.model}; it needs model=2"
    return ""


def _none_fits(ranks: int, leaves: int, parts: int, way: str) -> str:
    """Say that no mesh has so many ranks, and which numbers near it some mesh has."""
    most = min(2, parts) if way in _PAIRS else parts

    def fits(count: int) -> bool:
        return any(count % m == 0 and count // m <= leaves for m in range(1, most + 1))

    below = next(n for n in range(min(ranks - 1, leaves * most), 0, -1) if fits(n))
    above = [n for n in range(ranks + 1, leaves * most + 1) if fits(n)][:1]
    by = f" by {way}" if way in WAYS else ""
    return (
        f"{ranks} ranks for data.leaves = {leaves} and model.parts = {parts}; needs D x M ranks"
        f"{by}, D at most {leaves} and M at most {most}, such as "
        f"{' or '.join(map(str, (below, *above)))} (raising leaves or parts changes the bits)"
    )


def _sizes(text: str, ranks: int) -> tuple[int, int]:
    """Return the sizes that --mesh names; 1 where it does not."""
    sizes: dict[str, int] = {}
    for item in text.split(","):
        found = re.fullmatch(r"(data|model)=([1-9][0-9]{0,8})", item)
        if not found or found[1] in sizes:
            raise WorldError(f"--mesh {text!r}; needs the form data=2,model=2")
        sizes[found[1]] = int(found[2])
    data, model = sizes.get("data", 1), sizes.get("model", 1)
    if data * model != ranks:
        raise WorldError(f"--mesh {text} has {data * model} ranks; {ranks} were started")
    return data, model
