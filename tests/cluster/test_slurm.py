"""slurm/train.sbatch in a real SLURM: the one answer, requeued or not, and good advice."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import needs
import pytest
from paths import ROOT
from slurm_cluster import Cluster, Job, wait_for
from training import Done, Ground, assert_same, done

pytest_plugins = ["slurm_cluster", "training"]
pytestmark = pytest.mark.slow

SCRIPT = ROOT / "slurm" / "train.sbatch"


# The program majel, but slow until its job is requeued: there is time to disturb it.
SLOW_MAJEL = """\
#!{python}
import os, sys, time
from majelpy.cli import main
from majelpy.train.trainer import Trainer

advance = Trainer.advance

def slowly(self, *given):
    time.sleep(0.2)
    return advance(self, *given)

if "SLURM_RESTART_COUNT" not in os.environ:
    Trainer.advance = slowly
sys.exit(main())
"""


class Submitted:
    """A job of the script with two ranks; ``asked`` are more options of sbatch."""

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        *options: str,
        asked: tuple[str, ...] = (),
        **variables: str,
    ) -> None:
        self._cluster = cluster
        self.run, self.log = folder / "run", folder / "log"
        given = {"MAJEL_RUN": str(self.run)} | variables
        self.number = cluster.submit(
            "--ntasks=2", f"--chdir={folder}", f"--output={self.log}", *asked, SCRIPT, *options,
            **{name: value for name, value in given.items() if value},
        )  # fmt: skip

    def wait_for_epoch(self) -> None:
        """Wait for the end of the first epoch; by then all ranks are at work."""
        wait_for(lambda: self.log.exists() and "epoch   1" in self.log.read_text(), "epoch 1", 60)

    def ended(self) -> tuple[Job, str]:
        job = self._cluster.ended(self.number)
        return job, self.log.read_text()

    def finished(self, restarts: int) -> Done:
        job, log = self.ended()
        assert job == Job("COMPLETED", 0, restarts), log
        assert ("resuming after step" in log) == (restarts > 0), log
        return done(self.run, log)


@pytest.fixture(params=["srun", "mpirun"])
def launcher(request: pytest.FixtureRequest, cluster: Cluster) -> str:
    """Each launcher that works here."""
    if request.param == "srun" and not cluster.pmix:
        needs.lacking("slurm", "srun cannot start processes with PMIx (on Debian: libpmix-dev)")
    return str(request.param)


@pytest.fixture
def slow_majel(tmp_path: Path) -> str:
    """Path of `SLOW_MAJEL`."""
    path = tmp_path / "slow-majel"
    path.write_text(SLOW_MAJEL.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


def test_trains(cluster: Cluster, ground: Ground, tmp_path: Path, launcher: str) -> None:
    job = Submitted(cluster, tmp_path, MAJEL_RECIPE=str(ground.recipe), MAJEL_LAUNCHER=launcher)
    assert_same(job.finished(0), ground.undisturbed)
    assert "2 ranks on 1 host" in job.log.read_text()


def test_requeued(cluster: Cluster, ground: Ground, tmp_path: Path, slow_majel: str) -> None:
    job = Submitted(
        cluster, tmp_path, "--checkpoint-seconds", "0",
        MAJEL=slow_majel, MAJEL_RECIPE=str(ground.recipe),
    )  # fmt: skip
    job.wait_for_epoch()
    assert cluster.run("scontrol", "requeue", job.number).returncode == 0
    assert_same(job.finished(1), ground.undisturbed)
    # It had the choice of the launcher.
    expected = "train.sbatch: srun" if cluster.pmix else "mpirun --map-by"
    assert expected in job.log.read_text()


def test_requeues_itself_when_its_time_is_nearly_up(
    cluster: Cluster, ground: Ground, tmp_path: Path, slow_majel: str, launcher: str
) -> None:
    job = Submitted(
        cluster, tmp_path, "--checkpoint-seconds", "9999",
        MAJEL=slow_majel, MAJEL_RECIPE=str(ground.recipe), MAJEL_LAUNCHER=launcher,
    )  # fmt: skip
    job.wait_for_epoch()
    cluster.warn(job.number)
    assert_same(job.finished(1), ground.undisturbed)
    assert "back into the queue" in job.log.read_text()


def test_preempted_with_time_to_save(
    cluster: Cluster, ground: Ground, tmp_path: Path, slow_majel: str
) -> None:
    if not cluster.pmix:  # SLURM tells only what srun has started that its time has come
        needs.lacking("slurm", "srun cannot start processes with PMIx (on Debian: libpmix-dev)")
    job = Submitted(
        cluster, tmp_path, "--checkpoint-seconds", "9999", asked=("--partition=spare",),
        MAJEL=slow_majel, MAJEL_RECIPE=str(ground.recipe), MAJEL_LAUNCHER="srun",
    )  # fmt: skip
    job.wait_for_epoch()
    before = cluster.submit("--ntasks=2", f"--output={tmp_path}/other", "--wrap=true")
    assert_same(job.finished(1), ground.undisturbed)
    assert cluster.ended(before).state == "COMPLETED"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2], ids=lambda n: n.name)
def test_a_signal_before_the_ranks_listen(
    cluster: Cluster, ground: Ground, tmp_path: Path, number: signal.Signals
) -> None:
    late = tmp_path / "late-majel"  # as a start from a slow file system
    late.write_text(
        f'#!/bin/sh\n[ -n "$SLURM_RESTART_COUNT" ] || [ "$1" = info ] || sleep 20\n'
        f'exec {Path(sys.executable).parent}/majel "$@"\n'
    )
    late.chmod(0o755)
    job = Submitted(cluster, tmp_path, MAJEL=str(late), MAJEL_RECIPE=str(ground.recipe))
    wait_for(lambda: job.log.exists() and " train " in job.log.read_text(), "the ranks' start", 60)
    time.sleep(0.5)
    cluster.warn(job.number, number)
    state, log = job.ended()
    assert state == Job("COMPLETED", 0, 1), log
    assert_same(done(job.run, log), ground.undisturbed)


def test_requeues_that_gain_nothing_come_to_an_end(
    cluster: Cluster, ground: Ground, tmp_path: Path
) -> None:
    stuck = tmp_path / "stuck-majel"
    stuck.write_text(f"""#!/bin/sh
