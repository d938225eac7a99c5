"""Signals that want the end of a command: heard at once, honoured in order.

Policy. Python calls a handler between two instructions of the main thread, which may be in a kernel
or wait for a message for seconds. Launchers do not wait so long: Open MPI's mpirun sends SIGCONT, a
quarter of a second later SIGTERM and again a quarter later SIGKILL, whatever it had itself, and has
no setting for it; MPICH's sends SIGINT on, and SIGKILL at the second one; SLURM sends SIGCONT and
SIGTERM, and SIGKILL after its KillWait. So a training has threads that hear and act (`Watch`), and
SIGCONT is a first warning. All else ends by an exception, as at Ctrl-C (`interrupting`). A signal
that was ignored before stays so (nohup). Signals belong to the main thread: elsewhere nothing is
heard and nothing changed.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType, TracebackType
from typing import Self

ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""Signals that want the end."""

WARNING = signal.SIGCONT
"""What mpirun and SLURM send before SIGTERM; it may as well mean nothing."""

_AGAIN = 0.5
"""Seconds within which a second Ctrl-C is the first one, sent on by a launcher or a shell."""

_noted: list[int] = []


class Interrupted(KeyboardInterrupt):
    """A signal ended the work; the text says what became of it."""


@contextmanager
def interrupting() -> Iterator[None]:
    """Let signals that want the end raise `Interrupted` where the main thread is."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        _noted.append(number)
        raise _interrupted(number)

    with _handled(ENDS, interrupt):
        try:
            yield
        finally:
            _noted.clear()


def _interrupted(number: int) -> Interrupted:
    by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
    return Interrupted(f"interrupted{by}")


@contextmanager
def _handled(
    numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Let a function handle signals, but for those that are ignored; the main thread calls it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    # One that a foreign library handles (None) could not be put back.
    ours = [number for number, old in before.items() if old not in (signal.SIG_IGN, None)]
    try:
        for number in ours:
            signal.signal(number, handler)
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


class Watch:
    """Hears signals while it is entered, whatever the main thread does.

    Parameters
    ----------
    act : callable
        Called with each signal's number, `WARNING` included, one after another, in a thread of
        their own. The first exception that it returns is raised in the main thread as soon as that
        is back in Python.
    force : callable
        Called, at once, at a second Ctrl-C; returns the exception likewise.

    Raises
    ------
    Interrupted
        If a signal came within `interrupting` and something kept its exception to itself.
    """

    def __init__(
        self, act: Callable[[int], BaseException | None], force: Callable[[], BaseException]
    ):
        self._act, self._force = act, force
        self._open = True
        self._to_raise: BaseException | None = None
        self._forced = False
        self._heard: SimpleQueue[int | None] = SimpleQueue()
        self._handled = _handled((*ENDS, WARNING), self._handle)

    def __enter__(self) -> Self:
        if _noted:
            raise _interrupted(_noted[0])
        self._here = threading.current_thread() is threading.main_thread()
        if not self._here:
            return self
        hearing, self._sending = os.pipe()
        os.set_blocking(self._sending, False)
        # The system's own handler writes a signal's number there, in whatever thread that runs.
        self._before = signal.set_wakeup_fd(self._sending, warn_on_full_buffer=False)
        self._handled.__enter__()
        self._threads = [
            threading.Thread(target=self._hear, args=(hearing,), daemon=True),
            threading.Thread(target=self._serve, daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._here:
            return
        self._open = False
        self._handled.__exit__(None, None, None)
        signal.set_wakeup_fd(self._before)
        os.close(self._sending)
        if not self._forced:
            for thread in self._threads:  # what is being written is written to its end
                thread.join()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        error, self._to_raise = self._to_raise, None
        if error is not None and self._open:
            raise error

    def _raise(self, error: BaseException) -> None:
        self._to_raise = error
        _thread.interrupt_main(WARNING)  # runs the handler; does nothing once that is gone

    def _hear(self, hearing: int) -> None:
        first = 0.0
        with open(hearing, "rb", buffering=0) as file:
            while numbers := file.read(64):
                for number in numbers:
                    now = time.monotonic()
                    if number == signal.SIGINT and first and now - first > _AGAIN:
                        self._forced = True
                        self._raise(self._force())
                    if number == signal.SIGINT:
                        first = first or now
                    if number in (*ENDS, WARNING):
                        self._heard.put(number)
        self._heard.put(None)

    def _serve(self) -> None:
        while (number := self._heard.get()) is not None:
            try:
                error = self._act(number)
            except Exception as failure:
                error = failure
            if self._forced:
                return
            if error is not None:
                self._raise(error)
                return  # the end has come; what else is heard is its echo
