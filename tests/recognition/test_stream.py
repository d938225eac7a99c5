"""A model that reads pieces of an utterance as they come gives the bits of the whole."""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from makers import level_data, same_bits
from mpi_launch import PATIENCE
from training import MAJEL, Ground, Inside, majel, write_corpus, write_recipe

from majelpy.array import asarray
from majelpy.errors import RecipeError
from majelpy.nn.batch import Batch
from majelpy.nn.layers import read
from majelpy.nn.model import Architecture, Model
from majelpy.nn.share import Share
from majelpy.nn.ways.stream import UNKNOWN, StreamShare

pytest_plugins = ["training"]

FRAMES, FEATURES, PARTS = 29, 6, 2
FORWARD = Architecture(
    FEATURES,
    5,
    read(
        [
            {"layer": "context", "frames": 3},
            {"layer": "rnn", "units": 40},
            {"layer": "dropout", "rate": 0.5},
            {"layer": "rnn", "units": 33},
            {"layer": "dense", "units": 35},
        ],
        "layers",
        "",
    ),
)
STRIDED = Architecture(
    FEATURES,
    5,
    read(
        [
            {"layer": "conv", "channels": 8, "kernel": [3, 3], "stride": [2, 2]},
            {"layer": "conv", "channels": 16, "kernel": [4, 2], "stride": [2, 1]},
            {"layer": "gru", "units": 40},
            {"layer": "batch_norm"},
            {"layer": "lstm", "units": 35, "batch_norm": True},
            {"layer": "layer_norm"},
            {"layer": "row_conv", "future": 2},
        ],
        "layers",
        "",
    ),
)


