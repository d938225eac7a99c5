"""Reading recordings and feature files, whole and damaged."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import needs
import numpy as np
import pytest
import soundfile

from majelpy.errors import AudioError
from majelpy.speech.audio import audio_length, audio_rate, read_audio, read_features


def ramp(count: int = 8000) -> np.ndarray:
    return (np.arange(count) * 37 % 20000 - 10000).astype(np.int16)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_sixteen_bits_come_out_exactly(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, ramp(), 8000)
    samples = read_audio(path, 8000)
    assert samples.dtype == np.float32
    assert samples.flags.c_contiguous
    assert (samples == ramp() / 32768).all()
    assert audio_rate(path) == 8000


def test_other_formats_are_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", ramp(), 16000)
    assert read_audio(tmp_path / "a.ogg", 16000).shape == (8000,)


@pytest.mark.parametrize("ending", ["wav", "flac", "sph"])
def test_a_piece_is_those_samples_of_the_whole(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, ramp(), 8000, format="NIST" if ending == "sph" else None)
    assert audio_length(path) == (8000, 8000)
    whole = ramp() / 32768
    # 0.29 * 8000 is 2319.9999999999995 in floating-point numbers.
    assert (read_audio(path, 8000, Decimal("0.29"), Decimal("0.5")) == whole[2320:4000]).all()
    assert (read_audio(path, 8000, Decimal(0), Decimal("0.00019")) == whole[:1]).all()
    assert (read_audio(path, 8000, Decimal("0.9"), Decimal(1)) == whole[7200:]).all()
    assert read_audio(path, 4000, Decimal("0.5"), Decimal(1)).shape == (2000,)
    with pytest.raises(AudioError, match=r"ends at 1\.001 s, sample 8008; the recording has 8000"):
        read_audio(path, 8000, Decimal("0.9"), Decimal("1.001"))
    with pytest.raises(AudioError, match="has no samples"):
        read_audio(path, 8000, Decimal("0.50001"), Decimal("0.50002"))


def test_an_mp3_is_read_or_the_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp3"
    if "MP3" in soundfile.available_formats():
        soundfile.write(path, ramp(32000), 16000)
        frames, rate = audio_length(path)
        assert rate == 16000
        assert len(read_audio(path, 16000)) == frames >= 32000
    path.write_bytes(b"not so")
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "WAV (Microsoft)"})
    with pytest.raises(AudioError, match=r"a\.mp3: .*libsndfile .* reads no MP3, 1\.1"):
        read_audio(path, 16000)


def test_the_first_channel_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([ramp(), -ramp()], axis=1), 8000)
    samples = read_audio(path, 8000)
    assert samples.shape == (8000,)
    assert samples.flags.c_contiguous
    assert (samples == ramp() / 32768).all()


def test_resampling(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    tone = np.sin(np.arange(22050) * 2 * np.pi * 440 / 22050)
    soundfile.write(path, tone, 22050, subtype="FLOAT")
    samples = read_audio(path, 16000)
    assert samples.dtype == np.float32
    assert abs(len(samples) - 16000) <= 1
    expected = np.sin(np.arange(len(samples)) * 2 * np.pi * 440 / 16000)
    assert np.abs(samples - expected)[200:-200].max() < 1e-3
    assert (read_audio(path, 16000) == samples).all()


@pytest.mark.parametrize("cut", [44, 60, 3001, -7])
def test_a_wav_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, ramp(), 8000)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(AudioError, match=r"a\.wav: cut off: its header declares 16000 bytes"):
        read_audio(path, 8000)


def test_a_wav_of_unknown_length_is_read(tmp_path: Path) -> None:
    """What a program leaves that writes into a pipe."""
    path = tmp_path / "a.wav"
    soundfile.write(path, ramp(), 8000)
    data = bytearray(path.read_bytes())
    assert data[36:40] == b"data"
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert (read_audio(path, 8000) == ramp() / 32768).all()


@pytest.mark.parametrize("cut", [60, 1700, -7])
def test_a_flac_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, ramp(), 8000)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(AudioError, match=r"a\.flac: (damaged or cut off|not a readable)"):
        read_audio(path, 8000)


def test_a_damaged_flac_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, ramp(), 8000)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(AudioError, match=r"a\.flac: damaged or cut off"):
        read_audio(path, 8000)


@pytest.mark.parametrize("read", [audio_rate, lambda path: read_audio(path, 8000)])
def test_what_is_not_audio_is_refused(tmp_path: Path, read: object) -> None:
    assert callable(read)
    with pytest.raises(AudioError, match=r"none\.wav: there is no such file"):
        read(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="a folder, not a recording"):
        read(tmp_path)
    for content in (b"", b"dear diary\n" * 100):
        (tmp_path / "text.wav").write_bytes(content)
        with pytest.raises(AudioError, match=r"text\.wav: not a readable recording: ") as caught:
            read(tmp_path / "text.wav")
        assert "\n" not in str(caught.value)
    (tmp_path / "a.raw").write_bytes(bytes(100))
    with pytest.raises(AudioError, match=r"a\.raw: not a readable recording"):
        read(tmp_path / "a.raw")


def test_no_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", ramp(0), 8000)
    with pytest.raises(AudioError, match=r"a\.wav: the recording has no samples"):
        read_audio(tmp_path / "a.wav", 8000)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path: Path, value: float) -> None:
    samples = np.zeros(100, np.float32)
    samples[[7, 9]] = value
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    with pytest.raises(AudioError, match=rf"2 values are not finite; the first is {value} at 7"):
        read_audio(tmp_path / "a.wav", 8000)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4"])
def test_features_come_out_as_they_are(tmp_path: Path, order: str, dtype: str) -> None:
    values = np.arange(12, dtype=dtype).reshape(4, 3)
    np.save(tmp_path / "a.npy", np.asarray(values, order=order))
    found = read_features(tmp_path / "a.npy")
    assert found.dtype == np.dtype("<f4")
    assert found.flags.c_contiguous
    assert (found == values).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 2)), r"float32 of shape \(frames, features\), found float64 \(3, 2\)"),
        (np.zeros(3, np.float32), r"found float32 \(3,\)"),
        (np.zeros((0, 3), np.float32), r"found float32 \(0, 3\)"),
        (np.zeros((3, 0), np.float32), r"found float32 \(3, 0\)"),
        (np.float32([[0, 1], [np.nan, 1]]), r"1 values are not finite.*nan at \(1, 0\)"),
        (np.array([{"a": 1}], object), "not a usable .npy file: Object arrays"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(AudioError, match=message):
        read_features(tmp_path / "a.npy")


def test_feature_files_that_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with pytest.raises(AudioError, match=r"a\.npy: there is no such file"):
        read_features(path)
    np.save(path, np.ones((50, 3), np.float32))
    whole = path.read_bytes()
    for content in (b"", b"text", whole[:20], whole[:-1], whole.replace(b"(50", b"(5x")):
        path.write_bytes(content)
        with pytest.raises(AudioError, match=r"a\.npy: not a usable \.npy file"):
            read_features(path)
    path.write_bytes(whole.replace(b"(50, 3), }     ", b"(50000000000, 3)", 1))
    with pytest.raises(AudioError, match=r"a\.npy: not a usable \.npy file"):
        read_features(path)


@pytest.mark.parametrize(
    ("manifest", "rate"),
    [
        ("fsdd/test.tsv", 8000),
        ("speechocean762/dev.tsv", 16000),
        ("aishell1_sample/test.tsv", 16000),
    ],
)
def test_real_recordings(manifest: str, rate: int) -> None:
    from majelpy.speech.manifest import read_manifest

    for entry in read_manifest(needs.recordings(manifest))[:5]:
        assert audio_rate(entry.path) == rate
        samples = read_audio(entry.path, rate)
        assert len(samples) > rate // 10
        assert 0 < np.abs(samples).max() <= 1.5


def test_a_cut_off_ogg(tmp_path: Path) -> None:
    whole = tmp_path / "a.ogg"
    tone = np.sin(np.arange(64000) / 7).astype(np.float32) / 2
    soundfile.write(whole, tone, 16000, format="OGG", subtype="VORBIS")
    assert len(read_audio(whole, 16000)) > 60000
    cut = tmp_path / "cut.ogg"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with pytest.raises(AudioError, match=r"cut.ogg: cut off"):
        read_audio(cut, 16000)
