"""Evaluation: the same result on any number of ranks, in any company."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from training import (
    FEATURES,
    Ground,
    Inside,
    majel,
    own_lines,
    utterances,
    write_corpus,
)

from majelpy.comm.world import World
from majelpy.data.utterances import Utterances
from majelpy.decoding.metrics import Errors, errors
from majelpy.recognition.evaluate import Recognised, evaluate, recognise
from majelpy.runs.checkpoint import read
from majelpy.runs.trained import Trained, load_trained
from majelpy.speech.corpus import Corpus

pytest_plugins = ["training"]


@pytest.fixture(scope="module")
def trained(ground: Ground) -> Trained:
    return load_trained(str(ground.undisturbed.folder))


@pytest.fixture(scope="module")
def data(ground: Ground, trained: Trained) -> Utterances:
    corpus = Corpus.open(ground.corpus)
    everything = np.arange(len(corpus))
    return Utterances(
        corpus, everything, trained.alphabet, "error", trained.mean, trained.scale, cache_bytes=0
    )


def results(trained: Trained, data: Utterances, members: list[int]) -> dict[int, Recognised]:
    found = recognise(trained.model, trained.parameters, data, trained.alphabet, members)
    return {one.index: one for one in found}


def test_an_utterance_alone_is_the_same_as_in_company(trained: Trained, data: Utterances) -> None:
    together = results(trained, data, list(range(len(data))))
    assert sorted(together) == list(range(len(data)))
    assert len({one.loss.tobytes() for one in together.values()}) > len(data) // 2
    assert any(one.text for one in together.values())
    for index in range(0, len(data), 3):
        (alone,) = results(trained, data, [index]).values()
        assert alone.text == together[index].text
        assert alone.loss.tobytes() == together[index].loss.tobytes()
        pair = results(trained, data, [(index + 5) % len(data), index])
        assert pair[index].loss.tobytes() == together[index].loss.tobytes()


def test_the_sum_is_that_of_the_utterances(trained: Trained, data: Utterances) -> None:
    total = Errors()
    one_by_one = results(trained, data, list(range(len(data))))
    for index, one in one_by_one.items():
        total = total + errors(data.transcripts[index], one.text)
    found = evaluate(
        trained.model, trained.parameters, data, trained.alphabet, World(None, ((0,),))
    )
    assert found.errors == total
    assert found.utterances == len(data)
    assert 0 < total.wrong_characters < total.characters
    # In float32 from left to right, as 40 is less than a chunk of the canonical sum.
    loss = np.float32(0)
    for index in range(len(data)):
        loss += one_by_one[index].loss
    assert abs(float(found.loss) - float(loss) / len(data)) <= float(np.spacing(found.loss))


def test_json_is_one_object(ground: Ground, inside: Inside) -> None:
    said = inside("eval", ground.undisturbed.folder, ground.corpus, "--json")
    assert said.code == 0, said.err
    assert said.err == ""
    assert said.out.count("\n") == 1
    found = json.loads(said.out)
    assert sorted(found) == ["cer", "loss", "outside", "utterances", "wer"]
    assert found["outside"] == {"characters": {}, "count": 0, "utterances": 0}
    assert found["utterances"] == 40
    assert 0 < found["cer"] < 1
    assert 0 < found["wer"] <= 1
    assert np.float32(found["loss"]) > 0
    pretty = inside("eval", ground.undisturbed.folder, ground.corpus)
    assert pretty.out.count("\n") > 1
    assert json.loads(pretty.out) == found


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_change_nothing(ranks: int, ground: Ground, inside: Inside) -> None:
    alone = inside("eval", ground.undisturbed.folder, ground.corpus, "--json")
    ended = majel("eval", ground.undisturbed.folder, ground.corpus, "--json", ranks=ranks)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == alone.out
    assert json.loads(alone.out)["utterances"] == 40


@pytest.mark.mpi
def test_more_ranks_than_utterances(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    write_corpus(tmp_path / "two.h5", utterances(2, seed=5))
    alone = inside("eval", ground.undisturbed.folder, tmp_path / "two.h5", "--json")
    ended = majel("eval", ground.undisturbed.folder, tmp_path / "two.h5", "--json", ranks=3)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == alone.out
    assert json.loads(alone.out)["utterances"] == 2


def test_evaluation_during_training_is_that_of_eval(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    # A separate dev corpus, normalised by the statistics of the training corpus.
    write_corpus(tmp_path / "dev.h5", utterances(9, seed=5))
    run = tmp_path / "run"
    said = inside("train", ground.recipe, "--out", run, "--set", f"data.dev={tmp_path / 'dev.h5'}")
    assert said.code == 0, said.err
    last = json.loads((run / "ledger.jsonl").read_text().splitlines()[-1])
    shown = json.loads(inside("eval", run, tmp_path / "dev.h5", "--json").out)
    assert shown["loss"] == float(str(np.float32(float.fromhex(last["dev_loss_hex"]))))
    assert shown["cer"] == round(last["dev_wrong_characters"] / last["dev_characters"], 6)
    assert shown["wer"] == round(last["dev_wrong_words"] / last["dev_words"], 6)
    assert shown["utterances"] == 9


def test_the_last_step_of_several_is_evaluated(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    run = tmp_path / "run"
    losses = []
    for step in ("10", "20"):
        inside("train", ground.recipe, "--out", run, "--steps", step)
        losses.append(json.loads(inside("eval", run, ground.corpus, "--json").out)["loss"])
    assert losses[1] < losses[0]


BAD = [
    (
        {"features": FEATURES + 1},
        "13 features from .npy files; {run} has 12 features from .npy files",
    ),
    ({"rate": 8000}, "12 features at 8000 Hz; {run} has 12 features from .npy files"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_a_corpus_of_other_features(
    changes: dict[str, int], message: str, ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    write_corpus(tmp_path / "other.h5", **changes)  # type: ignore[arg-type]
    run = ground.undisturbed.folder
    said = inside("eval", run, tmp_path / "other.h5", "--json")
    expected = f"majel eval: {tmp_path / 'other.h5'}: {message.format(run=run)}\n"
    assert (said.code, said.out, said.err) == (2, "", expected)


@pytest.mark.mpi
def test_one_rank_speaks_for_all(ground: Ground, tmp_path: Path) -> None:
    ended = majel("eval", ground.undisturbed.folder, tmp_path / "no.h5", ranks=3)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert own_lines(ended.stderr) == [
        f"majel eval: {tmp_path / 'no.h5'}: there is no such corpus; make it with 'majel prepare'"
    ]


def test_characters_outside_the_alphabet_count_as_errors(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    made = utterances(6, seed=5)
    plain, strange = tmp_path / "plain.h5", tmp_path / "x.h5"
    write_corpus(plain, made)
    more = ["", " xé", " x", "", " 雷", " xé"]
    write_corpus(
        strange,
        [(frames, text + end, name) for (frames, text, name), end in zip(made, more, strict=True)],
    )
    run = ground.undisturbed.folder
    said = inside("eval", run, strange, "--json", "--nbest", "1", "--beam", "9", "--share", "1")
    assert said.code == 0
    assert said.err == (
        f"{strange}: characters outside the alphabet count as errors: 'x' (3), 'é' (2), "
        "'雷' (1), in 4 of 6 utterances\n"
    )
    found = json.loads(said.out)
    assert found["outside"] == {
        "characters": {"x": 3, "é": 2, "雷": 1}, "count": 6, "utterances": 4,
    }  # fmt: skip
    total = Errors()
    for one, (_, text, name), end in zip(found["lists"], made, more, strict=True):
        assert (one["name"], one["said"]) == (name, text + end)
        total += errors(text + end, one["nbest"][0]["text"])
    assert (found["cer"], found["wer"]) == (round(total.cer, 6), round(total.wer, 6))

    greedy = json.loads(inside("eval", run, strange, "--json").out)
    without = json.loads(inside("eval", run, plain, "--json").out)
    assert greedy["loss"] == without["loss"], "the loss is of the labels that there are"
    assert greedy["cer"] > without["cer"]


def test_a_transcript_of_nothing_else_is_all_wrong(
    ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    made = [(frames, "42", name) for frames, _, name in utterances(3, seed=5)]
    write_corpus(tmp_path / "x.h5", made)
    said = inside("eval", ground.undisturbed.folder, tmp_path / "x.h5", "--json")
    assert said.code == 0
    assert said.err.endswith(
        "'2' (3), '4' (3), in 3 of 3 utterances; 3 transcripts without any other\n"
    )
    found = json.loads(said.out)
    assert found["cer"] >= 1 and found["wer"] >= 1


def test_what_the_alphabet_lacks_of_dev(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    made = [(frames, f"{text}é", name) for frames, text, name in utterances(9, seed=5)]
    write_corpus(tmp_path / "dev.h5", made)
    run = tmp_path / "run"
    changes = ("--set", f"data.dev={tmp_path / 'dev.h5'}", "--set", "data.outside=drop")
    said = inside("train", ground.recipe, "--out", run, "--steps", "6", *changes)
    assert said.code == 0, said.err
    line = f"{tmp_path / 'dev.h5'}: characters outside the alphabet count as errors: 'é' (9), "
    assert said.err.splitlines()[0] == f"{line}in 9 of 9 utterances"
    last = json.loads((run / "ledger.jsonl").read_text().splitlines()[-1])
    assert last["dev_characters"] == sum(len(text) for _, text, _ in made)
    shown = json.loads(inside("eval", run, tmp_path / "dev.h5", "--json").out)
    assert shown["cer"] == round(last["dev_wrong_characters"] / last["dev_characters"], 6)
    # The schedule goes by what a model can learn, as it always has.
    best = read(run / "checkpoints" / "best.h5").description["schedule"]["best"]
    assert best == last["dev_wrong_within_alphabet"] < last["dev_wrong_characters"]


def test_no_run_folder(ground: Ground, tmp_path: Path, inside: Inside) -> None:
    said = inside("eval", tmp_path, ground.corpus)
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        f"majel eval: {tmp_path}: no checkpoint; is this a run folder of 'majel train'?\n"
    )


@pytest.mark.parametrize("change", [("rate = 0.02", "rate = 0.5"), ("seed = 3", ""), ("seed", "[")])
def test_an_edited_recipe_is_not_what_trained(
    change: tuple[str, str], ground: Ground, tmp_path: Path, inside: Inside
) -> None:
    run = Path(shutil.copytree(ground.undisturbed.folder, tmp_path / "run"))
    before = inside("eval", run, ground.corpus)
    text = (run / "recipe.toml").read_text()
    (run / "recipe.toml").write_text(text.replace("train.h5", "moved.h5"))
    assert inside("eval", run, ground.corpus).err == before.err
    (run / "recipe.toml").write_text(text.replace(*change))
    said = inside("eval", run, ground.corpus)
    assert (said.code, said.out) == (0, before.out)
    (line,) = set(said.err.splitlines()) - set(before.err.splitlines())
    assert line.startswith(f"{run}/recipe.toml: not what trained this run: ")
    assert line.endswith("; the checkpoint decides")
