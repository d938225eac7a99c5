"""A trained model out of a run folder, ready to recognise.

Policy. What is taken is the newest good checkpoint, unless the recipe (schedule.result) or the
caller says otherwise. An average is of the parameters at the ends of the last epochs, which the
newest checkpoint names; the checkpoints of these steps are kept.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from majelpy import arguments, ops
from majelpy.array import Array, asarray, zeros
from majelpy.errors import CheckpointError
from majelpy.nn import layers
from majelpy.nn.model import Architecture, Model
from majelpy.nn.share import Share
from majelpy.recipes.content import few
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs.checkpoint import Checkpoint
from majelpy.runs.description import Description, describe
from majelpy.runs.run_folder import RunFolder
from majelpy.runs.tensors import load_tensors, tensor_of
from majelpy.speech.text import Alphabet


@dataclass(frozen=True)
class Trained:
    """A model with its parameters, alphabet and feature statistics.

    Attributes
    ----------
    rate, features : int
        Sample rate in Hz (0: trained on .npy features) and features of a frame.
    step : int
        Of the checkpoint it came from.
    """

    model: Model
    parameters: Array
    alphabet: Alphabet
    mean: np.ndarray
    scale: np.ndarray
    rate: int
    features: int
    step: int


def load_trained(
    folder: str | os.PathLike[str],
    which: str = "",
    *,
    run_code: bool = False,
    quiet: bool = False,
) -> Trained:
    """Return the model of a run's checkpoint; say what was passed over, or not.

    Parameters
    ----------
    which : str
        ``last``, ``best``, ``average`` or a step; empty: what the recipe asks for.
    run_code : bool
        Whether Python files of the run, with layers of its model, may be run.

    Raises
    ------
    CheckpointError
        If the folder has no such checkpoint, or it is damaged.
    RecipeError
        If its model needs a Python file that may not be run, or has changed.
    ArgumentError
        If an argument is of another type.
    """
    folder = arguments.path(folder, "run folder")
    arguments.require(which, str, "which", "'last', 'best', 'average' or the digits of a step")
    found, described = _described(folder, which, quiet)
    recipe = RunFolder(folder).path / "recipe.toml"
    listed = layers.read(
        described.layers, f"{recipe}: model.layers", str(recipe), run_code=run_code
    )
    alphabet = Alphabet.from_characters(described.alphabet)
    model = Model(
        Architecture(described.features, alphabet.size, listed, described.precision),
        Share(described.parts),
    )
    return Trained(
        model=model,
        parameters=load_tensors(model, found, "parameters"),
        alphabet=alphabet,
        mean=tensor_of(found, "mean", (described.features,)),
        scale=tensor_of(found, "scale", (described.features,)),
        rate=described.rate,
        features=described.features,
        step=found.step,
    )


def alphabet_of(folder: str) -> Alphabet:
    """Return the alphabet of a run; raises `CheckpointError` as `load_trained` does."""
    return Alphabet.from_characters(_described(folder, "", quiet=True)[1].alphabet)


def _described(folder: str, which: str, quiet: bool) -> tuple[Checkpoint, Description]:
    found = _choose(folder, which, quiet)
    described = _describe(found, folder)
    if not quiet:
        _tell_edited(folder, described.content)
    return found, described


def _describe(checkpoint: Checkpoint, folder: str) -> Description:
    try:
        return describe(checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{folder}: {error}") from None


def _tell_edited(folder: str, content: dict[str, Any]) -> None:
    run = RunFolder(folder)
    lines = run.edited(content)
    if lines:
        print(
            f"{run.recipe}: not what trained this run: {few(lines)}; the checkpoint decides",
            file=sys.stderr,
        )


def _choose(folder: str, which: str, quiet: bool) -> Checkpoint:
    where = RunFolder(folder).checkpoints
    if re.fullmatch("[0-9]{1,18}", which):
        return _read(checkpoints.path_of(where, int(which)), folder)
    if which not in ("", "last", "best", "average"):
        raise CheckpointError(f"--checkpoint {which}: needs last, best, average or a step")
    path = checkpoints.best_path(where)
    if which == "best" and path.exists():
        try:
            return _read(path, folder)
        except CheckpointError as error:
            remedy = "resuming the training makes it again where that is possible"
            raise CheckpointError(f"{error}; {remedy}") from None
    newest, problems = checkpoints.newest(where)
    for problem in [] if quiet else problems:
        print(f"passed over {problem}", file=sys.stderr)
    if newest is None:
        raise CheckpointError(
            f"{folder}: all checkpoints are damaged; resume the training"
            if problems
            else f"{folder}: {_no_run(Path(folder))}"
        )
    asked = _describe(newest, folder).result
    if not which and asked != "last":
        found = _choose(folder, asked, quiet=True)
        if not quiet:
            print(
                f"{folder}: the {asked} checkpoint (schedule.result), of step {found.step}",
                file=sys.stderr,
            )
        return found
    if which == "best":
        raise CheckpointError(f"{folder}: no best checkpoint, for {_why_no_best(newest, folder)}")
    return _average(newest, folder) if which == "average" else newest


def _why_no_best(newest: Checkpoint, folder: str) -> str:
    data = (RunFolder(folder).content() or {}).get("data", {})
    if not data.get("dev") and not data.get("holdout"):
        return "the run has no dev utterances (data.dev, data.holdout); take --checkpoint last"
    if newest.description.get("schedule", {}).get("best_step", -1) < 0:
        return "no epoch has ended yet; train on, or take --checkpoint last"
    return f"{checkpoints.best_path(RunFolder(folder).checkpoints).name} is gone"


def _read(path: Path, folder: str) -> Checkpoint:
    if not path.exists():
        steps = ", ".join(map(str, checkpoints.steps(path.parent))) or "none"
        raise CheckpointError(
            f"{folder}: no checkpoint {path.name}; there are those of steps {steps}"
        )
    return checkpoints.read(path)


def _average(newest: Checkpoint, folder: str) -> Checkpoint:
    """The newest checkpoint with the mean of the parameters at the last epochs' ends.

    Notes
    -----
    Order: the sum from the earliest end to the last, divided by their number.
    """
    ends = _describe(newest, folder).schedule.ends
    if not ends:
        raise CheckpointError(
            f"{folder}: nothing to average; needs schedule.average in the recipe and an epoch's end"
        )
    where = RunFolder(folder).checkpoints
    kept = [_read(checkpoints.path_of(where, step), folder) for step in ends]
    tensors = dict(newest.tensors)
    for name in (name for name in tensors if name.startswith("parameters/")):
        shape = tensors[name].shape
        total, *others = (asarray(tensor_of(state, name, shape).reshape(-1)) for state in kept)
        for other in others:
            total = ops.add(total, other)
        mean = ops.mean_of(zeros(total.size), total, len(kept))
        tensors[name] = mean.numpy().reshape(shape)
    return replace(newest, tensors=tensors)


def _no_run(folder: Path) -> str:
    """Why a path is no run with a checkpoint."""
    if not folder.exists():
        return "there is no such folder; needs a run folder of 'majel train'"
    if not folder.is_dir():
        return "a file; needs a run folder of 'majel train'"
    return "no checkpoint; is this a run folder of 'majel train'?"
