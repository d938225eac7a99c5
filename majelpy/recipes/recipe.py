"""The recipe: everything that may change a bit of a run, and nothing else.

Policy. A recipe is a TOML file that becomes typed dataclasses. Its digest covers every setting but
the paths of the corpora; those enter by the digests of their content. What may not change bits is
a `Launch` setting (majelpy/recipes/launch.py). A path in the file counts from the file's folder, as
in a manifest; a path that is typed, as in ``--set``, or of a shipped recipe from the current one.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

from majelpy import arguments
from majelpy.errors import RecipeError
from majelpy.nn import layers
from majelpy.parsing import parse_toml, shallow
from majelpy.recipes import shipped
from majelpy.recipes.tables import (
    Augment,
    Data,
    ModelSettings,
    OptimizerSettings,
    Schedule,
)
from majelpy.settings import as_table, assign, parse, read_toml, setting
from majelpy.version import ARITHMETIC


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
