"""The recipe: everything that may change a bit of a run, and nothing else.

Policy. A recipe is a TOML file that becomes typed dataclasses. Its digest covers every setting but
the paths of the corpora; those enter by the digests of their content. What may not change bits is
a `Launch` setting (majelpy/recipes/launch.py). A path in the file counts from the file's folder, as
in a manifest; a path that is typed, as in ``--set``, or of a shipped recipe from the current one.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import resources
from typing import Any

from majelpy import arguments
from majelpy.errors import RecipeError
from majelpy.nn import layers
from majelpy.nn.networks import deep_speech_1
from majelpy.optimizers import OPTIMIZERS
from majelpy.parsing import parse_toml, shallow
from majelpy.recipes import shipped
from majelpy.settings import as_table, assign, parse, read_toml, setting
from majelpy.version import ARITHMETIC

MOST_MASKS = 16
MOST_PARTS = 64
SAVED = ("saved", "requested")
"""What the contents of a run on disk and of a command are called where they differ."""
_ENDING = ("epochs", "early_stop")
_FEW = 3


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
        help="SGD with Nesterov momentum, Adam with decoupled decay (AdamW), or Adagrad",
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


@dataclass(frozen=True)
class Recipe:
    """All that may change bits; see the classes of its tables."""

    data: Data
    model: ModelSettings
    optimizer: OptimizerSettings
    schedule: Schedule
    augment: Augment
    seed: int = setting(1, least=0, most=(1 << 63) - 1, help="of weights and data order")

    def content(self, train_digest: str, dev_digest: str, noise_digest: str = "") -> dict[str, Any]:
        """Nested settings with corpus digests in place of paths, and the arithmetic version.

        Without augmentation there is no such table, and in float32 no precision, as in runs older
        than these.
        """
        content = as_table(self)
        content["data"]["train"], content["data"]["dev"] = train_digest, dev_digest
        content["augment"]["noise"] = noise_digest
        if self.augment == Augment():
            del content["augment"]
        if self.model.precision == "float32":
            del content["model"]["precision"]
        content["arithmetic"] = ARITHMETIC
        return content

    def with_whole_paths(self) -> Recipe:
        """Return the recipe with paths that mean the same from any folder."""
        here = os.getcwd()
        data, augment = self.data, self.augment
        return replace(
            self,
            data=replace(data, train=_from(here, data.train), dev=_from(here, data.dev)),
            augment=replace(augment, noise=_from(here, augment.noise)),
        )


def digest(content: dict[str, Any]) -> str:
    """SHA-256 of a recipe's content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load(
    name: str | os.PathLike[str], assignments: Sequence[str] = (), *, run_code: bool = False
) -> Recipe:
    """Return the recipe of a file, or the shipped one of that name, with settings changed.

    Parameters
    ----------
    name : str or path
        A path that ends in ``.toml``, or the name of a shipped recipe.
    assignments : sequence of str
        ``key=value`` with a dotted key and a TOML value; quotes around a text may be left out.
    run_code : bool
        Whether Python files with layers, beside the recipe, may be run.

    Raises
    ------
    RecipeError
        If there is no such recipe, it is not TOML, a setting is wrong, or it names a Python file
        that may not be run.
    ArgumentError
        If an argument is of another type.
    """
    name = arguments.path(name, "recipe", "a path that ends in .toml, or a shipped one's name")
    if isinstance(assignments, str) or not isinstance(assignments, Sequence):
        raise arguments.wrong("assignments", assignments, "a list of texts such as 'seed=2'")
    table = read_table(name)
    if name.endswith(".toml"):
        _move(table, os.path.dirname(name))
    for assignment in assignments:
        arguments.require(assignment, str, "assignment", "a text such as 'seed=2'")
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {assignment}: needs key=value, such as optimizer.rate=0.01")
        try:
            value = parse_toml(f"value = {text}")["value"]
        except ValueError:
            value = text.strip()
        assign(table, key.strip(), value)
    try:
        shallow(table)
    except ValueError as error:
        raise RecipeError(f"{name}: {error}") from None
    recipe: Recipe = parse(Recipe, table, name)
    where = f"{name}: model.layers"
    read = layers.read(recipe.model.layers, where, name, run_code=run_code)
    recipe = replace(recipe, model=replace(recipe.model, layers=read))
    if recipe.schedule.result == "average" and not recipe.schedule.average:
        raise RecipeError(
            f"{name}: schedule.result is 'average' and schedule.average is 0; needs at least 1"
        )
    return recipe


