"""Augmentation: a function of seed, epoch and utterance, on any ranks, threads and readers."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from makers import same_bits
from mpi_launch import PATIENCE, environment
from recordings import ALL, COUNT, manifests, record
from training import (
    Done,
    Inside,
    assert_same,
    command,
    done,
    majel,
    own_lines,
    settings,
    slow_majel,
    train,
)

from majelpy import ops
from majelpy.data.augment import Augmentation
from majelpy.data.utterances import Utterances
from majelpy.errors import CorpusError, RecipeError
from majelpy.native import compute_alone
from majelpy.nn.batch import Batch
from majelpy.recipes.tables import Augment
from majelpy.speech.joined import Joined, open_corpora
from majelpy.speech.prepare import prepare
from majelpy.speech.text import Alphabet

pytest_plugins = ["training"]


class Place:
    """Corpora to train on, with and without samples, and recipes for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest, self.noise_manifest = manifests(folder)
        prepare(self.manifest, folder / "samples.h5", kind="samples")
        prepare(self.manifest, folder / "features.h5")
        prepare(self.noise_manifest, folder / "noise.h5", kind="noise")
        prepare(self.manifest, folder / "shard.h5", kind="samples", shards=3)

    def recipe(self, name: str, corpus: str, **augment: Any) -> Path:
        table = settings(self.folder / corpus, data__batch=6, data__holdout=4, schedule__epochs=3)
        if augment:
            table["augment"] = augment
        path = self.folder / f"{name}.toml"
        path.write_text(tomli_w.dumps(table))
        return path

    def all(self) -> Path:
        return self.recipe("all", "samples.h5", noise=str(self.folder / "noise.h5"), **ALL)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("augment"))


@pytest.fixture(scope="session")
def undisturbed(place: Place) -> Done:
    """The run with all kinds of augmentation on one rank without readers."""
    return train(place.all(), place.folder / "undisturbed", "--no-prefetch", "--threads", "1")


def augmentation(corpus: Joined, noise: Joined | None, seed: int = 5, **changes: Any) -> Any:
    table = {name: tuple(v) if isinstance(v, list) else v for name, v in (ALL | changes).items()}
    return Augmentation(replace(Augment(), **table), seed, corpus, noise)


class Data:
    """Utterances of the samples with augmentation."""

    def __init__(self, place: Place, cache_bytes: int = 1 << 20, **changes: Any) -> None:
        self.corpus = open_corpora(str(place.folder / "samples.h5"))
        self.noise = open_corpora(str(place.folder / "noise.h5"), noise=True)
        self.augmentation = augmentation(self.corpus, self.noise, **changes)
        self.utterances = self.of(np.arange(COUNT), cache_bytes)

    def of(self, members: np.ndarray, cache_bytes: int = 0) -> Utterances:
        corpus = self.corpus
        return Utterances(
            corpus, members, Alphabet.from_characters("abcd"), "error", corpus.mean, corpus.scale,
            cache_bytes, self.augmentation,
        )  # fmt: skip


def batch(data: Utterances, members: list[int], epoch: int | None) -> Batch:
    return data.batch([np.array(members, dtype=np.int64)], np.zeros(1, np.int32), epoch)


def pieces(found: Batch) -> list[np.ndarray]:
    rows = found.frames.numpy()
    return [rows[a:b].copy() for a, b in zip(found.offsets, found.offsets[1:], strict=False)]


# A function of seed, epoch and utterance.


def test_neither_batch_nor_order_nor_cache_nor_thread_changes_a_bit(place: Place) -> None:
    data = Data(place)
    alone = {
        (e, i): pieces(batch(data.utterances, [i], e))[0] for e in (0, 7) for i in range(COUNT)
    }
    uncached, reader = Data(place, 0), threading.local()
    rest = data.of(np.arange(3, COUNT))

    def read(seed: int) -> None:
        if seed % 2 and not hasattr(reader, "alone"):
            compute_alone()
            reader.alone = True
        order = np.random.default_rng(seed).permutation(COUNT).tolist()
        epoch = (0, 7)[seed % 3 % 2]
        for chosen in (uncached.utterances, data.utterances):
            found = pieces(batch(chosen, order, epoch))
            assert all(same_bits(x, alone[epoch, i]) for x, i in zip(found, order, strict=True))

    with ThreadPoolExecutor(4) as readers:
        for each in [readers.submit(read, seed) for seed in range(12)]:
            each.result()
    # An utterance is known by its place in the corpus, whichever are held out.
    assert same_bits(pieces(batch(rest, [4], 7))[0], alone[7, 7])


