"""Checkpoints: all of a run's state at a step, in one HDF5 file that knows no ranks.

Policy. Written aside, synced, renamed, so a file under its final name is whole; the digest inside
covers every tensor and the description, so a damaged one is found before it is used. The newest
`KEEP` are kept, those that an average is of too, and the best one as ``best.h5``. No pickle. As in
a corpus, HDF5 keeps checksums of its own structure, there are no strings of variable length (a
flipped bit in one sends the library into an endless loop), and a failed write never reaches the
library (it would crash at exit).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from majelpy.errors import CheckpointError, OutputError
from majelpy.sink import Sink, sync_folder

FORMAT = "majelpy checkpoint 1"
KEEP = 3
_DESCRIPTION = "description"


@dataclass
class Checkpoint:
    """State after ``step`` steps.

    Attributes
    ----------
    step : int
    description : dict
        JSON values: the recipe's digest, alphabet, layers, features, the schedule's state, steps
        just skipped in a row.
    tensors : dict of str to float32 array
        Parameters as ``parameters/NAME``, the optimizer's states likewise (``velocities/NAME``; see
        majelpy/majelpy/optimizers), ``mean``, ``scale``.
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
            digest.update(np.ascontiguousarray(tensor, "<f4").tobytes())
        return digest.hexdigest()


def path_of(folder: Path, step: int) -> Path:
    """Name of the checkpoint of a step."""
    return folder / f"step-{step}.h5"


def best_path(folder: Path) -> Path:
    """Name of the checkpoint with the fewest wrong dev characters."""
    return folder / "best.h5"


def write(folder: Path, checkpoint: Checkpoint, kept: Sequence[int] = ()) -> Path:
    """Write the checkpoint of a step and remove older ones.

    The newest `KEEP` stay, and those of the steps ``kept``.

    Raises
    ------
    OutputError
        If it cannot be written; earlier checkpoints stay.
    """
    path = path_of(folder, checkpoint.step)
    write_as(path, checkpoint)
    for step in list(steps(folder))[KEEP:]:
        if step not in kept:
            with suppress(OSError):
                path_of(folder, step).unlink()
    return path


def write_as(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint to a file, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written; what was there stays.
    """
    folder = path.parent
    aside = folder / f".{path.name}.{os.getpid()}.tmp"
    try:
        aside.unlink(missing_ok=True)
        _write(aside, checkpoint)
        os.replace(aside, path)
        sync_folder(folder)
    except OSError as error:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise OutputError(f"checkpoint: cannot write {path} ({error.strerror})") from None


def check_room(folder: Path, checkpoint: Checkpoint, more: int = 0) -> None:
    """Raise OutputError if the disk has no room for `KEEP` and more checkpoints like this one."""
    need = (KEEP + more) * sum(tensor.nbytes for tensor in checkpoint.tensors.values())
    free = shutil.disk_usage(folder).free
    if free < need:
        raise OutputError(f"checkpoint: {folder} has {free} bytes free; needs {need}")


def _write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a file and bring it to the disk; raises the system's OSError."""
    sink = Sink(path)
    try:
        with h5py.File(sink, "w", libver=("v110", "v110")) as file:
            file.attrs["format"] = np.bytes_(FORMAT)
            file.attrs["digest"] = np.bytes_(checkpoint.digest())
            file.attrs["step"] = checkpoint.step
            text = json.dumps(checkpoint.description, sort_keys=True).encode()
            file.create_dataset(_DESCRIPTION, data=np.frombuffer(text, np.uint8))
            for name, tensor in checkpoint.tensors.items():
                file.create_dataset(name, data=tensor, dtype="<f4")
        if sink.error is None:
            sink.close()
    finally:
        sink.give_up()
        sink.close()
    if sink.error is not None:
        raise sink.error


def steps(folder: Path) -> Iterator[int]:
    """Steps that have a checkpoint file, newest first."""
    found = []
    for path in folder.glob("step-*.h5"):
        number = path.stem.removeprefix("step-")
        if number.isdigit():
            found.append(int(number))
    yield from sorted(found, reverse=True)


def read(path: Path) -> Checkpoint:
    """Return the checkpoint of a file, held against its digest.

    Raises
    ------
    CheckpointError
        If the file is missing, truncated, damaged or of another format.
    OSError
        If the system does not let it be read.
    """
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            if "format" not in file.attrs or file.attrs["format"] != FORMAT.encode():
                raise CheckpointError(f"{path}: not a checkpoint ({FORMAT})")
            tensors: dict[str, np.ndarray] = {}

            def collect(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset):
                    kind = np.uint8 if name == _DESCRIPTION else np.float32
                    tensors[name] = _array(item, kind)

            file.visititems(collect)
            description = json.loads(tensors.pop(_DESCRIPTION).tobytes())
            checkpoint = Checkpoint(int(file.attrs["step"]), description, tensors)
            digest = bytes(file.attrs["digest"]).decode()
    except CheckpointError:
        raise
    except Exception as error:  # h5py raises almost anything on damaged files
        if isinstance(error, OSError) and error.errno is not None and os.path.isfile(path):
            raise  # the system does not hand it out; it may be whole, so nobody set it aside
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: damaged or truncated ({reason})") from None
    if checkpoint.digest() != digest:
        raise CheckpointError(f"{path}: damaged: its content does not have the digest inside")
    return checkpoint


def _array(dataset: Any, kind: type[np.generic]) -> np.ndarray:
    if dataset.dtype != kind:
        raise ValueError(f"{dataset.name} is {dataset.dtype}")
    # A damaged header can claim any size; without this check NumPy would try to take it.
    if dataset.nbytes > dataset.file.id.get_filesize():
        raise ValueError(f"{dataset.name} claims {dataset.nbytes} bytes, more than the file has")
    return np.asarray(dataset[()])


def newest(folder: Path, *, set_aside: bool = False) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest good checkpoint, and a line for each damaged one that was passed over.

    With ``set_aside`` the damaged ones get another name, ``step-N.h5.damaged``: else they would
    count among the newest `KEEP`, and new ones be removed in their place.
    """
    problems: list[str] = []
    for step in steps(folder):
        try:
            return read(path_of(folder, step)), problems
        except CheckpointError as error:
            problems.append(str(error))
            if set_aside:
                path = path_of(folder, step)
                with suppress(OSError):
                    path.rename(f"{path}.damaged")
    return None, problems
