"""`majel lm`: a language model of some text."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from majelpy.cli import results
from majelpy.telling import Telling, say
from majelpy.wording import counted

if TYPE_CHECKING:
    from majelpy.speech.text import Alphabet


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "lm",
        help="estimate a language model",
        description="Estimate an n-gram model with interpolated modified Kneser-Ney smoothing from "
        "texts, a sentence a line, and write it as an ARPA file. Texts are normalised like "
        "transcripts.",
        epilog="Example: majel lm book.txt -o lm.arpa --like run",
    )
    parser.add_argument("texts", metavar="TEXT", nargs="+", help="text files in UTF-8")
    parser.add_argument(
        *("-o", "--output"),
        required=True,
        metavar="LM.arpa",
        help="file to write; it must not exist yet, without --force",
    )
    results.add_force(parser)
    parser.add_argument(
        "--order", type=int, default=3, metavar="N", help="longest n-gram, 1 to 9 (default 3)"
    )
    parser.add_argument(
        "--characters", action="store_true", help="of characters, as for Mandarin, not of words"
    )
    fit = parser.add_mutually_exclusive_group()
    fit.add_argument(
        "--alphabet",
        metavar="CHARACTERS",
        help="drop all other characters, as training does with data.outside = 'drop'",
    )
    fit.add_argument("--like", metavar="RUN", help="the same with the alphabet of a run")


def run(options: argparse.Namespace) -> int:
    """Estimate, write, and say how many n-grams there are."""
    from majelpy.decoding.kneser_ney import estimate, sentences, write_arpa

    results.require_room([options.output], options.force)
    texts = sentences(options.texts, options.characters, _alphabet(options))
    model = estimate(_told(texts, options.texts), options.order)
    say(f"lm: writing {options.output}")
    write_arpa(options.output, model, "characters" if options.characters else "words")
    levels = enumerate(model.prob, 1)
    print(f"{options.output}: {', '.join(counted(len(x), f'{n}-gram') for n, x in levels)}")
    return 0


def _told(texts: Iterator[list[str]], paths: list[str]) -> Iterator[list[str]]:
    """Yield the texts; say what is read, now and then how many there were, and what follows."""
    say(f"lm: reading {', '.join(paths)}")
    with Telling("lm", "sentence") as told:
        yield from told.over(texts)
    say("lm: smoothing")


def _alphabet(options: argparse.Namespace) -> Alphabet | None:
    from majelpy.runs.trained import alphabet_of
    from majelpy.speech.text import Alphabet

    if options.like is not None:
        return alphabet_of(options.like)
    return None if options.alphabet is None else Alphabet(options.alphabet)
