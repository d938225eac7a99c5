"""What is changed at random in a training utterance: a function of (seed, epoch, utterance).

Policy. Philox gives each utterance and epoch a row of random words, and each choice has words of
its own: no rank, order or thread enters, and turning one kind of change on or off leaves the
choices of the others. Sound is changed first (speed, noise, level), then the features that come of
it are masked. Lengths are whole numbers throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from fractions import Fraction

import numpy as np

from majelpy import ops
from majelpy.array import Array
from majelpy.errors import CorpusError, RecipeError
from majelpy.recipes.tables import MOST_MASKS, Augment
from majelpy.speech.joined import Joined

AUGMENT_STREAM = 1 << 62
"""Philox stream; 2^24 times the utterance's place in the corpus and the epoch are added."""

_SPEED, _WHETHER, _CLIP, _START, _RATIO, _LEVEL, _FREQUENCY = range(7)
_TIME = _FREQUENCY + 2 * MOST_MASKS
_WORDS = _TIME + 2 * MOST_MASKS


class Augmentation:
    """The changes that a recipe asks for.

    Parameters
    ----------
    settings : Augment
    seed : int
    corpus : Joined
        What is trained on.
    noise : Joined, optional
        The corpus of noise that the settings name.

    Attributes
    ----------
    of_sound : bool
        Whether samples are changed, and so features calculated anew in each epoch.

    Raises
    ------
    RecipeError
        If sound is to be changed and the corpus has only features.
    CorpusError
        If the noise has another sample rate than the corpus.
    """

    def __init__(
        self, settings: Augment, seed: int, corpus: Joined, noise: Joined | None = None
    ) -> None:
        self._settings, self._seed, self._corpus, self._noise = settings, seed, corpus, noise
        self._speeds = [Fraction(str(speed)) for speed in settings.speeds]
        changes = {
            "speeds": self._speeds != [1],
            "noise": noise is not None,
            "gain_decibels": settings.gain_decibels != (0, 0),
        }
        self._changes_level = changes["gain_decibels"]
        self.of_sound = any(changes.values())
        if self.of_sound and corpus.kind != "samples":
            name = next(name for name, asked in changes.items() if asked)
            raise RecipeError(
                f"augment.{name} changes sound, and {corpus.path} has only features; prepare it "
                "with --samples"
            )
        if noise is not None and noise.rate != corpus.rate:
            raise CorpusError(
                f"{noise.path}: noise at {noise.rate} Hz; {corpus.path} has {corpus.rate} Hz; "
                f"prepare it with --rate {corpus.rate}"
            )

    def _words(self, epoch: int, utterance: int) -> list[int]:
        stream = AUGMENT_STREAM + (utterance << 24) + epoch
        words: list[int] = ops.words(_WORDS, seed=self._seed, stream=stream).tolist()
        return words

    def _speed(self, words: list[int]) -> Fraction:
        return self._speeds[_below(len(self._speeds), words[_SPEED])]

    def _frames(self, utterance: int, speed: Fraction) -> int:
        if speed == 1:
            return int(self._corpus.lengths[utterance])
        samples = ops.after_speed(int(self._corpus.sizes[utterance]), speed)
        return max(0, 1 + (samples - self._corpus.window) // self._corpus.hop)

    def length(self, epoch: int, utterance: int) -> int:
        """Return the frames of an utterance in an epoch."""
        return self._frames(utterance, self._speed(self._words(epoch, utterance)))

    def shortest(self, utterance: int) -> int:
        """Return the fewest frames that an utterance ever has; they may be 0."""
        return self._frames(utterance, max(self._speeds))

    def longest(self, utterance: int) -> int:
        """Return the most frames that an utterance ever has."""
        return self._frames(utterance, min(self._speeds))

    def sound(
        self,
        epoch: int,
        utterance: int,
        pcm: np.ndarray,
        kept: Callable[[Hashable, Callable[[], np.ndarray]], np.ndarray],
    ) -> Array:
        """Return the samples of an utterance in an epoch, float32.

        Parameters
        ----------
        pcm : (S,) int16
            Those of the corpus.
        kept : callable
            Returns the array of a key that is kept in memory, or else what the function makes.
        """
        words, settings, noise = self._words(epoch, utterance), self._settings, self._noise
        samples, speed = ops.samples(pcm), self._speed(words)
        if speed != 1:
            samples = ops.change_speed(samples, speed)
        if noise is not None and words[_WHETHER] < int(settings.noise_share * (1 << 32)):
            number = _below(len(noise), words[_CLIP])
            clip = ops.samples(kept(("noise", number), lambda: noise.samples(number)))
            start = _below(clip.size, words[_START])
            low, high = settings.noise_decibels
            samples = ops.add_noise(samples, clip, start, low, high, words[_RATIO])
        if self._changes_level:
            samples = ops.change_level(samples, *settings.gain_decibels, words[_LEVEL])
        return samples

    def mask(self, epoch: int, utterance: int, frames: np.ndarray) -> None:
        """Set bands of features and stretches of frames of an utterance, (T, F), to +0.

        References
        ----------
        Park et al. 2019, SpecAugment; section 2, without time warping.
        """
        settings = self._settings
        if not settings.frequency_masks and not settings.time_masks:
            return
        words = self._words(epoch, utterance)
        count, features = frames.shape
        for n in range(settings.frequency_masks):
            at = _FREQUENCY + 2 * n
            frames[:, _stretch(features, settings.frequency_width, *words[at : at + 2])] = 0
        most = min(settings.time_width, count * int(settings.time_share * (1 << 16)) >> 16)
        for n in range(settings.time_masks):
            at = _TIME + 2 * n
            frames[_stretch(count, most, *words[at : at + 2])] = 0


def _below(n: int, word: int) -> int:
    """Return one of 0..n-1 by 32 random bits, each alike to within 2^-32."""
    return word * n >> 32


def _stretch(n: int, most: int, width_word: int, start_word: int) -> slice:
    """Return 0 to ``most`` neighbours of 0..n-1, each width and then each place alike."""
    width = _below(min(most, n) + 1, width_word)
    start = _below(n - width + 1, start_word)
    return slice(start, start + width)