def test_epochs_utterances_and_seeds_differ(place: Place) -> None:
    data, other = Data(place), Data(place, seed=6)
    found = [pieces(batch(data.utterances, [3], epoch))[0].tobytes() for epoch in range(8)]
    found += [pieces(batch(other.utterances, [3], epoch))[0].tobytes() for epoch in range(8)]
    assert len(set(found)) == 16


def test_lengths_are_told_before_frames_are_read(place: Place) -> None:
    data = Data(place).utterances
    everyone = np.arange(COUNT)
    seen = set()
    for epoch in range(5):
        lengths = data.lengths_in(epoch, everyone)
        assert lengths.tolist() == batch(data, list(range(COUNT)), epoch).lengths.tolist()
        for i in everyone:
            sizes = [int(data._corpus.sizes[i]) * 10 // tenths for tenths in (9, 10, 11)]
            possible = [1 + (size - 160) // 80 for size in sizes]
            seen.add(possible.index(lengths[i]))
            assert data.shortest[i] == possible[2]
    assert seen == {0, 1, 2}
    assert (data.lengths_in(None, everyone) == data.lengths).all()


def test_nothing_is_changed_outside_of_an_epoch(place: Place) -> None:
    data = Data(place)
    for i, found in enumerate(pieces(batch(data.utterances, list(range(COUNT)), None))):
        plain = ops.normalise(data.corpus.frames(i), data.corpus.mean, data.corpus.scale).numpy()
        assert same_bits(found, plain)


def test_each_kind_of_change_has_words_of_its_own(place: Place) -> None:
    """Without noise, level and masks an utterance still has the speed that it had with them."""
    every = Data(place)
    speed = Data(place, noise_share=0.0, gain_decibels=[0, 0], frequency_masks=0, time_masks=0)
    everyone = np.arange(COUNT)
    for epoch in range(3):
        found = speed.utterances.lengths_in(epoch, everyone)
        assert (found == every.utterances.lengths_in(epoch, everyone)).all()
    data, corpus, epoch = speed.utterances, speed.corpus, 1
    for i, found in enumerate(pieces(batch(data, list(range(COUNT)), epoch))):
        samples = ops.samples(corpus.samples(i))
        for tenths in (9, 10, 11):
            changed = samples if tenths == 10 else ops.change_speed(samples, Fraction(tenths, 10))
            frames = ops.spectrogram(changed, 160, 80)
            plain = ops.normalise(frames, corpus.mean, corpus.scale).numpy()
            if plain.shape == found.shape:
                assert same_bits(found, plain)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (1.0, 240), (0.25, 60)])
def test_noise_comes_to_its_share_of_utterances(place: Place, share: float, expected: int) -> None:
    data = Data(
        place, noise_share=share, speeds=[1.0], gain_decibels=[0, 0],
        frequency_masks=0, time_masks=0,
    )  # fmt: skip
    noisy = 0
    for epoch in range(10):
        found = pieces(batch(data.utterances, list(range(COUNT)), epoch))
        plain = pieces(batch(data.utterances, list(range(COUNT)), None))
        noisy += sum(not same_bits(a, b) for a, b in zip(found, plain, strict=True))
    assert abs(noisy - expected) <= 4 * np.sqrt(240 * share * (1 - share))


