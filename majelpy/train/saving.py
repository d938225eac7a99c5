"""When and how the state of a run is saved: as time goes, at epochs' ends, and for a signal.

Policy. Rank 0 alone writes. The state is that after a whole step, with its line in the ledger; from
the update of the parameters to that line it is none, and one lock is held. A signal is served by
another thread (majelpy/train/signals.py), which takes the lock: it does not wait for the step at
hand, whose gradients are still computed, and no copy of the state is needed. An evaluation may take
long, so it runs without the lock, and a copy of the state before its step stands in.

A launcher kills soon, and a busy machine may not get a file written before. So under a launcher the
thread forks a process, out of the launcher's reach, that writes what its memory holds; it has all
the time that it needs, and the folder's lock.

Where no rank holds the whole model (mesh by directions or hidden parts), all ranks have to bring
their share, so a signal is honoured after the step at hand; so is one that another rank had.
"""

from __future__ import annotations

import mmap
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np

from majelpy.comm.launched import launched
from majelpy.comm.world import World
from majelpy.errors import OutputError
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs.checkpoint import Checkpoint
from majelpy.runs.ledger import Ledger
from majelpy.runs.run_folder import RunFolder
from majelpy.train.signals import Interrupted
from majelpy.train.trainer import Trainer


class Saver:
    """Saves a run; every rank has one, and they make the same calls.

    Parameters
    ----------
    trainer : Trainer
        At the step that the run begins with, which is on the disk unless it is 0.
    world : World
    folder : RunFolder
    ledger : Ledger, optional
        Where this rank writes.
    statistics : mapping of str to ndarray
        What every checkpoint has besides.
    seconds : float
        Least time between two checkpoints.
    """

    def __init__(
        self,
        trainer: Trainer,
        world: World,
        folder: RunFolder,
        ledger: Ledger | None,
        statistics: Mapping[str, np.ndarray],
        seconds: float,
    ):
        self._trainer, self._world = trainer, world
        self._run, self._folder, self._ledger = folder, folder.checkpoints, ledger
        self._statistics, self._seconds = statistics, seconds
        self._at_once = ledger is not None and trainer.team.mesh.whole_everywhere
        self._lock = threading.Lock()
        self._changing = False  # the main thread has the lock for a step
        self._before: Checkpoint | None = None  # stands in for a state that is changing
        self._over: BaseException | None = None  # why the run ends, as soon as it does
        self._wanted = ""  # a signal to be honoured after the step at hand
        self._saved, self._saved_at = trainer.step, time.monotonic()  # the newest on the disk
        self._named = -1  # the newest that this process wrote under the name of its step

    # --- a step -----------------------------------------------------------------------------------

    @contextmanager
    def step(self, *, evaluated: bool) -> Iterator[Callable[[], None]]:
        """Within it a step is done; call what it gives before anything changes.

        At its end the ledger has the step's line. ``evaluated``: an evaluation follows the update.
        """

        def change() -> None:
            if not self._at_once:
                return
            if evaluated:
                with suppress(OSError):  # without the memory a signal waits for the evaluation
                    self._before = _copied(self._trainer.checkpoint())
            self._take()
            self._changing = True

        try:
            yield change
        except BaseException as error:  # what is in memory now is no state
            self._over = self._over or error
            raise
        finally:
            self._before = None
            if self._changing:
                self._changing = False
                self._lock.release()

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Within it the state is not touched; a signal is served with that before the step."""
        if self._before is None:
            yield
            return
        self._changing = False
        self._lock.release()
        yield
        self._take()
        self._changing = True

    def _take(self) -> None:
        self._lock.acquire()
        if self._over is not None:
            self._lock.release()
            raise self._over

    # --- saving -----------------------------------------------------------------------------------

    def after_step(self, last: int) -> None:
        """Save if it is time; end if a signal was left for now. All ranks together.

        Raises
        ------
        Interrupted
            On rank 0, for a signal.
        """
        step, schedule = self._trainer.step, self._trainer.schedule.state
        wanted = self._left_for_now()
        save, best = False, schedule.best_step == step
        if self._ledger is not None:
            due = time.monotonic() - self._saved_at >= self._seconds
            save = due or step == last or step in schedule.ends or bool(wanted)
        self._save(save, best)
        if wanted:
            raise Interrupted(_saved(wanted, step))

    def keep(self) -> None:
        """Save the state that a step which is not finite began with. All ranks together."""
        path = checkpoints.path_of(self._folder, self._trainer.step)
        self._save(self._ledger is not None and not path.exists(), best=False)

    def note(self, entry: dict[str, Any]) -> None:
        """Add the line of a step to the ledger.

        Raises
        ------
        OutputError
            If there is no room for it; it says so if the step is saved nevertheless.
        """
        if self._ledger is None:
            return
        try:
            self._ledger.append(entry)
        except OutputError as error:
            raise self._rescued(self._ledger, entry, error) from None

    def _rescued(self, ledger: Ledger, entry: dict[str, Any], error: OutputError) -> OutputError:
        """Save a step whose line had no room, in place of older ones; return what is to be said."""
        schedule, noted = self._trainer.schedule.state, False
        if not self._at_once:
            return error  # other ranks have their share of the state
        while checkpoints.make_room(self._folder, schedule.ends):
            with suppress(OutputError):
                if not noted:
                    ledger.append(entry)
                noted = True
                state = self._trainer.checkpoint()
                if schedule.best_step == state.step:
                    best = checkpoints.best_path(self._folder)
                    checkpoints.write_as(best, self._complete(state))
                self._write(state)
                return OutputError(f"{error}; saved after step {state.step}")
        return error

    def _save(self, of_step: bool, best: bool) -> None:
        """Write the checkpoint of this step if rank 0 wants it, and the best one, as all know."""
        if not self._trainer.team.mesh.whole_everywhere:
            of_step = self._world.broadcast(of_step)  # all bring their share
        elif self._ledger is None:
            return
        state = self._trainer.checkpoint() if of_step or best else None
        if self._ledger is None or state is None:
            return
        if of_step:
            self._take()
            try:
                self._write(state)
            finally:
                self._lock.release()
        if best:  # without the lock, for it is synced first, and a signal does not wait for that
            self._ledger.sync()
            checkpoints.write_as(checkpoints.best_path(self._folder), self._complete(state))
            self._saved = state.step

    def _write(self, state: Checkpoint, whole: Callable[[], None] = lambda: None) -> None:
        """Write the checkpoint of a step, with the lock; the ledger comes to the disk before it.

        ``whole`` is called when the file is there, which the disk may not have yet.
        """
        if self._ledger is not None and state.step != self._named:
            ledger, ends = self._ledger, self._trainer.schedule.state.ends

            def sync() -> None:
                whole()
                ledger.sync()

            checkpoints.write(self._folder, self._complete(state), ends, first=sync)
            self._named = self._saved = state.step
            self._saved_at = time.monotonic()

    def _complete(self, state: Checkpoint) -> Checkpoint:
        return replace(state, tensors={**state.tensors, **self._statistics})

    # --- signals ----------------------------------------------------------------------------------

    def serve(self, number: int) -> BaseException | None:
        """Serve a signal, in another thread; return what is to be raised in the main one."""
        name = signal.Signals(number).name
        if not self._at_once:
            self._wanted = self._wanted or name
            return None
        with self._lock:
            if self._over is not None:
                return None
            state = self._before or self._trainer.checkpoint()
            try:
                if state.step > self._saved and not (launched(os.environ) and self._forked(state)):
                    self._write(state)
                self._over = Interrupted(_saved(name, state.step))
            except OutputError as error:
                self._over = error
        return self._over

    def _forked(self, state: Checkpoint) -> bool:
        """Let a child write the checkpoint of a step; return whether it did."""
        try:
            child = os.fork()
        except OSError:
            return False
        if child:
            return os.waitpid(child, 0)[1] == 0
        try:
            os.setsid()  # what the launcher sends goes to the group of this process
            nowhere = os.open(os.devnull, os.O_RDWR)
            for descriptor in range(3):  # the launcher waits until nobody has its pipes
                os.dup2(nowhere, descriptor)
            self._write(state, self._run.close)  # who waits for the folder may come in
            os._exit(0)
        finally:
            os._exit(1)

    def _left_for_now(self) -> str:
        """The signal to be honoured now; other ranks tell rank 0 of theirs."""
        if self._world.rank == 0:
            return self._wanted or self._world.called()
        if self._wanted:
            self._world.call(f"{self._wanted} on rank {self._world.rank}")
            self._wanted = ""
        return ""


def _saved(name: str, step: int) -> str:
    if step == 0:
        return f"{name}: ended before the first step"
    return f"{name}: saved after step {step}; the same command resumes"


def _copied(state: Checkpoint) -> Checkpoint:
    """A copy in memory of its own: the pool is for what a step needs."""
    sizes = [tensor.size for tensor in state.tensors.values()]
    memory = np.frombuffer(mmap.mmap(-1, max(4 * sum(sizes), 1)), np.float32)
    tensors, at = {}, 0
    for name, tensor in state.tensors.items():
        tensors[name] = memory[at : at + tensor.size].reshape(tensor.shape)
        tensors[name][...] = tensor
        at += tensor.size
    return replace(state, tensors=tensors)
