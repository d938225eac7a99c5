"""Error rates."""

from __future__ import annotations

import math

from majelpy.decoding.metrics import Errors, errors


def test_counts() -> None:
    assert errors("three one four", "three on for") == Errors(2, 14, 2, 3)
    assert errors("a b", "a b") == Errors(0, 3, 0, 2)
    assert errors("abc", "") == Errors(3, 3, 1, 1)
    assert errors("", "ab c") == Errors(4, 0, 2, 0)
    assert errors("你好吗", "你吗") == Errors(1, 3, 1, 1)
    # A word is one symbol: no credit for letters in common.
    assert errors("one two", "two one").wrong_words == 2


def test_rates() -> None:
    both = errors("three one four", "three on for") + errors("six", "six")
    assert both == Errors(2, 17, 2, 4)
    assert both.cer == 2 / 17
    assert both.wer == 0.5
    assert sum([both, both], Errors()) == Errors(4, 34, 4, 8)


def test_empty_references_give_finite_rates() -> None:
    assert Errors().cer == 0.0
    assert Errors().wer == 0.0
    inserted = errors("", "ab")
    assert inserted.cer == 2.0
    assert inserted.wer == 1.0
    assert math.isfinite(inserted.cer)
