"""The layers that a recipe may list, its list of layers, and layers of one's own.

Policy. `model.layers` of a recipe is a list of tables; the key ``layer`` names a class of this
module, or one in a Python file beside the recipe (``"mine.py:Scale"``), the other keys are its
settings. What is read here has every setting, and for a file the digest of its text, so nothing
that may change bits is left out of the recipe's digest. A file is kept by its digest: the run
folder gets a copy of the very text that ran. A file is code: it is run only if the caller says so,
and never if its text is another one than a list names (docs/security.md).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from majelpy.errors import RecipeError
from majelpy.files import read_plain
from majelpy.nn.context import Context
from majelpy.nn.conv import Conv, RowConv
from majelpy.nn.dense import Dense
from majelpy.nn.dropout import Dropout
from majelpy.nn.layer import Layer
from majelpy.nn.norm import BatchNorm, LayerNorm
from majelpy.nn.recurrent import BiGru, BiLstm, BiRnn, Gru, Lstm, Rnn
from majelpy.settings import parse

LAYERS: Mapping[str, type[Layer]] = {
    "context": Context,
    "dense": Dense,
    "dropout": Dropout,
    "conv": Conv,
    "rnn": Rnn,
    "birnn": BiRnn,
    "gru": Gru,
    "bigru": BiGru,
    "lstm": Lstm,
    "bilstm": BiLstm,
    "row_conv": RowConv,
    "batch_norm": BatchNorm,
    "layer_norm": LayerNorm,
}

Table = dict[str, Any]
"""A layer of a list: its name, and all of its settings."""


@dataclass(frozen=True)
class _Own:
    """A Python file with layers."""

    text: bytes
    module: ModuleType


_own: dict[str, _Own] = {}
"""Files by the SHA-256 of their text."""


def read(value: Any, where: str, source: str, *, run_code: bool = False) -> tuple[Table, ...]:
    """Return a list of layers, each with all of its settings.

    Parameters
    ----------
    value : list of mappings
        As it stands in TOML.
    where : str
        Named in messages.
    source : str
        The file that has the list; Python files are beside it.
    run_code : bool
        Whether Python files may be run.

    Raises
    ------
    RecipeError
        If it is no such list, a setting is wrong, or a Python file may not be run.
    """
    folder, items = Path(source).parent, listed(value, where, source)
    return tuple(_read_one(item, f"{where}[{i}]", folder, run_code) for i, item in enumerate(items))


def listed(value: Any, where: str, source: str) -> tuple[Any, ...]:
    """Return such a list as it stands, not read yet; raise RecipeError if it is none."""
    if not isinstance(value, list | tuple) or not value:
        raise RecipeError(f"{where} is {value!r}; needs a list of layers")
    return tuple(value)


def _read_one(item: Any, where: str, folder: Path, run_code: bool) -> Table:
    if not isinstance(item, Mapping) or not isinstance(item.get("layer"), str):
        raise RecipeError(f'{where} is {item!r}; needs a table such as {{ layer = "dense", ... }}')
    name, found = item["layer"], {"layer": item["layer"]}
    if ".py:" in name:
        found["sha256"] = _load(name, where, folder, item.get("sha256"), run_code)
    elif name not in LAYERS:
        raise RecipeError(
            f'{where} is "{name}"; needs one of {", ".join(LAYERS)}, or "file.py:Class"'
        )
    kind = class_of(found)
    settings = parse(kind.Settings, settings_of(item), f"{where} ({name})", named=name)
    return found | asdict(settings)


def settings_of(item: Mapping[str, Any]) -> Table:
    """The settings of a layer of a list."""
    return {key: value for key, value in item.items() if key not in ("layer", "sha256")}


def class_of(item: Mapping[str, Any]) -> type[Layer]:
    """The class of a layer that was read."""
    if "sha256" not in item:
        return LAYERS[item["layer"]]
    found: type[Layer] = getattr(_own[item["sha256"]].module, item["layer"].rpartition(":")[2])
    return found


def _load(name: str, where: str, folder: Path, wanted: Any, run_code: bool) -> str:
    """Run a file, if no file of its text has run, and return its digest, which is that wanted."""
    file, _, attribute = name.rpartition(":")
    path = folder / file
    if Path(file).name != file:
        raise RecipeError(f"{where} is {name}; the file must lie beside the recipe")
    try:
        text = read_plain(path)
    except OSError as error:
        raise RecipeError(f"{where}: {path} cannot be read ({error.strerror})") from None
    digest = hashlib.sha256(text).hexdigest()
    if wanted not in (None, digest):
        raise RecipeError(f"{where} is {name}, which has changed since; it needs the old text")
    if not run_code:
        raise RecipeError(
            f"{where} is code: {path} (SHA-256 {digest}); look at it, and give --run-code to have "
            "it run"
        )
    if digest not in _own:
        module = ModuleType(f"majelpy_own_{digest}")
        module.__file__ = str(path)
        sys.modules[module.__name__] = module  # where dataclasses look for their module
        try:
            exec(compile(text, str(path), "exec"), module.__dict__)
        except (Exception, SystemExit) as error:  # whatever a user's file raises
            del sys.modules[module.__name__]
            raise RecipeError(f"{where}: {path}: {type(error).__name__}: {error}") from None
        _own[digest] = _Own(text, module)
    found = getattr(_own[digest].module, attribute, None)
    if not isinstance(found, type) or not issubclass(found, Layer):
        raise RecipeError(f"{where}: {path} has no class {attribute} that derives from Layer")
    if not is_dataclass(getattr(found, "Settings", None)):
        raise RecipeError(f"{where}: {path}: {attribute} needs a dataclass Settings, even if empty")
    lacking = sorted(found.__abstractmethods__)
    if lacking:
        raise RecipeError(f"{where}: {path}: {attribute} needs the methods {', '.join(lacking)}")
    return digest


def files(layers: Iterable[Mapping[str, Any]]) -> dict[str, bytes]:
    """Return names and texts of the Python files of a list that was read."""
    return {
        item["layer"].rpartition(":")[0]: _own[item["sha256"]].text
        for item in layers
        if "sha256" in item
    }
