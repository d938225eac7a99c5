"""Who is in a world, what its ranks tell one another, and how it ends."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from mpi_launch import launch, mpirun

from majelpy.comm import launched, mpi
from majelpy.comm import world as module
from majelpy.comm.launched import launched_first, launched_size
from majelpy.comm.mpi import library_version
from majelpy.comm.world import RankFailed, World
from majelpy.errors import ShapeError, WorldError


def test_a_process_alone_is_a_world_of_one_without_mpi() -> None:
    code = (
        "import sys; from majelpy.comm.world import World; w = World.start(); w.barrier()\n"
        "assert (w.rank, w.size, w.hosts, w.local_rank, w.local_size) == (0, 1, ((0,),), 0, 1)\n"
        "assert w.broadcast('a') == 'a' and w.gather(1) == w.all_gather(1) == [1]\n"
        "w.agree(None); w.install_excepthook(); assert sys.excepthook is sys.__excepthook__\n"
        "assert not [name for name in sys.modules if name.startswith('mpi4py')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_world_of_one_fails_as_itself(capsys: pytest.CaptureFixture[str]) -> None:
    world = World.start()
    with pytest.raises(ShapeError, match="mine"):
        world.agree(ShapeError("mine"))
    with pytest.raises(SystemExit) as ended:
        world.abort("no such file", 2)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "majel: no such file\n"


@pytest.mark.parametrize(
    ("environ", "size"),
    [
        ({}, 1),
        ({"OMPI_COMM_WORLD_SIZE": "4", "PMIX_RANK": "0"}, 4),
        ({"OMPI_COMM_WORLD_SIZE": "4", "SLURM_STEP_NUM_TASKS": "2"}, 4),
        ({"PMI_SIZE": "3", "PMI_RANK": "1"}, 3),
        ({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "3", "PMIX_RANK": "3"}, 8),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"}, 1),
        ({"PMIX_RANK": "0"}, 0),
    ],
)
def test_launchers_are_known_by_their_environment(environ: dict[str, str], size: int) -> None:
    assert launched_size(environ) == size


@pytest.mark.parametrize(
    ("environ", "first"),
    [
        ({}, True),
        ({"OMPI_COMM_WORLD_RANK": "0"}, True),
        ({"OMPI_COMM_WORLD_RANK": "1", "PMIX_RANK": "1", "SLURM_PROCID": "0"}, False),
        ({"PMI_RANK": "2"}, False),
        ({"SLURM_PROCID": "3"}, False),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, True),
    ],
    ids=str,
)
def test_who_is_first(environ: dict[str, str], first: bool) -> None:
    assert launched_first(environ) == first


def test_waiting_ranks_yield_when_they_outnumber_the_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launched, "_launcher_cores", lambda: 4)
    for local, expected in (("4", None), ("5", "1")):
        environ = {"OMPI_COMM_WORLD_SIZE": "9", "OMPI_COMM_WORLD_LOCAL_SIZE": local}
        launched.set_defaults(environ)
        assert environ.get("OMPI_MCA_mpi_yield_when_idle") == expected
    for local, expected in (("4", None), ("5", "1")):
        environ = {"PMI_SIZE": "9", "MPI_LOCALNRANKS": local}
        launched.set_defaults(environ)
        assert environ.get("MPIR_CVAR_CH4_PROGRESS_THROTTLE") == expected
    for tasks, expected in (("4(x2),3", None), ("8(x2)", "1"), ("8,2", "1")):
        environ = {"SLURM_STEP_NUM_TASKS": "11", "SLURM_STEP_TASKS_PER_NODE": tasks}
        launched.set_defaults(environ)
        assert environ.get("OMPI_MCA_mpi_yield_when_idle") == expected
    environ = {"OMPI_COMM_WORLD_SIZE": "9", "OMPI_MCA_mpi_yield_when_idle": "0"}
    launched.set_defaults(environ)
    assert environ["OMPI_MCA_mpi_yield_when_idle"] == "0"


def test_a_launched_rank_without_mpi4py_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
    monkeypatch.setenv("OMPI_MCA_osc", "^ucx")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(WorldError, match=r"4 ranks .*; pip install '\.\[mpi\]'"):
        World.start()
    assert library_version() == "none (pip install '.[mpi]' in the folder of majelpy's sources)"


@pytest.mark.mpi
def test_ranks_that_mpi_does_not_see_are_an_error() -> None:
    mpirun()
    code = "from majelpy.comm.world import World; World.start()"
    done = subprocess.run(
        ["env", "SLURM_STEP_NUM_TASKS=3", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "3 ranks were launched, but MPI sees 1" in done.stderr


@pytest.mark.mpi
def test_the_mpi_library_is_named_without_starting_it() -> None:
    mpirun()
    code = (
        "from majelpy.comm.mpi import library_version; print(library_version())\n"
        "from mpi4py import MPI; assert not MPI.Is_initialized()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "MPI" in done.stdout and done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("library", "said"),
    [
        (SimpleNamespace(MPIX_Query_cuda_support=lambda: 1), True),
        (SimpleNamespace(MPIX_Query_cuda_support=lambda: 0), False),
        (SimpleNamespace(), False),
    ],
)
def test_the_mpi_library_is_asked_for_messages_from_gpus(
    library: Any, said: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mpi, "load_mpi", lambda: SimpleNamespace(__file__="MPI.so"))
    monkeypatch.setattr(ctypes, "CDLL", lambda path: library if path == "MPI.so" else None)
    assert mpi.supports_cuda() is said
    assert not World.alone().sends_from_gpu()


def test_hosts_must_divide_the_real_ones() -> None:
    for hosts in ([[0, 1]], [[0], [0]], []):
        with pytest.raises(WorldError, match="needs each rank once"):
            World.start(hosts=hosts)
    with pytest.raises(WorldError, match="no group across machines"):
        module._check_hosts([[0, 2], [1, 3]], ((0, 1), (2, 3)))
    assert module._check_hosts([[3, 2], [0], [1]], ((0, 1), (2, 3))) == ((0,), (1,), (2, 3))


@pytest.mark.mpi
def test_ranks_talk() -> None:
    done = launch("world_program.py", 3, "talk")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "size": 3,
        "hosts": [[0, 1, 2]],
        "local": [[0, 3], [1, 3], [2, 3]],
        "broadcast": [11, 11, 11],
        "gather": [0, 1, 2],
        "others_gather": [False, True, True],
        "sends_from_gpu": 1,  # answer for all, whichever
    }
    assert "rror" not in done.stderr


@pytest.mark.mpi
def test_groups_are_worlds() -> None:
    done = launch("world_program.py", 4, "groups", "[[0, 1, 2], [3]]")
    assert json.loads(done.stdout) == {
        "seen": [
            [0, 2, [[0, 1]], [0, 2], 2],
            [0, 2, [[0], [1]], [1, 3], 3],
            [1, 2, [[0, 1]], [0, 2], 0],
            [1, 2, [[0], [1]], [1, 3], 1],
        ],
        "said": ["", "rank 3 failed: ShapeError: mine", "", "mine"],
    }
    assert done.returncode == 2
    assert f"majel: rank 3 on {World.start().host}: alone and lost" in done.stderr


def test_a_group_has_ascending_ranks_of_the_world_and_this_one() -> None:
    world = World.start()
    assert world.group([0]).size == 1
    for ranks in ([], [1], [0, 0], [0, 1]):
        with pytest.raises(WorldError, match="on rank 0 of 1; needs ascending ranks with this"):
            world.group(ranks)


@pytest.mark.mpi
def test_the_lowest_failing_rank_speaks_for_all() -> None:
    done = launch("world_program.py", 4, "agree")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if "raises" in line or "rror" in line]
    assert said == ["rank 1 raises mine 1"]


@pytest.mark.mpi
@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("agree_uncaught", 2, "majel: rank 1 on {host}: mine 1"),
        ("defect", 1, "majel: rank 1 on {host}: Traceback (most recent call last):"),
        ("bad_input", 2, "majel: rank 0 on {host}: a bad shape, says 0"),
    ],
)
def test_a_failing_rank_ends_the_world_with_one_message(program: str, code: int, said: str) -> None:
    done = launch("world_program.py", 3, program)
    assert done.returncode == code, done.stderr
    # Open MPI's daemon at times puts a space before what a rank wrote.
    lines = [line.lstrip() for line in done.stderr.splitlines()]
    tagged = [line for line in lines if line.startswith("majel: rank")]
    assert tagged == [said.format(host=World.start().host)]
    assert ("ZeroDivisionError: a defect" in done.stderr) == (program == "defect")


@pytest.mark.mpi
def test_a_killed_rank_ends_the_world() -> None:
    done = launch("world_program.py", 3, "killed")
    assert done.returncode != 0


def test_a_rank_failed_error_is_a_world_error() -> None:
    assert issubclass(RankFailed, WorldError)
