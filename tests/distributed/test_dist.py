"""Distributed arrays: the same bits on every world, and clear ends of those that fail."""

from __future__ import annotations

import functools
import itertools
import json
import operator
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dist_worlds import said_mesh
from makers import digest, gemm, same_bits, touchy_data, tree
from mpi_launch import environment, launch, mpirun
from paths import PROGRAMS, ROOT

import majelpy as mj
from majelpy import asarray
from majelpy import distributed as dist
from majelpy.comm.world import World
from majelpy.distributed import Partial, Replicate, Shard, WorldMesh, distribute, from_local, zeros
from majelpy.distributed.exchange import JOIN
from majelpy.errors import (
    DTypeError,
    MajelError,
    PlacementError,
    RangeError,
    ShapeError,
    WorldError,
)

PROGRAM = PROGRAMS / "dist_program.py"


def alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a world of one."""
    return subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


@functools.cache
def digests_alone() -> dict[str, str]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        done = alone("all_checks", folder)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)["digests"]
    return found


def products(parts: int) -> list[np.ndarray]:
    """Return the product of each part of the inner axis, by the slow reference."""
    a, b = touchy_data((5, 300), 1), touchy_data((300, 6), 2)
    cut = [p * 300 // parts for p in range(parts + 1)]
    return [gemm(a[:, i:j], b[i:j]) for i, j in itertools.pairwise(cut)]


def test_a_world_of_one_has_the_bits_of_the_reference() -> None:
    assert digests_alone()["matmul"] == digest(tree(products(8)))
    assert digests_alone()["negative"] == digest(-tree(products(8)))


def test_any_other_order_shows() -> None:
    right = digests_alone()["matmul"]
    parts = products(8)
    assert digest(functools.reduce(np.add, parts)) != right
    assert digest(tree([tree(parts[:3]), tree(parts[3:])])) != right
    assert digest(tree(products(4))) != right and digest(products(1)[0]) != right


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 3, 4, 5, 6, 8])
def test_any_world_has_the_bits_of_one(ranks: int, tmp_path: Path) -> None:
    done = launch("dist_program.py", ranks, "all_checks", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["digests"] == digests_alone()
    assert found["pairs"] >= 100


@pytest.mark.mpi
def test_what_three_ranks_save_others_load(tmp_path: Path) -> None:
    for name, ranks in (("one", 0), ("three", 3)):
        path = str(tmp_path / name)
        done = launch("dist_program.py", ranks, "save", path) if ranks else alone("save", path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "one").read_bytes() == (tmp_path / "three").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "three"]
    for ranks in (2, 4):
        done = launch("dist_program.py", ranks, "load", str(tmp_path / "three"))
        assert done.returncode == 0, done.stderr


def test_a_world_of_one_computes_on_an_emulated_gpu() -> None:
    done = alone("gpu")
    assert done.returncode == 0, done.stderr


@pytest.mark.mpi
def test_what_lies_on_emulated_gpus_moves_through_host_copies() -> None:
    done = launch("dist_program.py", 3, "gpu")
    assert done.returncode == 0, done.stderr


# --- what is refused -----------------------------------------------------------------------------

FOUR = said_mesh(x=2, y=2)
ROWS = zeros((6, 4), FOUR, [Shard(0), Replicate()])
COLUMNS = zeros((6, 4), FOUR, [Shard(1), Replicate()])
INNER = zeros((4, 6), FOUR, [Shard(0), Replicate()])
LAST = said_mesh(x=2, y=2, rank=3)
OPEN = from_local(mj.zeros((1, 6)), (6,), LAST, [Partial(2), Replicate()])

REFUSED: list[tuple[type[MajelError], str, Callable[[], Any]]] = [
    (
        PlacementError,
        "add: operand 2 is (6, 4) on mesh(x=2, y=2) as [Shard(1), Replicate()], and needs "
        "x.redistribute([Shard(0), Replicate()]) first",
        lambda: ROWS + COLUMNS,
    ),
    (ShapeError, "add: shapes (6, 4) and (4, 6) do not broadcast", lambda: ROWS + INNER),
    (WorldError, "operands on mesh(x=2, y=2) and mesh(x=4); needs one mesh",
     lambda: ROWS + zeros((6, 4), WorldMesh(FOUR.world, {"x": 4}), [Shard(0)])),
    (DTypeError, "apply: sum is no elementwise function", lambda: dist.apply(mj.sum, ROWS)),
    (DTypeError, "add: Array found; needs distributed",
     lambda: dist.apply(mj.add, ROWS, mj.ones(4))),
    (PlacementError, "exp: operand 1 is Partial(parts=2), whose parts are not joined yet",
     lambda: dist.apply(mj.exp, OPEN)),
    (PlacementError, "add: operand 1 is Partial(parts=2)", lambda: OPEN + OPEN),
    (PlacementError, "its axis 0 is used whole by every rank",
     lambda: ROWS + zeros((1, 4), FOUR, [Shard(0), Replicate()])),
    (ShapeError, "matmul: shapes (6, 4) and (6, 4); needs (..., m, k)", lambda: ROWS @ COLUMNS),
    (PlacementError, "matmul: the summed axis is sharded over 2 ranks; needs parts of at least 2",
     lambda: COLUMNS @ INNER),
    (PlacementError, "matmul: operand 1 is (6, 4) on mesh(x=2, y=2) as [Shard(1), Replicate()], "
     "and needs x.redistribute([Shard(1, parts=3), Replicate()]) first",
     lambda: dist.matmul(COLUMNS, INNER, parts=3)),
    (PlacementError, "matmul: parts is 0; needs 1 or more",
     lambda: dist.matmul(COLUMNS, INNER, parts=0)),
    (DTypeError, "matmul: Array found; needs distributed arrays",
     lambda: dist.matmul(mj.ones((2, 6)), ROWS)),
    (PlacementError, "sum: the summed axis is sharded over 2 ranks",
     lambda: dist.sum(ROWS, axis=0)),
    (PlacementError, "its axis 1 is used whole", lambda: dist.sum(COLUMNS)),
    (ShapeError, "max: 7 parts of 6 elements", lambda: dist.max(ROWS, axis=0, parts=7)),
    (RangeError, "sum: axis 2", lambda: dist.sum(ROWS, axis=2)),
    (PlacementError, "index: axis 0 is sharded", lambda: ROWS[1]),
    (PlacementError, "index: axis 0 is sharded", lambda: ROWS[::2]),
    (PlacementError, "index: None; needs integers", lambda: ROWS[None]),
    (RangeError, "index: 3 indices for shape (6, 4)", lambda: ROWS[:, 0, 0]),
    (RangeError, "index: 4 on axis 1", lambda: ROWS[:, 4]),
    (RangeError, "gather: root 4; needs 0 to 3", lambda: ROWS.gather(4)),
    (RangeError, "distribute: root -1", lambda: distribute(mj.ones(4), FOUR, {}, root=-1)),
    (WorldError, "distribute: no array", lambda: distribute(None, FOUR, {})),
    (PlacementError, "zeros: Partial(parts=2); needs Shard or Replicate",
     lambda: zeros((6,), FOUR, {"x": Partial(2)})),
    (ShapeError, "from_local: the local array is (5, 4)", lambda: from_local(
        mj.zeros((5, 4)), (6, 4), FOUR, {"x": Shard(0)})),
    (RangeError, "redistribute: Shard(2)", lambda: ROWS.redistribute([Shard(2), Replicate()])),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "said", "act"), REFUSED, ids=[r[1] for r in REFUSED])
def test_what_cannot_be_is_refused_in_one_line(
    kind: type[MajelError], said: str, act: Callable[[], Any]
) -> None:
    with pytest.raises(kind, match=re.escape(said)) as caught:
        act()
    assert "\n" not in str(caught.value)


ARITHMETIC = ("add", "sub", "mul", "truediv")
BINARY = (*ARITHMETIC, "pow", "eq", "ne", "lt", "le", "gt", "ge")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        *itertools.product(BINARY, ("array", "number")),
        *((name, "number before") for name in ARITHMETIC),
        ("neg", "none"),
    ],
)
def test_operators_are_those_of_arrays(name: str, other: str) -> None:
    def of(a: Any, b: Any) -> Any:
        operands = {"array": (a, b), "number": (a, 1.5), "number before": (1.5, a), "none": (a,)}
        return getattr(operator, name)(*operands[other])

    mesh = WorldMesh(World.start(), {"x": 1})
    arrays = [asarray(touchy_data((6, 4), seed)) for seed in (1, 2)]
    found = of(*(distribute(x, mesh, [Shard(0)]) for x in arrays))
    assert same_bits(found.to_local().numpy(), of(*arrays).numpy())


def test_operators_with_what_is_no_number_are_refused() -> None:
    with pytest.raises(TypeError):
        ROWS + "one"
    with pytest.raises(TypeError):
        ROWS @ 2


def test_a_distributed_array_says_what_it_is() -> None:
    assert repr(ROWS) == (
        "DistArray(shape=(6, 4), dtype=float32, mesh(x=2, y=2), [Shard(0), Replicate()], "
        "local (3, 4) on cpu)"
    )
    assert repr(OPEN).endswith("[Partial(parts=2), Replicate()], local (1, 6) on cpu)")


def test_a_sharded_local_array_is_memory_of_its_own() -> None:
    data = mj.ones((4, 3))
    x = distribute(data, WorldMesh(World.start(), {"x": 1}), [Shard(0)])
    data[0, 0] = 5.0
    assert same_bits(x.local.numpy(), np.ones((4, 3), np.float32))


@pytest.mark.parametrize("operation", ["sum", "prod", "max", "min"])
def test_a_value_survives_being_partial_with_all_its_bits(operation: str) -> None:
    special = np.array([0.0, -0.0, np.inf, -np.inf, 1e-45, -1e-45], np.float32)
    mesh = WorldMesh(World.start(), {"x": 1})
    for data in (special, special.astype(np.float64), np.array([-128, 0, 127], np.int8)):
        there = distribute(data, mesh, {}).redistribute([Partial(8, operation)])
        assert same_bits(there.gather().numpy(), data)
        # The other parts, on whichever rank, change nothing either.
        other = zeros((len(data),), LAST, {}, dtype=data.dtype)
        for neutral in other.redistribute([Partial(2, operation), Replicate()]).local:
            assert same_bits(JOIN[operation](mj.asarray(data), neutral).numpy(), data)


# --- how a world ends ----------------------------------------------------------------------------

ENDS = {
    "mesh_misfit": "mesh: mesh(data=2, model=4) has 8 ranks and the world has {ranks}; needs axes "
    "whose product is the size of the world",
    "no_file": "no.h5: there is no such file",
    "no_folder": "save: cannot write no/x.h5 (No such file or directory)",
}
MISMATCHES = {
    "one_local_misfit": "rank 1 on .*: from_local: the local array is (3, 4); .* needs (2, 4) on "
    "rank 1",
    "one_other_type": "from_local: rank 1 asks for int32 .* and rank 0 for int64 .*; needs the "
    "same on all ranks",
    "one_other_target": "redistribute: rank 1 asks for .* -> .*Replicate.* and rank 0 for .* -> "
    ".*Shard(1).*; needs the same on all ranks",
}


@pytest.mark.parametrize("program", ENDS)
def test_bad_input_alone_is_one_line_and_code_2(program: str) -> None:
    done = alone(program)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"majel: {ENDS[program].format(ranks=1)}\n"


@pytest.mark.mpi
@pytest.mark.parametrize("program", [*ENDS, *MISMATCHES])
def test_bad_input_in_a_world_is_one_line_and_code_2(program: str) -> None:
    done = launch("dist_program.py", 2, program)
    assert done.returncode == 2, done.stderr
    (said,) = re.findall(r"majel: .*", done.stderr) or [done.stderr]
    if program in ENDS:
        assert said.endswith(": " + ENDS[program].format(ranks=2))
    else:
        pattern = MISMATCHES[program].replace("(", r"\(").replace(")", r"\)")
        assert re.search(pattern, said), said
    assert "Traceback" not in done.stderr


@pytest.mark.mpi
@pytest.mark.parametrize(("program", "said"), [
    ("dies", "process rank 1 with PID"),
    ("fails", r"majel: rank 1 on .*: pool: nothing left"),
])  # fmt: skip
def test_a_rank_that_ends_in_an_exchange_ends_the_world_and_is_named(
    program: str, said: str
) -> None:
    done = launch("dist_program.py", 3, program)
    assert done.returncode != 0
    assert re.search(said, done.stderr), done.stderr


def guide() -> str:
    """Return the example of docs/dist.md."""
    text = (ROOT / "docs" / "dist.md").read_text()
    return text.split("```python\n")[1].split("```")[0]


@pytest.mark.mpi
def test_the_guide_s_example_runs_alone_and_on_ranks(tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(guide())
    files = []
    for start in ([], [mpirun(), "-n", "3"]):
        done = subprocess.run(
            [*start, sys.executable, "example.py"],
            cwd=tmp_path,
            env=environment() | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("DistArray(shape=(60, 8), dtype=float32, mesh(data=")
        assert "B between ranks" in done.stdout
        files.append((tmp_path / "y.h5").read_bytes())
    assert files[0] == files[1]
