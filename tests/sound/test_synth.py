"""Made-up speech: the same bytes always, voices kept apart, whole numbers exact."""

from __future__ import annotations

import ctypes
import hashlib
import subprocess
import sys
import wave
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest
from mpi_launch import PATIENCE

from majelpy.errors import BuildError, OutputError, RecipeError
from majelpy.sound import espeak, mixing
from majelpy.sound.synth import KINDS, RATE, recording, synth, utterance_of
from majelpy.speech.manifest import read_manifest


def digests_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_an_utterance_does_not_depend_on_those_before_it(kind: str) -> None:
    forward = [recording(kind, 3, "train", i).tobytes() for i in range(24)]
    backward = [recording(kind, 3, "train", i).tobytes() for i in reversed(range(24))]
    assert forward == backward[::-1]
    assert len(set(forward)) == 24


def test_espeak_without_reloading_would_depend_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control for the test above: why the library is loaded afresh each time."""
    fresh = [espeak.speak("one two", "en-us+m3", 160, 50).tobytes() for _ in range(2)]
    assert fresh[0] == fresh[1]
    kept = ctypes.CDLL(espeakng_loader.get_library_path())
    try:
        with pytest.raises(BuildError, match="is already loaded in this process"):
            espeak.speak("one two", "en-us+m3", 160, 50)
        monkeypatch.setattr(espeak, "_is_loaded", lambda path: False)
        stale = [espeak.speak("one two", "en-us+m3", 160, 50).tobytes() for _ in range(2)]
        assert stale[0] != stale[1]
    finally:
        espeak._unload(kept)


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    synth(tmp_path / "a", utterances=6, dev=3, seed=5)
    code = (
        "import sys; from majelpy.sound.synth import synth; "
        "synth(sys.argv[1], utterances=6, dev=3, seed=5)"
    )
    # Another locale and C library functions for another processor: glibc has variants of sin,
    # exp and pow for processors with FMA, and espeak-ng calls them.
    tunables = "glibc.cpu.hwcaps=-AVX2,-FMA,-FMA4,-AVX512F"
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b")],
        env={"LC_ALL": "C", "GLIBC_TUNABLES": tunables, "PYTHONPATH": ":".join(sys.path)},
        timeout=PATIENCE,
        check=True,
    )
    assert digests_of(tmp_path / "a") == digests_of(tmp_path / "b")


def test_more_utterances_keep_those_there_were(tmp_path: Path) -> None:
    synth(tmp_path / "a", utterances=3, dev=2)
    synth(tmp_path / "b", utterances=5, dev=4)
    few, many = digests_of(tmp_path / "a"), digests_of(tmp_path / "b")
    common = [name for name in few if name.endswith(".wav")]
    assert len(common) == 5
    assert all(few[name] == many[name] for name in common)


def test_manifests_and_recordings_agree(tmp_path: Path) -> None:
    train, dev = synth(tmp_path, utterances=12, dev=4, kind="sentences", seed=2)
    assert (train, dev) == (tmp_path / "train.tsv", tmp_path / "dev.tsv")
    for manifest, split, count in [(train, "train", 12), (dev, "dev", 4)]:
        entries = read_manifest(manifest)
        assert len(entries) == count
        rows = [line.split("\t") for line in manifest.read_text().splitlines()[1:]]
        for i, (entry, row) in enumerate(zip(entries, rows, strict=True)):
            utterance = utterance_of("sentences", 2, split, i)
            assert entry.transcript == utterance.text
            assert row[3] == utterance.voice
            with wave.open(str(entry.path)) as file:
                assert file.getparams()[:3] == (1, 2, RATE)
                samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            assert (samples == recording("sentences", 2, split, i)).all()
            assert abs(float(row[2]) - len(samples) / RATE) < 0.001
            assert 0.3 < len(samples) / RATE < 6
            assert 7000 < np.abs(samples.astype(int)).max() <= 32767


def test_another_seed_and_no_development_set(tmp_path: Path) -> None:
    a, b = synth(tmp_path, utterances=4, dev=1)
    before = a.read_text()
    assert b.exists()
    assert synth(tmp_path, utterances=4, dev=0, seed=1) == [a]
    assert a.read_text() != before
    assert not b.exists()


def test_voices_of_the_splits_are_disjoint_and_many() -> None:
    made_up = {s: [utterance_of("digits", 0, s, i) for i in range(1500)] for s in ("train", "dev")}
    voices = {split: {u.voice for u in found} for split, found in made_up.items()}
    variants = {split: {v.split("+")[1] for v in found} for split, found in voices.items()}
    assert not variants["train"] & variants["dev"]
    assert len(voices["train"]) == 60
    assert len(voices["dev"]) == 15
    for found in made_up.values():
        assert {u.speed for u in found} == set(range(140, 201))
        assert {len(u.text.split()) for u in found} == {1, 2, 3}
        assert len({word for u in found for word in u.text.split()}) == 10


def test_every_voice_speaks() -> None:
    voices = {utterance_of("digits", 0, s, i).voice for s in ("train", "dev") for i in range(1500)}
    spoken = {voice: espeak.speak("seven", voice, 160, 50) for voice in voices}
    assert all(np.abs(samples.astype(int)).max() > 3000 for samples in spoken.values())
    assert len({samples.tobytes() for samples in spoken.values()}) == len(voices)


def test_sentences_are_hundreds_of_plain_ones() -> None:
    texts = {utterance_of("sentences", 0, "train", i).text for i in range(3000)}
    assert len(texts) > 200
    assert set("".join(texts)) <= set(" abcdefghijklmnopqrstuvwxyz")


def test_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no kind 'songs'; there are digits, sentences"):
        synth(tmp_path, kind="songs")
    for utterances, dev in [(0, 1), (1, -1)]:
        with pytest.raises(RecipeError, match=rf"{utterances} utterances? and {dev} for"):
            synth(tmp_path, utterances=utterances, dev=dev)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"synth: cannot write .*file/wav: Not a directory"):
        synth(tmp_path / "file", utterances=1)
    with pytest.raises(BuildError, match="there is no voice 'martian'"):
        espeak.speak("one", "martian", 160, 50)


def test_rounding_of_the_filter_needs_no_exact_sine() -> None:
    """No coefficient is so near a half that an error of a libm could round it elsewhere."""
    values = np.array(mixing.filter_table(espeak.RATE, RATE))
    to_half = np.abs(values - np.floor(values) - 0.5)
    assert to_half.min() > 1e-7
    gains = np.rint(values).sum(axis=1)
    assert (np.abs(gains / (1 << 15) - 1) < 1e-3).all()


def test_resampling_keeps_a_tone_and_stops_an_alias() -> None:
    at = np.arange(espeak.RATE)
    tone = np.rint(10000 * np.sin(2 * np.pi * 1000 / espeak.RATE * at)).astype(np.int16)
    found = mixing.resample(tone, espeak.RATE, RATE)
    assert found.dtype == np.int64
    assert len(found) == RATE
    expected = 10000 * np.sin(2 * np.pi * 1000 / RATE * np.arange(RATE))
    assert np.abs(found - expected)[50:-50].max() < 30
    high = np.rint(10000 * np.sin(2 * np.pi * 10000 / espeak.RATE * at)).astype(np.int16)
    assert np.abs(mixing.resample(high, espeak.RATE, RATE))[50:-50].max() < 100


@pytest.mark.parametrize("ratio", [100, 10000])
def test_noise_has_the_strength_that_was_asked_for(ratio: int) -> None:
    speech = np.rint(900 * np.sin(np.arange(16000) / 7)).astype(np.int64)
    noise = mixing.Draw("x").bell("noise", 16000)
    mixed = mixing.mix(speech, noise, 20000, ratio).astype(np.float64)
    loud = speech * 20000 // np.abs(speech).max()
    found = (loud.astype(float) ** 2).sum() / ((mixed - loud) ** 2).sum()
    assert 0.98 < found / ratio < 1.02


def test_mixing_clips() -> None:
    speech = np.array([1, -1] * 1000, np.int64)
    mixed = mixing.mix(speech, mixing.Draw("x").bell("noise", 2000), 32767, 10)
    assert mixed.max() == 32767
    assert mixed.min() == -32768


def test_trim() -> None:
    samples = np.array([0, 4, 1000, -3, 6, 0, 5, 0], np.int64)
    assert mixing.trim(samples, 2, 1).tolist() == [0, 0, 1000, -3, 6, 0]


def test_draws_are_functions_of_key_and_purpose() -> None:
    draw = mixing.Draw("key")
    assert draw.below("a", 1 << 60) == mixing.Draw("key").below("a", 1 << 60)
    assert draw.below("a", 1 << 60) != draw.below("b", 1 << 60)
    assert draw.below("a", 1 << 60) != mixing.Draw("kez").below("a", 1 << 60)
    assert {draw.below(str(i), 3) for i in range(50)} == {0, 1, 2}
    noise = draw.bell("noise", 10000)
    assert (noise[:100] == draw.bell("noise", 100)).all()
    assert abs(noise.mean()) < 2000
    assert 35000 < noise.std() < 40000


def test_a_manifest_of_the_user_stays(tmp_path: Path) -> None:
    mine = tmp_path / "train.tsv"
    mine.write_text("path\ttranscript\na.wav\thello\n")
    with pytest.raises(
        OutputError, match=r"train.tsv is not from majel synth; give another folder"
    ):
        synth(tmp_path, utterances=1, dev=0)
    assert mine.read_text().endswith("hello\n")
