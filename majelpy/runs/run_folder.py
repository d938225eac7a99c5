"""The folder of a run: recipe, ledger, checkpoints, fingerprint.

Policy. One process at a time writes to it, under a lock that the system releases when the
process dies. A folder belongs to one recipe content; another one is refused by naming what
differs.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import tomli_w

from majelpy.errors import CheckpointError, OutputError
from majelpy.nn import layers
from majelpy.recipes.recipe import Recipe, differences
from majelpy.settings import as_table


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
        self.failed = self.path / "failed"
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
        if str(self.path) == ".":
            raise OutputError("run folder: --out is empty or the current folder; give a new one")
        try:
            texts = layers.files(recipe.model.layers)
            if not self._content.exists() and self._foreign(texts):
                raise OutputError(f"run folder {self.path}: it has other files; give a new one")
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("w")
        except OutputError:
            raise
        except OSError as error:
            raise OutputError(f"run folder {self.path}: {error.strerror}") from None
        try:
            self._take_lock(self._lock)
            if self._content.exists():
                self._check(content)
                self._sweep()
                return
            text = f"# Written by 'majel train': what trained this run.\n\n{_toml(recipe)}"
            _write(self.path / "recipe.toml", text.encode())
            for name, layer in texts.items():
                _write(self.path / name, layer)
            _write(self._content, json.dumps(content, indent=1, sort_keys=True).encode())
        except BaseException:
            self.close()
            raise

    def _foreign(self, layers: Collection[str]) -> bool:
        """Whether the folder holds what a run with such files of layers has not begun to write."""
        own = {"lock", "recipe.toml", "checkpoints", *layers}
        return self.path.is_dir() and any(
            item.name not in own and not item.name.startswith(".") for item in self.path.iterdir()
        )

    def _take_lock(self, file: TextIO) -> None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(
                f"run folder {self.path}: another process is training in it; wait or end that one"
            ) from None
        except OSError:
            pass  # a file system without locks

    def _sweep(self) -> None:
        """Remove what a killed process was writing."""
        for folder in (self.path, self.checkpoints):
            for aside in folder.glob(".*.tmp"):
                with suppress(OSError):
                    aside.unlink(missing_ok=True)

    def _check(self, content: dict[str, Any]) -> None:
        stored = self.content()
        if stored is None:
            raise CheckpointError(f"{self._content}: damaged; give another --out")
        lines = differences(stored, content)
        if lines:
            raise CheckpointError(
                f"run folder {self.path} belongs to another recipe: {'; '.join(lines[:3])}"
                f"{f'; and {len(lines) - 3} more' if len(lines) > 3 else ''} "
                "(there and now); give another --out"
            )

    def write_fingerprint(self, text: str) -> None:
        """Store the fingerprint of the finished run; raises OutputError."""
        _write(self.fingerprint, f"{text}\n".encode())

    def failed_step(self, step: int) -> Path:
        """What is known of a step that was not finite."""
        return self.failed / f"step-{step}.json"

    def write_failed(self, step: int, record: dict[str, Any]) -> None:
        """Store what is known of a step that was not finite; raises OutputError."""
        try:
            self.failed.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {self.failed} ({error.strerror})") from None
        _write(self.failed_step(step), f"{json.dumps(record, indent=1)}\n".encode())

    def content(self) -> dict[str, Any] | None:
        """What the run was trained from; None if that is lost or damaged."""
        try:
            content = json.loads(self._content.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()


def _write(path: Path, content: bytes) -> None:
    """Write a file aside and rename it; a failure leaves nothing and raises OutputError."""
    aside = path.with_name(f".{path.name}.tmp")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path} ({error.strerror})") from None


def _toml(recipe: Recipe) -> str:
    return tomli_w.dumps(json.loads(json.dumps(as_table(recipe.with_whole_paths()))))
