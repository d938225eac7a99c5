"""What a test needs of the machine and may not find there.

Policy. No skip is silent: its reason names the word and what would help. ``MAJELPY_REQUIRE``
lists the words that this machine is expected to have (``MAJELPY_REQUIRE=mpi,torch``); where one of
them lacks, the test fails.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

WORDS = (
    *("dev", "mpi", "hosts", "slurm", "cmake", "clang", "arm", "sanitizers", "torch"),
    *("kenlm", "cupy", "nvrtc", "ptxas", "gpu", "tmpfs", "speech"),
)
"""All that may be required."""

SPEECH = Path(os.environ.get("MAJELPY_SPEECH_DATA", Path(__file__).parents[3] / "shared" / "data"))
"""Folder of real recordings."""


def required() -> list[str]:
    """Return the words of ``MAJELPY_REQUIRE``."""
    return [word for word in os.environ.get("MAJELPY_REQUIRE", "").split(",") if word]


def lacking(word: str, reason: str) -> NoReturn:
    """Skip the test since the machine lacks something, or fail it where that is required."""
    assert word in WORDS
    if word in required():
        pytest.fail(f"MAJELPY_REQUIRE has {word}: {reason}")
    pytest.skip(f"{word}: {reason}")


def module(word: str, name: str = "") -> Any:
    """Return an imported module; `name` where it is not called as the word."""
    name = name or word
    if importlib.util.find_spec(name) is None:
        lacking(word, f"the package {name} is not installed")
    return importlib.import_module(name)


def program(word: str, name: str, package: str) -> str:
    """Return the path of a program; one beside Python's comes first."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    return found or lacking(word, f"there is no {name}: {package}")


def recordings(path: str) -> Path:
    """Return the path of a file of real recordings."""
    found = SPEECH / path
    if not found.is_file():
        lacking("speech", f"no {path} there; MAJELPY_SPEECH_DATA names the folder of recordings")
    return found
