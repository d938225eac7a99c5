"""`majel eval`: error rates and loss of a run on a corpus."""

from __future__ import annotations

import argparse
import json
from typing import Any

from majelpy.cli import language
from majelpy.cli.train import PLACE_HELP


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "eval",
        help="error rates and loss of a run on a corpus",
        description="Recognise every utterance of a corpus (best path, or beam search) and "
        "print CER, WER and mean CTC loss as one JSON object.",
        epilog="Example: majel eval run test.h5 --lm lm.arpa --alpha 0.8 --beta 1",
    )
    parser.add_argument("run_folder", metavar="RUN", help="folder of 'majel train'")
    parser.add_argument("corpus", metavar="CORPUS.h5", help="corpus of 'majel prepare'")
    parser.add_argument("--place", metavar="PLACE", default="cpu", help=PLACE_HELP)
    parser.add_argument(
        "--json", action="store_true", help="print the object on one line (for programs)"
    )
    language.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate and print."""
    import numpy as np

    from majelpy.cli import line
    from majelpy.comm.world import RankFailed, World
    from majelpy.errors import MajelError
    from majelpy.native import set_threads
    from majelpy.speech.corpus import Corpus
    from majelpy.train.data import Utterances
    from majelpy.train.evaluate import evaluate
    from majelpy.train.launch import default_threads
    from majelpy.train.ledger import number
    from majelpy.train.places import choose, take_pool
    from majelpy.train.setup import check_features
    from majelpy.train.trained import load_trained

    world = World.start()
    world.install_excepthook()
    error: Exception | None = None
    try:
        set_threads(default_threads(world.local_size))
        place = choose(options.place, world.local_rank)
        trained = load_trained(options.run_folder, quiet=world.rank != 0)
        decoder = language.decoder_of(options, trained.alphabet)
        corpus = Corpus.open(options.corpus)
        check_features(corpus, trained.rate, trained.features, options.run_folder)
        data = Utterances(
            corpus,
            np.arange(len(corpus)),
            trained.alphabet,
            "drop",
            trained.mean,
            trained.scale,
            cache_bytes=0,
        )
    except (MajelError, OSError) as found:
        error = found
    # All ranks learn whether all are ready; the lowest that is not says why.
    try:
        world.agree(error)
    except RankFailed:
        return 2
    try:
        take_pool(place, world)
        parameters = trained.parameters.to_device(place)
        result = evaluate(trained.model, parameters, data, trained.alphabet, world, decoder)
    except (MajelError, OSError) as found:
        if world.size == 1:
            raise
        world.abort(line("eval", found).removeprefix("majel "), 2)
    if world.rank == 0:
        data.warn_outside()
        shown: dict[str, Any] = {
            "cer": round(result.errors.cer, 6),
            "wer": round(result.errors.wer, 6),
            "loss": number(result.loss),
            "utterances": result.utterances,
        }
        if decoder is not None:
            shown |= language.settings_of(decoder, options.lm)
        if options.nbest is not None:
            shown["lists"] = [
                {"name": name, "said": said, "nbest": [language.shown(h) for h in hypotheses]}
                for name, said, hypotheses in zip(data.names, data.texts, result.lists, strict=True)
            ]
        print(json.dumps(shown, indent=None if options.json else 1))
    return 0
