"""Checkpoints: all of a run's state at a step, in one HDF5 file that knows no ranks.

Policy. Written aside and renamed, so a file under its final name is whole; the digest inside covers
every tensor and the description, so a damaged one is found before it is used. A new name comes
before the sync, which may take long: a process killed meanwhile has its checkpoint, and older ones
go only after it. The newest `KEEP` are kept, those that an average is of too, and the best one as
``best.h5``, which replaces another and is synced first. No pickle. As in
a corpus, HDF5 keeps checksums of its own structure, there are no strings of variable length (a
flipped bit in one sends the library into an endless loop), and a failed write never reaches the
library (it would crash at exit).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from majelpy import hdf5
from majelpy.errors import CheckpointError, OutputError
from majelpy.files import aside_of, set_aside, sync_folder
from majelpy.parsing import parse_json
from majelpy.sink import Sink
from majelpy.wording import byte_sizes

FORMAT = "majelpy checkpoint 1"
KEEP = 3
_DESCRIPTION = "description"
_NAME = re.compile(r"step-(0|[1-9][0-9]{0,17})\.h5", re.ASCII)


@dataclass
class Checkpoint:
    """State after ``step`` steps.

    Attributes
    ----------
    step : int
    description : dict
        JSON values: the recipe's content, alphabet, layers, features, the schedule's state, steps
        just skipped in a row.
    tensors : dict of str to float32 array
        Parameters as ``parameters/NAME``, the optimizer's states likewise (``velocities/NAME``; see
        majelpy/optimizers), ``mean``, ``scale``.
    """

    step: int
    description: dict[str, Any]
    tensors: dict[str, np.ndarray]

    def digest(self) -> str:
        """SHA-256 over step, description and tensors, in name order."""
        digest = hashlib.sha256()
        digest.update(json.dumps([self.step, self.description], sort_keys=True).encode())
        for name in sorted(self.tensors):
            tensor = self.tensors[name]
            digest.update(f"\n{name} {tensor.shape}\n".encode())
            digest.update(np.ascontiguousarray(tensor, "<f4").data)
        return digest.hexdigest()


def path_of(folder: Path, step: int) -> Path:
    """Name of the checkpoint of a step."""
    return folder / f"step-{step}.h5"


def best_path(folder: Path) -> Path:
    """Name of the checkpoint with the fewest wrong dev characters."""
    return folder / "best.h5"


def write(
    folder: Path,
    checkpoint: Checkpoint,
    kept: Sequence[int] = (),
    first: Callable[[], None] = lambda: None,
) -> Path:
    """Write the checkpoint of a step and remove older ones.

    The newest `KEEP` stay, and those of the steps ``kept``. ``first`` is called before the sync, to
    bring to the disk what must not be there later.

    Raises
    ------
    OutputError
        If it cannot be written; earlier checkpoints stay.
    """
    path = path_of(folder, checkpoint.step)
    with _aside(path) as aside, _written(aside, checkpoint) as sink:
        os.replace(aside, path)
        try:
            first()
            sink.close()
        except OSError:
            with suppress(OSError):
                path.unlink()
            raise
    for step in list(steps(folder))[KEEP:]:
        if step not in kept:
            with suppress(OSError):
                path_of(folder, step).unlink()
    return path


def make_room(folder: Path, kept: Sequence[int] = ()) -> bool:
    """Remove the oldest checkpoint but the newest and those ``kept``; return whether one was."""
    for step in reversed(list(steps(folder))[1:]):
        if step not in kept:
            with suppress(OSError):
                path_of(folder, step).unlink()
                return True
    return False


def write_as(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint to a file, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written; what was there stays.
    """
    with _aside(path) as aside, _written(aside, checkpoint) as sink:
        sink.close()
        os.replace(aside, path)


def check_room(folder: Path, checkpoint: Checkpoint, more: int = 0) -> None:
    """Raise OutputError if the disk has no room for `KEEP` and more checkpoints like this one."""
    need = (KEEP + more) * sum(tensor.nbytes for tensor in checkpoint.tensors.values())
    free = shutil.disk_usage(folder).free
    if free < need:
        there, wanted = byte_sizes(free, need)
        raise OutputError(f"checkpoint: {folder} has {there} free; needs {wanted}")


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """Give a name beside a file; at the end bring the folder to the disk, or leave nothing."""
    aside = aside_of(path)
    try:
        yield aside
        sync_folder(path.parent)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"checkpoint: cannot write {path} ({error.strerror})") from None
    finally:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


