"""The tables of a recipe: its settings, each with range, unit and help.

Policy. What stands here may change bits; what may not is a `Launch` setting
(majelpy/recipes/launch.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from majelpy.errors import RecipeError
from majelpy.nn import layers
from majelpy.nn.networks import deep_speech_1
from majelpy.optimizers import OPTIMIZERS
from majelpy.settings import setting

MOST_MASKS = 16


MOST_PARTS = 64


def _names(value: Any, where: str, source: str) -> str | tuple[str, ...]:
    several = value if isinstance(value, list) else [value]
    if not several or not all(isinstance(name, str) for name in several):
        raise RecipeError(f"{where} is {value!r}; needs a text in quotes, or a list of them")
    return tuple(value) if isinstance(value, list) else str(value)


def _decibels(value: Any, where: str, source: str) -> tuple[float, float]:
    if _numbers(value) and len(value) == 2 and -100 <= value[0] <= value[1] <= 100:
        return float(value[0]), float(value[1])
    raise RecipeError(f"{where} is {value!r}; needs two numbers, least and most, of -100 to 100")


def _speeds(value: Any, where: str, source: str) -> tuple[float, ...]:
    if _numbers(value) and all(0.5 <= v <= 2 and 1000 * Fraction(str(v)) % 1 == 0 for v in value):
        return tuple(map(float, value))
    raise RecipeError(
        f"{where} is {value!r}; needs a list of numbers from 0.5 to 2, to three decimals"
    )


def _parts(value: Any, where: str, source: str) -> int:
    if type(value) is int and 1 <= value <= MOST_PARTS and value & (value - 1) == 0:
        return value
    raise RecipeError(f"{where} is {value!r}; needs a power of two from 1 to {MOST_PARTS}")


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and {*map(type, value)} <= {int, float}


@dataclass(frozen=True)
class Data:
    """What is trained on, and how a minibatch is cut."""

    train: str | tuple[str, ...] = setting(
        read=_names,
        help="path of the corpus to train on, from 'majel prepare'; or a pattern, or a list",
    )
    dev: str | tuple[str, ...] = setting(
        "", read=_names, help="path of the corpus to watch, the same; empty: hold out some of train"
    )
    holdout: int = setting(
        100, least=0, help="utterances of train held out and watched when dev is empty"
    )
    batch: int = setting(32, least=1, help="utterances of a minibatch")
    leaves: int = setting(
        8,
        least=1,
        most=4096,
        help="fixed micro-shards of a minibatch; at most so many ranks, or models of ranks",
    )
    transport: str = setting(
        "float32",
        choices=("float32", "bfloat16"),
        help="what gradients of leaves and their sums are rounded to; bfloat16 halves the bytes "
        "between hosts",
    )
    bin: int = setting(
        16, least=1, help="minibatches shuffled together before they are sorted by length"
    )
    sort_first: bool = setting(
        False,
        help="first epoch in order of length, shortest first (SortaGrad, Amodei et al. 2015)",
    )
    alphabet: str = setting("", help="characters; empty: those of the training transcripts")
    outside: str = setting(
        "error",
        choices=("error", "drop"),
        help="what to do with characters outside the alphabet",
    )


@dataclass(frozen=True)
class ModelSettings:
    """The model: its layers, from the features up to the logits."""

    layers: tuple[layers.Table, ...] = setting(
        deep_speech_1(5, (256, 256, 256), 256, 256),
        read=layers.listed,
        help='from the features up, such as [{ layer = "birnn", units = 256 }]; then come logits',
    )
    parts: int = setting(
        1,
        read=_parts,
        help="parts that sums over units and frames are cut in, a power of two; at most so many "
        "ranks can share a model",
    )
    precision: str = setting(
        "float32",
        choices=("float32", "bfloat16"),
        help="what operands of matrix products, convolutions and recurrent products are rounded "
        "to; sums and the weights that are trained stay float32",
    )


@dataclass(frozen=True)
class OptimizerSettings:
    """How a gradient changes the parameters (majelpy/optimizers, docs/training.md)."""

    kind: str = setting(
        "nesterov",
        choices=tuple(OPTIMIZERS),
        help="a name of majelpy/optimizers (docs/training.md)",
    )
    rate: float = setting(
        0.01, least=0, help="learning rate after warm-up; for adam, 0.001 is usual"
    )
    decay: float = setting(
        0.0,
        least=0,
        help="weight decay, added to the gradient; for adam, times the rate taken off the weights",
    )
    norm_limit: float = setting(
        10.0,
        least=0,
        help="longer gradients are scaled down to this 2-norm (Deep Speech 2: 400)",
    )
    weight_noise: float = setting(
        0.0,
        least=0,
        most=1,
        help="standard deviation of normal noise on the weights that a gradient is taken at",
    )
    non_finite: str = setting(
        "stop",
        choices=("stop", "skip"),
        help="what to do with a step whose loss or gradient is not finite; skip: change nothing",
    )
    skip_limit: int = setting(10, least=0, help="steps skipped in a row before training ends")
    own: Any = setting(
        None,
        kinds={name: optimizer.Settings for name, optimizer in OPTIMIZERS.items()},
        help="what the kind has of its own",
    )

    def __post_init__(self) -> None:
        if self.own is None:
            object.__setattr__(self, "own", OPTIMIZERS[self.kind].Settings())


@dataclass(frozen=True)
class Hold:
    """Of the schedule that anneals every epoch."""


@dataclass(frozen=True)
class Plateau:
    """Of the schedule that anneals at plateaus."""

    patience: int = setting(
        1,
        least=1,
        help="epochs without fewer wrong dev characters after which the rate falls",
    )


SCHEDULES: dict[str, type[Any]] = {"hold": Hold, "plateau": Plateau}


@dataclass(frozen=True)
class Schedule:
    """How long, how the learning rate runs, and what is kept (majelpy/train/schedule.py)."""

    kind: str = setting(
        "hold",
        choices=tuple(SCHEDULES),
        help="anneal every epoch after hold of them, or when dev has not improved",
    )
    epochs: int = setting(20, least=1, help="passes over the training utterances, at most")
    warmup: int = setting(
        100, least=0, most=(1 << 31) - 1, help="steps in which the rate rises from 0"
    )
    hold: int = setting(
        10,
        least=0,
        most=(1 << 31) - 1,
        help="finished epochs after which the rate may fall and early_stop counts",
    )
    anneal: float = setting(
        0.9, least=0, most=1, help="factor of the rate: an epoch after hold, or at a plateau"
    )
    early_stop: int = setting(
        0, least=0, help="epochs without fewer wrong dev characters that end the run; 0: never"
    )
    average: int = setting(
        0, least=0, most=1000, help="last epochs' ends that are kept and averaged; 0: none"
    )
    result: str = setting(
        "last",
        choices=("last", "best", "average"),
        help="checkpoint that eval, transcribe and tune take unless told: the newest, that of the "
        "fewest wrong dev characters, or the average",
    )
    own: Any = setting(None, kinds=SCHEDULES, help="what the kind has of its own")

    def __post_init__(self) -> None:
        if self.own is None:
            object.__setattr__(self, "own", SCHEDULES[self.kind]())


@dataclass(frozen=True)
class Augment:
    """What is changed at random in training utterances, anew in each epoch (docs/data.md)."""

    noise: str | tuple[str, ...] = setting(
        "", read=_names, help="corpus of noise to add, from 'majel prepare --noise'; empty: none"
    )
    noise_share: float = setting(0.5, least=0, most=1, help="share of utterances that get noise")
    noise_decibels: tuple[float, float] = setting(
        (10.0, 30.0), read=_decibels, help="least and most ratio of speech to noise"
    )
    gain_decibels: tuple[float, float] = setting(
        (0.0, 0.0), read=_decibels, help="least and most gain; (0, 0): none"
    )
    speeds: tuple[float, ...] = setting(
        (1.0,), read=_speeds, help="of which each utterance has one, such as [0.9, 1.0, 1.1]"
    )
    frequency_masks: int = setting(
        0, least=0, most=MOST_MASKS, help="bands of features set to 0 (SpecAugment)"
    )
    frequency_width: int = setting(27, least=1, help="most features of such a band")
    time_masks: int = setting(
        0, least=0, most=MOST_MASKS, help="stretches of frames set to 0 (SpecAugment)"
    )
    time_width: int = setting(100, least=1, help="most frames of such a stretch")
    time_share: float = setting(
        1.0, least=0, most=1, help="most frames of such a stretch, as a share of the utterance"
    )
