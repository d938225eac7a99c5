"""Standard input, output and error of a command.

Policy. Messages go to standard error, and whoever does not read them has no say: a reader that went
away, a full disk or a closed descriptor never ends the work, nor changes the exit code. Results go
to standard output, and one that could not be written is an error, told where that is possible,
whatever became of the work. A descriptor that was closed is filled, for a file of ours would get
its number, and libraries write there.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from majelpy.errors import OutputError

if TYPE_CHECKING:
    from majelpy.comm.world import World

_CLOSED_MODES = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)
"""How a closed descriptor is filled: reading input and writing results fail, messages vanish."""


class _Stream:
    """A stream that writes to another; the rest is the other's."""

    def __init__(self, stream: IO[str]):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def write(self, text: str) -> int:
        raise NotImplementedError


class _Messages(_Stream):
    """Standard error that never fails."""

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


class _Results(_Stream):
    """Standard output that raises OutputError, and keeps the first one.

    Attributes
    ----------
    error : OutputError or None
        Some callers, such as argparse, pass it over.
    """

    error: OutputError | None = None

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError as error:
            lacking = error.object[error.start : error.end]
            raise self._failed(
                f"{error.encoding} has no {lacking!r}; set PYTHONIOENCODING=utf-8"
            ) from None
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from None
        except ValueError:
            raise self._failed("closed") from None

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            raise self._failed(error.strerror or str(error)) from None
        except ValueError:
            raise self._failed("closed") from None

    def _failed(self, why: str) -> OutputError:
        found = OutputError(f"the result could not be written to standard output: {why}")
        self.error = self.error or found
        return found


class Streams:
    """The streams of a command, while it is entered."""

    def __enter__(self) -> Self:
        self._before = sys.stdin, sys.stdout, sys.stderr
        for descriptor, mode in enumerate(_CLOSED_MODES):
            _fill(descriptor, mode)
        sys.stdin = sys.stdin or _open(0, "r")
        self._messages = _Messages(sys.stderr or _open(2, "w"))
        self._results = _Results(sys.stdout or _open(1, "w"))
        sys.stdout, sys.stderr = self._results, self._messages
        return self

    def finish(self) -> OutputError | None:
        """Bring all results to their reader; return why they did not reach it."""
        with suppress(OutputError):
            self._results.flush()
        return self._results.error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.stdin, sys.stdout, sys.stderr = self._before
        # Else Python would try again at its end, complain, and change the exit code.
        _drain(self._results._stream)
        _drain(self._messages._stream)


def _fill(descriptor: int, mode: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, mode)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def _open(descriptor: int, mode: str) -> IO[str]:
    return open(descriptor, mode, encoding="utf-8", closefd=False)


def _drain(stream: IO[str]) -> None:
    """Flush a stream; what cannot be written goes nowhere."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError, io.UnsupportedOperation):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
            stream.flush()


def answer(world: World, text: str) -> None:
    """Print a result on rank 0; all ranks call it together.

    Raises
    ------
    OutputError
        On rank 0, if it could not be written.
    RankFailed
        On the others, likewise.
    """
    error: OutputError | None = None
    if world.rank == 0:
        try:
            print(text)
            sys.stdout.flush()
        except OutputError as found:
            error = found
    world.agree(error)