@contextmanager
def _written(path: Path, checkpoint: Checkpoint) -> Iterator[Sink]:
    """Write a file, which closing brings to the disk; raises the system's OSError."""
    sink = Sink(path)
    try:
        with h5py.File(sink, "w", libver=("v110", "v110")) as file:
            file.attrs["format"] = np.bytes_(FORMAT)
            file.attrs["digest"] = np.bytes_(checkpoint.digest())
            file.attrs["step"] = checkpoint.step
            text = json.dumps(checkpoint.description, sort_keys=True).encode()
            file.create_dataset(_DESCRIPTION, data=np.frombuffer(text, np.uint8))
            for name, tensor in sorted(checkpoint.tensors.items()):
                file.create_dataset(name, data=tensor, dtype="<f4")
        if sink.error is None:
            yield sink
    finally:
        sink.give_up()
        sink.close()
    if sink.error is not None:
        raise sink.error


def steps(folder: Path) -> Iterator[int]:
    """Steps that have a checkpoint file, newest first."""
    names = (_NAME.fullmatch(path.name) for path in folder.glob("step-*.h5"))
    yield from sorted((int(name[1]) for name in names if name), reverse=True)


def read(path: Path) -> Checkpoint:
    """Return the checkpoint of a file, held against its digest.

    Raises
    ------
    CheckpointError
        If the file is missing, no plain file, truncated, damaged or of another format.
    OSError
        If the system does not let it be read.
    """
    try:
        with hdf5.reading(path), hdf5.open_file(path) as file:
            if "format" not in file.attrs or hdf5.text(file, "format") != FORMAT:
                raise CheckpointError(f"{path}: not a checkpoint ({FORMAT})")
            found = hdf5.datasets(file)
            description = parse_json(hdf5.array(found.pop(_DESCRIPTION), np.uint8, 1).tobytes())
            if not isinstance(description, dict):
                raise ValueError(f"its description is {type(description).__name__}")
            tensors = {name: hdf5.array(tensor, np.float32) for name, tensor in found.items()}
            checkpoint = Checkpoint(hdf5.number(file, "step"), description, tensors)
            digest = hdf5.text(file, "digest")
    except hdf5.Damaged as error:
        raise CheckpointError(f"{path}: damaged or truncated ({error})") from None
    except OSError as error:
        if os.path.isfile(path):
            raise  # the system does not hand it out; it may be whole, so nobody set it aside
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    if checkpoint.digest() != digest:
        raise CheckpointError(f"{path}: damaged: its content does not have the digest inside")
    named = _NAME.fullmatch(path.name)
    if named and int(named[1]) != checkpoint.step:
        raise CheckpointError(f"{path}: it is of step {checkpoint.step}; its name was changed")
    return checkpoint


def mend_best(folder: Path, step: int) -> list[str]:
    """Make the best checkpoint again from that of its step, if it is damaged, lost or of another
    step, as where a run was killed before it; return what is to be said of it.
    """
    path, source = best_path(folder), path_of(folder, step)
    try:
        if read(path).step != step and source.exists():
            write_as(path, read(source))
        return []
    except CheckpointError as error:
        problem = str(error)
    with suppress(OSError):
        set_aside(path, "damaged")
    try:
        write_as(path, read(source))
    except CheckpointError:
        return [f"{problem}; the checkpoint of step {step} is lost until an epoch is better"]
    return [f"{problem}; made again from {source.name}"]


def newest(
    folder: Path, *, most: int | None = None, keep_aside: bool = False
) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest good checkpoint, and a line for each damaged one that was passed over.

    The best one counts too.

    Parameters
    ----------
    most : int or None
        Those of later steps do not count.
    keep_aside : bool
        Give damaged ones another name, ``step-N.h5.damaged-1``: else they would count among the
        newest `KEEP`, and new ones be removed in their place.
    """
    problems: list[str] = []
    for step, path in newest_first(folder):
        if most is not None and step > most:
            continue
        try:
            return read(path), problems
        except CheckpointError as error:
            problems.append(str(error))
            if keep_aside:
                with suppress(OSError):
                    set_aside(path, "damaged")
    return None, problems


def newest_first(folder: Path) -> list[tuple[int, Path]]:
    """Checkpoints with their steps, the newest first; of one step the best one last."""
    found = [(step, path_of(folder, step)) for step in steps(folder)]
    best = best_path(folder)
    try:
        with hdf5.open_file(best) as file:
            found.append((int(file.attrs["step"]), best))
    except Exception:  # there is none, or nobody knows of which step it is
        pass
    return sorted(found, key=lambda item: item[0], reverse=True)
