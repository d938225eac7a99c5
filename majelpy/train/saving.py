"""When and how the state of a run is saved: as time goes, at epochs' ends, and for a signal.

Policy. Rank 0 alone writes. The state is that after a whole step, with its line in the ledger; from
the update of the parameters to that line it is none, and one lock is held. A signal is served by
another thread (majelpy/train/signals.py) that takes the lock and writes: it does not wait for the
step at hand, which computes gradients until it wants the lock itself. An evaluation may take long,
so it runs without the lock, and a copy of the state before its step stands in. After a warning the
state is saved too, and stays for half a second what it is: if the end comes, all is done.

Where no rank holds the whole model (mesh by directions or hidden parts), all ranks have to bring
their share, so a signal is honoured after the step at hand; so is one that another rank had.
"""

from __future__ import annotations

import mmap
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np

from majelpy.comm.world import World
from majelpy.errors import OutputError
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs.checkpoint import Checkpoint
from majelpy.runs.ledger import Ledger
from majelpy.runs.run_folder import RunFolder
from majelpy.train.signals import WARNING, Interrupted
from majelpy.train.trainer import Trainer

_PAUSE = 0.5
"""Seconds after a warning within which the end mostly comes."""


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
        self._folder, self._ledger = folder.checkpoints, ledger
        self._statistics, self._seconds = statistics, seconds
        self._at_once = ledger is not None and trainer.team.mesh.whole_everywhere
        self._lock = threading.Lock()
        self._changing = False  # the main thread has the lock for a step
        self._before: Checkpoint | None = None  # stands in for a state that is changing
        self._over: BaseException | None = None  # why the run ends, as soon as it does
        self._wanted = ""  # a signal to be honoured after the step at hand
        self._warned = False
        self._paused = 0.0  # no step changes the state before that time
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
            self._pause()
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

    def _pause(self) -> None:
        """Wait after a warning, so that no step comes too late to be saved."""
        while self._paused and self._over is None:
            if time.monotonic() > self._paused:
                self._paused = 0.0
            time.sleep(0.01)

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
        wanted, warned = self._left_for_now()
        save, best = False, schedule.best_step == step
        if self._ledger is not None:
            due = time.monotonic() - self._saved_at >= self._seconds
            save = due or step == last or step in schedule.ends or bool(wanted) or warned
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

    def _write(self, state: Checkpoint) -> None:
        """Write the checkpoint of a step, with the lock; the ledger comes to the disk before it."""
        if self._ledger is not None and state.step != self._named:
            ends = self._trainer.schedule.state.ends
            checkpoints.write(self._folder, self._complete(state), ends, first=self._ledger.sync)
            self._named = self._saved = state.step
            self._saved_at = time.monotonic()

    def _complete(self, state: Checkpoint) -> Checkpoint:
        return replace(state, tensors={**state.tensors, **self._statistics})

    # --- signals ----------------------------------------------------------------------------------

    def serve(self, number: int) -> BaseException | None:
        """Serve a signal, in another thread; return what is to be raised in the main one."""
        if not self._at_once:
            if number == WARNING:
                self._warned = True
            else:
                self._wanted = self._wanted or signal.Signals(number).name
            return None
        with self._lock:
            if self._over is not None:
                return None
            if number == WARNING:
                self._paused = time.monotonic() + _PAUSE
            state = self._before or self._trainer.checkpoint()
            try:
                if state.step > self._saved:
                    self._write(state)
            except OutputError as error:
                if number != WARNING:
                    self._over = error
                return self._over
            if number != WARNING:
                self._over = Interrupted(_saved(signal.Signals(number).name, state.step))
            return self._over

    def _left_for_now(self) -> tuple[str, bool]:
        """The signal to be honoured now, and whether a warning came; other ranks tell rank 0."""
        wanted, warned = self._wanted, self._warned
        self._warned = False
        if self._world.rank == 0:
            return wanted or self._world.called(), warned
        if wanted:
            self._world.call(f"{wanted} on rank {self._world.rank}")
            self._wanted = ""
        return "", False


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
