"""`majel tune`: the weights of a language model with the fewest errors."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from majelpy.cli import language
from majelpy.cli.code import add_run_code
from majelpy.cli.recognising import add_checkpoint, over_corpus
from majelpy.cli.train import PLACE_HELP

if TYPE_CHECKING:
    from majelpy.array import Array
    from majelpy.comm.world import World
    from majelpy.data.utterances import Utterances
    from majelpy.decoding.beam import Decoder
    from majelpy.recognition.tune import Point
    from majelpy.runs.trained import Trained


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "tune",
        help="choose the weights of a language model",
        description="Decode a corpus with every pair of ALPHA and BETA and print the pairs, "
        "that with the fewest wrong words (for a model of characters: wrong characters) first.",
        epilog="Example: majel tune run dev.h5 --lm lm.arpa; then, with the first of its pairs: "
        "majel eval run test.h5 --lm lm.arpa --alpha 0.8 --beta 1",
    )
    parser.add_argument("run_folder", metavar="RUN", help="folder of 'majel train'")
    parser.add_argument("corpus", metavar="DEV.h5", help="corpus that is not used to test")
    add_checkpoint(parser)
    add_run_code(parser)
    parser.add_argument("--place", metavar="PLACE", default="cpu", help=PLACE_HELP)
    parser.add_argument(
        "--alphas",
        metavar="LIST",
        default="0,0.25,0.5,0.75,1,1.5,2",
        help="values of ALPHA to try (default %(default)s)",
    )
    parser.add_argument(
        "--betas",
        metavar="LIST",
        default="0,0.5,1,2,3",
        help="values of BETA to try (default %(default)s)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of a table"
    )
    language.add_search(parser)
    parser.set_defaults(alpha=None, beta=None, nbest=None)


def run(options: argparse.Namespace) -> int:
    """Decode with every pair and print."""
    from majelpy.errors import RecipeError
    from majelpy.recognition.tune import tune

    if options.lm is None:
        raise RecipeError("tune: no language model; needs --lm FILE")
    alphas, betas = numbers("alphas", options.alphas), numbers("betas", options.betas)

    def work(
        trained: Trained, parameters: Array, data: Utterances, decoder: Decoder | None, world: World
    ) -> list[Point]:
        assert decoder is not None  # as there is a model
        return tune(trained.model, parameters, data, decoder, alphas, betas, world)

    def show(points: list[Point], data: Utterances, decoder: Decoder | None) -> None:
        rows = [
            {"alpha": p.alpha, "beta": p.beta, "cer": p.errors.cer, "wer": p.errors.wer}
            for p in points
        ]
        if options.json:
            found = {"best": rows[0], "points": rows, "utterances": len(data)}
            print(json.dumps(found | {"outside": data.outside.content()}))
            return
        print(f"{'alpha':>8} {'beta':>8} {'CER':>8} {'WER':>8}")
        for row in rows:
            print(f"{row['alpha']:8g} {row['beta']:8g} {row['cer']:8.4f} {row['wer']:8.4f}")
        print(f"best: --alpha {rows[0]['alpha']:g} --beta {rows[0]['beta']:g}")

    return over_corpus("tune", options, work, show)


def numbers(name: str, text: str) -> list[float]:
    """Return the numbers of a list with commas.

    Raises
    ------
    RecipeError
        If one is no number or out of range.
    """
    from majelpy.errors import RecipeError

    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        raise RecipeError(f"--{name} {text}: needs numbers between commas") from None
    if not all(abs(value) <= 1e6 for value in found):
        raise RecipeError(f"--{name} {text}: needs numbers within 1e6 of 0")
    return found
