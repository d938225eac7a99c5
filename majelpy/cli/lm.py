"""`majel lm`: a language model of some text."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "lm",
        help="estimate a language model",
        description="Estimate an n-gram model with interpolated modified Kneser-Ney smoothing from "
        "texts, a sentence a line, and write it as an ARPA file. Texts are normalised like "
        "transcripts.",
        epilog="Example: majel lm book.txt -o lm.arpa",
    )
    parser.add_argument("texts", metavar="TEXT", nargs="+", help="text files in UTF-8")
    parser.add_argument("-o", "--output", metavar="LM.arpa", required=True, help="file to write")
    parser.add_argument("--order", type=int, default=3, metavar="N", help="longest n-gram (3)")
    parser.add_argument(
        "--characters", action="store_true", help="of characters, as for Mandarin, not of words"
    )


def run(options: argparse.Namespace) -> int:
    """Estimate, write, and say how many n-grams there are."""
    from majelpy.speech.kneser_ney import estimate, sentences, write_arpa

    model = estimate(sentences(options.texts, options.characters), options.order)
    write_arpa(options.output, model)
    counts = ", ".join(f"{len(level)} {n}-grams" for n, level in enumerate(model.prob, 1))
    print(f"{options.output}: {counts}")
    return 0
