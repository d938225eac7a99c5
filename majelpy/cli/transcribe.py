"""`majel transcribe`: the text of recordings."""

from __future__ import annotations

import argparse
from typing import Any

from majelpy.cli import language
from majelpy.cli.train import PLACE_HELP


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
    parser.add_argument("--place", metavar="PLACE", default="cpu", help=PLACE_HELP)
    parser.add_argument("audio", metavar="AUDIO", nargs="+", help="recordings")
    language.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Recognise and print."""
    import json

    import numpy as np

    from majelpy import ops
    from majelpy.array import CPU, asarray
    from majelpy.comm.world import World
    from majelpy.errors import AudioError
    from majelpy.native import set_threads
    from majelpy.nn.batch import Batch
    from majelpy.speech.audio import read_audio, read_features
    from majelpy.speech.decode import greedy
    from majelpy.speech.features import spectrogram
    from majelpy.train.launch import default_threads
    from majelpy.train.places import choose, take_pool
    from majelpy.train.trained import load_trained

    set_threads(default_threads(1))
    place = choose(options.place)
    trained = load_trained(options.run_folder)
    decoder = language.decoder_of(options, trained.alphabet)
    take_pool(place, World.alone())
    parameters = trained.parameters.to_device(place)
    for path in options.audio:
        if trained.rate == 0:
            frames = read_features(path)
        else:
            try:
                frames = spectrogram(read_audio(path, trained.rate), trained.rate)
            except AudioError as error:
                raise AudioError(f"{path}: {error}" if path not in str(error) else error) from None
        if frames.shape[1] != trained.features:
            raise AudioError(
                f"{path}: {frames.shape[1]} features; {options.run_folder} needs {trained.features}"
            )
        batch = Batch.unlabelled(
            asarray(ops.normalise(frames, trained.mean, trained.scale)),
            np.array([0, len(frames)], dtype=np.int64),
            [path],
        )
        forward = trained.model.forward(batch.to_device(place), parameters)
        log_probs = forward.log_probs
        if decoder is None:
            text = trained.alphabet.decode(greedy(ops.argmax(log_probs)))
        else:
            (found,) = decoder(log_probs.to_device(CPU), forward.batch.offsets)
            text = found[0].text
            if options.nbest is not None:
                best = [language.shown(hypothesis) for hypothesis in found]
                print(json.dumps({"path": path, "nbest": best}, ensure_ascii=False), flush=True)
                continue
        print(f"{path}\t{text}", flush=True)
    return 0
