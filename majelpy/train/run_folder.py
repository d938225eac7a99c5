"""The folder of a run: recipe, ledger, checkpoints, fingerprint.

Policy. One process at a time writes to it, under a lock that the system releases when the
process dies. A folder belongs to one recipe content; another one is refused by naming what
differs.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any, TextIO

import tomli_w

from majelpy.errors import CheckpointError, OutputError
from majelpy.train.recipe import Recipe, differences


class RunFolder:
    """Paths of a run folder, and its lock.

    Parameters
    ----------
    path : str or Path
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.ledger = self.path / "ledger.jsonl"
        self.timings = self.path / "timings.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.fingerprint = self.path / "fingerprint"
        self._content = self.path / "content.json"
        self._lock: TextIO | None = None

    def open_for_training(self, recipe: Recipe, content: dict[str, Any]) -> None:
        """Make the folder or enter an existing one, and lock it.

        Raises
        ------
        OutputError
            If it cannot be written, or another process trains in it.
        CheckpointError
            If it belongs to another recipe.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("w")
        except OSError as error:
            raise OutputError(f"run folder {self.path}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"run folder {self.path}: another process is training in it; wait or end that one"
            ) from None
        except OSError:
            pass  # a file system without locks
        if self._content.exists():
            self._check(content)
            return
        text = f"# Written by 'majel train'; what trained this run.\n\n{tomli_w.dumps(_plain(recipe))}"
        try:
            (self.path / "recipe.toml").write_text(text, "utf-8")
            aside = self.path / ".content.tmp"
            aside.write_text(json.dumps(content, indent=1, sort_keys=True), "utf-8")
            os.replace(aside, self._content)
        except OSError as error:
            raise OutputError(f"run folder {self.path}: {error.strerror}") from None
        for aside in self.checkpoints.glob(".*.tmp"):
            aside.unlink(missing_ok=True)

    def _check(self, content: dict[str, Any]) -> None:
        try:
            stored = json.loads(self._content.read_text("utf-8"))
        except (OSError, ValueError):
            raise CheckpointError(f"{self._content}: damaged; give another --out") from None
        lines = differences(stored, content)
        if lines:
            raise CheckpointError(
                f"run folder {self.path} belongs to another recipe: {'; '.join(lines[:3])}"
                f"{f'; and {len(lines) - 3} more' if len(lines) > 3 else ''} "
                "(there and now); give another --out"
            )

    def write_fingerprint(self, text: str) -> None:
        """Store the fingerprint of the finished run; raises OutputError."""
        try:
            aside = self.path / ".fingerprint.tmp"
            aside.write_text(text + "\n", "utf-8")
            os.replace(aside, self.fingerprint)
        except OSError as error:
            raise OutputError(f"{self.fingerprint}: {error.strerror}") from None

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()


def _plain(recipe: Recipe) -> dict[str, Any]:
    from dataclasses import asdict

    table: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return table