def _move(table: dict[str, Any], folder: str) -> None:
    """Let the paths in the tables of a file count from its folder."""
    for name, key in (("data", "train"), ("data", "dev"), ("augment", "noise")):
        inner = table.get(name)
        if isinstance(inner, dict) and key in inner:
            inner[key] = _from(folder, inner[key])


def _from(folder: str, value: Any) -> Any:
    """Return a path or a pattern, or several, as seen from a folder; anything else as it is."""
    if isinstance(value, list | tuple):
        return type(value)(_from(folder, one) for one in value)
    if not isinstance(value, str) or not value:
        return value
    return os.path.join(glob.escape(folder) if glob.has_magic(value) else folder, value)


def read_table(name: str) -> dict[str, Any]:
    """Return the TOML tables of a recipe; raises as `load` does."""
    if name.endswith(".toml"):
        return read_toml(name)
    if name not in shipped():
        raise RecipeError(
            f"recipe {name!r}: not shipped (there are {', '.join(shipped())}) "
            "and not a file that ends in .toml"
        )
    return parse_toml((resources.files("majelpy") / "recipes" / f"{name}.toml").read_text("utf-8"))


def past(content: dict[str, Any]) -> dict[str, Any]:
    """A content without what only ends a run; with the same one, as far as both go, the same bits.

    Nothing else looks at the last epoch: the rate, what a plateau counts, the ends of epochs that
    an average is of, and the order of the data are functions of the epochs so far.
    """
    schedule = content.get("schedule")
    if not isinstance(schedule, dict):  # no content of ours
        return content
    return content | {"schedule": {k: v for k, v in schedule.items() if k not in _ENDING}}


def unfit(saved: dict[str, Any], requested: dict[str, Any]) -> list[str]:
    """Lines that say why a run of one content cannot go on with another; none if it can.

    A run may go on to more epochs or to fewer, and wait longer before it stops early. If it is to
    wait less long, it might have had to stop already.
    """
    lines = differences(past(saved), past(requested), SAVED)
    if lines:
        return lines
    before, now = (content["schedule"].get("early_stop") for content in (saved, requested))
    if now and not (type(before) is int and 0 < before <= now):
        lines.append(_difference("schedule.early_stop", before, now, SAVED))
    return lines


def settings_of(content: dict[str, Any]) -> dict[str, Any]:
    """The settings in a content or in the file that is written for it, but for the corpora."""
    found: dict[str, Any] = json.loads(json.dumps({"augment": as_table(Augment())} | content))
    found.pop("arithmetic", None)
    for table, keys in (("data", ("train", "dev")), ("augment", ("noise",))):
        for key in keys:
            found.get(table, {}).pop(key, None)
    found.get("model", {}).setdefault("precision", "float32")
    return found


def few(lines: Sequence[str]) -> str:
    """The first lines in one, and how many more there are."""
    more = f"; and {len(lines) - _FEW} more" if len(lines) > _FEW else ""
    return "; ".join(lines[:_FEW]) + more


def differences(
    a: dict[str, Any], b: dict[str, Any], names: tuple[str, str], path: str = ""
) -> list[str]:
    """Lines that name each setting with its two values, where two contents differ.

    Parameters
    ----------
    names : (str, str)
        What the two are called.
    """
    lines = []
    for key in sorted({*a, *b}):
        left: Any = a.get(key)
        right: Any = b.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            lines += differences(left, right, names, f"{path}{key}.")
        elif _tables(left) and _tables(right) and len(left) == len(right):
            for i, tables in enumerate(zip(left, right, strict=True)):
                lines += differences(*tables, names, f"{path}{key}[{i}].")
        elif json.dumps(left) != json.dumps(right):
            lines.append(_difference(f"{path}{key}", left, right, names))
    return lines


def _difference(key: str, left: Any, right: Any, names: tuple[str, str]) -> str:
    values = ["missing" if value is None else repr(value) for value in (left, right)]
    return f"{key} is {values[0]} ({names[0]}) and {values[1]} ({names[1]})"


def _tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, dict) for item in value)
