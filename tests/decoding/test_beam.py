"""Prefix beam search: against every path, and the same bits everywhere."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from language import ARPA, log10_text, plain, random_log_probs, texts_of_paths, write

from majelpy import native, ops
from majelpy.decoding.beam import Decoder, Search
from majelpy.decoding.best_path import greedy
from majelpy.decoding.ngram import read_arpa
from majelpy.errors import LanguageModelError, RangeError, ShapeError
from majelpy.speech.text import Alphabet

CHARACTERS = ARPA.replace("ab", "<space>")
"""The same model, of the characters a, b and space."""


def whole(**settings: object) -> Search:
    """A search that drops nothing."""
    return Search(**{"beam": 10**6, "most": 10**6, "share": 1.0, "best": 10**4, **settings})  # type: ignore[arg-type]


def scores(
    log_probs: np.ndarray, letters: str, search: Search, text: str | None
) -> dict[str, float]:
    """Return the score of every text by the definition."""
    grams = plain(text) if text else {}
    found = {}
    words = " " in letters
    for said, log_p in texts_of_paths(log_probs, letters, words).items():
        tokens = said.split()
        if search.characters:
            tokens = ["<space>" if c == " " else c for c in said]
        language = log10_text(grams, tokens, 3) * math.log(10) if text else 0.0
        found[said] = log_p + search.alpha * language + search.beta * len(tokens)
        if text and not search.characters:
            found[said] += search.unknown * sum((token,) not in grams for token in tokens)
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("letters", "characters", "text"),
    [
        (" ab", False, ARPA),
        (" ab", False, None),
        ("ab ", True, CHARACTERS),
        ("ab", True, CHARACTERS),
        ("ba", False, ARPA),
    ],
    ids=["words", "no model", "characters with space", "characters", "one word"],
)
def test_a_wide_beam_finds_every_text_with_its_score(
    tmp_path: Path, letters: str, characters: bool, text: str | None, seed: int
) -> None:
    search = whole(alpha=0.8, beta=0.7, unknown=-3.0, characters=characters)
    model = read_arpa(write(tmp_path, text)) if text else None
    log_probs = random_log_probs(6, len(letters) + 1, seed)
    (found,) = Decoder(Alphabet(letters), model, search)(log_probs, [0, 6])
    expected = scores(log_probs, letters, search, text)
    assert {h.text for h in found} == set(expected)
    # Some hundred roundings of numbers below 32, each of half an ulp, 2^-20.
    for h in found:
        assert abs(float(h.score) - expected[h.text]) < 100 * 2.0**-20
    order = [(-h.score, Alphabet(letters).encode(h.text)) for h in found]
    assert order == sorted(order) and len(order) == len(expected)


def test_a_narrow_beam_keeps_the_order_and_stays_below(tmp_path: Path) -> None:
    model = read_arpa(write(tmp_path))
    log_probs = random_log_probs(7, 4, 5)
    exact = scores(log_probs, " ab", Search(alpha=0.5, beta=1.0), ARPA)
    (found,) = Decoder(Alphabet(" ab"), model, Search(beam=6, best=4))(log_probs, [0, 7])
    assert len(found) == 4
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)
    assert all(float(h.score) <= exact[h.text] + 1e-4 for h in found)


def test_one_prefix_and_certain_frames_give_the_best_path() -> None:
    path = [0, 2, 2, 0, 2, 3, 1, 3, 3, 0]
    log_probs = np.full((len(path), 4), -12, dtype=np.float32)
    log_probs[range(len(path)), path] = 0
    (found,) = Decoder(Alphabet(" ab"), None, Search(beam=1))(log_probs, [0, len(path)])
    assert found[0].text == Alphabet(" ab").decode(greedy(np.array(path))) == "aab b"
    assert [(w.text, w.first, w.last) for w in found[0].words] == [("aab", 1, 5), ("b", 7, 8)]


def test_equal_scores_go_by_the_labels() -> None:
    log_probs = np.full((3, 4), np.float32(-1.3862944), dtype=np.float32)
    (found,) = Decoder(Alphabet("abc"), None, whole(beta=0.0))(log_probs, [0, 3])
    assert len({h.score for h in found}) < len(found) / 2
    for before, after in itertools.pairwise(found):
        assert (-before.score, before.text) < (-after.score, after.text)
    (first,) = Decoder(Alphabet("abc"), None, whole(beta=0.0, beam=3))(log_probs[:1], [0, 1])
    assert [h.text for h in first] == ["", "a", "b"]


def test_a_share_of_the_probability_leaves_labels_out() -> None:
    log_probs = ops.log_softmax(np.array([[0, 5, 4, 3, 2]], dtype=np.float32)).numpy()
    shares = np.cumsum(np.exp(np.sort(log_probs[0].astype(np.float64))[::-1]))
    for count in range(1, 5):
        for share in (shares[count - 1] - 1e-3, shares[count - 1] + 1e-3):
            search = whole(share=min(float(share), 1.0))
            (found,) = Decoder(Alphabet("abcd"), None, search)(log_probs, [0, 1])
            assert len(found) == count + (share > shares[count - 1])
    (found,) = Decoder(Alphabet("abcd"), None, whole(most=3))(log_probs, [0, 1])
    assert [h.text for h in found] == ["a", "b", "c"]


def test_no_frames_give_the_empty_text(tmp_path: Path) -> None:
    model = read_arpa(write(tmp_path))
    none = np.zeros((0, 4), dtype=np.float32)
    (found,) = Decoder(Alphabet(" ab"), model, Search())(none, [0, 0])
    assert [(h.text, h.words) for h in found] == [("", ())]
    assert float(found[0].score) == pytest.approx(0.5 * (-0.5 - 1.2) * math.log(10), abs=1e-6)


def test_impossible_labels_are_never_said() -> None:
    log_probs = random_log_probs(20, 4, 3)
    log_probs[:, 2] = -np.inf
    (found,) = Decoder(Alphabet(" ab"), None, whole(beam=50))(log_probs, [0, 20])
    assert found and not any("a" in h.text for h in found)


def test_a_frame_without_any_probability_still_gives_a_text() -> None:
    log_probs = random_log_probs(40, 3, 3)
    log_probs[5:30] = -np.inf
    (found,) = Decoder(Alphabet("ab"), None, Search(beam=3))(log_probs, [0, 40])
    assert len(found) == 1


def long_digest(folder: Path) -> str:
    """Digest of n-best lists of several long utterances."""
    model = read_arpa(write(folder))
    log_probs = random_log_probs(300, 6, 8)
    decode = Decoder(Alphabet(" abcd"), model, Search(beam=40, best=10))
    found = decode(log_probs, [0, 120, 120, 121, 300])
    words = hashlib.sha256()
    for texts in found:
        for h in texts:
            words.update(repr((h.text, h.score.tobytes(), h.words)).encode())
    return words.hexdigest()


GOLDEN = "8978ee25435ec41916c6824c47bfe058ab7f2a618b963cf6801bc882bc73c99f"
"""Digest of those lists; it changes only with the arithmetic."""


@pytest.mark.parametrize("isa", native.available_isas())
def test_every_instruction_set_gives_the_same_bits(tmp_path: Path, isa: str) -> None:
    program = (
        "import sys; from pathlib import Path; from test_beam import long_digest; "
        "from majelpy import native; native.set_threads(3); print(long_digest(Path(sys.argv[1])))"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        env={**os.environ, "MAJELPY_ISA": isa, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == GOLDEN


def test_an_utterance_is_the_same_in_company(tmp_path: Path) -> None:
    decode = Decoder(Alphabet(" ab"), read_arpa(write(tmp_path)), Search(best=5))
    log_probs = random_log_probs(90, 4, 2)
    together = decode(log_probs, [0, 40, 90])
    assert together == [*decode(log_probs[:40], [0, 40]), *decode(log_probs[40:], [0, 50])]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beam": 0}, "beam is 0; needs at least 1"),
        ({"best": 0}, "best is 0"),
        ({"share": 0.0}, r"share is 0\.0"),
        ({"share": 1.5}, r"share is 1\.5"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"unknown": math.nan}, "unknown is nan"),
        ({"beta": math.inf}, "beta is inf"),
    ],
)
def test_settings_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(RangeError, match=message):
        Decoder(Alphabet("ab"), None, Search(**settings))(random_log_probs(2, 3, 0), [0, 2])


def test_log_probs_are_checked() -> None:
    decode = Decoder(Alphabet("ab"), None, Search())
    with pytest.raises(RangeError, match="log_probs has NaN"):
        decode(np.full((2, 3), np.nan, dtype=np.float32), [0, 2])
    with pytest.raises(ShapeError, match="3 labels"):
        Decoder(Alphabet("ab"), None, Search(characters=True))(random_log_probs(2, 4, 0), [0, 2])


def test_a_model_of_another_alphabet_is_refused(tmp_path: Path) -> None:
    model = read_arpa(write(tmp_path))
    with pytest.raises(LanguageModelError, match="can be spelled with the alphabet ' AB'"):
        Decoder(Alphabet(" AB"), model, Search())
    with pytest.raises(LanguageModelError, match="is it a model of words"):
        Decoder(Alphabet(" XY"), model, Search(characters=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("labels", [[1], [1, 1], [2, 1, 2], [1, 2, 2]])
def test_the_alignment_is_that_of_the_best_of_all_paths(labels: list[int], seed: int) -> None:
    log_probs = random_log_probs(6, 3, seed)

    def said(path: tuple[int, ...]) -> list[int]:
        return [v for v, _ in itertools.groupby(path) if v]

    paths = [path for path in itertools.product(range(3), repeat=6) if said(path) == labels]
    best = max(paths, key=lambda p: sum(float(log_probs[t, v]) for t, v in enumerate(p)))
    runs, at = [], 0
    for v, run in itertools.groupby(best):
        length = len(list(run))
        runs += [(at, at + length - 1)] if v else []
        at += length
    ((first, last),) = ops.align(log_probs, [0], [6], [labels])
    assert list(zip(first.tolist(), last.tolist(), strict=True)) == runs


def test_alignment_needs_room() -> None:
    with pytest.raises(ShapeError, match="text 0 has 2 frames; needs 3"):
        ops.align(random_log_probs(2, 3, 0), [0], [2], [[1, 1]])
