"""`majel synth`: speech made by espeak-ng, to try everything with."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from majelpy.cli import Paragraphs, results

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_EPILOG = """\
Writes OUT_DIR/wav/*.wav, OUT_DIR/train.tsv and OUT_DIR/dev.tsv, and prints the paths of the
two manifests. Nobody in dev.tsv speaks in train.tsv. Manifests that are there already are refused
without --force; with it those of an earlier call are replaced.

example:
  majel synth demo
  majel prepare demo/train.tsv demo/train.h5
"""


def add(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command's parser."""
    parser = subparsers.add_parser(
        "synth",
        help="make spoken digits or sentences to train on, without any recordings",
        description="Let the speech synthesizer espeak-ng speak digits or short sentences in many "
        "voices, speeds and noises. The same call gives the same files.",
        epilog=_EPILOG,
        formatter_class=Paragraphs,
    )
    parser.add_argument("out_dir", metavar="OUT_DIR", help="folder to write, made if needed")
    parser.add_argument(
        "--kind",
        choices=("digits", "sentences"),
        default="digits",
        help="one to three digits ('three one four'), or orders to a house ('turn on the kitchen "
        "light') (default: %(default)s)",
    )
    parser.add_argument(
        "--utterances",
        type=int,
        default=1500,
        metavar="N",
        help="how many to train on (default: %(default)s)",
    )
    parser.add_argument(
        "--dev",
        type=int,
        default=150,
        metavar="N",
        help="how many, in other voices, to evaluate with (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="another number gives other utterances (default: %(default)s)",
    )
    results.add_force(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Make the recordings; the manifests' paths go to standard output, train first."""
    from pathlib import Path

    from majelpy.sound.synth import synth

    made = (Path(args.out_dir) / f"{split}.tsv" for split in ("train", "dev"))
    results.require_room([path for path in made if path.exists()], args.force)
    manifests = synth(
        args.out_dir, kind=args.kind, utterances=args.utterances, dev=args.dev, seed=args.seed
    )
    for manifest in manifests:
        print(manifest)
    return 0
