"""`majel compare`: have two runs the same bits?"""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "compare",
        help="have two runs the same bits?",
        description="Compare the ledgers and the newest common checkpoint of two runs. Exit code "
        "0: the same bits, from the first step to one end; 1: different, with the first difference "
        "of each, or the same only as far as both go, or with gaps (the last line says which); 2: "
        "no two runs.",
        epilog="Example: majel compare run-on-1-rank run-on-4-ranks",
    )
    parser.add_argument("a", metavar="RUN_A", help="folder of 'majel train'")
    parser.add_argument("b", metavar="RUN_B", help="another")


def run(options: argparse.Namespace) -> int:
    """Compare and say."""
    from majelpy.runs.compare import compare_runs

    lines, same = compare_runs(options.a, options.b)
    for line in lines:
        print(line)
    return 0 if same else 1
