"""What a recipe makes a cluster compute: its model, and minibatches cut into leaves.

Policy. With a corpus the minibatches are those of the first epoch, at most `SAMPLE` of them, evenly
taken. Without one every utterance has the same number of frames, so that only leaves that do not
divide make ranks uneven; a real corpus makes them more so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from majelpy.data import minibatches as batching
from majelpy.mesh import ALONE, Mesh
from majelpy.nn.model import Architecture, Model
from majelpy.nn.ways.shares import Shapes, share_of
from majelpy.optimizers import OPTIMIZERS
from majelpy.recipes.launch import Launch
from majelpy.recipes.recipe import Recipe
from majelpy.recipes.tables import Augment, Schedule
from majelpy.speech.joined import exist
from majelpy.train.setup import prepare_run
from majelpy.wording import counted

SAMPLE = 32
"""Most minibatches that are looked at."""

FRAMES = 300
"""Frames of an utterance where neither a corpus nor the caller says."""

FEATURES = 161
"""Features of a frame where none says: a spectrogram of 20 ms at 16 kHz."""

_CHARACTERS = 28
_FRAMES_PER_LABEL = 7  # some 14 characters a second, 100 frames a second


@dataclass(frozen=True)
class Utterance:
    """Frames and labels of an utterance."""

    frames: int
    labels: int

    def after(self, stride: int) -> int:
        """Frames above layers of a stride."""
        return -(-self.frames // stride)


Leaf = tuple[Utterance, ...]


@dataclass(frozen=True)
class Workload:
    """A recipe as a planner sees it.

    Attributes
    ----------
    architecture : Architecture
    leaves, parts : int
        How finely a minibatch and a layer may be divided.
    dropout : bool
    transport_bytes : int
        Of a gradient's number in messages between hosts.
    minibatches : tuple of tuple of Leaf
        The leaves of each.
    source : str
        Where the minibatches come from, for people.
    states : int
        Vectors of a rank beside its parameters: the optimizer's, weights with noise, and rounded
        ones.
    optimizer_states : int
        Those of the optimizer alone.
    """

    architecture: Architecture
    leaves: int
    parts: int
    transport_bytes: int
    minibatches: tuple[tuple[Leaf, ...], ...]
    source: str
    states: int = 1
    optimizer_states: int = 1

    def model(self, mesh: Mesh) -> Model:
        """The model as the rank holds it that has most of its parameters."""
        divided = (mesh.model, mesh.way)
        if divided not in self._models:
            shares = (
                share_of(mesh.way, self.parts, Shapes(index, mesh.model))
                for index in range(mesh.model)
            )
            self._models[divided] = max(
                (Model(self.architecture, share) for share in shares),
                key=lambda model: model.layout.size,
            )
        return self._models[divided]

    @cached_property
    def _models(self) -> dict[tuple[int, str], Model]:
        return {}


def workload(recipe: Recipe, frames: int | None = None, features: int | None = None) -> Workload:
    """Return the workload of a recipe, of its corpus if that exists and ``frames`` is not given.

    Parameters
    ----------
    frames : int, optional
        Frames of each utterance, in place of a corpus.
    features : int, optional
        Features of a frame, where there is no corpus.

    Raises
    ------
    MajelError
        If the corpus does not fit the recipe.
    """
    settings = recipe.data
    if frames is None and exist(settings.train):
        return _of_corpus(recipe)
    frames = FRAMES if frames is None else frames
    architecture = Architecture(
        features or FEATURES,
        (len(settings.alphabet) or _CHARACTERS) + 1,
        recipe.model.layers,
        recipe.model.precision,
    )
    utterance = Utterance(frames, frames // _FRAMES_PER_LABEL)
    cut = batching.cut(
        np.arange(settings.batch), np.full(settings.batch, frames, np.int64), settings.leaves
    )
    minibatch = tuple((utterance,) * len(leaf) for leaf in cut)
    source = (
        f"{counted(settings.batch, 'utterance')} of {counted(frames, 'frame')}, "
        f"{counted(architecture.features, 'feature')}, {counted(utterance.labels, 'label')} (no "
        "corpus is read)"
    )
    return _workload(recipe, architecture, (minibatch,), source)


def _of_corpus(recipe: Recipe) -> Workload:
    # Minibatches are cut by unchanged lengths, and a step does not depend on when training ends.
    recipe = replace(recipe, augment=Augment(), schedule=Schedule())
    if recipe.data.dev:  # it may be elsewhere, and does not change what is trained on
        recipe = replace(recipe, data=replace(recipe.data, dev="", holdout=0))
    settings = recipe.data
    prepared = prepare_run(recipe, Launch())
    data = prepared.train
    epoch = batching.minibatches(
        data.lengths,
        settings.batch,
        settings.bin,
        seed=recipe.seed,
        epoch=0,
        sort_first=settings.sort_first,
    )
    count = min(SAMPLE, len(epoch))
    minibatches = tuple(
        tuple(
            tuple(Utterance(int(data.lengths[i]), len(data.labels[i])) for i in leaf)
            for leaf in batching.cut(epoch[i * len(epoch) // count], data.lengths, settings.leaves)
        )
        for i in range(count)
    )
    source = f"{count} of the {len(epoch)} minibatches of the first epoch of {settings.train}"
    return _workload(recipe, prepared.model.architecture, minibatches, source)


def _workload(
    recipe: Recipe,
    architecture: Architecture,
    minibatches: tuple[tuple[Leaf, ...], ...],
    source: str,
) -> Workload:
    parts = recipe.model.parts
    transport = 2 if recipe.data.transport == "bfloat16" else 4
    optimizer = recipe.optimizer
    of_optimizer = len(OPTIMIZERS[optimizer.kind].STATES)
    states = of_optimizer + (optimizer.weight_noise > 0) + (recipe.model.precision == "bfloat16")
    found = Workload(
        architecture,
        recipe.data.leaves,
        parts,
        transport,
        minibatches,
        source,
        states,
        of_optimizer,
    )
    found.model(ALONE)  # which a training builds too: a recipe that it refuses is refused
    return found
