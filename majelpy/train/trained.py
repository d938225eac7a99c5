"""A trained model out of a run folder, ready to recognise."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from majelpy.array import Array
from majelpy.errors import CheckpointError
from majelpy.nn import layers
from majelpy.nn.model import Architecture, Model
from majelpy.nn.share import Share
from majelpy.speech.text import Alphabet
from majelpy.train import checkpoint as checkpoints
from majelpy.train.run_folder import RunFolder
from majelpy.train.trainer import load_tensors


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


def load_trained(folder: str, *, quiet: bool = False) -> Trained:
    """Return the model of a run's newest good checkpoint; say what was passed over, or not.

    Raises
    ------
    CheckpointError
        If the folder has no good checkpoint.
    """
    where = RunFolder(folder).checkpoints
    found, problems = checkpoints.newest(where)
    for problem in [] if quiet else problems:
        print(f"passed over {problem}", file=sys.stderr)
    if found is None:
        raise CheckpointError(
            f"{folder}: all checkpoints are damaged; resume the training"
            if problems
            else f"{folder}: no checkpoint; is this a run folder of 'majel train'?"
        )
    described = found.description
    try:
        recipe = RunFolder(folder).path / "recipe.toml"
        listed = layers.read(described["layers"], f"{recipe}: model.layers", str(recipe))
        alphabet = Alphabet.from_characters(described["alphabet"])
        model = Model(
            Architecture(int(described["features"]), alphabet.size, listed),
            Share(int(described["parts"])),
        )
        parameters = load_tensors(model, found, "parameters")
        return Trained(
            model=model,
            parameters=parameters,
            alphabet=alphabet,
            mean=found.tensors["mean"],
            scale=found.tensors["scale"],
            rate=int(described["rate"]),
            features=model.architecture.features,
            step=found.step,
        )
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{checkpoints.path_of(where, found.step)}: incomplete: {error}"
        ) from None
