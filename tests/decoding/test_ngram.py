"""Language models: what a file says, and what is said of a bad one."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import numpy as np
import pytest
from language import ARPA, log10_prob, plain, write

from majelpy.decoding.ngram import MISSING, read_arpa
from majelpy.errors import LanguageModelError
from majelpy.ops.beam import Trie


def said(trie: Trie, state: int, token: int) -> tuple[float, int]:
    """Return log10 p and the next state, by a walk over the arrays."""
    total = 0.0
    while True:
        for e in range(int(trie.first[state]), int(trie.first[state + 1])):
            if trie.token[e] == token:
                return total + float(trie.log10_prob[e]), int(trie.after[e])
        total += float(trie.backoff[state])
        state = int(trie.suffix[state])


def test_the_arrays_say_what_the_file_says(tmp_path: Path) -> None:
    model, grams = read_arpa(write(tmp_path)), plain(ARPA)
    assert (model.order, set(model.tokens)) == (3, {"<s>", "</s>", "<unk>", "a", "b", "ab"})
    choose = random.Random(1)
    for _ in range(50):
        state, history = model.scores.start, ("<s>",)
        for _ in range(8):
            token = choose.choice(["a", "b", "ab", "<unk>"])
            found, state = said(model.scores, state, model.tokens.index(token))
            assert found == pytest.approx(log10_prob(grams, history[-2:], token), abs=1e-6)
            history = (*history, token)


def test_gzipped_is_the_same(tmp_path: Path) -> None:
    path = write(tmp_path)
    packed = tmp_path / "lm.arpa.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    a, b = read_arpa(path).scores, read_arpa(packed).scores
    assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    a = read_arpa(write(tmp_path)).scores
    (tmp_path / "lm.arpa").write_text(ARPA, "utf-8-sig")
    b = read_arpa(tmp_path / "lm.arpa").scores
    assert all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def test_a_line_of_many_megabytes_in_a_small_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lm.arpa"
    with gzip.open(path, "wb") as file:
        file.write(b"\\data\\\n")
        for _ in range(64):
            file.write(bytes(1 << 20))
    read = []
    readline = gzip.GzipFile.readline

    def counted(self: gzip.GzipFile, size: int | None = -1) -> bytes:
        read.append(readline(self, size))
        return read[-1]

    monkeypatch.setattr(gzip.GzipFile, "readline", counted)
    with pytest.raises(LanguageModelError, match=r"lm\.arpa:2: a line of more than 1 MiB"):
        read_arpa(path)
    assert sum(map(len, read)) < 2 << 20


def test_text_in_another_encoding_is_told(tmp_path: Path) -> None:
    (tmp_path / "lm.arpa").write_text(ARPA, "utf-16")
    with pytest.raises(LanguageModelError, match=r"lm\.arpa: damaged after line 0: 'utf-8' codec"):
        read_arpa(tmp_path / "lm.arpa")


def test_unknown_tokens_have_a_probability_where_the_file_says_none(tmp_path: Path) -> None:
    text = ARPA.replace("-1.5\t<unk>\n", "").replace("ngram 1=6", "ngram 1=5")
    model = read_arpa(write(tmp_path, text))
    assert said(model.scores, 0, model.scores.unknown)[0] == MISSING


BAD = {
    "no sections": ("hello\n", r"lm.arpa: ends after line 1; needs \\data\\"),
    "nothing": ("", r"lm.arpa: ends after line 0; needs \\data\\"),
    "no counts": ("\\data\\\n\\1-grams:\n", "lm.arpa:2: no counts"),
    "count out of turn": (ARPA.replace("ngram 2=5", "ngram 3=5"), "lm.arpa:4: .*'ngram 2=COUNT'"),
    "absurd count": (
        ARPA.replace("1=6", "1=" + "9" * 5000), "lm.arpa:3: found 'ngram 1=9*'; needs 'ngram 1=C"
    ),
    "count of no digits": (ARPA.replace("1=6", "1=\u0666"), "lm.arpa:3: .*needs 'ngram 1=COUNT'"),
    "no such order": (
        ARPA.replace("\\end\\", "\\4-grams:\n\\end\\"), r"after 3 3-grams; needs \\end"
    ),
    "a probability of 0": (ARPA.replace("-0.6\ta b", "-inf\ta b"), "'-inf' is not finite"),
    "beyond float32": (ARPA.replace("-0.6\ta b", "-1e400\ta b"), "'-1e400' is not finite"),
    "a back-off of NaN": (ARPA.replace("a b\t-0.15", "a b\tnan"), "lm.arpa:17: 'nan' is not fin"),
    "Python's number": (ARPA.replace("-0.6\ta b", "-1_0\ta b"), "lm.arpa:17: '-1_0' is no number"),
    "count too large": (ARPA.replace("1=6", "1=7"), r"lm.arpa:15: 6 1-grams; \\data\\ says 7"),
    "count too small": (ARPA.replace("2=5", "2=4"), r"lm.arpa:20: .*needs \\3-grams:"),
    "no number": (ARPA.replace("-0.6\ta b", "x\ta b"), "lm.arpa:17: 'x' is no number"),
    "not a number": (ARPA.replace("-0.6\ta b", "nan\ta b"), "lm.arpa:17: 'nan' is not finite"),
    "bad back-off": (ARPA.replace("a b\t-0.15", "a b\t?"), "lm.arpa:17: '\\?' is no number"),
    "above one": (ARPA.replace("-0.6\ta b", "0.6\ta b"), "lm.arpa:17: log10 probability 0.6"),
    "too few fields": (ARPA.replace("-0.9\ta a\n", "-0.9\ta\n"), "lm.arpa:20: 2 fields"),
    "too many fields": (ARPA.replace("-0.3\t<s> a b", "-0.3\t<s> a b\t-1"), "lm.arpa:23: 5 fields"),
    "stranger": (ARPA.replace("b </s>", "c </s>", 1), "lm.arpa:18: token 'c' is not among"),
    "token twice": (ARPA.replace("-0.9\tb\t", "-0.9\ta\t"), "lm.arpa:12: token 'a' stands twice"),
    "n-gram twice": (ARPA.replace("-0.9\ta a", "-0.9\ta b"), "lm.arpa:20: .*as in line 17"),
    "no context": (ARPA.replace("-0.1\tab a a", "-0.1\tab b a"), "lm.arpa:25: 'ab b' is no 2-gram"),
    "no end": (ARPA.replace("\\end\\", ""), r"lm.arpa: ends after line 27; needs \\end\\"),
    "no end of text": (ARPA.replace("</s>", "<e>"), "lm.arpa: has no </s>"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_with_its_line(tmp_path: Path, name: str) -> None:
    text, message = BAD[name]
    with pytest.raises(LanguageModelError, match=message) as found:
        read_arpa(write(tmp_path, text))
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("cut", [12, 60, -9])
def test_a_damaged_archive_is_told(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "lm.gz"
    path.write_bytes(gzip.compress(ARPA.encode())[:cut])
    with pytest.raises(LanguageModelError, match=r"lm\.gz: (damaged|ends) after line"):
        read_arpa(path)


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "lm.arpa"
    path.write_bytes(ARPA.encode().replace(b"ab a", b"\xff\xfe"))
    with pytest.raises(LanguageModelError, match=r"lm\.arpa: damaged after line \d+"):
        read_arpa(path)
