"""Language models of files, and the door to the library kenlm, which reads KenLM binaries.

Policy. A binary has no list of n-grams, so the search asks the library for one probability after
the other: scores are the library's float32. The words are taken from the end of the file, where
build_binary leaves them, and only if the library knows each of them.
"""

from __future__ import annotations

import mmap
import struct
import threading
from pathlib import Path
from typing import Any

from majelpy import arguments
from majelpy.decoding.ngram import END, START, UNKNOWN, NGram, read_arpa
from majelpy.errors import LanguageModelError
from majelpy.files import open_plain, read_plain
from majelpy.ops.beam import Answer, Foreign
from majelpy.wording import install

_MAGIC = b"mmap lm http://kheafield.com/code"

_PARAMETERS = struct.Struct("=B3xfI?3xIQ")
"""Order, space multiplier, kind, whether there are words, version, and the number of 1-grams."""

_PARAMETERS_AT = 88
"""Their place: after the magic bytes and the numbers that the library checks (format version 5)."""


def read_model(path: str | Path, words: str | Path | None = None) -> NGram:
    """Return the model of an ARPA file or of a KenLM binary.

    Parameters
    ----------
    path : str or Path
    words : str or Path, optional
        For a binary: a text of the words to look for, in place of those in the file; what the
        model lacks is left out.

    Raises
    ------
    LanguageModelError
        If the file is neither or is damaged, the words of a binary are not known, or the package
        kenlm is not installed.
    OSError
        If a file cannot be opened.
    """
    path = arguments.path(path, "language model")
    with open_plain(path) as file:
        binary = file.read(len(_MAGIC)) == _MAGIC
    if binary:
        return read_with_kenlm(path, words)
    if words is not None:
        raise LanguageModelError(
            f"{path}: an ARPA file has its words; only a KenLM binary may lack them"
        )
    return read_arpa(path)


def read_with_kenlm(path: str | Path, words: str | Path | None = None) -> NGram:
    """Return the model of a file that the library kenlm reads; see `read_model`."""
    library = _library(path)
    quiet = library.Config()
    quiet.show_progress, quiet.arpa_complain = False, library.ARPALoadComplain.NONE
    try:
        model = library.Model(str(path), quiet)
    except OSError as error:
        raise LanguageModelError(f"{path}: {error}") from None
    if END not in model:
        raise LanguageModelError(f"{path}: has no {END}; needs it among the 1-grams")
    found = _own_words(path, model) if words is None else _listed(words, path, model)
    tokens = (UNKNOWN, END, *(word for word in found if word not in (UNKNOWN, END, START)))
    return NGram(model.order, tokens, Foreign(lambda: _answer(path, library, model, tokens), 0, 1))


def _library(path: str | Path) -> Any:
    try:
        import kenlm
    except ImportError:
        raise LanguageModelError(
            f"{path}: a KenLM binary, which needs the package kenlm ({install('kenlm')}); or give "
            "the ARPA text that build_binary made it from, or estimate one with 'majel lm'"
        ) from None
    return kenlm


def _answer(path: str | Path, library: Any, model: Any, tokens: tuple[str, ...]) -> Answer:
    """Return what answers one search; it numbers contexts and remembers answers."""
    start = library.State()
    (model.BeginSentenceWrite if START in model else model.NullContextWrite)(start)
    contexts, numbers = [start], {start: 0}
    known: dict[tuple[int, int], tuple[float, int]] = {}
    lock = threading.Lock()

    def answer(context: int, token: int) -> tuple[float, int]:
        with lock:
            if (context, token) not in known:
                after = library.State()
                log10_prob = model.BaseScore(contexts[context], tokens[token], after)
                if not abs(log10_prob) <= 1e9:
                    raise LanguageModelError(
                        f"{path}: log10 p({tokens[token]!r}) is {log10_prob}; needs a finite number"
                    )
                number = numbers.setdefault(after, len(contexts))
                if number == len(contexts):
                    contexts.append(after)
                known[context, token] = log10_prob, number
            return known[context, token]

    return answer


def _own_words(path: str | Path, model: Any) -> list[str]:
    """Return the words at the end of a binary, each with a zero after it, <unk> before all."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        *_, present, _, count = _PARAMETERS.unpack_from(data, _PARAMETERS_AT)
        if not present:
            raise LanguageModelError(
                f"{path}: a KenLM binary without its words (build_binary -v); give them with "
                "--words FILE"
            )
        first, raw, mark = len(data), [b""], UNKNOWN.encode() + b"\0"
        # Once more where a word has only ended like <unk>.
        while len(raw) <= count and (first := data.rfind(mark, 0, first)) > 0:
            raw = data[first:].split(b"\0")
    try:
        words = [word.decode() for word in raw]
    except UnicodeDecodeError as error:
        raise LanguageModelError(f"{path}: words of the file are no UTF-8: {error}") from None
    # An ARPA text without <unk> counts one less.
    strange = sum(word not in model for word in words[1:-1])
    if len(words) - 1 not in (count, count + 1) or words[-1] or strange:
        raise LanguageModelError(
            f"{path}: {len(words) - 1} words at its end, {strange} of them not in the model; "
            f"needs {count}; give them with --words FILE"
        )
    return words[:-1]


def _listed(words: str | Path, path: str | Path, model: Any) -> list[str]:
    """Return the words of a text that the model knows, each once."""
    try:
        text = read_plain(words).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LanguageModelError(f"{words}: no UTF-8: {error}") from None
    listed = dict.fromkeys(text.split())
    found = [word for word in listed if word in model]
    if not found:
        raise LanguageModelError(f"{words}: not one of its {len(listed)} words is in {path}")
    return found
