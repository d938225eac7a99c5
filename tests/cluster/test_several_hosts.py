"""Over several hosts: they are seen as such, the bits stay, and the wires carry the ideal."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mpi_launch import PATIENCE
from paths import PROGRAMS
from reductions import expected
from several_hosts import Hosts, Maker
from training import (
    FEATURES,
    LEAVES,
    STEPS,
    SYMBOLS,
    Ground,
    assert_same,
    done,
    network,
    processes_with,
    train,
    write_recipe,
)

from majelpy.comm.bucket import FLOAT_BYTES
from majelpy.nn.model import Architecture, Model
from majelpy.nn.networks import deep_speech_1

pytest_plugins = ["several_hosts", "training"]
pytestmark = [pytest.mark.hosts, pytest.mark.mpi, pytest.mark.slow]

PROGRAM = PROGRAMS / "hosts_program.py"

# An Ethernet frame of 1500 bytes has headers of 14 (Ethernet), 20 (IP), 20 (TCP) and 12 (time
# stamps) bytes, and 1448 of data. TCP acknowledges with a frame of headers alone, one for each
# frame at the very most. Open MPI sends a long message as a greeting, an answer and fragments of
# 64 KiB or more, each with a header of its own of less than 64 bytes and a last frame not full.
HEADERS, DATA = 14 + 20 + 20 + 12, 1448
FRAGMENT, FRAGMENT_COST = 1 << 16, 3 * (64 + HEADERS)
START = 8192  # bytes by which the start and the end of two runs may differ; some 500 are usual


def most_on_wire(sent: int, received: int, messages: int) -> int:
    """Return the most bytes of frames by which a host sends and answers so many messages."""
    fragments = messages + (sent + received) // FRAGMENT
    frames = -(-sent // DATA) + -(-received // DATA)
    return sent + HEADERS * frames + FRAGMENT_COST * fragments


def ideal(hosts: tuple[int, ...], size: int) -> list[int]:
    """Return the bytes that each host sends, by the count in `majelpy.comm.reduce`.

    The vector comes by chunks of one owner each. A host sends its subtree's sum of those that it
    does not own, and the result of those that it owns to all others. Each host of these tests has
    one subtree, and the chunks are even.
    """
    ranks, whole = sum(hosts), size * FLOAT_BYTES
    return [(whole * (ranks - own) + whole * own * (len(hosts) - 1)) // ranks for own in hosts]


def reduced(hosts: Hosts, size: int, rounds: int, bucket_bytes: int) -> tuple[dict, list[int]]:
    """Reduce over these hosts; return what was seen, and the bytes on each host's wire."""
    task = {"leaves": LEAVES, "size": size, "bucket_bytes": bucket_bytes, "rounds": rounds}
    before = hosts.sent()
    ended = hosts.run(sys.executable, PROGRAM, json.dumps(task))
    assert ended.returncode == 0, ended.stderr
    wire = [now - then for then, now in zip(before, hosts.sent(), strict=True)]
    seen: dict[str, Any] = json.loads(ended.stdout)
    assert seen["digests"] == expected(LEAVES, size)[:1]
    return seen, wire


@pytest.mark.parametrize("ranks", [(2, 2), (2, 1, 1)], ids=str)
def test_reduces_by_the_ideal_bytes(make_hosts: Maker, ranks: tuple[int, ...]) -> None:
    size, rounds, bucket_bytes = 1 << 17, 4, 1 << 18
    with make_hosts(ranks) as hosts:
        _, start = reduced(hosts, 1, 1, bucket_bytes)
        seen, wire = reduced(hosts, size, rounds, bucket_bytes)

    groups = [[rank for rank in range(sum(ranks)) if seen["names"][rank] == f"node{i}"]
              for i, _ in enumerate(ranks, 1)]  # fmt: skip
    assert [len(group) for group in groups] == list(ranks)
    assert seen["hosts"] == groups
    assert seen["files"] == [[f"rank-{r}" for r in group] for group in groups for _ in group]

    sent = [sum(seen["sent_bytes"][rank] for rank in group) for group in groups]
    assert sent == [rounds * n for n in ideal(ranks, size)]
    assert sum(sent) == rounds * 2 * size * FLOAT_BYTES * (len(ranks) - 1)
    buckets = rounds * size * FLOAT_BYTES // bucket_bytes
    for count, own, all_, before in zip(ranks, sent, wire, start, strict=True):
        messages = 2 * buckets * (sum(ranks) - count + count * (len(ranks) - 1))
        carried = all_ - before
        assert own * (DATA + HEADERS) // DATA < carried + START
        assert carried < most_on_wire(own, sum(sent) - own, messages) + START
        print(f"{ranks}: {own} bytes, {carried} on the wire: {carried / own - 1:.1%} more")


def test_hosts_leave_nothing(make_hosts: Maker) -> None:
    def machine() -> list[str]:
        links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True)
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        own = [line for line in mounts if "/pytest-" not in line]  # not other tests' small disks
        return [links.stdout, "\n".join(own), Path("/etc/hosts").read_text(), socket.gethostname()]

    before = machine()
    with pytest.raises(ZeroDivisionError), make_hosts((1, 1)) as hosts, make_hosts((1,)) as others:
        folders = [str(hosts.folder), str(others.folder)]
        for several in (hosts, others):
            several.mpirun("sleep", "100")
        end = time.monotonic() + PATIENCE
        while min(len(processes_with(folder)) for folder in folders) < 3:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert machine() == before
        raise ZeroDivisionError
    assert not any(processes_with(folder) for folder in folders)
    assert not any(Path(folder).exists() for folder in folders)
    assert machine() == before


