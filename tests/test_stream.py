"""A model that reads pieces of an utterance as they come gives the bits of the whole."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from makers import level_data, same_bits

from majelpy.array import asarray
from majelpy.errors import RecipeError
from majelpy.nn.batch import Batch
from majelpy.nn.layers import read
from majelpy.nn.model import Architecture, Model
from majelpy.nn.share import Share
from majelpy.nn.ways.stream import UNKNOWN, StreamShare

FRAMES, FEATURES, PARTS = 29, 6, 2
FORWARD = Architecture(
    FEATURES,
    5,
    read(
        [
            {"layer": "context", "frames": 3},
            {"layer": "rnn", "units": 40},
            {"layer": "dropout", "share": 0.5},
            {"layer": "rnn", "units": 33},
            {"layer": "dense", "units": 35},
        ],
        "layers",
        "",
    ),
)


def streamed(architecture: Architecture, x: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    """Return the log-probabilities that each piece brings."""
    share = StreamShare(PARTS)
    model = Model(architecture, share)
    vector, found = model.layout.initial(1), []
    for first, last in itertools.pairwise([0, *cuts, len(x)]):
        share.begin()
        length = len(x) if last == len(x) else UNKNOWN
        batch = Batch.unlabelled(asarray(x[first:last]), np.array([0, last - first]))
        batch = replace(batch, starts=np.array([first]), lengths=np.array([length]))
        found.append(model.forward(batch, vector).log_probs.numpy().copy())
    return found


@pytest.mark.parametrize(
    "cuts", [[], [1], [10, 11, 12], [2, 2, 28], [FRAMES], list(range(1, FRAMES))], ids=str
)
def test_pieces_have_the_bits_of_the_whole(cuts: list[int]) -> None:
    x = level_data((FRAMES, FEATURES), 3)
    model = Model(FORWARD, Share(PARTS))
    batch = Batch.unlabelled(asarray(x), np.array([0, FRAMES]))
    whole = model.forward(batch, model.layout.initial(1)).log_probs
    pieces = streamed(FORWARD, x, cuts)
    assert same_bits(np.concatenate(pieces), whole)
    # A piece brings what can be known: all frames but those whose context is still to come.
    for last, piece in zip(np.cumsum([len(p) for p in pieces])[:-1], cuts, strict=False):
        assert last == (max(0, piece - 3) if piece < FRAMES else FRAMES)


def test_a_layer_of_two_directions_cannot_stream() -> None:
    both = replace(FORWARD, layers=read([{"layer": "birnn", "units": 33}], "layers", ""))
    with pytest.raises(RecipeError, match=r"^stream: the model has a layer of two directions"):
        streamed(both, level_data((FRAMES, FEATURES), 3), [])
