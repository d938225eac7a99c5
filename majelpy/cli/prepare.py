"""`majel prepare`: a manifest becomes a corpus."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from majelpy.cli import Paragraphs, recordings, results
from majelpy.wording import counted

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EPILOG = """\
The manifest is a .tsv file with a header line and the columns 'path' and 'transcript', or a
.jsonl file with the keys 'audio_filepath' and 'text'. Paths in it are relative to its folder.
'start' and 'end', or 'offset' and 'duration', are seconds: the utterance is that piece of the
recording; 'channel' is that channel of it. docs/data.md has the rest.

example:
  majel synth demo
  majel prepare demo/train.tsv demo/train.h5
  majel prepare demo/dev.tsv demo/dev.h5 --rate 16000
  majel prepare recorded.tsv demo/train.tsv mixed.h5
  majel prepare big.tsv big.h5 --samples --shards 100    (data.train = "big-*.h5")
  majel prepare noise.tsv noise.h5 --noise --rate 16000
"""


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "prepare",
        help="turn recordings and their transcripts into a corpus to train on",
        description="Read the recordings that manifests list (WAV, FLAC, Ogg, MP3, NIST SPHERE, "
        "any sample rate), turn each into a spectrogram, and store them with their transcripts in "
        "one file or in shards. Several manifests, one after the other, make one corpus. Equal "
        "input gives a corpus with an equal digest.",
        epilog=_EPILOG,
        formatter_class=Paragraphs,
    )
    parser.add_argument(
        "manifest", metavar="MANIFEST", nargs="+", help="list of recordings, .tsv or .jsonl"
    )
    parser.add_argument(
        "out", metavar="OUT.h5", help="the corpus to write; it must not exist yet, without --force"
    )
    parser.add_argument(
        "--rate",
        type=int,
        metavar="HZ",
        help="sample rate that all recordings are brought to; corpora used together need the "
        "same one (default: the lowest among the recordings, at most 16000)",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--samples",
        dest="kind",
        action="store_const",
        const="samples",
        default="features",
        help="store the samples, rounded to 16 bits, and calculate features in training: half "
        "the size, and needed for augmentation of the sound",
    )
    kind.add_argument(
        "--noise",
        dest="kind",
        action="store_const",
        const="noise",
        help="make a corpus of noise for augmentation; its manifest needs no transcripts",
    )
    parser.add_argument(
        "--shards",
        type=int,
        default=1,
        metavar="N",
        help="write N files OUT-00000.h5, ..., that are one corpus together",
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out recordings that cannot be used, and say which, instead of stopping",
    )
    recordings.add_options(parser)
    results.add_force(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the corpus; its digest is the last line on standard output."""
    from majelpy.speech.prepare import prepare
    from majelpy.speech.shards import MOST_SHARDS, path_of

    shards = range(args.shards) if 1 < args.shards <= MOST_SHARDS else ()
    files = [path_of(args.out, n) for n in shards] or [args.out]
    results.require_room(files, args.force)
    report = prepare(
        args.manifest,
        args.out,
        rate=args.rate,
        skip_bad=args.skip_bad,
        kind=args.kind,
        shards=args.shards,
        **recordings.given(args),
    )
    for remark in report.remarks:
        print(remark, file=sys.stderr)
    duration = f"{report.seconds / 60:.1f} minutes, " if report.rate else ""
    skipped = f", {report.skipped} skipped" if report.skipped else ""
    out = f"{files[0]} to {files[-1]}" if len(files) > 1 else args.out
    print(
        f"{out}: {counted(report.utterances, 'utterance')}, "
        f"{duration}{counted(report.frames, 'frame')} of "
        f"{counted(report.features, 'feature')}{skipped}",
        file=sys.stderr,
    )
    print(f"corpus digest: {report.digest}")
    return 0
