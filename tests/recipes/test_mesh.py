"""Meshes: which there are, which one a training takes, and that a plan lists the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from paths import ROOT
from training import Inside, network, write_corpus, write_recipe

from majelpy import tree
from majelpy.comm.world import World
from majelpy.errors import WorldError
from majelpy.mesh import ALONE, WAYS, Mesh, choose_mesh, possible_meshes
from majelpy.nn.layers import read
from majelpy.nn.model import Architecture, Model
from majelpy.nn.share import Share
from majelpy.nn.ways.shares import SHARES, Shapes, share_of
from majelpy.plan.constants import load as load_cluster
from majelpy.plan.model import Planner
from majelpy.plan.workload import workload
from majelpy.recipes.launch import Launch
from majelpy.recipes.recipe import load, shipped
from majelpy.train.loop import Run

pytest_plugins = ["training"]

CLUSTER = ROOT / "slurm" / "cluster.toml"


def test_each_way_has_a_share() -> None:
    assert tuple(SHARES) == WAYS


# --- which there are ------------------------------------------------------------------------


def test_meshes_of_a_recipe() -> None:
    def found(ranks: int, leaves: int, parts: int) -> list[str]:
        return [str(mesh) for mesh in possible_meshes(ranks, leaves, parts)]

    assert found(1, 8, 4) == ["data=1,model=1"]
    assert found(2, 8, 1) == ["data=2,model=1"]  # not by directions, which takes two parts
    assert found(6, 8, 4) == [
        "data=6,model=1", "data=3,model=2 by time", "data=3,model=2 by directions",
        "data=3,model=2 by hidden", "data=2,model=3 by hidden",
    ]  # fmt: skip
    assert found(24, 8, 4) == ["data=8,model=3 by hidden", "data=6,model=4 by hidden"]
    assert found(32, 8, 4) == ["data=8,model=4 by hidden"]


NONE = [
    (5, 4, 2, "auto", "D at most 4 and M at most 2, such as 4 or 6"),
    (5, 4, 1, "auto", "D at most 4 and M at most 1, such as 4"),
    (33, 8, 4, "auto", "D at most 8 and M at most 4, such as 32"),
    (24, 8, 4, "time", "D x M ranks by time, D at most 8 and M at most 2, such as 16"),
    (1 << 20, 8, 1, "auto", "such as 8"),
]


@pytest.mark.parametrize(("ranks", "leaves", "parts", "way", "needed"), NONE)
def test_ranks_that_nothing_divides(
    ranks: int, leaves: int, parts: int, way: str, needed: str
) -> None:
    with pytest.raises(WorldError) as raised:
        choose_mesh(ranks, leaves, parts, way=way)
    found = str(raised.value)
    assert found.startswith(
        f"{ranks} ranks for data.leaves = {leaves} and model.parts = {parts}; needs "
    )
    assert f"{needed} (raising leaves or parts changes the bits)" in found


# --- which one is chosen, and why -----------------------------------------------------------


@pytest.mark.parametrize(
    ("ranks", "leaves", "parts", "mesh", "why"),
    [
        (1, 8, 1, ALONE, ""),
        (8, 8, 4, Mesh(8), ""),
        (
            8, 4, 4, Mesh(4, 2, "time"),
            "8 ranks for 4 leaves, so 2 ranks share a model; two ranks, by time: it has the fewest "
            "messages",
        ),
        (6, 4, 4, Mesh(3, 2, "time"), "6 ranks for 4 leaves, so 2 ranks share a model; two ranks,"),
        (
            24, 8, 4, Mesh(8, 3, "hidden"),
            "24 ranks for 8 leaves, so 3 ranks share a model; 3 ranks, by hidden parts: the others "
            "take two",
        ),
        (3, 1, 4, Mesh(1, 3, "hidden"), "3 ranks for 1 leaves, so 3 ranks share a model; 3 ranks,"),
    ],
)  # fmt: skip
def test_leaves_are_divided_before_the_model(
    ranks: int, leaves: int, parts: int, mesh: Mesh, why: str
) -> None:
    found, reason = choose_mesh(ranks, leaves, parts)
    assert found == mesh
    assert reason.startswith(why) and bool(reason) == bool(why)


def test_a_way_that_is_asked_for_takes_as_many_ranks_as_it_can() -> None:
    assert choose_mesh(4, 2, 4, way="directions")[0] == Mesh(2, 2, "directions")
    assert choose_mesh(4, 2, 4, way="hidden")[0] == Mesh(2, 2, "hidden")
    assert choose_mesh(4, 2, 4, "data=1,model=4")[0] == Mesh(1, 4, "hidden")
    assert choose_mesh(4, 2, 4, "data=2,model=2", "hidden") == (Mesh(2, 2, "hidden"), "")
    assert choose_mesh(2, 2, 4, "data=2", "hidden") == (Mesh(2), "")


@pytest.mark.parametrize(
    ("asked", "way", "ranks", "leaves", "message"),
    [
        (
            "data=2", "auto", 2, 1,
            "--mesh data=2 for data.leaves = 1; at most 1 models can have leaves of their own "
            "(raising data.leaves changes the bits)",
        ),
        (
            "model=8", "auto", 8, 4,
            "--mesh model=8 for model.parts = 4; at most 4 ranks can share a model (raising "
            "model.parts changes the bits)",
        ),
        ("model=3", "time", 3, 4, "--model-parallel time with --mesh model=3; it needs model=2"),
        (
            "model=4", "directions", 4, 4,
            "--model-parallel directions with --mesh model=4; it needs model=2",
        ),
        ("model=2", "auto", 3, 4, "--mesh model=2 has 2 ranks; 3 were started"),
        ("", "parts", 1, 4,
         "--model-parallel is 'parts'; needs one of auto, time, directions, hidden"),
        *(
            (text, "auto", 1, 4, f"--mesh {text!r}; needs the form data=2,model=2")
            for text in ("2x2", "data=0", "data=01", "data=-1", "data=²", "data=1,", "rows=1",
                         "data=1,data=1", "model=" + 5000 * "9")
        ),
    ],
)  # fmt: skip
def test_meshes_that_cannot_be(asked: str, way: str, ranks: int, leaves: int, message: str) -> None:
    with pytest.raises(WorldError) as raised:
        choose_mesh(ranks, leaves, 4, asked, way)
    assert str(raised.value) == message


# --- what each rank has ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "mesh", [ALONE, Mesh(3), Mesh(3, 2, "time"), Mesh(2, 3, "hidden"), Mesh(5, 2, "directions")]
)
def test_ranks_that_sum_together_have_each_item_once(mesh: Mesh) -> None:
    leaves, parts = 5, 4
    everyone = range(mesh.ranks)
    groups = [everyone] if mesh.whole_everywhere else [everyone[i :: mesh.model]
                                                       for i in range(mesh.model)]  # fmt: skip
    for group in groups:
        items = sorted(
            item
            for position in group
            for first, last in mesh.items(leaves, parts, position)
            for item in range(first, last)
        )
        assert items == list(range(leaves * parts))


@pytest.mark.parametrize("way", ["", *WAYS])
def test_items_are_those_of_the_share(way: str) -> None:
    parts, ranks = 4, 2 if way else 1
    mesh = Mesh(3, ranks, way)
    for position in range(mesh.ranks):
        low, high = share_of(way, parts, Shapes(position % ranks, ranks)).time_parts
        first, last = mesh.leaves(8, position)
        assert (first, last) == tree.leaf_range(8, 3, position // ranks)
        found = [i for a, b in mesh.items(8, parts, position) for i in range(a, b)]
        assert found == [n * parts + i for n in range(first, last) for i in range(low, high)]


# --- plan and train -------------------------------------------------------------------------

KINDS = {
    "dense, two directions": [
        {"layer": "context", "frames": 1},
        {"layer": "dense", "units": 64},
        {"layer": "birnn", "units": 64},
    ],
    "one direction": [{"layer": "gru", "units": 64}, {"layer": "row_conv", "future": 2}],
    "conv, batch norm": [
        {"layer": "conv", "channels": 64, "kernel": [3, 3], "batch_norm": True},
        {"layer": "bilstm", "units": 64, "batch_norm": True},
        {"layer": "batch_norm"},
    ],
}
RECIPES = [
    *((leaves, parts, name) for name in KINDS for leaves in (1, 3, 8) for parts in (1, 2, 4)),
    *((8, 4, name) for name in shipped()),
]


def every(ranks: int) -> Iterator[Mesh]:
    """Yield all meshes that somebody could ask for with so many ranks."""
    for model in range(1, ranks + 1):
        if ranks % model == 0:
            yield from (Mesh(ranks // model, model, way) for way in (WAYS if model > 1 else [""]))


def launch_of(mesh: Mesh) -> Launch:
    asked = f"data={mesh.data},model={mesh.model}"
    return Launch(mesh=asked, model_parallel=mesh.way or "auto")


@dataclass(frozen=True)
class Ranks(World):
    """A world that is only said to be there."""

    size: int
    rank: int = 0
    local_rank: int = 0

    @property
    def local_size(self) -> int:
        return self.size


def check_shares(mesh: Mesh, architecture: Architecture, leaves: int, parts: int) -> None:
    """Fail unless no rank's share is empty, and together they are the whole."""
    whole = Model(architecture, Share(parts)).layout
    shares = [share_of(mesh.way, parts, Shapes(i, mesh.model)) for i in range(mesh.model)]
    layouts = [Model(architecture, share).layout for share in shares]
    assert all(parameter.size for layout in layouts for parameter in layout.parameters)
    for name in (parameter.name for parameter in whole.parameters):
        sizes = [layout.place(name)[1].size for layout in layouts]
        assert max(sizes) <= whole.place(name)[1].size <= sum(sizes)
    assert all(mesh.items(leaves, parts, position) for position in range(mesh.ranks))


