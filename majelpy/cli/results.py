"""Files that a command is told to write: one rule for all commands.

Policy. A file that exists is never lost by the way: a command refuses it before it begins, unless
--force is given, and then it replaces plain files only (a corpus nothing but a corpus, synth's
manifests nothing but such).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from majelpy.errors import OutputError


def add_force(parser: argparse.ArgumentParser) -> None:
    """Add the option that lets a result replace a file."""
    parser.add_argument("--force", action="store_true", help="replace what is written if it exists")


def require_room(paths: Iterable[str | os.PathLike[str]], force: bool) -> None:
    """Raise OutputError if a result cannot get one of these names.

    Raises
    ------
    OutputError
        If it is taken, or its folder is missing.
    """
    for path in map(Path, paths):
        if not os.path.lexists(path):
            if not path.parent.is_dir():
                raise OutputError(f"{path.parent}: there is no such folder")
        elif not path.is_file():
            raise OutputError(f"{path}: not a file; give the output another name")
        elif not force:
            raise OutputError(f"{path} exists; give another name, or --force to replace it")
