"""The timing log: a line a step of what depends on the launch.

Policy. It proves nothing and decides nothing: what it cannot write is said once, and the training
goes on without it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from majelpy.errors import OutputError
from majelpy.runs.ledger import Ledger


class Timings:
    """Appends lines to a timing log.

    Parameters
    ----------
    path : Path
    step : int
        Lines of later steps, and what is no line, are removed first.
    say : function
        Told once if the log cannot be written.
    """

    def __init__(self, path: Path, step: int, say: Callable[[str], None]):
        self._path, self._say = path, say
        self._log: Ledger | None = None
        try:
            self._log = Ledger(path, step)
        except OutputError as error:
            self._stop(error)

    def append(self, entry: dict[str, Any]) -> None:
        """Add a line."""
        if self._log is None:
            return
        try:
            self._log.append(entry)
        except OutputError as error:
            self._log.close()
            self._log = None
            self._stop(error)

    def _stop(self, error: OutputError) -> None:
        text = str(error).removeprefix("ledger: ")
        self._say(f"{self._path.name}: {text}; going on without this log")

    def close(self) -> None:
        """Close the file."""
        if self._log is not None:
            self._log.close()
