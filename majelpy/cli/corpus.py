"""`majel corpus`: a downloaded public corpus becomes a manifest."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from majelpy.cli import Paragraphs, results
from majelpy.corpora import CORPORA
from majelpy.wording import counted

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EPILOG = """\
Where to download each corpus, its licence and its splits: docs/corpora.md.

example:
  majel corpus librispeech LibriSpeech --split train-clean-100 -o train.tsv
  majel corpus librispeech LibriSpeech --split dev-clean -o dev.tsv
  majel prepare train.tsv train.h5
"""


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "corpus",
        help="write the manifest of a downloaded public corpus",
        description="Read the folder of a downloaded corpus and write a manifest for "
        f"'majel prepare'. Corpora: {', '.join(CORPORA)}.",
        epilog=_EPILOG,
        formatter_class=Paragraphs,
    )
    parser.add_argument("name", metavar="NAME", help="name of the corpus")
    parser.add_argument("folder", metavar="FOLDER", help="where the corpus was unpacked")
    parser.add_argument(
        "--split", metavar="SPLIT", help="train, dev, test, ... (default: the corpus's first)"
    )
    parser.add_argument(
        *("-o", "--output"),
        required=True,
        metavar="MANIFEST.tsv",
        help="the manifest to write; it must not exist yet, without --force",
    )
    results.add_force(parser)
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out utterances that cannot be used, and say which, instead of stopping",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the manifest; its path goes to standard output, what was found to standard error."""
    from majelpy.corpora.writing import write_manifest

    results.require_room([args.output], args.force)
    report = write_manifest(
        args.name, args.folder, args.output, split=args.split, skip_bad=args.skip_bad
    )
    skipped = ""
    for reason, count in report.left_out.items():
        noun, named, rest = reason.partition("s ")
        words = f"{counted(count, noun)} {rest}" if named else f"{count} {reason}"
        skipped += f"; left out: {words}"
    print(
        f"{args.output}: {counted(report.utterances, 'utterance')}, "
        f"{report.milliseconds / 3_600_000:.2f} hours, "
        f"{counted(report.speakers, 'speaker')}{skipped}",
        file=sys.stderr,
    )
    print(args.output)
    return 0
