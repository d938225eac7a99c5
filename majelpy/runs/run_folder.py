"""The folder of a run: recipe, ledger, checkpoints, fingerprint.

Policy. One process at a time writes to it, under a lock that the system releases when the
process dies; on a file system without locks a run goes on and says so. A folder belongs to one
recipe content, from its first step on; another one is refused by naming what differs, unless it
only ends the run elsewhere. What trained the run stands in ``content.json`` and in every
checkpoint; ``recipe.toml`` is for people, and to train it again. What happened to the run and is no
step of it, and so must not be in the ledger, is a line of ``history.jsonl``.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import tomli_w

from majelpy import arguments, files
from majelpy.errors import CheckpointError, OutputError, RecipeError
from majelpy.files import open_in_place, read_plain, write_whole
from majelpy.nn import layers
from majelpy.parsing import parse_json
from majelpy.recipes.content import differences, digest, few, settings_of, unfit
from majelpy.recipes.recipe import Recipe
from majelpy.runs import checkpoint as checkpoints
from majelpy.settings import as_table, read_toml

_PATIENCE = 5.0
"""Seconds for one that was ended to write its last checkpoint (majelpy/train/saving.py)."""


class RunFolder:
    """Paths of a run folder, and its lock.

    Parameters
    ----------
    path : str or Path
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(arguments.path(path, "run folder"))
        self.recipe = self.path / "recipe.toml"
        self.ledger = self.path / "ledger.jsonl"
        self.timings = self.path / "timings.jsonl"
        self.history = self.path / "history.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.failed = self.path / "failed"
        self.fingerprint = self.path / "fingerprint"
        self._content = self.path / "content.json"
        self._lock: BinaryIO | None = None

    def open_for_training(self, recipe: Recipe, content: dict[str, Any]) -> None:
        """Make the folder or enter an existing one, and lock it.

        A folder without any step, as a start that failed leaves it, takes any recipe.

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
            if self.content() is None and self._foreign(texts):
                raise OutputError(f"run folder {self.path}: it has other files; give a new one")
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OutputError:
            raise
        except OSError as error:
            if self.path.is_file():
                raise OutputError(f"run folder {self.path}: a file; --out needs a folder") from None
            raise OutputError(f"run folder {self.path}: {error.strerror}") from None
        try:
            self._take_lock()
            self._sweep()
            if self._begun():
                self._check(content)
            else:
                self._write(recipe, content)
        except BaseException:
            self.close()
            raise

    def _begun(self) -> bool:
        """Whether anything of a step is there, be it damaged or set aside."""
        of_steps = (
            *self.checkpoints.glob("[!.]*.h5*"),
            *self.path.glob("ledger.jsonl.*"),
            *self.path.glob("failed"),
        )
        return bool(of_steps) or (self.ledger.exists() and self.ledger.stat().st_size > 0)

    def _foreign(self, layers: Collection[str]) -> bool:
        """Whether the folder holds what a run with such files of layers has not."""
        ours = (self.recipe, self._content, self.ledger, self.timings, self.checkpoints)
        own = {"lock", *(path.name for path in ours), *layers}
        return self.path.is_dir() and any(
            item.name not in own and not item.name.startswith(".") for item in self.path.iterdir()
        )

    def _take_lock(self) -> None:
        path = self.path / "lock"
        try:
            self._lock = open_in_place(path)
        except OSError as error:
            raise OutputError(f"run folder: {path}: {error.strerror}") from None
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise OutputError(
                        f"run folder {self.path}: another process is training in it; wait or end "
                        "that one"
                    ) from None
                time.sleep(0.05)
            except OSError as error:  # a file system without locks, of which there are several
                print(
                    f"majel train: {path}: no lock can be had here ({error.strerror}); see to it "
                    "that no other process trains in this folder",
                    file=sys.stderr,
                )
                return

    def _sweep(self) -> None:
        """Remove what a killed process was writing."""
        for folder in (self.path, self.checkpoints):
            for aside in folder.glob(".*.tmp"):
                with suppress(OSError):
                    aside.unlink(missing_ok=True)

    def _check(self, content: dict[str, Any]) -> None:
        saved = self.content()
        if saved is None:
            raise CheckpointError(
                f"run folder {self.path}: content.json is damaged or missing, and there is no good "
                "checkpoint that says what trained the run; give another --out"
            )
        lines = unfit(saved, content)
        if lines:
            raise CheckpointError(
                f"run folder {self.path} belongs to another recipe: {few(lines)}; "
                "give another --out"
            )

    def go_on(self, recipe: Recipe, content: dict[str, Any], step: int) -> list[str]:
        """Let the folder say what it is trained with from ``step`` on; return lines to be said.

        What only ends the run may be other than before; what was lost or edited is put right.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        saved, said = self.content() or content, []
        if self._whole_content() is None:
            kept = _put_aside(self._content, "damaged")
            said.append(f"{self._content}: lost{kept}; made again from the checkpoints")
        for path, why in self._edited_files(recipe, saved, content):
            kept = _put_aside(path, "edited")
            said.append(f"{path}: not what trained this run: {why}{kept}; written again")
        if change := few(differences(saved, content, ("before", "now"))):
            said.append(f"the same run to another end: {change}")
            self.note(step, change)
        if said:
            self._write(recipe, content)
        return said

    def _edited_files(
        self, recipe: Recipe, saved: dict[str, Any], content: dict[str, Any]
    ) -> Iterator[tuple[Path, str]]:
        """Yield the recipe and the files of layers that are not what trained the run, and why."""
        lines = self.edited(saved)
        if lines and self.edited(content):
            yield self.recipe, few(lines)
        for name, text in layers.files(recipe.model.layers).items():
            path = self.path / name
            if not path.is_file() or read_plain(path) != text:
                yield path, "another text"

    def _write(self, recipe: Recipe, content: dict[str, Any]) -> None:
        """Write what says what the run is trained from; the content is last."""
        text = f"# Written by 'majel train': what trained this run.\n\n{_toml(recipe)}"
        write_whole(self.recipe, text.encode())
        for name, layer in layers.files(recipe.model.layers).items():
            write_whole(self.path / name, layer)
        whole = content | {"digest": digest(content)}
        write_whole(self._content, json.dumps(whole, indent=1, sort_keys=True).encode())

    def note(self, step: int, what: str) -> None:
        """Add a line to the history; a fingerprint goes there, for the run is no longer at its end.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        line: dict[str, Any] = {"step": step, "what": what}
        try:
            if self.fingerprint.exists():
                line["fingerprint"] = (
                    read_plain(self.fingerprint).decode("utf-8", "replace").strip()
                )
            with open_in_place(self.history) as file:
                file.write(f"{json.dumps(line, ensure_ascii=False)}\n".encode())
                os.fsync(file.fileno())
            self.fingerprint.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write {self.history} ({error.strerror})") from None

    def write_fingerprint(self, text: str) -> None:
        """Store the fingerprint of the finished run; raises OutputError."""
        write_whole(self.fingerprint, f"{text}\n".encode())

    def failed_step(self, step: int) -> Path:
        """What is known of a step that was not finite."""
        return self.failed / f"step-{step}.json"

    def write_failed(self, step: int, record: dict[str, Any]) -> None:
        """Store what is known of a step that was not finite; raises OutputError."""
        try:
            self.failed.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {self.failed} ({error.strerror})") from None
        write_whole(self.failed_step(step), f"{json.dumps(record, indent=1)}\n".encode())

    def content(self) -> dict[str, Any] | None:
        """What the run was trained from; where content.json is lost, a checkpoint says it.

        None if no good one does.
        """
        whole = self._whole_content()
        if whole is not None:
            return whole
        newest, _ = checkpoints.newest(self.checkpoints)
        content = newest.description.get("content") if newest else None
        return content if isinstance(content, dict) else None

    def _whole_content(self) -> dict[str, Any] | None:
        """What content.json holds; None if it is missing or damaged."""
        try:
            content = parse_json(read_plain(self._content))
        except (OSError, ValueError):
            return None
        if not isinstance(content, dict):
            return None
        found = content.pop("digest", None)
        return content if found == digest(content) else None

    def edited(self, content: dict[str, Any]) -> list[str]:
        """Lines that say what recipe.toml has otherwise than what trained the run.

        Corpora may have moved, so their paths do not count.
        """
        try:
            table = read_toml(str(self.recipe))
        except RecipeError as error:
            return [str(error).removeprefix(f"{self.recipe}: ")]
        try:
            return differences(settings_of(content), settings_of(table), ("saved", "recipe.toml"))
        except (TypeError, AttributeError) as error:  # another kind of value where a table was
            return [str(error)]

    def close(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()


def of_a_run(recipe: str) -> bool:
    """Return whether the recipe of that name lies in a run folder."""
    names = ("content.json", "ledger.jsonl", "checkpoints")
    return any(os.path.lexists(Path(recipe).parent / name) for name in names)


def _put_aside(path: Path, why: str) -> str:
    """Rename a file that is to be written again; return words for its name now."""
    return f", kept as {files.set_aside(path, why).name}" if path.exists() else ""


def _toml(recipe: Recipe) -> str:
    return tomli_w.dumps(json.loads(json.dumps(as_table(recipe.with_whole_paths()))))