def test_masks_are_zeros_of_the_widths_asked_for(place: Place) -> None:
    """On an array of ones: what is 0 are at most 2 bands of 12 and 2 stretches of 9, 30% each."""
    corpus = open_corpora(str(place.folder / "features.h5"))
    masks = augmentation(corpus, None, speeds=[1.0], gain_decibels=[0.0, 0.0])
    bands, stretches = set(), set()
    for epoch in range(300):
        frames = np.ones((40 if epoch % 2 else 20, 81), np.float32)
        masks.mask(epoch, epoch % 7, frames)
        masked = frames == 0
        assert (frames[~masked] == 1).all()
        assert not np.signbit(frames).any()
        columns, rows = masked.all(axis=0), masked.all(axis=1)
        assert (masked == (columns[None, :] | rows[:, None])).all()
        assert columns.sum() <= 24
        assert rows.sum() <= 2 * min(9, len(frames) * 3 // 10)
        bands.update(np.flatnonzero(columns))
        if epoch % 2:
            stretches.update(np.flatnonzero(rows))
    assert bands == set(range(81))
    assert stretches == set(range(40))
    data = Utterances(
        corpus, np.arange(COUNT), Alphabet.from_characters("abcd"), "error", corpus.mean,
        corpus.scale, 1 << 20, masks,
    )  # fmt: skip
    for _ in range(2):  # what is kept stays unmasked
        plain, found = batch(data, [1, 2], None), batch(data, [1, 2], 4)
        changed = plain.frames.numpy() != found.frames.numpy()
        assert changed.any() and not found.frames.numpy()[changed].any()


# Runs.


def test_samples_train_to_the_bits_of_features(place: Place, tmp_path: Path) -> None:
    """Also shards of them; and the mean and scale in the checkpoint are the same."""
    runs = [
        train(place.recipe(name, corpus), tmp_path / name)
        for name, corpus in (("f", "features.h5"), ("s", "samples.h5"), ("n", "shard-*.h5"))
    ]
    assert_same(runs[1], runs[0])
    assert_same(runs[2], runs[0])
    contents = [json.loads((run.folder / "content.json").read_text()) for run in runs]
    assert contents[1] == contents[2] != contents[0]
    assert "augment" not in contents[0]


@pytest.mark.parametrize(
    ("ranks", "options"),
    [
        (1, ["--prefetch", "1"]),
        (1, ["--prefetch", "4", "--cache-bytes", "0"]),
        (1, ["--prefetch", "4", "--cache-bytes", "30000", "--threads", "2"]),
        pytest.param(2, ["--threads", "2"], marks=pytest.mark.mpi),
        pytest.param(3, ["--prefetch", "3", "--no-shared-memory"], marks=pytest.mark.mpi),
    ],
)
def test_augmented_runs_have_one_answer(
    ranks: int, options: list[str], place: Place, undisturbed: Done, tmp_path: Path
) -> None:
    assert_same(train(place.all(), tmp_path, *options, ranks=ranks), undisturbed)


def test_an_augmented_run_differs_and_says_what_it_waited(place: Place, undisturbed: Done) -> None:
    lines = [json.loads(x) for x in (undisturbed.folder / "timings.jsonl").read_text().splitlines()]
    assert lines[0]["waited_seconds"] > 0, "nothing is read before the first step"
    assert all(0 <= line["waited_seconds"] < line["seconds"] for line in lines)
    content = json.loads((undisturbed.folder / "content.json").read_text())
    with open_corpora(str(place.folder / "noise.h5"), noise=True) as noise:
        assert content["augment"]["noise"] == noise.digest
    ledger = undisturbed.ledger.decode().splitlines()
    assert len({json.loads(line)["loss_hex"] for line in ledger}) == len(ledger) == 12


def test_a_killed_augmented_run_goes_on(place: Place, undisturbed: Done, tmp_path: Path) -> None:
    words = command(
        *("train", place.all(), "--out", tmp_path, "--checkpoint-seconds", "0", "--prefetch", "4"),
        program=slow_majel(6),
    )
    run = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)  # fmt: skip
    ledger = tmp_path / "ledger.jsonl"
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and run.poll() is None:
        if ledger.exists() and len(ledger.read_bytes().splitlines()) >= 5:
            break
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert 5 <= len(ledger.read_bytes().splitlines()) < 12, "it ended before it was killed"
    assert_same(train(place.all(), tmp_path, "--prefetch", "2"), undisturbed)


def test_another_setting_is_another_recipe(
    place: Place, undisturbed: Done, tmp_path: Path, inside: Inside
) -> None:
    said = inside("train", place.all(), "--out", undisturbed.folder, "--set",
                  "augment.time_masks=1")  # fmt: skip
    assert said.code == 2
    assert (
        "belongs to another recipe: augment.time_masks is 2 (saved) and 1 (requested)" in said.err
    )


def test_made_up_speech_mixes_in_as_one_more_corpus(
    place: Place, tmp_path: Path, inside: Inside
) -> None:
    """Sharded, before and after; the statistics are the first file's."""
    manifests(tmp_path, first=50)
    prepare(tmp_path / "m.tsv", tmp_path / "made.h5", kind="samples", shards=2)
    names = [str(place.folder / "samples.h5"), str(tmp_path / "made-*.h5")]
    found = []
    for i, several in enumerate((names, names[::-1])):
        said = inside("train", place.recipe("mixed", "samples.h5"), "--out", tmp_path / str(i),
                      "--set", f"data.train={json.dumps(several)}")  # fmt: skip
        assert said.code == 0, said.err
        found.append(done(tmp_path / str(i), said.out).fingerprint)
        assert f"{2 * COUNT - 4} utterances" in said.err
    assert len(set(found)) == 2


