"""Several ranks compute one model: one recipe has one answer in every layout.

Policy. The expected run of a recipe is that of one rank. Utterances are uneven, and some so short
that a half of theirs has no frame; buckets are small, so that there are several.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from extras import extra
from mpi_launch import PATIENCE, environment, mpirun
from paths import PROGRAMS
from several_hosts import Maker
from training import (
    MAJEL,
    Done,
    assert_same,
    command,
    done,
    majel,
    network,
    own_lines,
    train,
    utterances,
    write_corpus,
    write_recipe,
)

import majelpy
from majelpy import native
from majelpy.gpu import build
from majelpy.mesh import WAYS

pytest_plugins = ["several_hosts", "training"]

LEAVES = 4
STEPS = 6
LENGTHS = [1, 2, 1, 30, 5, 3, 17, 2, 9, 30, 1, 30, 12, 2, 30, 4, 30, 30]
NETWORKS = {2: network([32, 48], 64, 40), 4: network([64, 80], 64, 70)}
"""Of the recipe with so many parts: layers whose parts are even, uneven, and end within a line."""

EMULATED = (sys.executable, str(PROGRAMS / "emulated_majel.py"))


@dataclass(frozen=True)
class Tiny:
    """A recipe with parts, and what one rank makes of it."""

    recipe: Path
    alone: Done


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Tiny]:
    """The recipes, by their parts; nobody may write to them."""
    folder = tmp_path_factory.mktemp("parallel")
    whole = utterances(len(LENGTHS))
    made = [
        (frames[:count], text[: max(1, count // 4)].strip() or "a", name)
        for (frames, text, name), count in zip(whole, LENGTHS, strict=True)
    ]
    assert {len(frames) for frames, _, _ in made} >= {1, 2, 3}
    write_corpus(folder / "train.h5", made)
    found = {}
    for parts, layers in NETWORKS.items():
        recipe = write_recipe(
            folder / f"parts-{parts}.toml", folder / "train.h5",
            data__holdout=2, data__leaves=LEAVES, schedule__epochs=2, schedule__hold=1,
            model__parts=parts, model__layers=layers,
        )  # fmt: skip
        found[parts] = Tiny(recipe, train(recipe, folder / f"alone-{parts}"))
        assert len(found[parts].alone.ledger.splitlines()) == STEPS
    return found


MESSAGES = ["--no-shared-memory", "--bucket-bytes", "4096"]
"""Each rank counts as a host, so buckets overlap with the backward pass."""

AFTER = [*MESSAGES, "--no-overlap"]

LAYOUTS: list[tuple[int, int, str, str, list[str]]] = [
    # parts, ranks, mesh, way, other options
    (2, 3, "", "auto", AFTER),
    (2, 2, "model=2", "directions", []),
    (2, 4, "data=2,model=2", "time", MESSAGES),
    (2, 4, "data=2,model=2", "hidden", AFTER),
    (4, 1, "", "auto", ["--threads", "2"]),
    (4, 3, "model=3", "hidden", []),
    (4, 8, "data=2,model=4", "hidden", MESSAGES),
]

MORE_LAYOUTS: list[tuple[int, int, str, str, list[str]]] = [
    (2, 2, "", "auto", []),
    (2, 6, "", "auto", []),
    *((2, 2, "model=2", way, []) for way in ("time", "hidden")),
    *((2, 4, "data=2,model=2", way, MESSAGES) for way in ("directions", "hidden")),
    *((2, 4, "data=2,model=2", way, AFTER) for way in ("time", "directions")),
    (2, 6, "data=3,model=2", "hidden", MESSAGES),
    (2, 8, "data=4,model=2", "time", MESSAGES),
    *((4, 2, "model=2", way, MESSAGES) for way in WAYS),
    (4, 4, "model=4", "auto", []),
    (4, 4, "data=2,model=2", "time", MESSAGES),
    (4, 6, "data=2,model=3", "hidden", AFTER),
    (4, 6, "data=3,model=2", "time", MESSAGES),
]

CASES = [
    pytest.param(
        *layout,
        id=f"{layout[0]} parts, {layout[1]} ranks, {' '.join([*layout[2:4], *layout[4]])}",
        marks=[*marks, *([pytest.mark.mpi] * (layout[1] > 1))],
    )
    for layouts, marks in ((LAYOUTS, []), (MORE_LAYOUTS, [pytest.mark.extra]))
    for layout in layouts
]


@pytest.mark.parametrize(("parts", "ranks", "mesh", "way", "options"), CASES)
def test_no_layout_changes_a_bit(
    tiny: dict[int, Tiny],
    tmp_path: Path,
    parts: int,
    ranks: int,
    mesh: str,
    way: str,
    options: list[str],
) -> None:
    words = [*(["--mesh", mesh] if mesh else []), "--model-parallel", way, *options]
    found = train(tiny[parts].recipe, tmp_path, *words, ranks=ranks)
    assert_same(found, tiny[parts].alone)


def test_other_parts_are_another_recipe(tiny: dict[int, Tiny], tmp_path: Path) -> None:
    # Else the runs above might not depend on the parts at all.
    found = train(tiny[4].recipe, tmp_path, "--set", "model.parts=2")
    first, other = (run.ledger.splitlines()[0] for run in (found, tiny[4].alone))
    assert first != other
    assert found.fingerprint != tiny[4].alone.fingerprint


@pytest.mark.mpi
def test_the_chosen_mesh_is_told(tiny: dict[int, Tiny], tmp_path: Path) -> None:
    ended = majel("train", tiny[2].recipe, "--steps", "1", "--out", tmp_path, ranks=6)
    assert (
        "mesh data=3,model=2 by time (6 ranks for 4 leaves, so 2 ranks share a model; two ranks, "
        "by time: it has the fewest messages)\n"
    ) in ended.stderr


RESUMED: list[list[tuple[int, list[str]]]] = [
    [
        (2, ["--mesh", "model=2", "--model-parallel", "hidden"]),
        (1, []),
        (4, ["--mesh", "data=2,model=2", "--model-parallel", "time"]),
        (2, ["--mesh", "model=2", "--model-parallel", "directions"]),
    ],
    [
        (1, []),
        (4, ["--mesh", "data=2,model=2", "--model-parallel", "directions"]),
        (3, ["--mesh", "data=3"]),
        (4, ["--mesh", "data=2,model=2", "--model-parallel", "hidden"]),
    ],
]


@pytest.mark.mpi
@pytest.mark.parametrize(
    "layouts", [RESUMED[0], *extra(RESUMED[1])], ids=["hidden first", "hidden last"]
)
def test_written_in_one_layout_and_resumed_in_another(
    tiny: dict[int, Tiny], tmp_path: Path, layouts: list[tuple[int, list[str]]]
) -> None:
    for (ranks, options), step in zip(layouts, (1, 3, 4, STEPS), strict=True):
        ended = majel(
            *("train", tiny[2].recipe, "--out", tmp_path, "--steps", str(step), *options),
            ranks=ranks,
        )
        assert ended.returncode == 0, ended.stderr
        assert ("resuming after" in ended.stderr) == (step > 1)
    assert_same(done(tmp_path, ended.stdout), tiny[2].alone)
    newest = f"checkpoints/step-{STEPS}.h5"
    alone = tiny[2].alone.folder
    assert (tmp_path / newest).read_bytes() == (alone / newest).read_bytes()


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("way", "kinds"),
    [
        ("time", ("gpu", "gpu")),
        ("hidden", ("cpu", "gpu")),
        *extra(("directions", ("gpu", "gpu")), ("hidden", ("gpu", "gpu"))),
    ],
)
def test_gpus_share_a_model(
    tiny: dict[int, Tiny], tmp_path: Path, way: str, kinds: tuple[str, ...]
) -> None:
    words = [mpirun()]
    for place in kinds:
        program = EMULATED if place == "gpu" else MAJEL
        words += [*([":"] if len(words) > 1 else []), "-n", "1", *program]
        words += ["train", str(tiny[2].recipe), "--out", str(tmp_path), "--place", place]
        words += ["--mesh", "model=2", "--model-parallel", way, "--steps", "2"]
    ended = subprocess.run(
        words, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 0, ended.stderr
    expected = tiny[2].alone.ledger.splitlines(keepends=True)
    assert (tmp_path / "ledger.jsonl").read_bytes() == b"".join(expected[:2])


@pytest.mark.hosts
@pytest.mark.mpi
@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "options"),
    [("time", []), ("hidden", []), ("time", ["--map-by", "node"])],
    ids=["time", "hidden", "time, ranks dealt out to hosts"],
)
def test_hosts_share_a_model(
    tiny: dict[int, Tiny], tmp_path: Path, make_hosts: Maker, way: str, options: list[str]
) -> None:
    with make_hosts((1, 1) if not options else (3, 3)) as hosts:
        ended = hosts.run(
            *(*options, *MAJEL, "train", tiny[2].recipe, "--out", tmp_path),
            *("--mesh", f"data={sum(hosts.ranks) // 2},model=2", "--model-parallel", way),
        )
    assert ended.returncode == 0, ended.stderr
    assert f"{sum(hosts.ranks)} ranks on 2 hosts, mesh" in ended.stderr
    assert_same(done(tmp_path, ended.stdout), tiny[2].alone)


# Bad input: one line, exit code 2.

BAD: list[tuple[int, list[str], str]] = [
    (1, ["--mesh", "model=2"], "--mesh model=2 has 2 ranks; 1 were started"),
    (2, ["--mesh", "data=2,model=2"], "--mesh data=2,model=2 has 4 ranks; 2 were started"),
    (1, ["--mesh", "2x2"], "--mesh '2x2'; needs the form data=2,model=2"),
    (1, ["--mesh", "rows=1"], "--mesh 'rows=1'; needs the form data=2,model=2"),
    (1, ["--mesh", "data=0"], "--mesh 'data=0'; needs the form data=2,model=2"),
    (1, ["--mesh", "data=1,data=1"], "--mesh 'data=1,data=1'; needs the form data=2,model=2"),
    (
        4,
        ["--mesh", "model=4"],
        "--mesh model=4 for model.parts = 2; at most 2 ranks can share a model (raising "
        "model.parts changes the bits)",
    ),
    (
        1,
        ["--set", "model.parts=3"],
        "{recipe}: model.parts is 3; needs a power of two from 1 to 64",
    ),
    (
        1,
        ["--set", "model.parts=4"],
        "model.layers[1] (dense) on top of model.layers[0] (context): 32 units in 4 parts "
        "(model.parts); each needs 16, so 64 units",
    ),
    (
        1,
        ["--set", "model.parts=128"],
        "{recipe}: model.parts is 128; needs a power of two from 1 to 64",
    ),
]


@pytest.mark.parametrize(
    ("ranks", "options", "message"),
    [
        pytest.param(*case, id=" ".join(case[1]), marks=[pytest.mark.mpi] * (case[0] > 1))
        for case in BAD
    ],
)
def test_bad_layouts(
    tiny: dict[int, Tiny], tmp_path: Path, ranks: int, options: list[str], message: str
) -> None:
    ended = majel("train", tiny[2].recipe, "--out", tmp_path / "run", *options, ranks=ranks)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert own_lines(ended.stderr) == [f"majel train: {message.format(recipe=tiny[2].recipe)}"]
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "run").exists()


UNLIKE = [
    ("--mesh model=2", "--mesh data=2", "mesh data=1,model=2 by time", "data=2,model=1"),
    (
        "--mesh model=2 --model-parallel hidden",
        "--mesh model=2",
        "mesh data=1,model=2 by hidden",
        "data=1,model=2 by time",
    ),
    ("--bucket-bytes 4096", "--no-overlap", "--bucket-bytes 4096", "4194304"),
    ("--no-shared-memory", "", "--shared-memory False", "True"),
    ("--set seed=4", "", "", ""),
]


@pytest.mark.mpi
@pytest.mark.parametrize("which", range(len(UNLIKE)), ids=[" | ".join(u[:2]) for u in UNLIKE])
def test_ranks_that_were_told_differently(
    tiny: dict[int, Tiny], tmp_path: Path, which: int
) -> None:
    mine, other, found, needed = UNLIKE[which]
    words = [mpirun()]
    for options in (other, mine):
        words += [*([":"] if len(words) > 1 else []), "-n", "1", *MAJEL, "train"]
        words += [str(tiny[2].recipe), "--out", str(tmp_path / "run"), *options.split()]
    ended = subprocess.run(
        words, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 2, ended.stderr
    (line,) = own_lines(ended.stderr)
    if found:
        assert f"train: rank 1 has {found} and rank 0 has {needed}; all ranks need the same" in line
    else:
        assert "train: rank 1 has recipe " in line
    assert "Traceback" not in ended.stderr


@pytest.mark.mpi
def test_ranks_with_other_bodies(tiny: dict[int, Tiny], tmp_path: Path) -> None:
    # Rank 1 has a package whose kernels' sources differ in one line.
    other = tmp_path / "other" / "majelpy"
    package, libraries = Path(majelpy.__file__).parent, native._folder()
    shutil.copytree(package, other, ignore=shutil.ignore_patterns("lib", "__pycache__"))
    shutil.copytree(libraries, other / "lib")
    shutil.copytree(build.folder(), other / "lib" / "kernels", dirs_exist_ok=True)
    with (other / "lib" / "kernels" / "mj_sum.h").open("a") as header:
        header.write("/* changed */\n")
    script = tmp_path / "rank"
    script.write_text(
        f'#!/bin/sh\n[ "$OMPI_COMM_WORLD_RANK" = 1 ] && export PYTHONPATH={other.parent}\n'
        'exec "$@"\n'
    )
    script.chmod(0o755)
    words = command("train", tiny[2].recipe, "--out", tmp_path / "run", ranks=2)
    ended = subprocess.run(
        [*words[:3], str(script), *words[3:]],
        cwd=tmp_path,  # python -m looks there first
        env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    (line,) = own_lines(ended.stderr)
    assert "rank 1 has kernel bodies " in line
    assert f" and rank 0 has {build.bodies_digest()}; all ranks need the same" in line


@pytest.mark.mpi
@pytest.mark.parametrize(("way", "how"), [*((way, "error") for way in WAYS), ("hidden", "killed")])
def test_a_rank_that_ends_in_an_exchange(
    tiny: dict[int, Tiny], tmp_path: Path, way: str, how: str
) -> None:
    words = [mpirun(), "-n", "2", sys.executable, str(PROGRAMS / "failing_exchange.py"), how]
    words += ["train", str(tiny[2].recipe), "--out", str(tmp_path)]
    words += ["--mesh", "model=2", "--model-parallel", way]
    ended = subprocess.run(
        words, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == (2 if how == "error" else 137), ended.stderr
    if how == "error":
        (line,) = own_lines(ended.stderr)
        assert re.fullmatch(r"majel: rank 1 on \S+: .*exchange: no memory is left\)?", line)
    else:
        # mpirun's own words, broken into lines.
        assert re.search(r"process\s+rank\s+1\s", ended.stderr), ended.stderr
    assert "Traceback" not in ended.stderr
