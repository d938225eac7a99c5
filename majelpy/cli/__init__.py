"""The program `majel`.

Policy. Results go to standard output, progress and messages to standard error; what becomes of
those that cannot be written says majelpy/cli/streams.py. A `MajelError` or an `OSError` is one line
and exit code 2, never a traceback; 1 means that the answer is no. Ctrl-C, SIGTERM, SIGHUP and
SIGUSR1 are one line and 130. Under mpirun one rank speaks for all, and what needs no other it does
alone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import NoReturn

from majelpy.cli.streams import Streams
from majelpy.comm.launched import launched_first
from majelpy.comm.world import RankFailed
from majelpy.errors import MajelError, OutputError
from majelpy.train.signals import interrupting
from majelpy.version import __version__

COMMANDS = (
    *("corpus", "prepare", "synth", "lm", "plan", "train", "eval", "tune"),
    *("transcribe", "compare", "replay", "info"),
)
ALONE = ("corpus", "prepare", "synth", "lm", "compare", "info")
"""Commands that one rank does, and the others leave to it."""


class Paragraphs(argparse.RawDescriptionHelpFormatter):
    """Fills a description of one paragraph, and keeps the lines of what has some."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command's words in one line."""

    def error(self, message: str) -> NoReturn:
        """End with code 2."""
        self.exit(2, f"{self.prog}: {message} (see '{self.prog} --help')\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = Parser(
        prog="majel",
        description="Train speech recognisers: one recipe, one answer, on any number of ranks.",
        epilog="Start with 'majel synth' for data to play with, 'majel corpus' for a public one, "
        "or 'majel prepare' for your own; then 'majel train'. 'majel COMMAND --help' tells more.",
    )
    top.add_argument("--version", action="version", version=f"majelpy {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in COMMANDS:
        importlib.import_module(f"majelpy.cli.{name}").add(commands)
    return top


def line(command: str, error: MajelError | OSError) -> str:
    """What a command says of an error."""
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    return f"majel {command}: {text.removeprefix(f'{command}: ')}"


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code.

    Standard streams and handlers of signals are then what they were before.
    """
    with interrupting(), Streams() as streams:
        try:
            code = _run(arguments)
            lost = streams.finish()
        except KeyboardInterrupt as stop:
            print(f"majel: {str(stop) or 'interrupted'}", file=sys.stderr)
            if "mpi4py.MPI" in sys.modules:
                # In order, MPI would wait for ranks that wait for this one; the launcher ends all.
                os._exit(130)
            return 130
        if lost is not None and code in (0, 1):
            print(f"majel: {lost}", file=sys.stderr)
            code = 2
        return code


def _run(arguments: list[str] | None) -> int:
    """Run a command, whose errors are a line and a code."""
    try:
        options = parser().parse_args(arguments)
    except SystemExit as end:  # it has shown a help, or said what is wrong
        return int(end.code or 0)
    except OutputError:  # a help that is lost, where argparse does not pass it over (Python 3.11.2)
        return 0  # `main` asks the streams
    if options.command in ALONE and not launched_first(os.environ):
        return 0
    try:
        code: int = importlib.import_module(f"majelpy.cli.{options.command}").run(options)
        sys.stdout.flush()
        return code
    except RankFailed:  # another rank says why
        return 2
    except (MajelError, OSError) as error:  # such as a file that must not be read
        print(line(options.command, error), file=sys.stderr)
        return 2
