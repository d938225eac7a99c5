"""The option of commands that may meet Python files with layers: whether these are run."""

from __future__ import annotations

import argparse


def add_run_code(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument(
        "--run-code",
        action="store_true",
        help="run the Python files with layers that the run or recipe brings; look at them first "
        "(docs/security.md)",
    )