@pytest.mark.parametrize(
    ("leaves", "parts", "name"), RECIPES, ids=[f"{r[2]}: {r[0]} x {r[1]}" for r in RECIPES]
)
def test_a_plan_lists_what_training_accepts_and_marks_what_it_takes(
    leaves: int, parts: int, name: str
) -> None:
    recipe = load("digits" if name in KINDS else name)
    recipe = replace(recipe, data=replace(recipe.data, leaves=leaves, train="none.h5"))
    layers = read(KINDS[name], name, "") if name in KINDS else recipe.model.layers
    recipe = replace(recipe, model=replace(recipe.model, parts=parts, layers=layers))
    work = workload(recipe, frames=20)
    meshes: dict[tuple[int, str], Mesh] = {}
    planner = Planner(work, load_cluster(str(CLUSTER)), bucket_bytes=4 << 20)
    for ranks in range(1, 25):
        accepted = []
        for mesh in every(ranks):
            launch = launch_of(mesh)
            asked = (launch.mesh, launch.model_parallel)
            with suppress(WorldError):
                assert choose_mesh(ranks, leaves, parts, *asked) == (mesh, "")
                accepted.append(mesh)
        if not accepted:
            message = f"{ranks} ranks for data.leaves = {leaves} and model.parts = {parts}; "
            with pytest.raises(WorldError, match=message):
                planner.predict([ranks])
            with pytest.raises(WorldError, match=message):
                choose_mesh(ranks, leaves, parts)
            continue
        found = planner.predict([ranks])
        assert [p.mesh for p in found] == accepted
        assert [p.mesh for p in found if p.chosen] == [choose_mesh(ranks, leaves, parts)[0]]
        meshes |= {(mesh.model, mesh.way): mesh for mesh in accepted}
    for mesh in meshes.values():
        check_shares(mesh, work.architecture, leaves, parts)


