"""Recognising a recording while it comes in.

Policy. Sound comes in pieces of any length; spectrogram, normalisation and model give what they can
of what has come (majelpy/nn/ways/stream.py), so the text at the end is that of the whole recording.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from majelpy import ops
from majelpy.array import Array, asarray
from majelpy.decoding.best_path import greedy
from majelpy.memory import CPU, Place
from majelpy.nn.batch import Batch
from majelpy.nn.model import Model
from majelpy.nn.ways.stream import UNKNOWN, StreamShare
from majelpy.runs.trained import Trained
from majelpy.speech import features
from majelpy.standard.manipulation import concat


class Stream:
    """One recording.

    Parameters
    ----------
    trained : Trained
        A model of layers of one direction, for recordings.
    place : Place
        Where it computes.

    Attributes
    ----------
    text : str
        What was recognised so far, by the best path.
    """

    def __init__(self, trained: Trained, place: Place = CPU):
        self._trained, self._place = trained, place
        self._share = StreamShare(trained.model.share.parts)
        self._model = Model(trained.model.architecture, self._share)
        self._parameters = trained.parameters.to_device(place)
        self._window = features.window_length(trained.rate)
        self._hop = features.hop_length(trained.rate)
        self._samples = np.zeros(0, np.float32)
        self._frames = 0
        self._labels: list[int] = []
        self._last = np.zeros(0, np.int32)
        self._log_probs: list[Array] = []

    @property
    def text(self) -> str:
        return self._trained.alphabet.decode(self._labels)

    def hear(self, samples: np.ndarray, *, last: bool = False) -> None:
        """Take the next samples, (S,) float32; after the ``last`` ones nothing may come.

        Raises
        ------
        AudioError
            If the recording is shorter than one window.
        RecipeError
            If a layer needs the whole utterance.
        """
        self._samples = np.concatenate([self._samples, samples])
        if len(self._samples) < self._window and not (last and self._frames):
            if last:
                features.spectrogram(self._samples, self._trained.rate)  # it says what it needs
            return
        rows = np.zeros((0, self._trained.features), np.float32)
        if len(self._samples) >= self._window:
            rows = features.spectrogram(self._samples, self._trained.rate)
        self._samples = self._samples[len(rows) * self._hop :]
        first, self._frames = self._frames, self._frames + len(rows)
        frames = ops.normalise(rows, self._trained.mean, self._trained.scale)
        batch = Batch.unlabelled(asarray(frames).to_device(self._place), np.array([0, len(rows)]))
        length = self._frames if last else UNKNOWN
        batch = replace(batch, starts=np.array([first]), lengths=np.array([length]))
        self._share.begin()
        found = self._model.forward(batch, self._parameters).log_probs
        best = ops.argmax(found)
        self._labels += greedy(np.concatenate([self._last, best]))[len(greedy(self._last)) :]
        self._last = best[-1:] if len(best) else self._last
        self._log_probs.append(found.to_device(CPU))

    def log_probs(self) -> Array:
        """Return all log-probabilities so far, (T, V), on the CPU."""
        return concat(self._log_probs, axis=0)
