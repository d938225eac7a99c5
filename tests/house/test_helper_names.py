"""Right: no helper of the tests and no tool has the name of a package that somebody may install.

Their folders come first on Python's path while tests run, so a helper called `cuda` would be taken
for NVIDIA's package by every library that imports that.
"""

from __future__ import annotations

import sys
import sysconfig
import tomllib
from importlib.machinery import PathFinder
from pathlib import Path

from paths import ROOT

# Packages that come with extras; where they are not installed, the path does not tell.
INSTALLED_BY_EXTRAS = {"cuda", "cupy", "kenlm", "torch", "mpi4py", "h5py", "numpy", "pytest"}


def _folders() -> list[Path]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [ROOT / name for name in settings["tool"]["pytest"]["ini_options"]["pythonpath"]]


def _shadowing(folder: Path) -> list[str]:
    """The modules of `folder` that hide one of Python's, or one that is installed."""
    packages = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    known = sys.stdlib_module_names | INSTALLED_BY_EXTRAS
    names = {p.stem for p in folder.iterdir() if p.suffix == ".py" or p.is_dir()}
    return sorted(n for n in names if n in known or PathFinder.find_spec(n, packages) is not None)


def test_no_helper_hides_a_package() -> None:
    for folder in _folders():
        assert folder.is_dir()
        assert _shadowing(folder) == []


def test_it_would_see_one(tmp_path: Path) -> None:
    for name in ("cuda", "json", "pluggy", "our_own_helper"):
        (tmp_path / f"{name}.py").touch()
    assert _shadowing(tmp_path) == ["cuda", "json", "pluggy"]
