"""Hosts that are not one: network namespaces on this machine, joined by virtual links.

Policy. A host is a process with a network, a name, a ``/dev/shm``, an ``/etc/hosts`` and System V
objects of its own, so that its ranks can reach another host's only through its one link. The links
end in a bridge, in a namespace that holds all hosts and a process table of their own: with its
first process everything ends, also if this process is killed, and nothing of the machine's is ever
touched. mpirun runs on the first host and reaches the others through an agent that enters
namespaces where ssh would log in. Frames are cut before they are counted, not by a network card
after, so that the bridge counts what a real wire would carry. Needs root; tests take the fixture
by ``pytest_plugins = ["several_hosts"]``; for pytest has no hand in this module's import then:
PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import needs
import pytest
from mpi_launch import PATIENCE, environment, mpirun

_PROGRAMS = ("ip", "unshare", "nsenter", "sysctl")
_CLUSTER = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_HOST = ("--net", "--uts", "--ipc", "--mount")

# Arguments: folder, number of hosts. Says "ready"; ends with its standard input.
_SETUP = """\
set -e
quiet="net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1"
[ ! -e /proc/sys/net/ipv6 ] || sysctl -qw $quiet
ip link add bridge0 type bridge
ip link set bridge0 up
for i in $(seq $2); do
  unshare {namespaces} sh -ec '
    [ ! -e /proc/sys/net/ipv6 ] || sysctl -qw '"$quiet"'
    hostname node$2
    mount -t tmpfs tmpfs /dev/shm
    mount --bind "$1/hosts" /etc/hosts
    ip link set lo up
    echo $$ > "$1/node$2.new"
    mv "$1/node$2.new" "$1/node$2"
    exec sleep infinity' - "$1" $i &
  until [ -e "$1/node$i" ]; do kill -0 $!; sleep 0.01; done
  ip link add port$i gso_max_segs 1 type veth peer name eth0 gso_max_segs 1 netns $!
  ip link set port$i master bridge0 up
  nsenter --target $! --net sh -ec "
    ip address add 10.0.0.$i/24 dev eth0
    ip link set eth0 gso_max_segs 1 up"
done
echo ready
exec cat
"""

# Called like ssh: a host's name, then a command for its shell.
_AGENT = """\
#!/bin/sh
host=$1
shift
exec nsenter --target $(cat {folder}/$host) {namespaces} sh -c "$*"
"""


class Hosts:
    """Some hosts, node1 and so on, with an even or uneven number of ranks each.

    Attributes
    ----------
    ranks
        Number of ranks on each.
    folder
        Holds what starts them; in the command line of some process of theirs while they last.
    """

    def __init__(self, ranks: Sequence[int], cluster: int, folder: Path) -> None:
        self.ranks = tuple(ranks)
        self._enter = ("nsenter", f"--target={cluster}", "--net", "--mount",
                       f"--pid=/proc/{cluster}/ns/pid_for_children")  # fmt: skip
        self.folder = folder
        self._started: list[subprocess.Popen[str]] = []

    def mpirun(self, *words: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start `words` on all ranks, by an mpirun on the first host; `options` go to Popen."""
        command = [mpirun(), "--hostfile", str(self.folder / "hostfile"), "-n"]
        command += [str(sum(self.ranks)), *(str(word) for word in words)]
        variables = environment() | {
            "PRTE_MCA_plm_ssh_agent": str(self.folder / "agent"),
            "TMPDIR": "/dev/shm",  # a host's own
            # Ranks do not know that the hosts share their cores.
            "OMPI_MCA_mpi_yield_when_idle": "1",
            "OMP_NUM_THREADS": "1",
        }
        # With this, mpirun would put all ranks on the first host.
        del variables["PRTE_MCA_rmaps_default_mapping_policy"]
        inside = f"cd {shlex.quote(os.getcwd())} && exec {shlex.join(command)}"
        words = (*self._enter, str(self.folder / "agent"), "node1", inside)
        variables |= options.pop("variables", {})
        started = subprocess.Popen(
            words, env=variables, stdin=subprocess.DEVNULL, text=True, **options
        )
        self._started.append(started)
        return started

    def run(
        self, *words: str | Path, timeout: float = PATIENCE, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `words` on all ranks; the exit code is the caller's to check."""
        pipe = subprocess.PIPE
        started = self.mpirun(*words, stdout=pipe, stderr=pipe, variables=variables)
        out, err = started.communicate(timeout=timeout)
        return subprocess.CompletedProcess(words, started.returncode, out, err)

    def sent(self) -> tuple[int, ...]:
        """Return the bytes that each host has put on its link so far, frame headers included."""
        found = subprocess.run(
            [*self._enter, "ip", "-s", "-j", "link"], capture_output=True, text=True, check=True
        )
        received = {
            link["ifname"]: int(link["stats64"]["rx"]["bytes"]) for link in json.loads(found.stdout)
        }
        return tuple(received[f"port{i}"] for i, _ in enumerate(self.ranks, 1))

    def reap(self) -> None:
        """Wait for all that was started; the hosts have ended and taken it along."""
        for started in self._started:
            started.wait(PATIENCE)
            for stream in (started.stdout, started.stderr):
                if stream:
                    stream.close()

    def cut(self, host: int) -> None:
        """Take down the link of a host, counted from 1."""
        subprocess.run([*self._enter, "ip", "link", "set", f"port{host}", "down"], check=True)


@contextmanager
def several_hosts(ranks: Sequence[int]) -> Iterator[Hosts]:
    """Make hosts with so many ranks each; they end with the context."""
    with tempfile.TemporaryDirectory(prefix="majelpy-hosts-") as name, ExitStack() as stack:
        folder = Path(name)
        numbers = range(1, len(ranks) + 1)
        names = "".join(f"10.0.0.{i} node{i}\n" for i in numbers)
        (folder / "hosts").write_text("127.0.0.1 localhost\n" + names)
        slots = (f"node{i} slots={n}\n" for i, n in zip(numbers, ranks, strict=True))
        (folder / "hostfile").write_text("".join(slots))
        namespaces = shlex.join(_HOST)
        agent = _AGENT.format(folder=shlex.quote(name), namespaces=namespaces)
        (folder / "agent").write_text(agent)
        (folder / "agent").chmod(0o755)
        setup = _SETUP.replace("{namespaces}", namespaces)
        cluster = subprocess.Popen(
            ["unshare", *_CLUSTER, "sh", "-c", setup, "majelpy-hosts", name, str(len(ranks))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert cluster.stdin and cluster.stdout and cluster.stderr
        try:
            if cluster.stdout.readline() != "ready\n":
                cluster.kill()
                raise RuntimeError(f"the hosts do not start: {cluster.stderr.read()}")
            hosts = Hosts(ranks, cluster.pid, folder)
            stack.callback(hosts.reap)
            yield hosts
        finally:
            cluster.stdin.close()
            cluster.wait(PATIENCE)
            cluster.stdout.close()
            cluster.stderr.close()


@cache
def missing() -> str:
    """Return what this machine lacks for several hosts, or nothing."""
    absent = [program for program in _PROGRAMS if not shutil.which(program)]
    if absent:
        return f"needs {', '.join(absent)} (on Debian: iproute2 util-linux procps)"
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    try:
        with several_hosts([1]):
            return ""
    except RuntimeError as error:
        return str(error)


Maker = Callable[[Sequence[int]], Any]


@pytest.fixture
def make_hosts() -> Maker:
    """`several_hosts`, on a machine that can."""
    if lack := missing():
        needs.lacking("hosts", f"several hosts on one machine: {lack}")
    mpirun()
    return several_hosts
