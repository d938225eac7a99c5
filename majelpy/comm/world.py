"""The ranks of a run, and everything that they tell one another.

Policy:

- MPI is started by `World.start` and only when a launcher (mpirun, srun) has started more
  than one rank; any other process is a world of one and never loads MPI.
- MPI moves bytes. No reduction of the MPI library is used, for its order is its own.
- A rank that fails ends the world with one message that carries its rank; nothing hangs.
  An error that all ranks come to know together goes through `World.agree`.
- A group of the ranks is a world too, with ranks of its own from 0; but what it says of a rank
  names that of the whole world, which it ends when it fails.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from majelpy import arguments
from majelpy.comm.launched import (
    launched_size,
    set_defaults,
)
from majelpy.comm.mpi import load_mpi, supports_cuda
from majelpy.comm.shared_memory import SharedMemory, whole_pages
from majelpy.comm.tags import Tag
from majelpy.errors import MajelError, WorldError
from majelpy.wording import byte_sizes, counted, install

if TYPE_CHECKING:
    import numpy as np
    from mpi4py import MPI

T = TypeVar("T")
Hosts = tuple[tuple[int, ...], ...]

_SHARED_FOLDER_VARIABLE = "OMPI_MCA_osc_sm_backing_directory"
_SPARE = 4 << 20  # bytes of shared memory that MPI takes for itself, rounded up generously


class RankFailed(WorldError):
    """Another rank failed and says why itself; this rank has nothing to print."""


class World:
    """The ranks of a run, or a group of them, seen from one. Made by `World.start`.

    Attributes
    ----------
    rank, size
        This rank, and how many there are.
    hosts
        The ranks that share memory, grouped: each group ascending, groups by lowest rank.
    host
        Name of this rank's machine.
    local_rank, local_size
        This rank's position on its host, and how many ranks are there.
    """

    def __init__(
        self,
        comm: MPI.Intracomm | None,
        hosts: Hosts,
        whole: World | None = None,
        members: Sequence[int] = (),
    ) -> None:
        self._comm = comm
        self._whole = whole or self
        self._members = members or range(comm.size if comm else 1)  # their ranks in the whole
        self.rank = comm.rank if comm else 0
        self.size = comm.size if comm else 1
        self.hosts = hosts
        self.host = socket.gethostname()
        group = next(group for group in hosts if self.rank in group)
        self.local_rank = group.index(self.rank)
        self.local_size = len(group)
        self._calling: MPI.Request | None = None  # kept until it is sent

    @classmethod
    def start(cls, hosts: Sequence[Sequence[int]] | None = None) -> World:
        """Return the world that this process was launched into; call it once, on all ranks.

        Parameters
        ----------
        hosts
            Groups of ranks to take for hosts, finer than the real ones; so a test has
            several hosts on one machine. By default the real ones.

        Raises
        ------
        WorldError
            mpi4py is missing, MPI sees another number of ranks than were launched, or
            `hosts` does not fit.
        """
        launched = launched_size(os.environ)
        if launched == 1:
            return cls(None, _check_hosts(hosts, ((0,),)))
        set_defaults(os.environ)
        try:
            mpi = load_mpi()
        except (ImportError, RuntimeError) as error:
            raise WorldError(
                f"world: {launched or 'several'} ranks were launched, but mpi4py cannot be "
                f"loaded ({error}); {install('mpi')}"
            ) from error
        if not mpi.Is_initialized():
            mpi.Init_thread(mpi.THREAD_FUNNELED)
        # A communicator of our own, so that no message of a host program is taken for ours.
        comm = mpi.COMM_WORLD.Dup()
        if launched and comm.size != launched:
            raise WorldError(
                f"world: {launched} ranks were launched, but MPI sees {comm.size}; needs the "
                "launcher of the MPI library that mpi4py was built for (with srun: --mpi=pmix)"
            )
        neighbours = comm.Split_type(mpi.COMM_TYPE_SHARED, key=comm.rank)
        group = tuple(neighbours.allgather(comm.rank))
        neighbours.Free()
        return cls(comm, _check_hosts(hosts, tuple(sorted(set(comm.allgather(group))))))

    @classmethod
    def alone(cls) -> World:
        """Return a world of this process, however it was launched."""
        return cls(None, ((0,),))

    def group(self, ranks: Sequence[int]) -> World:
        """Return a world of some ranks, which are 0, 1, ... there; they call it together.

        Its messages are its own, and its `agree` is among its ranks. `abort` ends all.

        Raises
        ------
        WorldError
            The ranks do not ascend, or this one is not among them.
        """
        ranks = _whole_numbers(ranks, "group: ranks")
        if list(ranks) != sorted(set(ranks) & set(range(self.size))) or self.rank not in ranks:
            raise WorldError(
                f"group: {list(ranks)} on rank {self.rank} of {self.size}; "
                "needs ascending ranks with this one among them"
            )
        shared = ([r for r in host if r in ranks] for host in self.hosts)
        hosts = tuple(tuple(map(ranks.index, host)) for host in shared if host)
        comm = None
        if len(ranks) > 1:
            comm = self._messages().Create_group(self._messages().group.Incl(list(ranks)))
        return World(comm, hosts, self._whole, [self._members[r] for r in ranks])

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self._comm:
            self._comm.Barrier()

    def broadcast(self, value: T, root: int = 0) -> T:
        """Return the `root` rank's small Python object on every rank."""
        return self._comm.bcast(value, root) if self._comm else value

    def gather(self, value: T) -> list[T] | None:
        """Return the ranks' small Python objects in rank order on rank 0, None elsewhere."""
        return self._comm.gather(value) if self._comm else [value]

    def all_gather(self, value: T) -> list[T]:
        """Return the ranks' small Python objects in rank order on every rank."""
        return self._comm.allgather(value) if self._comm else [value]

    def send(self, data: np.ndarray, rank: int, tag: Tag) -> MPI.Request:
        """Begin to send the bytes of a contiguous array; it must last until `done`."""
        return self._messages().Isend(_as_bytes(data), rank, tag)

    def receive(self, data: np.ndarray, rank: int, tag: Tag) -> MPI.Request:
        """Begin to receive bytes into a contiguous array; it is filled when it is `done`."""
        return self._messages().Irecv(_as_bytes(data), rank, tag)

    def done(self, requests: Sequence[MPI.Request]) -> bool:
        """Return whether the messages are sent or received, without waiting; MPI goes on."""
        return not requests or bool(load_mpi().Request.Testall(requests))

    def wait(self, requests: Sequence[MPI.Request]) -> None:
        """Wait until the messages are sent or received."""
        if requests:
            load_mpi().Request.Waitall(requests)

    def wait_some(self, requests: Sequence[MPI.Request]) -> None:
        """Wait until at least one message is sent or received, if not all of them were before."""
        if requests:
            load_mpi().Request.Waitsome(requests)

    def call(self, text: str) -> None:
        """Begin to tell rank 0 a short text, which is there when it next looks (`called`)."""
        self._calling = self._messages().isend(text, 0, Tag.CALL)

    def called(self) -> str:
        """Return a text that another rank has told rank 0, without waiting; "" if none has."""
        if self._comm is None or not self._comm.iprobe(tag=Tag.CALL):
            return ""
        text: str = self._comm.recv(tag=Tag.CALL)
        return text

    def sends_from_gpu(self) -> bool:
        """Return whether the MPI library says that messages may lie in a GPU's memory."""
        return self._comm is not None and supports_cuda()

    def share(self, hosts: Hosts, nbytes: int) -> SharedMemory:
        """Return new memory, `nbytes` of this rank's and as many as they ask of its host's.

        All ranks call it together, with the same `hosts` and each with its own `nbytes`.

        Raises
        ------
        WorldError
            A host cannot give the memory; raised on every rank.
        """
        ranks = next(ranks for ranks in hosts if self.rank in ranks)
        if all(len(ranks) == 1 for ranks in hosts):
            return SharedMemory(None, nbytes)
        comm = self._messages().Create_group(self._messages().group.Incl(ranks))
        # Open MPI hangs if it finds no room, so we look first.
        needed = sum(comm.allgather(whole_pages(nbytes)))
        folder = os.environ.get(_SHARED_FOLDER_VARIABLE, "/dev/shm")
        free = shutil.disk_usage(folder).free if os.path.isdir(folder) else needed + _SPARE
        wanted, left = byte_sizes(needed + _SPARE, free)
        error = WorldError(
            f"shared memory: {counted(len(ranks), 'rank')} need {wanted}, {left} are free in "
            f"{folder}; make room there, or give --no-shared-memory"
        )
        self.agree(error if needed + _SPARE > free else None)
        return SharedMemory(comm, nbytes)

    def agree(self, error: Exception | None) -> None:
        """Return if no rank brings an error, else raise on all ranks; all call it together.

        Raises
        ------
        Exception
            On the lowest rank with an error: that error.
        RankFailed
            On all other ranks, so that only one has something to print.
        """
        texts = self.all_gather(None if error is None else f"{type(error).__name__}: {error}")
        failed = [rank for rank, text in enumerate(texts) if text is not None]
        if not failed:
            return
        if failed[0] == self.rank and error is not None:
            raise error
        raise RankFailed(f"rank {self._members[failed[0]]} failed: {texts[failed[0]]}")

    def abort(self, message: str, code: int = 1) -> NoReturn:
        """Print one message tagged with this rank, and end all ranks; any one may call it."""
        if self._whole is not self:
            self._whole.abort(message, code)
        if not self._comm:
            print(f"majel: {message}", file=sys.stderr, flush=True)
            raise SystemExit(code)
        # Ranks often fail alike and at once. The lowest speaks at once, and its Abort ends
        # the others before they repeat what it said.
        time.sleep(0.25 * min(self.rank, 4))
        with suppress(OSError):  # whoever read has gone; the end must come all the same
            sys.stdout.flush()
        with suppress(OSError):
            sys.stderr.write(f"majel: rank {self.rank} on {self.host}: {message}\n")
            sys.stderr.flush()
        # The launcher may drop what it has not yet read from this rank when the abort overtakes it.
        time.sleep(0.1)
        load_mpi().COMM_WORLD.Abort(code)
        os._exit(code)

    def exit(self, code: int) -> NoReturn:
        """End this process in good order; all ranks call it, with the same code."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        self.barrier()
        raise SystemExit(code)

    def install_excepthook(self) -> None:
        """Let an exception that nobody catches end all ranks; a world of one needs none."""
        if self._comm:
            # Python would end this rank alone: it would wait in MPI_Finalize, and the others
            # in their next message, for ever.
            sys.excepthook = self._uncaught

    def _uncaught(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        if isinstance(error, RankFailed):
            return  # the rank that failed speaks and ends this one, in MPI_Finalize by then
        if isinstance(error, KeyboardInterrupt):
            self.abort("interrupted", 130)
        if isinstance(error, MajelError):
            self.abort(str(error), 2)
        self.abort("".join(traceback.format_exception(kind, error, trace)).rstrip(), 1)

    def _messages(self) -> MPI.Intracomm:
        if not self._comm:
            raise WorldError("world: a message in a world of 1 rank; needs at least 2")
        return self._comm


def _check_hosts(hosts: Sequence[Sequence[int]] | None, real: Hosts) -> Hosts:
    """Return `hosts` as tuples if they divide each of the real ones, which they default to."""
    if hosts is None:
        return real
    arguments.require(hosts, Sequence, "world: hosts", "a list of lists of ranks")
    hosts = [_whole_numbers(group, "world: ranks of a host") for group in hosts]
    asked = tuple(sorted(tuple(sorted(group)) for group in hosts))
    whole = sorted(rank for group in asked for rank in group)
    inside = all(any(set(group) <= set(machine) for machine in real) for group in asked)
    if whole != sorted(rank for group in real for rank in group) or not inside:
        raise WorldError(
            f"world: hosts {list(map(list, hosts))} for {list(map(list, real))}; "
            "needs each rank once, and no group across machines"
        )
    return asked


def _whole_numbers(ranks: Sequence[int], what: str) -> list[int]:
    if isinstance(ranks, str) or not isinstance(ranks, Sequence):
        raise arguments.wrong(what, ranks, "a list of whole numbers")
    return [arguments.whole(rank, what) for rank in ranks]


def _as_bytes(data: np.ndarray) -> list[Any]:
    return [data, data.nbytes, load_mpi().BYTE]
