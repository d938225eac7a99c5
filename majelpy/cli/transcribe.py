"""`majel transcribe`: the text of recordings.

Policy. A recording that cannot be used costs its own line alone: the others are recognised, and
what was wrong is said at the end. Ranks take recordings in turn; the first prints, in the order
asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from majelpy.cli import language, line, recordings
from majelpy.cli.code import add_run_code
from majelpy.cli.recognising import add_checkpoint
from majelpy.cli.train import PLACE_HELP
from majelpy.wording import counted

if TYPE_CHECKING:
    from majelpy.array import Array
    from majelpy.comm.world import World
    from majelpy.decoding.beam import Decoder
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
        "print a line each: path, tab, text; with --nbest one JSON object a line. Under mpirun "
        "ranks share the recordings. Exit code 2 if some could not be used; those are told at the "
        "end.",
        epilog="Example: majel transcribe run hello.wav; mpirun -n 4 majel transcribe run *.flac",
    )
    parser.add_argument("run_folder", metavar="RUN", help="folder of 'majel train'")
    add_checkpoint(parser)
    add_run_code(parser)
    parser.add_argument("--place", metavar="PLACE", default="cpu", help=PLACE_HELP)
    parser.add_argument("audio", metavar="AUDIO", nargs="+", help="recordings")
    parser.add_argument(
        "--stream",
        action="store_true",
        help="hear a recording piece by piece and tell the text so far on standard error; the "
        "model's layers must have one direction; AUDIO may be - for 16-bit little-endian mono "
        "samples on standard input, at the model's rate",
    )
    recordings.add_options(parser)
    language.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Recognise and print."""
    from majelpy.cli.together import at_work, ready
    from majelpy.comm.world import World
    from majelpy.errors import RecipeError
    from majelpy.native import set_threads
    from majelpy.recipes.launch import default_threads
    from majelpy.runs.trained import load_trained
    from majelpy.train.places import choose, take_pool

    world = World.start()
    world.install_excepthook()
    with ready(world):
        if options.stream and world.size > 1:
            raise RecipeError(f"--stream hears on one rank; {world.size} were launched")
        set_threads(default_threads(world.local_size))
        place = choose(options.place, world.local_rank)
        folder = options.run_folder
        trained = load_trained(
            folder, options.checkpoint, run_code=options.run_code, quiet=world.rank != 0
        )
        if options.stream and trained.rate == 0:
            raise RecipeError(f"{folder}: trained on .npy features; --stream needs sound")
        decoder = language.decoder_of(options, trained.alphabet, quiet=world.rank != 0)
    with at_work(world, "transcribe"):
        take_pool(place, world)
        failed = _shared(
            world, options.audio, lambda path: _text(path, options, trained, place, decoder)
        )
    return 2 if failed else 0


def _shared(world: World, paths: list[str], text_of: Callable[[str], str]) -> bool:
    """Print the texts of all recordings, then what was wrong with some; return whether any was."""
    from majelpy.errors import AudioError
    from majelpy.sound.sound_file import naming

    errors = []
    for first in range(0, len(paths), world.size):
        mine: tuple[str, str] | None = None
        for path in paths[first + world.rank : first + world.rank + 1]:
            try:
                with naming(path):
                    mine = text_of(path), ""
            except AudioError as error:
                mine = "", line("transcribe", error)
        for found in world.gather(mine) or ():
            if found is not None and found[1]:
                errors.append(found[1])
            elif found is not None:
                print(found[0], flush=True)
    for said in errors:
        print(said, file=sys.stderr)
    return world.broadcast(bool(errors))


def _text(
    path: str,
    options: argparse.Namespace,
    trained: Trained,
    place: Place,
    decoder: Decoder | None,
) -> str:
    """What is printed of a recording."""
    import json

    import numpy as np

    from majelpy import ops
    from majelpy.decoding.best_path import greedy

    log_probs = (_streamed if options.stream else _whole)(
        path, trained, place, **recordings.given(options)
    )
    if decoder is None:
        return f"{path}\t{trained.alphabet.decode(greedy(ops.argmax(log_probs)))}"
    (found,) = decoder(log_probs, np.array([0, len(log_probs)]))
    if options.nbest is None:
        return f"{path}\t{found[0].text}"
    best = [language.shown(hypothesis, trained.model) for hypothesis in found]
    return json.dumps({"path": path, "nbest": best}, ensure_ascii=False)


def _whole(path: str, trained: Trained, place: Place, **taken: Any) -> Array:
    """The log-probabilities of a recording or of features, (T, V), on the CPU."""
    import numpy as np

    from majelpy import ops
    from majelpy.array import asarray
    from majelpy.errors import AudioError
    from majelpy.memory import CPU
    from majelpy.nn.batch import Batch
    from majelpy.sound.audio import read_audio, read_features
    from majelpy.speech.features import spectrogram

    if trained.rate == 0:
        frames = read_features(path)
    else:
        if path == "-":
            raise AudioError("-: samples on standard input need --stream")
        if path.endswith(".npy"):
            raise AudioError(f"{path}: features; the run needs sound, at {trained.rate} Hz best")
        recording = read_audio(path, trained.rate, **taken)
        frames = spectrogram(recording.samples, trained.rate)
    if frames.shape[1] != trained.features:
        raise AudioError(
            f"{path}: {counted(frames.shape[1], 'feature')}; the run needs {trained.features}"
        )
    normalised = asarray(ops.normalise(frames, trained.mean, trained.scale))
    batch = Batch.unlabelled(normalised, np.array([0, len(frames)], dtype=np.int64), [path])
    parameters = trained.parameters.to_device(place)
    return trained.model.forward(batch.to_device(place), parameters).log_probs.to_device(CPU)


def _streamed(path: str, trained: Trained, place: Place, **taken: Any) -> Array:
    """The same, piece by piece; the text so far goes to standard error as it grows."""
    from majelpy.recognition.stream import Stream
    from majelpy.sound.audio import read_pieces

    stream, heard, told = Stream(trained, place), 0, ""
    for samples, last in read_pieces(path, trained.rate, trained.rate // PIECES, **taken):
        stream.hear(samples, last=last)
        heard += len(samples)
        if stream.text != told:
            told = stream.text
            print(f"{heard / trained.rate:.1f} s\t{told}", file=sys.stderr, flush=True)
    return stream.log_probs()
