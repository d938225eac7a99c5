"""What commands share that run a trained model over a corpus, on any number of ranks."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from majelpy.array import Array
    from majelpy.comm.world import World
    from majelpy.data.utterances import Utterances
    from majelpy.decoding.beam import Decoder
    from majelpy.runs.trained import Trained

Result = TypeVar("Result")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the option that says which checkpoint of a run to take."""
    parser.add_argument(
        "--checkpoint",
        metavar="WHICH",
        default="",
        help="last, best, average or a step (default: what the recipe's schedule.result says, and "
        "that is last unless set)",
    )


def over_corpus(
    command: str,
    options: argparse.Namespace,
    work: Callable[[Trained, Array, Utterances, Decoder | None, World], Result],
    show: Callable[[Result, Utterances, Decoder | None], None],
) -> int:
    """Open run, corpus and decoder, do the work on all ranks, and show its result on the first.

    ``options`` has ``run_folder``, ``corpus``, ``checkpoint``, ``place``, ``run_code`` and those
    of majelpy.cli.language.
    """
    import numpy as np

    from majelpy.cli.language import decoder_of
    from majelpy.cli.together import at_work, ready
    from majelpy.comm.world import World
    from majelpy.data.utterances import Utterances
    from majelpy.native import set_threads
    from majelpy.recipes.launch import default_threads
    from majelpy.runs.trained import load_trained
    from majelpy.speech.joined import open_corpora
    from majelpy.train.places import choose, take_pool
    from majelpy.train.setup import check_features

    world = World.start()
    world.install_excepthook()
    with ready(world):
        set_threads(default_threads(world.local_size))
        place = choose(options.place, world.local_rank)
        trained = load_trained(
            options.run_folder,
            options.checkpoint,
            run_code=options.run_code,
            quiet=world.rank != 0,
        )
        decoder = decoder_of(options, trained.alphabet, quiet=world.rank != 0)
        corpus = open_corpora(options.corpus)
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
    with at_work(world, command):
        take_pool(place, world)
        result = work(trained, trained.parameters.to_device(place), data, decoder, world)
    if world.rank == 0:
        data.warn_outside("count as errors")
        show(result, data, decoder)
    return 0
