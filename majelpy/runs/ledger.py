"""The ledger: a JSON line a step, the same for every launch of a recipe.

Policy. Nothing that depends on time, ranks or hosts may enter, so that two ledgers `diff` clean.
Floats stand as decimal for people and as hex for bits. After a resume the lines behind the
checkpoint are cut off and written again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from majelpy.errors import CheckpointError, OutputError
from majelpy.files import open_in_place
from majelpy.parsing import parse_json


def number(value: np.float32) -> float | None:
    """The shortest decimal that stands for this float32; None, as JSON has it, if not finite."""
    return float(str(value)) if np.isfinite(value) else None


def hexadecimal(value: np.float32) -> str:
    """The value as a hex float."""
    return float(value).hex()


class Ledger:
    """Appends lines to a ledger file.

    Parameters
    ----------
    path : Path
    step : int
        Lines of later steps, and a torn last line, are removed first.

    Raises
    ------
    OutputError
        If the file cannot be written, here or in `append`.
    """

    def __init__(self, path: Path, step: int):
        self._path = path
        aside = path.with_name(f".{path.name}.tmp")
        try:
            kept = [line for line, entry in _lines(path) if entry["step"] <= step]
            with aside.open("w", encoding="utf-8") as file:
                file.write("".join(kept))
                file.flush()
                os.fsync(file.fileno())  # these lines were on the disk before
            os.replace(aside, path)
            self._file = open_in_place(path)
        except OSError as error:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            raise OutputError(f"ledger: cannot write {path} ({error.strerror})") from None

    def append(self, entry: dict[str, Any]) -> None:
        """Add a line and hand it to the system, so that a killed process loses none."""
        whole = os.fstat(self._file.fileno()).st_size
        rest = f"{json.dumps(entry)}\n".encode()
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(whole)  # so that it may be tried again
            raise OutputError(f"ledger: cannot write {self._path} ({error.strerror})") from None

    def sync(self) -> None:
        """Bring all lines to the disk; called before a checkpoint is written."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OutputError(f"ledger: cannot write {self._path} ({error.strerror})") from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                entry = parse_json(line)
            except ValueError:
                return  # torn by a kill; what follows was never synced
            whole = line.endswith("\n") and isinstance(entry, dict)
            if not whole or not isinstance(entry.get("step"), int):
                return
            yield line, entry


def entries(path: Path) -> list[dict[str, Any]]:
    """Return the ledger's lines.

    Raises
    ------
    CheckpointError
        If there is no ledger.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: there is no ledger; is this a run folder?")
    return [entry for _, entry in _lines(path)]