[ "$1" = info ] && exec {Path(sys.executable).parent}/majel info
kill -USR1 $(cat {tmp_path}/script) && sleep 20
""")
    stuck.chmod(0o755)
    wrapped = tmp_path / "wrapped"
    text = SCRIPT.read_text().replace("set -euo pipefail", f"echo $$ >{tmp_path}/script", 1)
    wrapped.write_text(text)
    job = cluster.submit(
        "--ntasks=1", f"--chdir={tmp_path}", f"--output={tmp_path}/log", wrapped,
        MAJEL=str(stuck), MAJEL_RECIPE="digits", MAJEL_RUN=str(tmp_path / "run"),
        MAJEL_LAUNCHER="mpirun",
    )  # fmt: skip
    state, log = cluster.ended(job), (tmp_path / "log").read_text()
    assert (state.state, state.code, state.restarts) == ("FAILED", 1, 3), log
    assert log.count("back into the queue") == 3
    assert "three requeues in a row gained no step" in log.splitlines()[-1]


def test_a_task_of_an_array_requeues_alone(
    cluster: Cluster, ground: Ground, tmp_path: Path, slow_majel: str
) -> None:
    job = Submitted(
        cluster, tmp_path, "--checkpoint-seconds", "9999", asked=("--array=3,5%1",),
        MAJEL=slow_majel, MAJEL_RECIPE=str(ground.recipe), MAJEL_RUN=str(tmp_path / "run-%a"),
    )  # fmt: skip
    job.wait_for_epoch()
    cluster.warn(cluster.array_task(job.number, 3))
    assert cluster.ended(f"{job.number}_3").restarts == 1
    assert cluster.ended(f"{job.number}_5") == Job("COMPLETED", 0, 0)
    log = job.log.read_text()
    for task in (3, 5):
        assert_same(done(tmp_path / f"run-{task}", log), ground.undisturbed)


def test_an_array_needs_a_folder_a_task(cluster: Cluster, tmp_path: Path) -> None:
    asked = ("--array=1",)
    job = Submitted(cluster, tmp_path, asked=asked, MAJEL_RECIPE="digits")
    state = cluster.ended(f"{job.number}_1")
    assert (state.state, state.code) == ("FAILED", 2)
    assert "for all tasks of this array; put %a" in job.log.read_text()


def test_two_jobs_of_mpirun_share_a_host(cluster: Cluster, ground: Ground, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    jobs = [
        Submitted(
            cluster, folder, asked=("--ntasks=1",),
            MAJEL_RECIPE=str(ground.recipe), MAJEL_LAUNCHER="mpirun",
        )
        for folder in folders
    ]  # fmt: skip
    for job in jobs:
        assert_same(job.finished(0), ground.undisturbed)
        log = job.log.read_text()
        assert "--bind-to none" in log and "CPUs here: mpirun does not bind ranks" in log


@pytest.mark.parametrize(
    ("variables", "advice"),
    [
        ({"MAJEL_RECIPE": ""}, "MAJEL_RECIPE is not set"),
        ({"MAJEL_RUN": ""}, "MAJEL_RUN is not set"),
        ({"MAJEL_RECIPE": "absent.toml"}, "recipe absent.toml cannot be read"),
        ({"MAJEL_RUN": "absent/run"}, "absent is no folder that root can write to"),
        ({"MAJEL": "absent-majel"}, "no program 'absent-majel'"),
        ({"MAJEL_LAUNCHER": "ssh"}, "MAJEL_LAUNCHER is 'ssh'"),
    ],
)
def test_refuses(cluster: Cluster, tmp_path: Path, variables: dict[str, str], advice: str) -> None:
    job = Submitted(cluster, tmp_path, **{"MAJEL_RECIPE": "digits"} | variables)
    state, log = job.ended()
    assert (state.state, state.code) == ("FAILED", 2), log
    own = [line for line in log.splitlines() if line.startswith("train.sbatch:")]
    assert len(own) == 1 and advice in own[0], log
    assert log.splitlines()[-1] == own[0]
    assert not job.run.exists()


def test_a_missing_corpus(cluster: Cluster, tmp_path: Path) -> None:
    job = Submitted(cluster, tmp_path, "--set", "data.train=absent.h5", MAJEL_RECIPE="digits")
    state, log = job.ended()
    assert (state.state, state.code) == ("FAILED", 2), log
    own = [line for line in log.splitlines() if line.startswith("majel train:")]
    assert len(own) == 1 and "absent.h5" in own[0], log
    assert not job.run.exists()


def test_outside_slurm_it_says_how_to_submit(cluster: Cluster) -> None:
    found = cluster.run("bash", SCRIPT, MAJEL_RECIPE="digits", MAJEL_RUN="run")
    assert found.returncode == 2
    assert found.stderr.startswith("train.sbatch: not in a SLURM job")
