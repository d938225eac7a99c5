"""Models of another library: the search asks, and KenLM binaries say what their ARPA text says.

kenlm_binaries holds language.ARPA as KenLM's build_binary wrote it (of the sources of kenlm
0.3.0): `build_binary probing` and `build_binary trie`.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import needs
import numpy as np
import pytest
from language import ARPA, plain, random_log_probs, write
from training import Ground, Inside

from majelpy import native
from majelpy.decoding.beam import Decoder, Hypothesis, Search
from majelpy.decoding.kenlm import read_model, read_with_kenlm
from majelpy.decoding.ngram import NGram, read_arpa
from majelpy.errors import LanguageModelError
from majelpy.ops.beam import Foreign, Trie
from majelpy.speech.text import Alphabet

pytest_plugins = ["training"]

FILES = Path(__file__).parent / "kenlm_binaries"
BINARIES = [FILES / "probing.bin", FILES / "trie.bin"]
WORDS_PRESENT = 100
"""Byte of a binary that says whether the words follow."""
WORDS = b"<unk>\0<s>\0</s>\0a\0b\0ab\0"
"""How a binary of probing tables ends."""

BIGRAMS = re.sub(
    r"(?m)^(\S+\t\S+ \S+)\t\S+$", r"\1", ARPA.replace("ngram 3=3\n", "").split("\\3-grams:")[0]
)
BIGRAMS += "\\end\\\n"
"""The 1-grams and 2-grams of that model."""


@pytest.fixture
def kenlm() -> None:
    needs.module("kenlm")


def asking(model: NGram) -> NGram:
    """The same model as a foreign one that walks over the arrays in float32."""
    trie = model.scores
    assert isinstance(trie, Trie)

    def answer(context: int, token: int) -> tuple[float, int]:
        # Context 0 of the search is the start; the empty one takes its number.
        state = {0: trie.start, trie.start: 0}.get(context, context)
        total = np.float32(0)
        while True:
            for e in range(int(trie.first[state]), int(trie.first[state + 1])):
                if trie.token[e] == token:
                    after = int(trie.after[e])
                    total += trie.log10_prob[e]
                    return float(total), {0: trie.start, trie.start: 0}.get(after, after)
            total += trie.backoff[state]
            state = int(trie.suffix[state])

    foreign = Foreign(lambda: answer, trie.unknown, trie.end)
    return NGram(model.order, model.tokens, foreign)


def found(model: NGram, characters: bool = False) -> list[list[Hypothesis]]:
    search = Search(beam=40, best=10, share=1.0, unknown=-2.0, characters=characters)
    log_probs = random_log_probs(150, 5, 4)
    return Decoder(Alphabet(" abc"), model, search)(log_probs, [0, 40, 41, 41, 100, 150])


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("characters", [False, True], ids=["words", "characters"])
def test_a_model_that_is_asked_gives_the_bits_of_the_arrays(
    tmp_path: Path, characters: bool, threads: int
) -> None:
    model = read_arpa(write(tmp_path))
    before = native.threads()
    native.set_threads(threads)
    try:
        assert found(asking(model), characters) == found(model, characters)
    finally:
        native.set_threads(before)


def test_what_a_model_raises_comes_through(tmp_path: Path) -> None:
    model = read_arpa(write(tmp_path))
    asked = 0

    def answer(context: int, token: int) -> tuple[float, int]:
        nonlocal asked
        asked += 1
        raise LanguageModelError("no answer")

    foreign = Foreign(lambda: answer, model.scores.unknown, model.scores.end)
    with pytest.raises(LanguageModelError, match="no answer"):
        found(NGram(model.order, model.tokens, foreign))
    assert asked == 1


def alike(a: list[list[Hypothesis]], b: list[list[Hypothesis]]) -> None:
    """Equal texts and words, and scores that differ by the order of their additions at most.

    Of 3 numbers below 4 that is an ulp or two, 2^-21, for each of less than 60 tokens, times the
    weight log(10) / 2, and half an ulp of the score, 2^-18, for each addition that this changes.
    """
    for ours, theirs in zip(a, b, strict=True):
        assert [(h.text, h.words) for h in ours] == [(h.text, h.words) for h in theirs]
        for h, other in zip(ours, theirs, strict=True):
            assert abs(float(h.score) - float(other.score)) < 60 * (2.0**-20 + 2.0**-17)


@pytest.mark.usefixtures("kenlm")
@pytest.mark.parametrize("characters", [False, True], ids=["words", "characters"])
@pytest.mark.parametrize("path", BINARIES, ids=lambda path: path.stem)
def test_a_binary_says_what_its_text_says(tmp_path: Path, path: Path, characters: bool) -> None:
    text = write(tmp_path)
    model, plainly = read_model(path), read_model(text)
    assert isinstance(plainly.scores, Trie) and isinstance(model.scores, Foreign)
    assert model.order == 3
    assert set(model.tokens) == set(plainly.tokens) - {"<s>"}
    words = tmp_path / "words"
    words.write_text("a b ab", "utf-8")
    same = found(model, characters)
    assert found(read_with_kenlm(text, words), characters) == same
    alike(found(plainly, characters), same)


@pytest.mark.usefixtures("kenlm")
def test_bigrams_have_the_same_bits_in_the_library_and_here(tmp_path: Path) -> None:
    text, words = write(tmp_path, BIGRAMS), tmp_path / "words"
    assert max(len(gram) for gram in plain(BIGRAMS)) == 2
    words.write_text("a b ab", "utf-8")
    assert found(read_with_kenlm(text, words)) == found(read_arpa(text))


def without_words(path: Path) -> bytes:
    """What `build_binary -v` writes."""
    data = bytearray(path.read_bytes().removesuffix(WORDS))
    assert data[WORDS_PRESENT] == 1
    data[WORDS_PRESENT] = 0
    return bytes(data)


@pytest.mark.usefixtures("kenlm")
def test_words_can_be_given(tmp_path: Path) -> None:
    bare, words = tmp_path / "bare.bin", tmp_path / "words"
    bare.write_bytes(without_words(BINARIES[0]))
    with pytest.raises(
        LanguageModelError, match=r"bare\.bin: .* without its words .* --words FILE"
    ):
        read_model(bare)
    words.write_text("ab strange\nb a <s> a </s> <unk>\n", "utf-8")
    model = read_model(bare, words)
    assert model.tokens == ("<unk>", "</s>", "ab", "b", "a")
    assert found(model) == found(read_model(BINARIES[0]))
    words.write_text("A B\n", "utf-8")
    with pytest.raises(
        LanguageModelError, match=r"words: not one of its 2 words is in .*bare\.bin"
    ):
        read_model(bare, words)
    words.write_bytes(b"a\xff")
    with pytest.raises(LanguageModelError, match="words: no UTF-8"):
        read_model(bare, words)


@pytest.mark.usefixtures("kenlm")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (WORDS, WORDS[:-3], "5 words at its end, .* needs 6; give them with --words"),
        (WORDS, WORDS[:-1], "5 words at its end"),
        (WORDS, WORDS + b"c\0c\0", "8 words at its end, 2 of them not"),
        (b"\0ab\0", b"\0ba\0", "6 words at its end, 1 of them not in the model"),
        (b"\0ab\0", b"\0\xff\xff\0", "no UTF-8"),
        (b"version 5", b"version 4", "Binary file has version 4"),
        (b"version 5", b"Version 5", "bad.bin: "),
    ],
)
def test_a_damaged_binary_is_told(tmp_path: Path, old: bytes, new: bytes, message: str) -> None:
    path = tmp_path / "bad.bin"
    data = BINARIES[0].read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    with pytest.raises(LanguageModelError, match=message) as error:
        read_model(path)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("kenlm")
def test_eval_reads_a_binary(ground: Ground, inside: Inside, tmp_path: Path) -> None:
    run, text = ground.undisturbed.folder, write(tmp_path)
    words = ("eval", run, ground.corpus, "--json", "--alpha", "1", "--nbest", "2", "--lm")
    binary, plainly = inside(*words, BINARIES[0]), inside(*words, text)
    assert (binary.code, binary.err) == (0, "")
    a, b = json.loads(binary.out), json.loads(plainly.out)
    assert (a["cer"], a["wer"], a["lm"]) == (b["cer"], b["wer"], str(BINARIES[0]))
    for ours, theirs in zip(a["lists"], b["lists"], strict=True):
        assert [h["text"] for h in ours["nbest"]] == [h["text"] for h in theirs["nbest"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--lm", BINARIES[0]), "probing.bin: a KenLM binary, which needs the package kenlm (pip "),
        (("--lm", "lm.arpa", "--words", "w"), "lm.arpa: an ARPA file has its words"),
        (("--words", "w"), "--words needs --lm FILE"),
        (("--beam", "4", "--words", "w"), "--words needs --lm FILE"),
    ],
)
def test_without_the_library_or_a_model_there_is_one_line(
    ground: Ground,
    inside: Inside,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    write(tmp_path)
    given = [tmp_path / word if word == "lm.arpa" else word for word in words]
    said = inside("eval", ground.undisturbed.folder, ground.corpus, *given)
    assert (said.code, said.out) == (2, "")
    assert message in said.err and said.err.count("\n") == 1
