"""The program `majel`.

Policy. Results go to standard output, progress and messages to standard error. A `MajelError` or
an `OSError` is one line and exit code 2, never a traceback; Ctrl-C is 130; 1 means that the answer
is no. Under mpirun one rank speaks for all, and what needs no other it does alone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from majelpy.comm.world import launched_first
from majelpy.errors import MajelError
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


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(
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
    """Run a command; return the exit code."""
    options = parser().parse_args(arguments)
    if options.command in ALONE and not launched_first(os.environ):
        return 0
    try:
        code: int = importlib.import_module(f"majelpy.cli.{options.command}").run(options)
        sys.stdout.flush()
        return code
    except MajelError as error:
        print(line(options.command, error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"majel {options.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output has gone (such as `majel ... | head`); that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # such as a file that must not be read
        print(line(options.command, error), file=sys.stderr)
        return 2
