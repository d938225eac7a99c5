"""`majel transcribe`: the text of recordings."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from majelpy.cli import language
from majelpy.cli.recognising import add_checkpoint
from majelpy.cli.train import PLACE_HELP
from majelpy.wording import counted

if TYPE_CHECKING:
    from majelpy.array import Array
    from majelpy.memory import Place
    from majelpy.runs.trained import Trained

PIECES = 10
"""Pieces of a second of a stream."""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "transcribe",
        help="the text of recordings",
        description="Recognise recordings (WAV, FLAC, Ogg; any rate) or feature files (.npy) and "
        "print a line each: path, tab, text; with --nbest one JSON object a line.",
        epilog="Example: majel transcribe run hello.wav",
    )
    parser.add_argument("run_folder", metavar="RUN", help="folder of 'majel train'")
    add_checkpoint(parser)
    parser.add_argument("--place", metavar="PLACE", default="cpu", help=PLACE_HELP)
    parser.add_argument("audio", metavar="AUDIO", nargs="+", help="recordings")
    parser.add_argument(
        "--stream",
        action="store_true",
        help="hear a recording piece by piece and tell the text so far on standard error; the "
        "model's layers must have one direction; AUDIO may be - for 16-bit little-endian mono "
        "samples on standard input, at the model's rate",
    )
    language.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Recognise and print."""
    import json

    import numpy as np

    from majelpy import ops
    from majelpy.comm.world import World
    from majelpy.decoding.best_path import greedy
    from majelpy.errors import AudioError, RecipeError
    from majelpy.native import set_threads
    from majelpy.recipes.launch import default_threads
    from majelpy.runs.trained import load_trained
    from majelpy.train.places import choose, take_pool

    set_threads(default_threads(1))
    place = choose(options.place)
    trained = load_trained(options.run_folder, options.checkpoint)
    if options.stream and trained.rate == 0:
        raise RecipeError(f"{options.run_folder}: trained on .npy features; --stream needs sound")
    decoder = language.decoder_of(options, trained.alphabet)
    take_pool(place, World.alone())
    for path in options.audio:
        try:
            if options.stream:
                log_probs = _streamed(path, trained, place)
            else:
                log_probs = _whole(path, trained, place)
        except AudioError as error:
            raise AudioError(f"{path}: {error}" if path not in str(error) else error) from None
        if decoder is None:
            text = trained.alphabet.decode(greedy(ops.argmax(log_probs)))
        else:
            (found,) = decoder(log_probs, np.array([0, len(log_probs)]))
            text = found[0].text
            if options.nbest is not None:
                best = [language.shown(hypothesis, trained.model) for hypothesis in found]
                print(json.dumps({"path": path, "nbest": best}, ensure_ascii=False), flush=True)
                continue
        print(f"{path}\t{text}", flush=True)
    return 0


def _whole(path: str, trained: Trained, place: Place) -> Array:
    """The log-probabilities of a recording or of features, (T, V), on the CPU."""
    import numpy as np

    from majelpy import ops
    from majelpy.array import asarray
    from majelpy.errors import AudioError
    from majelpy.memory import CPU
    from majelpy.nn.batch import Batch
    from majelpy.speech.audio import read_audio, read_features
    from majelpy.speech.features import spectrogram

    if trained.rate == 0:
        frames = read_features(path)
    else:
        if path == "-":
            raise AudioError("-: samples on standard input need --stream")
        if path.endswith(".npy"):
            raise AudioError(f"{path}: features; the run needs sound, at {trained.rate} Hz best")
        frames = spectrogram(read_audio(path, trained.rate), trained.rate)
    if frames.shape[1] != trained.features:
        raise AudioError(
            f"{path}: {counted(frames.shape[1], 'feature')}; the run needs {trained.features}"
        )
    normalised = asarray(ops.normalise(frames, trained.mean, trained.scale))
    batch = Batch.unlabelled(normalised, np.array([0, len(frames)], dtype=np.int64), [path])
    parameters = trained.parameters.to_device(place)
    return trained.model.forward(batch.to_device(place), parameters).log_probs.to_device(CPU)


def _streamed(path: str, trained: Trained, place: Place) -> Array:
    """The same, piece by piece; the text so far goes to standard error as it grows."""
    import sys

    from majelpy.speech.audio import read_pieces
    from majelpy.train.stream import Stream

    stream, heard, told = Stream(trained, place), 0, ""
    for samples, last in read_pieces(path, trained.rate, trained.rate // PIECES):
        stream.hear(samples, last=last)
        heard += len(samples)
        if stream.text != told:
            told = stream.text
            print(f"{heard / trained.rate:.1f} s\t{told}", file=sys.stderr, flush=True)
    return stream.log_probs()
