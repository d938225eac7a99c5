"""Weights of the language model: those with the fewest errors on some utterances.

Policy. A grid, each point of it decoded from the same log-probabilities, which are calculated once.
Errors are whole numbers, so the choice is the same on any number of ranks; of equal points the
one with fewer wrong characters (words) counts, then the smaller alpha, then the smaller beta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from majelpy.array import Array
from majelpy.comm.world import World
from majelpy.data.utterances import Utterances
from majelpy.decoding.beam import Decoder
from majelpy.decoding.metrics import Errors, errors
from majelpy.memory import CPU
from majelpy.nn.model import Model
from majelpy.recognition.evaluate import heard
from majelpy.telling import Telling, say
from majelpy.wording import counted


@dataclass(frozen=True)
class Point:
    """The errors with one pair of weights."""

    alpha: float
    beta: float
    errors: Errors


def tune(
    model: Model,
    parameters: Array,
    data: Utterances,
    decoder: Decoder,
    alphas: Sequence[float],
    betas: Sequence[float],
    world: World,
) -> list[Point]:
    """Return all points of the grid, the best first; all ranks call it and get the same."""
    members = list(range(world.rank, len(data), world.size))
    grid = [(alpha, beta) for alpha in sorted(set(alphas)) for beta in sorted(set(betas))]
    found = [Errors()] * len(grid)
    searches = len(members) * len(grid)
    if world.rank == 0:
        pairs = counted(len(grid), "pair of alpha and beta", "pairs of alpha and beta")
        said = counted(len(data), "utterance")
        say(f"tune: trying {pairs} on {said}, {counted(world.size, 'rank')}")
    with Telling("tune", "search", searches, "searches", shown=world.rank == 0) as telling:
        for chosen, forward in heard(model, parameters, data, members):
            here, offsets = forward.log_probs.to_device(CPU), forward.batch.offsets
            for at, (alpha, beta) in enumerate(grid):
                lists = decoder.weighed(alpha, beta)(here, offsets)
                found[at] = found[at] + total(data, chosen, [texts[0].text for texts in lists])
                telling.done(len(chosen))
    everyone = world.all_gather(found)
    points = [
        Point(alpha, beta, sum((mine[at] for mine in everyone), Errors()))
        for at, (alpha, beta) in enumerate(grid)
    ]
    characters = decoder.search.characters
    return sorted(points, key=lambda p: (*wrong(p.errors, characters), p.alpha, p.beta))


def total(data: Utterances, members: np.ndarray, texts: list[str]) -> Errors:
    """Return the errors of some utterances' texts together."""
    return sum(
        (errors(data.transcripts[i], text) for i, text in zip(members, texts, strict=True)),
        Errors(),
    )


def wrong(found: Errors, characters: bool) -> tuple[int, int]:
    """What is to be least, and what decides between equal ones."""
    both = (found.wrong_words, found.wrong_characters)
    return both[::-1] if characters else both
