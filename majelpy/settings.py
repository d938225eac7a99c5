"""Typed settings from TOML: strict, with messages that name the key.

Policy. A table becomes a frozen dataclass. An unknown key, a wrong type or a value outside its
bounds is a `RecipeError` that names the file, the key with its path, what was found and what is
needed. Integers stand for floats; nothing else is converted.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from typing import Any

from majelpy.errors import RecipeError
from majelpy.files import read_plain
from majelpy.parsing import parse_toml
from majelpy.wording import bounds, listed


def setting(
    default: Any = MISSING,
    *,
    help: str,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
    read: Callable[[Any, str, str], Any] | None = None,
    kinds: Mapping[str, type[Any]] | None = None,
) -> Any:
    """Declare a setting: its default, a line of help, its bounds (inclusive) or choices.

    ``read`` makes a setting of another form from its value in TOML, its place and the file's name.
    ``kinds`` declares the settings that each choice of the table's ``kind`` has of its own, by
    name; in TOML they stand in the same table.
    """
    meta: dict[str, Any] = {"help": help, "least": least, "most": most, "choices": choices}
    meta |= {"read": read, "kinds": kinds}
    if isinstance(default, list):
        raise TypeError("a default must not be mutable; use a tuple")
    return field(metadata=meta) if default is MISSING else field(default=default, metadata=meta)


def read_toml(path: str) -> dict[str, Any]:
    """Return the tables of a TOML file.

    Raises
    ------
    RecipeError
        If it cannot be read or is not TOML.
    """
    try:
        return parse_toml(read_plain(path).decode())
    except UnicodeDecodeError:
        raise RecipeError(f"{path}: not UTF-8 text") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise RecipeError(f"{path}: not TOML: {error}") from None


def parse(
    kind: type[Any],
    table: Mapping[str, Any],
    source: str,
    path: str = "",
    named: str = "the top level",
) -> Any:
    """Return ``kind`` made from a TOML table.

    Parameters
    ----------
    kind : dataclass
    table : mapping
    source : str
        Named in messages.
    path : str
        Path of the table within the file, ending in ``.`` unless empty.
    named : str
        The table without a path, in messages.

    Raises
    ------
    RecipeError
        See the module's policy.
    """
    known = {f.name: f for f in fields(kind)}
    of_kind = next((f for f in known.values() if f.metadata.get("kinds")), None)
    own_kind: type[Any] | None = None
    if of_kind is not None:
        del known[of_kind.name]
        kinds, chosen = of_kind.metadata["kinds"], str(known["kind"].default)
        if "kind" in table:
            chosen = _value(f"{source}: {path}kind", str, table["kind"], known["kind"], source)
        table, own = _split(table, kinds, chosen, f"{source}: {path}", path)
        own_kind = kinds[chosen]
    types_of = typing.get_type_hints(kind)
    values = {}
    for key, value in table.items():
        if key not in known:
            names = [*known, *(f.name for f in fields(own_kind))] if own_kind else [*known]
            hint = _hint(key, names, path, named, _tables(kind))
            raise RecipeError(f"{source}: unknown key '{path}{key}'{hint}")
        where = f"{source}: {path}{key}"
        if is_dataclass(types_of[key]):
            if not isinstance(value, Mapping):
                raise RecipeError(f"{where} is {value!r}; needs a table of settings")
            values[key] = parse(types_of[key], value, source, f"{path}{key}.")
        else:
            values[key] = _value(where, types_of[key], value, known[key], source)
    for name, f in known.items():
        if name in values:
            continue
        if is_dataclass(types_of[name]):
            values[name] = parse(types_of[name], {}, source, f"{path}{name}.")
        elif f.default is MISSING:
            raise RecipeError(f"{source}: '{path}{name}' is missing: {f.metadata['help']}")
    if of_kind is not None and own_kind is not None:
        values[of_kind.name] = parse(own_kind, own, source, path, named)
    return kind(**values)


def _split(
    table: Mapping[str, Any],
    kinds: Mapping[str, type[Any]],
    chosen: str,
    where: str,
    path: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part a table from what it has of the chosen kind's own settings.

    A setting of other kinds is refused unless it is at its default, where it says nothing.
    """
    shared, own = {}, {}
    for key, value in table.items():
        having = {n: f for n, kind in kinds.items() for f in fields(kind) if f.name == key}
        if chosen in having:
            own[key] = value
        elif not having:
            shared[key] = value
        elif value not in [f.default for f in having.values()]:
            raise RecipeError(
                f"{where}{key} is {value!r}; {path}kind is {chosen!r}, and only "
                f"{listed([*having])} {'has' if len(having) == 1 else 'have'} it"
            )
    return shared, own


def as_table(made: Any) -> dict[str, Any]:
    """Return the TOML table of settings, from which `parse` makes the same again."""
    table: dict[str, Any] = {}
    for f in fields(made):
        value = getattr(made, f.name)
        if f.metadata.get("kinds"):
            table |= as_table(value)
        else:
            table[f.name] = as_table(value) if is_dataclass(value) else value
    return table


def _tables(kind: type[Any]) -> dict[str, list[str]]:
    """The keys of each table within this one."""
    types_of = typing.get_type_hints(kind)
    tables = {f.name: types_of[f.name] for f in fields(kind) if is_dataclass(types_of[f.name])}
    return {name: [f.name for f in fields(table)] for name, table in tables.items()}


def _hint(
    key: str, known: Sequence[str], path: str, named: str, tables: Mapping[str, Sequence[str]]
) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    close += [f"{path}{table}.{key}" for table, keys in tables.items() if key in keys]
    if close:
        return f"; did you mean '{close[0]}'?"
    place = f"'{path[:-1]}'" if path else named
    return f"; {place} has {', '.join(known) or 'no settings'}"


def _value(where: str, kind: Any, value: Any, f: Field[Any], source: str) -> Any:
    meta = f.metadata
    if meta["read"] is not None:
        return meta["read"](value, where, source)
    if typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{where} is {value!r}; needs a list, each entry {_name(element)}")
        result = tuple(_value(f"{where}[{i}]", element, v, f, source) for i, v in enumerate(value))
        if not result:
            raise RecipeError(f"{where} is empty; needs at least one entry")
        return result
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise RecipeError(f"{where} is {value!r}; needs {_name(kind)}")
    if meta["choices"] and value not in meta["choices"]:
        raise RecipeError(f"{where} is {value!r}; needs one of {', '.join(meta['choices'])}")
    least, most = meta["least"], meta["most"]
    if kind in (int, float):
        if kind is float and not abs(value) < 3.4e38:
            raise RecipeError(f"{where} is {value!r}; needs a finite float32")
        if (least is not None and value < least) or (most is not None and value > most):
            raise RecipeError(f"{where} is {value!r}; needs {bounds(least, most)}")
    return value


def _name(kind: Any) -> str:
    names: dict[Any, str] = {
        int: "an integer", float: "a number", str: "a text in quotes", bool: "true or false"
    }  # fmt: skip
    return names.get(kind, str(kind) if isinstance(kind, types.UnionType) else kind.__name__)


def assign(table: dict[str, Any], assignment: str, value: Any) -> None:
    """Set a dotted key such as ``optimizer.rate`` in nested tables."""
    *tables, last = assignment.split(".")
    for name in tables:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise RecipeError(f"--set {assignment}: '{name}' is a setting, not a table")
    table[last] = value