def test_trains_to_the_one_answer_by_the_ideal_bytes(
    make_hosts: Maker, ground: Ground, tmp_path: Path
) -> None:
    width = 64
    recipe = write_recipe(
        tmp_path / "wide.toml", ground.corpus,
        model__layers=network([width] * 3, width, width),
    )  # fmt: skip
    layers = deep_speech_1(1, [width] * 3, width, width)
    size = Model(Architecture(FEATURES, len(SYMBOLS) + 1, layers)).layout.gradient_size
    alone = train(recipe, tmp_path / "alone")
    with make_hosts((2, 2)) as hosts:
        at = [hosts.sent()]
        for name, *options in (("short", "--steps", "5"), ("whole",)):
            ended = hosts.run(
                sys.executable, "-m", "majelpy", "train", recipe, "--out", tmp_path / name, *options
            )
            assert ended.returncode == 0, ended.stderr
            at.append(hosts.sent())
    assert "4 ranks on 2 hosts" in ended.stderr
    assert_same(done(tmp_path / "whole", ended.stdout), alone)

    steps = STEPS - 5
    lines = -(-size // 16) * 16  # chunks are whole lines of 16 floats, so nearly even
    for host, payload in enumerate(ideal(hosts.ranks, lines)):
        short, whole = (at[i + 1][host] - at[i][host] for i in range(2))
        carried = (whole - short) / steps
        print(f"node{host + 1}: {payload} bytes a step, {carried:.0f} on the wire")
        assert payload < carried
        # Eight messages for the vector, and some short ones: digests, the development set's errors.
        assert carried < most_on_wire(payload, payload, 16) + START / steps


class Training:
    """Training that would take long, over two hosts of two ranks, after its first steps."""

    def __init__(self, hosts: Hosts, folder: Path, ground: Ground, **variables: str) -> None:
        recipe = write_recipe(folder / "long.toml", ground.corpus, schedule__epochs=2000)
        self.out = folder / "run"
        self._stderr = folder / "stderr"
        with self._stderr.open("w") as stderr:
            self.process = hosts.mpirun(
                sys.executable, "-m", "majelpy", "train", recipe, "--out", self.out,
                stdout=subprocess.DEVNULL, stderr=stderr, variables=variables,
            )  # fmt: skip
        end = time.monotonic() + PATIENCE
        while "epoch   2" not in self._stderr.read_text():
            assert time.monotonic() < end, self._stderr.read_text()
            time.sleep(0.05)

    def ranks(self) -> list[int]:
        """Return the ranks' processes, by rank."""
        found = {}
        for pid in processes_with(str(self.out)):
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if words[1:3] == [b"-m", b"majelpy"]:
                    environ = Path(f"/proc/{pid}/environ").read_bytes()
                    rank = environ.partition(b"\0OMPI_COMM_WORLD_RANK=")[2].partition(b"\0")[0]
                    found[int(rank)] = pid
        return [found[rank] for rank in sorted(found)]

    def end(self) -> tuple[int, str]:
        """Wait for the end; return exit code and what was said."""
        code = self.process.wait(PATIENCE)
        end = time.monotonic() + 60
        while self.ranks() and time.monotonic() < end:
            time.sleep(0.1)
        assert not self.ranks(), "mpirun has ended and ranks have not"
        return code, self._stderr.read_text()


@pytest.mark.parametrize("which", [0, 3], ids=["of mpirun's host", "of the other host"])
def test_a_killed_rank_ends_all_hosts(
    make_hosts: Maker, ground: Ground, tmp_path: Path, which: int
) -> None:
    with make_hosts((2, 2)) as hosts:
        training = Training(hosts, tmp_path, ground)
        ranks = training.ranks()
        assert len(ranks) == 4
        os.kill(ranks[which], signal.SIGKILL)
        code, said = training.end()
    assert code != 0
    # mpirun says which rank it has missed first: the killed one, or one that lost its peer.
    pattern = r"prterun\s.*process\s+rank\s+[0-3]\s.*on\s+node\s+node[12]\s"
    assert re.search(pattern, said), said


def test_a_host_that_falls_silent_ends_all_hosts(
    make_hosts: Maker, ground: Ground, tmp_path: Path
) -> None:
    # Open MPI's own numbers, 300, 20 and 9, would let the ranks wait for 8 minutes.
    keepalive = {"time": "1", "intvl": "1", "probes": "3"}
    variables = {f"PRTE_MCA_oob_tcp_keepalive_{name}": n for name, n in keepalive.items()}
    with make_hosts((2, 2)) as hosts:
        training = Training(hosts, tmp_path, ground, **variables)
        hosts.cut(2)
        _, said = training.end()
    # The exit code is 0: PRRTE 3.0 loses it, so scripts should look for the fingerprint.
    assert "lost communication with a remote daemon" in said
    assert "on node node2" in said
    assert not (training.out / "fingerprint").exists()
