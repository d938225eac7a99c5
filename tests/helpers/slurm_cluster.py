"""A SLURM cluster of one host for the tests: its own daemons, ports, key and folders.

Policy. It stands beside a SLURM that the host may already have and touches none of its files: all
programs find it by SLURM_CONF. Its daemons end with the test session. It starts only if
MAJELPY_REQUIRE says slurm; otherwise tests are skipped. Test modules take the fixture by
``pytest_plugins = ["slurm_cluster"]``; for pytest has no hand in this module's import then:
PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import needs
import pytest
from mpi_launch import environment
from training import processes_with

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
_SYSTEM_FOLDERS = "/usr/sbin:/sbin"  # of the daemons; not everybody has them in PATH

# KillWait is what a job has between TERM and KILL. A requeued job waits for cred_expire seconds, 5
# at least. The scheduler should see at once what there is to do. Jobs of `main` preempt those of
# `spare`, which have GraceTime to save.
_CONFIGURATION = """\
ClusterName=majelpy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 Port={node} CPUs=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes={host} Default=YES PriorityTier=10
PartitionName=spare Nodes={host} PriorityTier=1 GraceTime=2
"""


@dataclass(frozen=True)
class Job:
    """What SLURM tells of a job."""

    state: str
    code: int
    restarts: int


class Cluster:
    """A running cluster.

    Attributes
    ----------
    pmix
        Can srun start processes with PMIx?
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {
            name: value for name, value in environment().items() if not name.startswith("SLURM")
        }
        self._environment["SLURM_CONF"] = str(folder / "slurm.conf")
        # Ranks that spin leave the daemons, the job's script and the tests no core.
        self._environment["OMPI_MCA_mpi_yield_when_idle"] = "1"
        path = [str(Path(sys.executable).parent), self._environment["PATH"], _SYSTEM_FOLDERS]
        self._environment["PATH"] = ":".join(path)
        self.pmix = False

    def run(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one of SLURM's programs; the exit code is the caller's to check."""
        return subprocess.run(
            [str(word) for word in words], env=self._environment | variables,
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    def submit(self, *words: str | Path, **variables: str) -> str:
        """Submit a job by sbatch's arguments; return its number."""
        found = self.run("sbatch", "--parsable", *words, **variables)
        assert found.returncode == 0, found.stderr
        return found.stdout.strip()

    def job(self, number: str) -> Job:
        """Return how a job stands."""
        shown = self.run("scontrol", "show", "job", number).stdout
        fields = dict(word.split("=", 1) for word in shown.split() if "=" in word)
        return Job(
            fields["JobState"], int(fields["ExitCode"].split(":")[0]), int(fields["Restarts"])
        )

    def ended(self, number: str) -> Job:
        """Wait for the end of a job and return how it stands."""

        def over() -> bool:
            return self.job(number).state in ("COMPLETED", "FAILED", "CANCELLED", "NODE_FAIL")

        wait_for(over, f"job {number} to end", 120)
        return self.job(number)

    def array_task(self, number: str, task: int) -> str:
        """Return the number of its own that a task of an array has."""
        shown = self.run("scontrol", "show", "job", f"{number}_{task}").stdout
        return shown.split("JobId=", 1)[1].split()[0]

    def warn(self, number: str, signum: signal.Signals = signal.SIGUSR1) -> None:
        """Send a job's script a signal, as ``--signal=B:USR1@120`` does before its time is up.

        Not by scancel: SLURM may take seconds for that, and the tests' jobs last no longer.
        """
        (script,) = processes_with(f"{self._folder}/spool/job{int(number):05d}/slurm_script")
        os.kill(script, signum)

    def start(self, daemons: list[subprocess.Popen[bytes]], log: IO[bytes], folder: Path) -> None:
        """Start the daemons and wait until a job can run."""

        def daemon(*words: str) -> None:
            daemons.append(subprocess.Popen(words, env=self._environment, stdout=log, stderr=log))

        daemon(
            "munged", "--foreground", "--force", f"--socket={folder}/munge.socket",
            f"--key-file={folder}/munge.key", f"--pid-file={folder}/munge.pid",
            f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed",
        )  # fmt: skip
        wait_for((folder / "munge.socket").exists, "munged's socket", 10)
        daemon("slurmctld", "-D")
        daemon("slurmd", "-D")
        wait_for(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T").stdout, "the host", 20)
        self.pmix = self.run("srun", "--mpi=pmix", "true").returncode == 0

    def stop(self, daemons: list[subprocess.Popen[bytes]]) -> None:
        """End all jobs and all daemons."""
        self.run("scancel", "--state=PENDING", "--user=root")
        self.run("scancel", "--user=root")
        wait_for(lambda: not self.run("squeue", "-h").stdout, "the jobs to end", 30)
        _end(daemons)


def wait_for(done: Callable[[], object], what: str, seconds: float) -> None:
    """Wait until something is done; fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.1)


def missing() -> str:
    """Return what this machine lacks for a cluster, or nothing."""
    if os.geteuid() != 0:
        return "needs root, as SLURM's daemons do"
    path = f"{os.environ.get('PATH', '')}:{_SYSTEM_FOLDERS}"
    absent = [program for program in _PROGRAMS if not shutil.which(program, path=path)]
    return f"needs {', '.join(absent)} (on Debian: slurm-wlm munge libpmix-dev)" if absent else ""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of one host with two cores, where it is asked for."""
    if "slurm" not in needs.required():
        needs.lacking("slurm", "starts daemons of its own; run with MAJELPY_REQUIRE=slurm")
    if lack := missing():
        needs.lacking("slurm", lack)
    folder = tmp_path_factory.mktemp("slurm")
    _write_configuration(folder)
    found = Cluster(folder)
    daemons: list[subprocess.Popen[bytes]] = []
    with (folder / "daemons.log").open("wb") as log, ExitStack() as stack:
        stack.callback(_end, daemons)
        try:
            found.start(daemons, log, folder)
        except AssertionError as error:
            said = (folder / "daemons.log").read_text(errors="replace")[-2000:]
            raise AssertionError(f"SLURM does not start: {error}\n{said}") from None
        yield found
        found.stop(daemons)


def _write_configuration(folder: Path) -> None:
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)  # munged takes no other
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    controller, node = _free_ports()
    host = socket.gethostname().partition(".")[0]
    text = _CONFIGURATION.format(host=host, folder=folder, controller=controller, node=node)
    (folder / "slurm.conf").write_text(text)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        for one in (first, second):
            one.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


def _end(daemons: list[subprocess.Popen[bytes]]) -> None:
    while daemons:
        one = daemons.pop()
        one.terminate()
        try:
            one.wait(10)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()
