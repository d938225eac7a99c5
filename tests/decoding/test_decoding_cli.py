"""`majel eval` and `transcribe` with a beam and a language model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from language import write
from training import Ground, Inside, majel, utterances

from majelpy.cli import main

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
    assert set(plain) == {"cer", "wer", "loss", "outside", "utterances"}
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


@pytest.mark.mpi
def test_tune_finds_what_eval_says(ground: Ground, inside: Inside, lm: Path) -> None:
    run = ground.undisturbed.folder
    words = (
        "tune",
        run,
        ground.corpus,
        "--lm",
        lm,
        "--alphas",
        "0,1.5",
        "--betas",
        "2,-3",
        "--json",
    )
    done = majel(*words, ranks=2)
    assert done.returncode == 0
    assert done.stderr == "tune: trying 4 pairs of alpha and beta on 40 utterances, 2 ranks\n"
    found = json.loads(done.stdout)
    assert found == json.loads(inside(*words).out)
    rates = [(point["wer"], point["cer"]) for point in found["points"]]
    assert rates == sorted(rates) and len(set(rates)) > 1
    assert found["best"] == found["points"][0]
    for point in found["points"]:
        weights = ("--alpha", str(point["alpha"]), "--beta", str(point["beta"]))
        said = json.loads(inside("eval", run, ground.corpus, "--lm", lm, *weights).out)
        assert (said["cer"], said["wer"]) == (round(point["cer"], 6), round(point["wer"], 6))


def test_tune_prints_a_table(ground: Ground, inside: Inside, lm: Path) -> None:
    words = ("--alphas", "0.5", "--betas", "1", "--characters")
    said = inside("tune", ground.undisturbed.folder, ground.corpus, "--lm", lm, *words)
    assert said.code == 0
    assert said.err == "tune: trying 1 pair of alpha and beta on 40 utterances, 1 rank\n"
    head, row, best = said.out.splitlines()
    assert head.split() == ["alpha", "beta", "CER", "WER"]
    assert row.split()[:2] == ["0.5", "1"]
    assert best == "best: --alpha 0.5 --beta 1"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of models: of characters and words as `majel lm` writes them, and without its line."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "text.txt").write_text("".join(f"{text}\n" for _, text, _ in utterances()), "utf-8")
    found = {}
    for kind, options in (("characters", ["--characters"]), ("words", [])):
        found[kind] = folder / f"{kind}.arpa"
        words = ["lm", str(folder / "text.txt"), "-o", str(found[kind]), *options]
        assert main(words) == 0
        head, _, rest = found[kind].read_text("utf-8").partition("\n")
        assert head == f"# n-grams of {kind}, by majel lm"
        found[f"foreign {kind}"] = folder / f"foreign-{kind}.arpa"
        found[f"foreign {kind}"].write_text(rest, "utf-8")
    return found


@pytest.mark.parametrize("name", ["characters", "foreign characters"])
def test_a_model_of_characters_needs_no_option(
    name: str, ground: Ground, inside: Inside, models: dict[str, Path]
) -> None:
    words = ("eval", ground.undisturbed.folder, ground.corpus, "--json", "--lm", models[name])
    asked, found = inside(*words, "--characters"), inside(*words)
    assert (asked.code, asked.err) == (0, "")
    assert (found.code, found.out) == (0, asked.out)
    assert found.err == f"{models[name]}: a model of characters, so the search is by characters\n"
    assert json.loads(found.out)["tokens"] == "characters"


@pytest.mark.parametrize("name", ["words", "foreign words"])
def test_a_model_of_words_is_searched_by_words(
    name: str, ground: Ground, inside: Inside, models: dict[str, Path]
) -> None:
    words = ("eval", ground.undisturbed.folder, ground.corpus, "--json", "--lm", models[name])
    asked, found = inside(*words, "--no-characters"), inside(*words)
    assert (found.code, found.err, found.out) == (0, "", asked.out)
    assert json.loads(found.out)["tokens"] == "words"


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("words", "--characters", "a model of words, by its first line; leave out --characters"),
        ("foreign words", "--characters", "a model of words, by its tokens; leave out --char"),
        (
            "characters",
            "--no-characters",
            "a model of characters, by its first line; leave out --no",
        ),
    ],
)
def test_a_model_of_the_other_kind_is_refused(
    name: str, option: str, message: str, ground: Ground, inside: Inside, models: dict[str, Path]
) -> None:
    words = ("eval", ground.undisturbed.folder, ground.corpus, "--lm", models[name], option)
    said = inside(*words)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"majel eval: {models[name]}: {message}")


def test_words_of_a_letter_each_are_searched_for_when_asked(
    ground: Ground, inside: Inside, models: dict[str, Path]
) -> None:
    model = models["foreign characters"]
    words = ("eval", ground.undisturbed.folder, ground.corpus, "--json", "--lm", model)
    said = inside(*words, "--no-characters")
    assert said.code == 0 and json.loads(said.out)["tokens"] == "words"


@pytest.mark.mpi
def test_one_rank_says_what_a_model_is(ground: Ground, models: dict[str, Path]) -> None:
    words = ("eval", ground.undisturbed.folder, ground.corpus, "--lm", models["characters"])
    done = majel(*words, ranks=2)
    assert (done.returncode, done.stderr.count("a model of characters")) == (0, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "majel tune: no language model; needs --lm FILE"),
        (("--lm", "x", "--alphas", "1,two"), "--alphas 1,two: needs numbers between commas"),
        (("--lm", "x", "--betas", "nan"), "--betas nan: needs numbers within 1e6 of 0"),
    ],
)
def test_tune_refuses_in_one_line(
    ground: Ground, inside: Inside, words: tuple[str, ...], message: str
) -> None:
    said = inside("tune", ground.undisturbed.folder, ground.corpus, *words)
    assert (said.code, said.out) == (2, "")
    assert message in said.err and said.err.count("\n") == 1


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
