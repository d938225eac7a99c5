"""Normalising, alphabets, greedy decoding."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from majelpy.decoding.best_path import greedy
from majelpy.errors import TextError
from majelpy.speech.text import ENGLISH, Alphabet, normalise


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("  Hello,\t WORLD\n", "hello, world"),
        ("ﬁne　ＡＢＣ", "fine abc"),
        ("İ", "i̇"),
        ("你好　世界", "你好 世界"),
        ("e\u0301", "é"),
        (" \u00a0\t", ""),
    ],
)
def test_normalise(text: str, normal: str) -> None:
    assert normalise(text) == normal
    assert normalise(normal) == normal


def test_english_labels() -> None:
    alphabet = Alphabet.from_characters(ENGLISH)
    assert alphabet.size == 29
    assert alphabet.encode(" 'az") == [1, 2, 3, 28]
    assert alphabet.decode([1, 2, 3, 28]) == " 'az"


def test_every_label_round_trips_in_mandarin() -> None:
    texts = ["今天 天气", "天气好"]
    alphabet = Alphabet.from_texts(texts)
    assert alphabet.characters == "".join(sorted(set("今天 天气好")))
    assert alphabet.decode(range(1, alphabet.size)) == alphabet.characters
    assert [alphabet.decode(alphabet.encode(text)) for text in texts] == texts
    assert Alphabet.from_texts(reversed(texts)) == alphabet
    assert hash(Alphabet(alphabet.characters)) == hash(alphabet)
    assert Alphabet("ab") != Alphabet("ba")


def test_outside_counts_characters() -> None:
    assert Alphabet("ab").outside(["abc", "c?"]) == Counter({"c": 2, "?": 1})


def test_fit() -> None:
    alphabet = Alphabet(ENGLISH)
    assert alphabet.fit("it's") == "it's"
    assert alphabet.fit("well - yes, 3 ?", outside="drop") == "well yes"
    with pytest.raises(TextError, match=r"',' \(U\+002C\), '3' \(U\+0033\) of the transcript"):
        alphabet.fit("yes, 3")


def test_faults_are_named() -> None:
    with pytest.raises(TextError, match=r"'a' \(U\+0061\) stands more than once in 'aba'"):
        Alphabet("aba")
    with pytest.raises(TextError, match="no characters"):
        Alphabet.from_texts([])
    with pytest.raises(TextError, match=r"'c' \(U\+0063\) of the transcript 'ac' not in"):
        Alphabet("ab").encode("ac")
    for label in (0, 3, -1):
        with pytest.raises(TextError, match=rf"label {label} is outside 1\.\.2"):
            Alphabet("ab").decode([1, label])


@pytest.mark.parametrize(
    ("best", "labels"),
    [
        ([], []),
        ([0, 0], []),
        ([3], [3]),
        ([1, 1, 0, 1, 2, 2, 2], [1, 1, 2]),
        ([0, 2, 0, 0, 2, 1, 0], [2, 2, 1]),
    ],
)
def test_greedy(best: list[int], labels: list[int]) -> None:
    found = greedy(np.array(best, np.int32))
    assert found == labels
    assert all(type(label) is int for label in found)