def streamed(architecture: Architecture, x: np.ndarray, cuts: list[int]) -> list[np.ndarray]:
    """Return the log-probabilities that each piece brings."""
    share = StreamShare(PARTS)
    model = Model(architecture, share)
    vector, found = model.layout.initial(1), []
    for first, last in itertools.pairwise([0, *cuts, len(x)]):
        share.begin()
        length = len(x) if last == len(x) else UNKNOWN
        batch = Batch.unlabelled(asarray(x[first:last]), np.array([0, last - first]))
        batch = replace(batch, starts=np.array([first]), lengths=np.array([length]))
        found.append(model.forward(batch, vector).log_probs.numpy().copy())
    return found


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("architecture", [FORWARD, STRIDED], ids=["context", "conv"])
@pytest.mark.parametrize(
    "cuts", [[], [1], [10, 11, 12], [2, 2, 28], [FRAMES], list(range(1, FRAMES))], ids=str
)
def test_pieces_have_the_bits_of_the_whole(
    architecture: Architecture, cuts: list[int], precision: str
) -> None:
    architecture = replace(architecture, precision=precision)
    x = level_data((FRAMES, FEATURES), 3)
    model = Model(architecture, Share(PARTS))
    batch = Batch.unlabelled(asarray(x), np.array([0, FRAMES]))
    whole = model.forward(batch, model.layout.initial(1)).log_probs
    assert len(whole) == -(-FRAMES // model.stride)
    pieces = streamed(architecture, x, cuts)
    assert same_bits(np.concatenate(pieces), whole)
    if architecture.layers == STRIDED.layers:
        return
    # A piece brings what can be known: all frames but those whose context is still to come.
    for last, piece in zip(np.cumsum([len(p) for p in pieces])[:-1], cuts, strict=False):
        assert last == (max(0, piece - 3) if piece < FRAMES else FRAMES)


def test_a_layer_of_two_directions_cannot_stream() -> None:
    both = replace(FORWARD, layers=read([{"layer": "birnn", "units": 33}], "layers", ""))
    with pytest.raises(RecipeError, match=r"^stream: the model has a layer of two directions"):
        streamed(both, level_data((FRAMES, FEATURES), 3), [])


RATE = 8000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model that can stream, on features of the right size."""
    folder = tmp_path_factory.mktemp("stream")
    write_corpus(folder / "train.h5", features=RATE // 100 + 1, rate=RATE)
    layers = [*FORWARD.layers[:2], FORWARD.layers[-1]]
    recipe = write_recipe(folder / "r.toml", folder / "train.h5", model__layers=list(layers))
    done = majel("train", recipe, "--out", folder / "run", "--steps", "10")
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def wave(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of noise whose loudness steps up and down."""
    random, path = np.random.default_rng(2), tmp_path_factory.mktemp("wave") / "noise.wav"
    loudness = np.repeat(random.integers(0, 12, 40), 401)
    soundfile.write(path, (random.integers(-8, 9, loudness.size) << loudness).astype("i2"), RATE)
    return path


def test_a_stream_ends_with_the_text_of_the_whole(run: Path, wave: Path) -> None:
    whole = majel("transcribe", run, wave)
    heard = majel("transcribe", run, wave, "--stream")
    assert (whole.returncode, heard.returncode) == (0, 0), whole.stderr + heard.stderr
    assert heard.stdout == whole.stdout
    text = whole.stdout.rstrip("\n").partition("\t")[2]
    told = heard.stderr.splitlines()
    assert len(told) > 1, "the noise is one text from its first piece on"
    assert told[-1].partition("\t")[2] == text
    samples, _ = soundfile.read(wave, dtype="int16")
    piped = subprocess.run(
        [*MAJEL, "transcribe", str(run), "-", "--stream"],
        input=samples.astype("<i2").tobytes(), capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert piped.stdout.decode() == f"-\t{text}\n"
    assert piped.stderr.decode() == heard.stderr


def test_a_channel_of_several(run: Path, wave: Path, tmp_path: Path, inside: Inside) -> None:
    samples, _ = soundfile.read(wave, dtype="int16")
    both = tmp_path / "both.wav"
    soundfile.write(both, np.stack([samples * 0, samples], axis=1), RATE)
    text = inside("transcribe", run, wave).out.partition("\t")[2]
    for options in ([], ["--stream"]):
        said = inside("transcribe", run, both, *options)
        assert (said.code, said.out) == (2, "")
        assert said.err.startswith(f"majel transcribe: {both}: 2 channels that differ, first at")
        said = inside("transcribe", run, both, "--channel", "1", *options)
        assert (said.code, said.out) == (0, f"{both}\t{text}")
        said = inside("transcribe", run, both, "--channel", "0", "--longest", "2", *options)
        assert (said.code, said.out) == (2, "")
        assert said.err == (
            f"majel transcribe: {both}: 2.005 s long; at most 2 s are read at a time (--longest)\n"
        )


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (b"RIFF" + bytes(4000), "-: standard input is a sound file; needs bare samples (PCM)"),
        (b"123", "-: standard input ends within a sample of 16 bits"),
        (b"", "-: spectrogram: 0 samples at 8000 Hz; needs at least 160 (20 ms)"),
    ],
)
def test_a_bad_stream_is_one_line(sound: bytes, message: str, run: Path) -> None:
    ended = subprocess.run(
        [*MAJEL, "transcribe", str(run), "-", "--stream"],
        input=sound, capture_output=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr.decode()) == (2, f"majel transcribe: {message}\n")


def test_a_run_on_features_has_no_stream(ground: Ground, inside: Inside, wave: Path) -> None:
    said = inside("transcribe", ground.undisturbed.folder, wave, "--stream")
    assert said.code == 2 and said.err.endswith("trained on .npy features; --stream needs sound\n")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("-", "-: samples on standard input need --stream"),
        ("f.npy", "f.npy: features; the run needs sound, at 8000 Hz best"),
    ],
)
def test_what_a_run_on_sound_cannot_read(
    path: str, message: str, run: Path, inside: Inside
) -> None:
    said = inside("transcribe", run, path)
    assert (said.code, said.err) == (2, f"majel transcribe: {message}\n")