@pytest.mark.parametrize(("leaves", "parts"), [(8, 4), (4, 2), (3, 1)])
@pytest.mark.usefixtures("threads")
def test_the_commands_agree(leaves: int, parts: int, tmp_path: Path, inside: Inside) -> None:
    write_corpus(tmp_path / "train.h5")
    changes = {"data__leaves": leaves, "model__parts": parts}
    layers = network([64], 64, 64)
    path = write_recipe(tmp_path / "r.toml", tmp_path / "train.h5", **changes, model__layers=layers)
    recipe, accepted, taken = load(str(path)), [], []

    def begun(ranks: int, launch: Launch) -> Mesh:
        """The mesh of a training as `majel train` begins it."""
        return Run(recipe, launch, Ranks(ranks), str(tmp_path / "run"))._mesh  # type: ignore[arg-type]

    for ranks in range(1, 25):
        for mesh in every(ranks):
            with suppress(WorldError):
                accepted.append(begun(ranks, launch_of(mesh)))
                assert accepted[-1] == mesh
        with suppress(WorldError):
            taken.append(begun(ranks, Launch()))
    counts = sorted({mesh.ranks for mesh in accepted})
    wanted = ",".join(map(str, counts))
    said = inside("plan", path, "--cluster", CLUSTER, "--json", "--ranks", wanted)
    rows = json.loads(said.out)["meshes"]
    listed = [Mesh(row["data"], row["model"], row["way"]) for row in rows]
    assert listed == accepted
    assert [mesh for mesh, row in zip(listed, rows, strict=True) if row["chosen"]] == taken
    for ranks in {*range(1, 25)} - {*counts}:
        said = inside("plan", path, "--cluster", CLUSTER, "--ranks", str(ranks))
        assert (said.code, said.out) == (2, "")
        assert f"majel plan: {ranks} ranks for data.leaves = {leaves} and " in said.err
