"""slurm/train.sbatch in a real SLURM: the one answer, requeued or not, and good advice."""

from __future__ import annotations

import sys
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
    """A job of the script with two ranks."""

    def __init__(self, cluster: Cluster, folder: Path, *options: str, **variables: str) -> None:
        self._cluster = cluster
        self.run, self.log = folder / "run", folder / "log"
        given = {"MAJEL_RUN": str(self.run)} | variables
        self.number = cluster.submit(
            "--ntasks=2", f"--chdir={folder}", f"--output={self.log}", SCRIPT, *options,
            **{name: value for name, value in given.items() if value},
        )  # fmt: skip

    def wait_for_epoch(self) -> None:
        """Wait for the end of the first epoch; by then all ranks are at work."""
        wait_for(lambda: self.log.exists() and "epoch   1" in self.log.read_text(), "epoch 1", 20)

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
