"""The options of commands that decode with a beam and a language model."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from majelpy.decoding.beam import Decoder, Hypothesis
    from majelpy.decoding.ngram import NGram
    from majelpy.nn.model import Model
    from majelpy.speech.text import Alphabet


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a search; without any of them decoding stays greedy."""
    weights = add_search(parser)
    weights.add_argument(
        "--alpha", type=float, metavar="A", help="weight of the model (default 0.5)"
    )
    weights.add_argument("--beta", type=float, metavar="B", help="bonus of a word (default 1)")
    weights.add_argument("--nbest", type=int, metavar="K", help="list the K best texts")


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
    beam.add_argument("--beam", type=int, metavar="N", help="prefixes kept (default 100)")
    beam.add_argument(
        "--unknown",
        type=float,
        metavar="U",
        help="score of a word that the model lacks (default -10)",
    )
    beam.add_argument(
        "--share",
        type=float,
        metavar="P",
        help="a frame offers its likeliest labels up to this share of the probability, 40 at most "
        "(default 0.99)",
    )
    beam.add_argument(
        "--characters",
        action=argparse.BooleanOptionalAction,
        help="the model is one of characters, not of words (default: as its file says, or as its "
        "tokens look)",
    )
    return beam


def decoder_of(
    options: argparse.Namespace, alphabet: Alphabet, *, quiet: bool = False
) -> Decoder | None:
    """Return the decoder that was asked for, or None where none was; say what was found out.

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
        if given or options.characters is not None or options.words:
            asked = next(iter(given), "words" if options.words else "characters")
            raise RecipeError(f"--{asked} needs --lm FILE or --beam N")
        return None
    search = Search(**{names[name]: value for name, value in given.items()})
    search.check()
    if options.lm is None:
        if options.words:
            raise RecipeError("--words needs --lm FILE")
        return Decoder(alphabet, None, replace(search, characters=bool(options.characters)))
    model = read_model(options.lm, options.words)
    characters = of_characters(model, options.lm, options.characters)
    if characters and options.characters is None and not quiet:
        print(
            f"{options.lm}: a model of characters, so the search is by characters", file=sys.stderr
        )
    return Decoder(alphabet, model, replace(search, characters=characters))


def of_characters(model: NGram, path: str, asked: bool | None) -> bool:
    """Return whether the tokens of a model are characters: as it says, as asked, as they look.

    Raises
    ------
    LanguageModelError
        If what is asked for is not what the model is.
    """
    from majelpy.errors import LanguageModelError

    found = model.kind or model.looks_like
    if asked is None:
        return found == "characters"
    # A model without a word of its own may well have words of one character each.
    if found == ("words" if asked else "characters") and (model.kind or asked):
        raise LanguageModelError(
            f"{path}: a model of {found}, by {'its first line' if model.kind else 'its tokens'}; "
            f"leave out --{'' if asked else 'no-'}characters"
        )
    return asked


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
