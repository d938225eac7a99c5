"""`majel eval` and `transcribe` with a beam and a language model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from language import write
from training import Ground, Inside, majel, utterances

pytest_plugins = ["training"]

ARPA = """\\data\\
ngram 1=7

\\1-grams:
-1.0\t</s>
-99\t<s>
-3\t<unk>
-0.9\ta
-0.9\tb
-0.9\tab
-0.9\tcd

\\end\\
"""


@pytest.fixture
def lm(tmp_path: Path) -> Path:
    return write(tmp_path, ARPA)


def test_eval_tells_the_settings_and_the_lists(ground: Ground, inside: Inside, lm: Path) -> None:
    run = ground.undisturbed.folder
    plain = json.loads(inside("eval", run, ground.corpus).out)
    assert set(plain) == {"cer", "wer", "loss", "utterances"}
    words = ("--lm", lm, "--alpha", "0.25", "--beam", "20", "--nbest", "3", "--share", "1")
    said = inside("eval", run, ground.corpus, *words, "--json")
    assert (said.code, said.err) == (0, "")
    found = json.loads(said.out)
    assert {name: found[name] for name in ("alpha", "beta", "beam", "tokens")} == {
        "alpha": 0.25, "beta": 1.0, "beam": 20, "tokens": "words",
    }  # fmt: skip
    assert found["loss"] == plain["loss"]
    assert found["lm"] == str(lm)
    assert len(found["lists"]) == plain["utterances"]
    for one in found["lists"]:
        scores = [h["score"] for h in one["nbest"]]
        assert scores == sorted(scores, reverse=True) and 1 <= len(scores) <= 3
        for h in one["nbest"]:
            assert " ".join(word for word, _, _ in h["words"]) == h["text"]
            frames = [frame for _, first, last in h["words"] for frame in (first, last)]
            assert frames == sorted(frames)
    assert json.loads(inside("eval", run, ground.corpus, *words[:-2], "--share", "1").out) == found


@pytest.mark.mpi
def test_ranks_give_the_same_lists(ground: Ground, lm: Path) -> None:
    words = ("eval", ground.undisturbed.folder, ground.corpus, "--lm", lm, "--nbest", "2")
    one, two = majel(*words), majel(*words, ranks=2)
    assert (one.returncode, two.returncode) == (0, 0)
    assert json.loads(one.stdout) == json.loads(two.stdout)


def test_transcribe_prints_lists(ground: Ground, inside: Inside, lm: Path, tmp_path: Path) -> None:
    path = tmp_path / "frames.npy"
    np.save(path, utterances()[0][0])
    run = ground.undisturbed.folder
    text = inside("transcribe", run, path, "--lm", lm)
    lists = inside("transcribe", run, path, "--lm", lm, "--nbest", "2")
    assert (text.code, lists.code) == (0, 0)
    found = json.loads(lists.out)
    assert text.out == f"{path}\t{found['nbest'][0]['text']}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--alpha", "1"), "--alpha needs --lm FILE or --beam N"),
        (("--characters",), "--characters needs --lm FILE or --beam N"),
        (("--lm", "no.arpa"), "no.arpa: No such file or directory"),
        (("--beam", "0"), "beam_search: beam is 0; needs at least 1"),
        (("--beam", "5", "--share", "2"), "share is 2.0"),
    ],
)
def test_bad_options_are_one_line(ground: Ground, words: tuple[str, ...], message: str) -> None:
    done = majel("eval", ground.undisturbed.folder, ground.corpus, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.count("\n") == 1
