"""Trainings that are killed, and what they leave."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mpi_launch import PATIENCE, environment
from training import (
    command,
    descendants,
    processes_with,
    slow_majel,
)


class Started:
    """A running `majel train`, with its output in files; it does so many steps before it is slow,
    so that a test meets it before its end."""

    def __init__(
        self, folder: Path, recipe: Path, out: Path, ranks: int, *options: str, steps: int = 20
    ) -> None:
        slow = slow_majel(newest_step(out) + steps)
        words = command("train", recipe, "--out", out, *options, ranks=ranks, program=slow)
        self.ranks, self.out = ranks, out
        self._outputs = (folder / "stdout", folder / "stderr")
        with self._outputs[0].open("w") as stdout, self._outputs[1].open("w") as stderr:
            self.process = subprocess.Popen(
                words,
                env=environment() | {"OMP_NUM_THREADS": "1"},
                stdout=stdout, stderr=stderr, start_new_session=True,
            )  # fmt: skip

    @property
    def stdout(self) -> str:
        return self._outputs[0].read_text()

    @property
    def stderr(self) -> str:
        return self._outputs[1].read_text()

    def rank_processes(self) -> list[int]:
        """The ranks, without mpirun."""
        if self.ranks == 1:
            return [self.process.pid]
        found = []
        for pid in descendants(self.process.pid):
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if words[0] == sys.executable.encode() and b"train" in words:
                    found.append(pid)
        return sorted(found)

    def wait_for_step(self, step: int) -> None:
        """Return when the ledger has that step, or the process has ended."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None and newest_step(self.out) < step:
            assert time.monotonic() < end, f"no step {step}: {self.stderr}"
            time.sleep(0.002)

    def wait(self) -> int:
        return self.process.wait(timeout=PATIENCE)


def newest_step(out: Path) -> int:
    """The step of the ledger's last whole line."""
    try:
        lines = (out / "ledger.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return 0
    return int(json.loads(lines[-1])["step"]) if lines else 0


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def no_orphans(out: Path) -> Iterator[None]:
    """Fail if a process of that run folder is still there after the end and goes on."""
    try:
        yield
        end = time.monotonic() + 60
        while processes_with(str(out)) and time.monotonic() < end:
            time.sleep(0.1)
        assert processes_with(str(out)) == []
    finally:
        for pid in processes_with(str(out)):
            kill(pid)


def start(
    folder: Path, recipe: Path, out: Path, ranks: int, *options: str, steps: int = 20
) -> Started:
    """Start training; if ranks of the last start are still dying in the folder, start again."""
    end = time.monotonic() + PATIENCE
    while True:
        started = Started(folder, recipe, out, ranks, *options, steps=steps)
        before = newest_step(out)
        while started.process.poll() is None and newest_step(out) == before:
            if "resuming after" in started.stderr or "training from" in started.stderr:
                return started
            time.sleep(0.005)
        if started.process.poll() is None or started.process.returncode == 0:
            return started
        assert time.monotonic() < end, started.stderr
        if "PMIx server's listener thread failed to start" in started.stderr:
            # mpirun itself, before any rank: the one killed before is still removing the folder
            # in /tmp that all of a user's mpiruns share.
            time.sleep(0.2)
            continue
        assert started.process.returncode == 2, started.stderr
        assert "another process is training in it" in started.stderr
        time.sleep(0.2)


def draw(name: str) -> random.Random:
    seed = os.environ.get("MAJELPY_KILL_SEED", "22")
    print(f"{name}: MAJELPY_KILL_SEED={seed}")
    return random.Random(f"{name} {seed}")
