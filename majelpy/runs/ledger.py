"""The ledger: a JSON line a step, the same for every launch of a recipe; the proof of a run.

Policy. Nothing that depends on time, ranks or hosts may enter, so that two ledgers `diff` clean.
Floats stand as decimal for people and as hex for bits. Lines stand in the order of steps; what is
no such line proves nothing and is named. After a resume the lines behind the checkpoint are cut off
and written again.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from majelpy.errors import CheckpointError, OutputError
from majelpy.files import open_in_place, open_plain, write_whole
from majelpy.parsing import parse_json

_LONGEST = 1 << 16
_NAMED = 3


def number(value: np.float32) -> float | None:
    """The shortest decimal that stands for this float32; None, as JSON has it, if not finite."""
    return float(str(value)) if np.isfinite(value) else None


def hexadecimal(value: np.float32) -> str:
    """The value as a hex float."""
    return float(value).hex()


@dataclass(frozen=True)
class Lines:
    """What a ledger's file says.

    Attributes
    ----------
    entries : dict of int to dict
        The lines that can be read, by step, ascending.
    problems : list of str
        Words for each line that cannot, with file and number.
    torn : str
        The same for a last line that is not whole, as a kill leaves it; "" if there is none.
    """

    entries: dict[int, dict[str, Any]]
    problems: list[str]
    torn: str

    @property
    def reaches(self) -> int:
        """The last step of those that have a line from step 1 on, without a gap."""
        step = 0
        while step + 1 in self.entries:
            step += 1
        return step

    @property
    def last(self) -> int:
        """The last step that has a line; 0 if none has."""
        return max(self.entries, default=0)

    def missing(self, upto: int = 0) -> list[str]:
        """Words for each gap from step 1 to the last line, or to a later step ``upto``."""
        ends = [*self.entries, max(self.last, upto) + 1]
        gaps = [(a + 1, b - 1) for a, b in zip([0, *self.entries], ends, strict=True) if b > a + 1]
        return [span(*gap) for gap in gaps]


def span(first: int, last: int) -> str:
    """Words for the steps from the first to the last."""
    return f"step {first}" if first == last else f"steps {first}-{last}"


def read(path: Path) -> Lines:
    """Return what the lines of a file say; none if there is no file."""
    entries: dict[int, dict[str, Any]] = {}
    problems: list[str] = []
    torn, last = "", 0
    for count, line in _lines(path):
        entry = _entry(line)
        step = 0 if entry is None else entry["step"]
        if entry is not None and step > last and line.endswith(b"\n"):
            entries[step], last = entry, step
            continue
        why = "cannot be read" if entry is None else f"is of step {step}, after step {last}"
        if line.endswith(b"\n"):
            problems.append(f"{path}: line {count} {why}")
        else:
            torn = f"{path}: line {count}, the last one, is cut off"
    return Lines(entries, problems, torn)


def require(path: Path) -> Lines:
    """Return what a ledger says.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: there is no ledger; is this a run folder?")
    return read(path)


def faults(path: Path, lines: Lines) -> list[str]:
    """Words for what is wrong with a ledger: lines that cannot be read, and gaps."""
    named = lines.problems[:_NAMED]
    more = len(lines.problems) - len(named)
    if more:
        named.append(f"{path}: {more} more such line{'s' if more > 1 else ''}")
    if gaps := lines.missing():
        named.append(f"{path}: {', '.join(gaps)} missing")
    return named


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and text of each line; a longer one than any of a ledger is empty."""
    if not path.exists():
        return
    with open_plain(path) as file:
        for count in itertools.count(1):
            line = file.readline(_LONGEST)
            if not line:
                return
            if len(line) == _LONGEST and not line.endswith(b"\n"):
                while (rest := file.readline(_LONGEST)) and not rest.endswith(b"\n"):
                    pass
                line = b"\n"
            yield count, line


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = parse_json(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or type(entry.get("step")) is not int or entry["step"] < 1:
        return None
    return entry


class Ledger:
    """Appends lines to a ledger file.

    Parameters
    ----------
    path : Path
    step : int
        Lines of later steps, and what is no line, are removed first; `resume.settle` has kept
        what is evidence.

    Raises
    ------
    OutputError
        If the file cannot be written, here or in `append`.
    """

    def __init__(self, path: Path, step: int):
        self._path = path
        try:
            kept = [entry for entry in read(path).entries.values() if entry["step"] <= step]
            write_whole(path, (_text(entry).encode() for entry in kept))
            self._file = open_in_place(path)
        except OutputError as error:
            raise OutputError(f"ledger: {error}") from None
        except OSError as error:
            raise self._cannot_write(error) from None

    def append(self, entry: dict[str, Any]) -> None:
        """Add a line and hand it to the system, so that a killed process loses none."""
        whole = os.fstat(self._file.fileno()).st_size
        rest = _text(entry).encode()
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(whole)  # so that it may be tried again
            raise self._cannot_write(error) from None

    def sync(self) -> None:
        """Bring all lines to the disk; called before a checkpoint is written."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._cannot_write(error) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _cannot_write(self, error: OSError) -> OutputError:
        return OutputError(f"ledger: cannot write {self._path} ({error.strerror})")


def _text(entry: dict[str, Any]) -> str:
    return json.dumps(entry) + "\n"
