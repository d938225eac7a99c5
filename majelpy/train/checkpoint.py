"""Checkpoints: all of a run's state at a step, in one HDF5 file that knows no ranks.

Policy. Written aside, synced, renamed, so a file under its final name is whole; the digest inside
covers every tensor and the description, so a damaged one is found before it is used. The newest
`KEEP` are kept. No pickle.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from majelpy.errors import CheckpointError, OutputError

FORMAT = "majelpy checkpoint 1"
KEEP = 3


@dataclass
class Checkpoint:
    """State after ``step`` steps.

    Attributes
    ----------
    step : int
    description : dict
        JSON values: the recipe's digest, alphabet, sizes, features.
    tensors : dict of str to float32 array
        Parameters as ``parameters/NAME``, velocities as ``velocities/NAME``, ``mean``, ``scale``.
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


def write(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and remove those older than the newest `KEEP`.

    Raises
    ------
    OutputError
        If it cannot be written; earlier checkpoints stay.
    """
    path = path_of(folder, checkpoint.step)
    aside = folder / f".{path.name}.{os.getpid()}.tmp"
    try:
        with h5py.File(aside, "w") as file:
            file.attrs["format"] = FORMAT
            file.attrs["step"] = checkpoint.step
            file.attrs["description"] = json.dumps(checkpoint.description, sort_keys=True)
            file.attrs["digest"] = checkpoint.digest()
            for name, tensor in checkpoint.tensors.items():
                file.create_dataset(name, data=tensor, dtype="<f4")
        _sync(aside)
        os.replace(aside, path)
        _sync(folder)
    except (OSError, RuntimeError, ValueError) as error:
        # h5py reports a full disk as any of these, depending on what was being flushed.
        aside.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise OutputError(f"checkpoint: cannot write {path} ({reason})") from None
    for step in list(steps(folder))[KEEP:]:
        path_of(folder, step).unlink(missing_ok=True)
    return path


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
    """
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            if file.attrs.get("format") != FORMAT:
                raise CheckpointError(f"{path}: not a checkpoint ({FORMAT})")
            tensors: dict[str, np.ndarray] = {}

            def collect(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset):
                    tensors[name] = np.asarray(item[()], dtype=np.float32)

            file.visititems(collect)
            checkpoint = Checkpoint(
                int(file.attrs["step"]), json.loads(file.attrs["description"]), tensors
            )
            digest = str(file.attrs["digest"])
    except CheckpointError:
        raise
    except Exception as error:  # h5py raises almost anything on damaged files
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: damaged or truncated ({reason})") from None
    if checkpoint.digest() != digest:
        raise CheckpointError(f"{path}: damaged: its content does not have the digest inside")
    return checkpoint


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest good checkpoint, and a line for each damaged one that was passed over."""
    problems = []
    for step in steps(folder):
        try:
            return read(path_of(folder, step)), problems
        except CheckpointError as error:
            problems.append(str(error))
    return None, problems
