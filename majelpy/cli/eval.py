"""`majel eval`: error rates and loss of a run on a corpus."""

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
    from majelpy.nn.model import Model
    from majelpy.runs.trained import Trained


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "eval",
        help="error rates and loss of a run on a corpus",
        description="Recognise every utterance of a corpus (best path, or beam search) and "
        "print CER, WER and mean CTC loss as one JSON object. Characters that the run's alphabet "
        "lacks count as errors; 'outside' lists them, and says in how many utterances they are.",
        epilog="Example: majel eval run test.h5 --lm lm.arpa --alpha 0.8 --beta 1",
    )
    parser.add_argument("run_folder", metavar="RUN", help="folder of 'majel train'")
    parser.add_argument("corpus", metavar="CORPUS.h5", help="corpus of 'majel prepare'")
    add_checkpoint(parser)
    add_run_code(parser)
    parser.add_argument("--place", metavar="PLACE", default="cpu", help=PLACE_HELP)
    parser.add_argument(
        "--json", action="store_true", help="print the object on one line (for programs)"
    )
    language.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Evaluate and print."""
    from majelpy.recognition.evaluate import Evaluation, evaluate
    from majelpy.runs.ledger import number

    def work(
        trained: Trained, parameters: Array, data: Utterances, decoder: Decoder | None, world: World
    ) -> tuple[Evaluation, Model]:
        model = trained.model
        return evaluate(model, parameters, data, trained.alphabet, world, decoder), model

    def show(found: tuple[Evaluation, Model], data: Utterances, decoder: Decoder | None) -> None:
        result, model = found
        shown: dict[str, Any] = {
            "cer": round(result.errors.cer, 6),
            "wer": round(result.errors.wer, 6),
            "loss": number(result.loss),
            "utterances": result.utterances,
            "outside": data.outside.content(),
        }
        if decoder is not None:
            shown |= language.settings_of(decoder, options.lm)
        if options.nbest is not None:
            shown["lists"] = [
                {
                    "name": name,
                    "said": said,
                    "nbest": [language.shown(h, model) for h in hypotheses],
                }
                for name, said, hypotheses in zip(
                    data.names, data.transcripts, result.lists, strict=True
                )
            ]
        indent = None if options.json else 1
        print(json.dumps(shown, indent=indent, ensure_ascii=options.json))

    return over_corpus("eval", options, work, show)
