"""From a recipe to what a run needs: corpora, alphabet, data, model.

Policy. Every rank opens the same files and comes to the same result; ranks compare it before the
first step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy.comm.world import World
from majelpy.data import minibatches as batching
from majelpy.data.augment import Augmentation
from majelpy.data.utterances import Utterances
from majelpy.errors import CorpusError, RecipeError, WorldError
from majelpy.gpu.build import bodies_digest
from majelpy.memory.free_memory import free_bytes
from majelpy.nn.model import Architecture, Model
from majelpy.nn.share import Share
from majelpy.recipes.content import digest
from majelpy.recipes.launch import Launch
from majelpy.recipes.recipe import Recipe
from majelpy.speech.joined import Joined, open_corpora
from majelpy.speech.text import Alphabet, normalise
from majelpy.train.schedule import check_watched
from majelpy.version import ARITHMETIC, __version__
from majelpy.wording import byte_sizes, counted


@dataclass
class Prepared:
    """A recipe made ready: its model, data and description (`prepare_run`)."""

    model: Model
    alphabet: Alphabet
    train: Utterances
    dev: Utterances | None
    content: dict[str, Any]
    description: dict[str, Any]
    statistics: dict[str, np.ndarray]


def prepare_run(recipe: Recipe, launch: Launch) -> Prepared:
    """Open the corpora of a recipe and build its model.

    Raises
    ------
    CorpusError, TextError, RecipeError
        If a corpus is damaged, does not fit the other, or does not fit the alphabet.
    """
    settings = recipe.data
    corpus = open_corpora(settings.train)
    dev_corpus = open_corpora(settings.dev) if settings.dev else None
    named = recipe.augment.noise
    noise = open_corpora(named, noise=True) if named else None
    augmentation = Augmentation(recipe.augment, recipe.seed, corpus, noise)
    if corpus.arithmetic != ARITHMETIC:
        raise CorpusError(
            f"{corpus.path}: made with arithmetic {corpus.arithmetic}, this is {ARITHMETIC}; "
            "prepare it again"
        )
    everything = np.arange(len(corpus))
    held = np.zeros(0, dtype=np.int64)
    if dev_corpus is None and settings.holdout:
        if settings.holdout >= len(corpus):
            raise RecipeError(
                f"data.holdout is {settings.holdout}; {corpus.path} has "
                f"{counted(len(corpus), 'utterance')} and needs at least one more"
            )
        everything, held = batching.hold_out(len(corpus), settings.holdout, seed=recipe.seed)
    if dev_corpus is not None:
        check_features(dev_corpus, corpus.rate, corpus.features, str(corpus.path))
    if settings.alphabet != normalise_characters(settings.alphabet):
        raise RecipeError(
            f"data.alphabet is {settings.alphabet!r}; transcripts are in lower case and Unicode "
            f"NFKC, so it needs {normalise_characters(settings.alphabet)!r}"
        )
    if settings.alphabet:
        alphabet = Alphabet.from_characters(settings.alphabet)
    else:
        alphabet = Alphabet.from_texts(corpus.transcripts)
    room, outside = launch.cache_bytes, settings.outside

    def select(
        source: Joined, members: np.ndarray, augmentation: Augmentation | None = None
    ) -> Utterances:
        mean, scale = corpus.mean, corpus.scale
        return Utterances(source, members, alphabet, outside, mean, scale, room, augmentation)

    dev: Utterances | None = None
    if dev_corpus is not None:
        dev = select(dev_corpus, np.arange(len(dev_corpus)))
    elif len(held):
        dev = select(corpus, held)
    check_watched(recipe, dev is not None)
    train = select(corpus, everything, augmentation)
    network = recipe.model
    architecture = Architecture(corpus.features, alphabet.size, network.layers, network.precision)
    model = Model(architecture, Share(network.parts))
    for utterances in (train, dev):
        if utterances is not None:
            utterances.require_texts()
            utterances.require_alignments(model.frames(utterances.shortest))
    content = recipe.content(
        corpus.digest, dev_corpus.digest if dev_corpus else "", noise.digest if noise else ""
    )
    description = {
        "content": content,
        "alphabet": alphabet.characters,
        "features": corpus.features,
        "rate": corpus.rate,
        "layers": list(network.layers),
        "parts": network.parts,
        "precision": network.precision,
        "result": recipe.schedule.result,
    }
    statistics = {"mean": corpus.mean, "scale": corpus.scale}
    return Prepared(model, alphabet, train, dev, content, description, statistics)


def require_room(model: Model, states: int) -> None:
    """Raise RecipeError if this host cannot hold even parameters, gradients and their states."""
    size = model.layout.size
    needed, free = (2 + states) * size * np.dtype(np.float32).itemsize, free_bytes()
    if needed > free:
        raise RecipeError(
            f"model.layers: {counted(size, 'parameter')}, with gradients and the optimizer's "
            "states, need {} of memory; {} are free".format(*byte_sizes(needed, free))
        )


def normalise_characters(characters: str) -> str:
    """The characters as they stand in normalised transcripts, spaces kept."""
    return "".join(normalise(character) or character for character in characters)


def check_features(corpus: Joined, rate: int, features: int, needed_by: str) -> None:
    """Raise CorpusError unless a corpus has that sample rate (0: made from .npy) and features."""
    if (corpus.rate, corpus.features) != (rate, features):
        remedy = f"; prepare it with --rate {rate}" if rate and corpus.rate else ""
        raise CorpusError(
            f"{corpus.path}: {_kind(corpus.rate, corpus.features)}; {needed_by} has "
            f"{_kind(rate, features)}{remedy}"
        )


def _kind(rate: int, features: int) -> str:
    return f"{counted(features, 'feature')} {f'at {rate} Hz' if rate else 'from .npy files'}"


def check_agreement(world: World, content: dict[str, Any], launch: Mapping[str, object]) -> None:
    """Raise WorldError if the ranks do not run the same version on the same recipe and corpora.

    One rank raises it, the others RankFailed. Libraries may differ, for processors do; the bodies
    that they are compiled from may not.

    Parameters
    ----------
    launch : mapping of str to object
        What all ranks must be launched with alike, or they would wait for one another for ever.
    """
    mine: dict[str, object] = {
        "majelpy": __version__,
        "arithmetic": ARITHMETIC,
        "kernel bodies": bodies_digest(),
        "recipe": digest(content),
        **launch,
    }
    error: WorldError | None = None
    for rank, other in enumerate(world.all_gather(mine)):
        for key, value in mine.items():
            if other[key] != value:
                error = error or WorldError(
                    f"train: rank {rank} has {key} {other[key]} and rank {world.rank} has "
                    f"{value}; all ranks need the same"
                )
    world.agree(error)