# What cannot be.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("augment.speeds=[0.9, 1.0]", "augment.speeds changes sound, and"),
        ("augment.gain_decibels=[0, 1]", "augment.gain_decibels changes sound, and"),
        ("augment.noise={noise}", "augment.noise changes sound, and"),
    ],
)
def test_sound_cannot_be_changed_where_there_is_none(
    change: str, message: str, place: Place, tmp_path: Path, inside: Inside
) -> None:
    change = change.format(noise=place.folder / "noise.h5")
    said = inside("train", place.recipe("f", "features.h5"), "--out", tmp_path, "--set", change)
    assert said.code == 2
    (line,) = own_lines(said.err)
    assert message in line
    assert "features.h5 has only features; prepare it with --samples" in line


def test_bad_noise(place: Place, tmp_path: Path, inside: Inside) -> None:
    _, listed = manifests(tmp_path / "other", 16000)
    prepare(listed, tmp_path / "fast.h5", kind="noise")
    (tmp_path / "cut.h5").write_bytes((place.folder / "noise.h5").read_bytes()[:-200])
    for name, message in {
        tmp_path / "fast.h5": r"fast.h5: noise at 16000 Hz; ",
        tmp_path / "none.h5": "none.h5: there is no such corpus; make it with 'majel prepare'",
        place.folder / "samples.h5": "samples.h5: not a corpus of noise; make one with",
        tmp_path / "cut.h5": "cut.h5: not a corpus, or damaged",
    }.items():
        said = inside("train", place.all(), "--out", tmp_path / "run", "--set",
                      f"augment.noise={name}")  # fmt: skip
        assert said.code == 2
        (line,) = own_lines(said.err)
        assert message in line
        assert not (tmp_path / "run").exists()
    (tmp_path / "empty.tsv").write_text("path\n")
    said = inside("prepare", tmp_path / "empty.tsv", tmp_path / "e.h5", "--noise")
    assert said.code == 2
    assert "empty.tsv: the manifest has no utterances" in said.err


def test_damaged_noise_is_found_by_the_reader_that_needs_it(place: Place, tmp_path: Path) -> None:
    with open_corpora(str(place.folder / "noise.h5"), noise=True) as noise:
        pcm = noise.samples(1).tobytes()
    data = bytearray((place.folder / "noise.h5").read_bytes())
    at = data.find(pcm[:4000])
    assert at > 0
    data[at + 1000] ^= 1
    (tmp_path / "noise.h5").write_bytes(data)
    ended = majel("train", place.all(), "--out", tmp_path / "run", "--set",
                  f"augment.noise={tmp_path / 'noise.h5'}", "--prefetch", "4")  # fmt: skip
    assert ended.returncode == 2
    (line,) = own_lines(ended.stderr)
    assert "the samples of utterance 1 ('noise1.wav') have changed" in line


def test_an_utterance_that_is_too_short_at_the_highest_speed(
    place: Place, tmp_path: Path, inside: Inside
) -> None:
    """0.11 s are 10 frames, as 'abcd' repeated needs; at a speed of 2 there are 4."""
    folder = tmp_path / "short"
    manifest, _ = manifests(folder)
    record(folder / "3.wav", 3, 0.11)
    manifest.write_text(manifest.read_text().replace("\n3.wav\tdd", "\n3.wav\tabcdabcdab"))
    prepare(manifest, folder / "c.h5", kind="samples")
    recipe = place.recipe("short", str(folder / "c.h5"), speeds=[1.0, 2.0])
    said = inside("train", recipe, "--out", tmp_path / "run", "--set", "data.holdout=0")
    assert said.code == 2
    message = "utterance '3.wav' has 4 frames at its highest speed for 10 labels; needs at least 10"
    assert message in said.err
    said = inside("train", recipe, "--out", tmp_path / "run", "--set", "augment.speeds=[1.0]")
    assert said.code == 0, said.err


def test_augmentation_names_what_does_not_fit(place: Place) -> None:
    features = open_corpora(str(place.folder / "features.h5"))
    with pytest.raises(RecipeError, match=r"augment\.speeds changes sound"):
        augmentation(features, None)
    corpus = open_corpora(str(place.folder / "samples.h5"))
    noise = open_corpora(str(place.folder / "noise.h5"), noise=True)
    noise.rate = 16000
    with pytest.raises(CorpusError, match=r"noise at 16000 Hz; .* has 8000 Hz; .* --rate 8000"):
        augmentation(corpus, noise)
