"""The options of commands that decode with a beam and a language model."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from majelpy.decoding.beam import Decoder, Hypothesis
    from majelpy.nn.model import Model
    from majelpy.speech.text import Alphabet


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a search; without any of them decoding stays greedy."""
    weights = add_search(parser)
    weights.add_argument("--alpha", type=float, metavar="A", help="weight of the model (0.5)")
    weights.add_argument("--beta", type=float, metavar="B", help="bonus of a word (1.0)")
    weights.add_argument("--nbest", type=int, metavar="K", help="list the K best texts (1)")


def add_search(parser: argparse.ArgumentParser) -> Any:
    """Add the options that do not weigh anything; return their group."""
    beam = parser.add_argument_group(
        "beam search", "score of a text: log p + ALPHA log p_lm + BETA words (characters)"
    )
    beam.add_argument(
        "--lm",
        metavar="FILE",
        help="ARPA file of 'majel lm' (gzipped or not), or a KenLM binary (needs kenlm)",
    )
    beam.add_argument(
        "--words",
        metavar="FILE",
        help="words to look for, of a KenLM binary that was built without them",
    )
    beam.add_argument("--beam", type=int, metavar="N", help="prefixes kept (100)")
    beam.add_argument(
        "--unknown", type=float, metavar="U", help="score of a word that the model lacks (-10)"
    )
    beam.add_argument(
        "--share",
        type=float,
        metavar="P",
        help="a frame offers its likeliest labels up to this share of the probability, 40 at most "
        "(0.99)",
    )
    beam.add_argument(
        "--characters", action="store_true", help="the model is one of characters, not of words"
    )
    return beam


def decoder_of(options: argparse.Namespace, alphabet: Alphabet) -> Decoder | None:
    """Return the decoder that was asked for, or None where none was.

    Raises
    ------
    MajelError
        If the model cannot be read or a setting is out of range.
    """
    from majelpy.decoding.beam import Decoder, Search
    from majelpy.decoding.kenlm import read_model
    from majelpy.errors import RecipeError

    names = {name: name for name in ("alpha", "beta", "unknown", "beam", "share")}
    names["nbest"] = "best"
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.lm is None and "beam" not in given:
        if given or options.characters or options.words:
            asked = next(iter(given), "characters" if options.characters else "words")
            raise RecipeError(f"--{asked} needs --lm FILE or --beam N")
        return None
    search = Search(
        characters=options.characters, **{names[name]: value for name, value in given.items()}
    )
    search.check()
    if options.lm is None:
        if options.words:
            raise RecipeError("--words needs --lm FILE")
        return Decoder(alphabet, None, search)
    return Decoder(alphabet, read_model(options.lm, options.words), search)


def settings_of(decoder: Decoder, lm: str | None) -> dict[str, Any]:
    """Return what a result should say of how it was found."""
    s = decoder.search
    shown = {"lm": lm, "alpha": s.alpha, "beta": s.beta, "unknown": s.unknown}
    shown |= {"beam": s.beam, "share": s.share}
    return shown | {"tokens": "characters" if s.characters else "words"}


def shown(hypothesis: Hypothesis, model: Model) -> dict[str, Any]:
    """Return a text with its score and its words, each with its first and last input frame."""
    from majelpy.runs.ledger import number

    stride = model.stride
    words = [[w.text, stride * w.first, stride * (w.last + 1) - 1] for w in hypothesis.words]
    return {"text": hypothesis.text, "score": number(hypothesis.score), "words": words}
