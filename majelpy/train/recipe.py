"""The recipe: everything that may change a bit of a run, and nothing else.

Policy. A recipe is a TOML file that becomes typed dataclasses. Its digest covers every setting but
the paths of the corpora; those enter by the digests of their content. What may not change bits is
a `Launch` setting (majelpy/train/launch.py).
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from majelpy import ARITHMETIC
from majelpy.errors import RecipeError
from majelpy.nn import layers
from majelpy.nn.networks import deep_speech_1
from majelpy.settings import assign, parse, read_toml, setting


@dataclass(frozen=True)
class Data:
    """What is trained on, and how a minibatch is cut."""

    train: str = setting(help="path of the corpus to train on, from 'majel prepare'")
    dev: str = setting("", help="path of the corpus to watch; empty: hold out some of train")
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
        read=layers.read,
        help='from the features up, such as [{ layer = "birnn", units = 256 }]; then come logits',
    )
    parts: int = setting(
        1,
        least=1,
        most=64,
        help="parts that sums over units and frames are cut in, a power of two; at most so many "
        "ranks can share a model",
    )


@dataclass(frozen=True)
class Optimizer:
    """SGD with Nesterov momentum."""

    rate: float = setting(0.01, least=0, help="learning rate after warm-up")
    momentum: float = setting(0.9, least=0, most=1, help="share of the velocity that stays")
    decay: float = setting(0.0, least=0, help="weight decay, added to the gradient")
    norm_limit: float = setting(
        10.0, least=0, help="longer gradients are scaled down to this 2-norm"
    )


@dataclass(frozen=True)
class Schedule:
    """How long, and how the learning rate runs."""

    epochs: int = setting(20, least=1, help="passes over the training utterances")
    warmup: int = setting(
        100, least=0, most=(1 << 31) - 1, help="steps in which the rate rises from 0"
    )
    hold: int = setting(
        10, least=0, most=(1 << 31) - 1, help="finished epochs after which the rate falls"
    )
    anneal: float = setting(0.9, least=0, most=1, help="factor of the rate an epoch after hold")


@dataclass(frozen=True)
class Recipe:
    """All that may change bits; see the classes of its tables."""

    data: Data
    model: ModelSettings
    optimizer: Optimizer
    schedule: Schedule
    seed: int = setting(1, least=0, most=(1 << 63) - 1, help="of weights and data order")

    def content(self, train_digest: str, dev_digest: str) -> dict[str, Any]:
        """Nested settings with corpus digests in place of paths, and the arithmetic version."""
        content = asdict(self)
        content["data"]["train"], content["data"]["dev"] = train_digest, dev_digest
        content["arithmetic"] = ARITHMETIC
        return content


def digest(content: dict[str, Any]) -> str:
    """SHA-256 of a recipe's content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def shipped() -> list[str]:
    """Names of the recipes that come with majelpy."""
    folder = resources.files("majelpy") / "recipes"
    return sorted(Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".toml"))


def load(name: str, assignments: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a file, or the shipped one of that name, with settings changed.

    Parameters
    ----------
    name : str
        A path that ends in ``.toml``, or the name of a shipped recipe.
    assignments : sequence of str
        ``key=value`` with a dotted key and a TOML value; quotes around a text may be left out.

    Raises
    ------
    RecipeError
        If there is no such recipe, it is not TOML, or a setting is wrong.
    """
    table = read_table(name)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {assignment}: needs key=value, such as optimizer.rate=0.01")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except (ValueError, RecursionError):
            value = text.strip()
        assign(table, key.strip(), value)
    recipe: Recipe = parse(Recipe, table, name)
    return recipe


def read_table(name: str) -> dict[str, Any]:
    """Return the TOML tables of a recipe; raises as `load` does."""
    if name.endswith(".toml"):
        return read_toml(name)
    if name not in shipped():
        raise RecipeError(
            f"recipe {name!r}: not shipped (there are {', '.join(shipped())}) "
            "and not a file that ends in .toml"
        )
    return tomllib.loads(
        (resources.files("majelpy") / "recipes" / f"{name}.toml").read_text("utf-8")
    )


def differences(a: dict[str, Any], b: dict[str, Any], path: str = "") -> list[str]:
    """Lines that name each setting with its two values, where two contents differ."""
    lines = []
    for key in sorted({*a, *b}):
        left: Any = a.get(key)
        right: Any = b.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            lines += differences(left, right, f"{path}{key}.")
        elif _tables(left) and _tables(right) and len(left) == len(right):
            for i, tables in enumerate(zip(left, right, strict=True)):
                lines += differences(*tables, f"{path}{key}[{i}].")
        elif json.dumps(left) != json.dumps(right):
            lines.append(f"{path}{key} is {left!r} and {right!r}")
    return lines


def _tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, dict) for item in value)
