"""The floors of the house: which package stands on which, how many modules each has, what is wrong.

    python tools/floors.py

Policy. An import goes down a floor or stays within its package; the face of the package stands on
top, and nothing imports it. A folder has at most `MOST` modules, or a reason here why not. Exits
with 1 and a line for each fault; tests/house/test_floors.py holds the same.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

FLOORS: list[dict[str, str]] = [
    {
        "version": "version, and the version of the arithmetic",
        "errors": "all errors",
        "wording": "counts, sizes and times in words",
    },
    {
        "namespace": "where the face names itself for arrays' operators",
        "tree": "the tree in which leaves are added",
        "parsing": "TOML, JSON and numbers from texts",
        "files": "plain files, written whole or not at all",
        "sink": "where messages go",
        "arguments": "checks of arguments of any kind",
        "telling": "how far work is",
    },
    {
        "settings": "dataclasses from tables, with ranges",
        "hdf5": "HDF5 files that stay inside themselves",
        "mesh": "which meshes of ranks there are, and which is taken",
    },
    {"native": "CPU kernels", "memory": "places, number types, the pool"},
    {"gpu": "GPU kernels: compiled, kept, launched"},
    {"array": "Array itself"},
    {"standard": "functions of the array API standard"},
    {"random": "random arrays by key"},
    {"ops": "what layers call: checks, results, launches"},
    {"comm": "ranks: messages, the sum of gradients"},
    {"distributed": "arrays over a mesh of ranks"},
    {"sound": "recordings"},
    {"speech": "corpora: manifests, features, texts"},
    {"nn": "layers, for a share of the model"},
    {
        "decoding": "from probabilities to text",
        "corpora": "importers of public corpora",
        "optimizers": "a class an optimizer",
    },
    {"recipes": "what may change bits, and what may not"},
    {"runs": "what lies in a run folder", "data": "minibatches, read ahead"},
    {"recognition": "a model evaluated, used on recordings, its search tuned"},
    {"train": "the trainer"},
    {"plan": "predictions"},
    {"cli": "the commands"},
    {"__main__": "python -m majelpy"},
    {"": "the face, import majelpy"},
]
"""From the bottom: what stands on a floor, and what it is; nobody knows a floor above."""

MOST = 15

CROWDED = {
    "majelpy": "the ground floor is modules, not packages: each is one idea that all may use",
    "majelpy/cli": "a file a command, and what some commands share",
    "majelpy/gpu": "a module a family of kernels, and how kernels come to a GPU",
    "majelpy/ops": "a module a family of kernels, and the shapes that several take",
    "kernels": "a header a family; mj_ is what families share, standard_ the array library",
    "kernels/cpu": "a driver a family of kernels",
    "kernels/gpu": "a driver a family of kernels",
    "tests/helpers": "what tests share; each is named for what it makes",
    "docs": "docs/README.md is the one entry and leads through them",
}
"""Folders of more than `MOST` modules, and why."""


def modules() -> dict[str, ast.Module]:
    """Return all modules of majelpy by name, parsed."""
    found = {}
    for path in sorted((ROOT / "majelpy").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text("utf-8"))
    return found


MODULES = modules()


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield every module that is imported anywhere in a file, in functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in MODULES else base


def entry(name: str) -> str:
    """Return the room that a module belongs to: a name of `FLOORS`."""
    room = name.removeprefix("majelpy").removeprefix(".").partition(".")[0]
    return room if any(room in floor for floor in FLOORS) else "?"


def level(name: str) -> int:
    """Return the number of a module's floor, from the bottom."""
    return next(i for i, floor in enumerate(FLOORS) if entry(name) in floor)


def climbs(name: str) -> list[str]:
    """Return the imports of a module that do not go down; a relative one never does."""
    wrong = []
    for other in imported(MODULES[name]):
        if other.startswith("."):
            wrong.append(other)
        elif other.split(".")[0] == "majelpy" and entry(other) != entry(name):
            wrong += [other] if level(other) >= level(name) else []
    return wrong


def homeless() -> list[str]:
    """Return the modules that no floor names."""
    return [name for name in MODULES if entry(name) == "?"]


def crowded() -> dict[str, int]:
    """Return the folders of more than `MOST` modules, with their number."""
    counts: dict[str, int] = {}
    for top in ("majelpy", "kernels", "tests", "tools", "benchmarks", "docs", "scripts"):
        for path in (ROOT / top).rglob("*"):
            folder = str(path.parent.relative_to(ROOT))
            if path.suffix in (".py", ".cpp", ".h", ".cu", ".md") and "majelpy/lib" not in folder:
                counts[folder] = counts.get(folder, 0) + (path.name != "__init__.py")
    return {folder: count for folder, count in sorted(counts.items()) if count > MOST}


def faults() -> list[str]:
    """Return what is wrong, a line each."""
    alone = [f"{name}: on no floor of tools/floors.py" for name in homeless()]
    if alone:
        return alone
    wrong = [f"{name} imports {other}, which is not below it" for name in MODULES
             for other in climbs(name)]  # fmt: skip
    for folder, count in crowded().items():
        if folder not in CROWDED:
            wrong.append(f"{folder}: {count} modules; at most {MOST}, or a reason in CROWDED")
    return wrong


def main() -> int:
    """Print the floors from the top, then the faults."""
    for floor in reversed(FLOORS):
        for room, meaning in floor.items():
            own = [name for name in MODULES if entry(name) == room]
            below = {entry(o) for n in own for o in imported(MODULES[n]) if o.startswith("majelpy")}
            stands_on = sorted((below & {r for f in FLOORS for r in f}) - {room}, key=_depth)
            name = f"majelpy.{room}".rstrip(".")
            print(f"{name:<20} {len(own):>3}  {meaning}")
            if stands_on:
                print(f"{'':<24} on {' '.join(stands_on)}")
        print()
    for folder, count in crowded().items():
        print(f"{folder}: {count} modules; {CROWDED.get(folder, 'no reason')}")
    wrong = faults()
    print(
        "\n".join(["", *wrong])
        if wrong
        else "\nno import climbs; no folder is crowded for no reason"
    )
    return int(bool(wrong))


def _depth(room: str) -> int:
    return -next(i for i, floor in enumerate(FLOORS) if room in floor)


if __name__ == "__main__":
    sys.exit(main())
