"""Reading recordings and feature files, whole and damaged."""

from __future__ import annotations

import struct
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import needs
import numpy as np
import pytest
import soundfile
import soxr

from majelpy.errors import AudioError
from majelpy.sound import sound_file
from majelpy.sound.audio import audio_length, audio_rate, read_audio, read_features
from majelpy.sound.channel import MIX, one_of
from majelpy.sound.level import Level


def ramp(count: int = 8000) -> np.ndarray:
    return (np.arange(count) * 37 % 20000 - 10000).astype(np.int16)


def piece(path: Path, start: str, end: str | None) -> np.ndarray:
    limits = Decimal(start), None if end is None else Decimal(end)
    return read_audio(path, 8000, *limits).samples


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_sixteen_bits_come_out_exactly(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, ramp(), 8000)
    found = read_audio(path, 8000)
    assert found.samples.dtype == np.float32
    assert found.samples.flags.c_contiguous
    assert (found.samples == ramp() / 32768).all()
    assert (found.frames, found.rate) == (8000, 8000)
    assert audio_rate(path) == 8000


def test_other_formats_are_read(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", ramp(), 16000)
    assert read_audio(tmp_path / "a.ogg", 16000).samples.shape == (8000,)


@pytest.mark.parametrize("ending", ["wav", "flac", "sph"])
def test_a_piece_is_those_samples_of_the_whole(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, ramp(), 8000, format="NIST" if ending == "sph" else None)
    assert audio_length(path) == (8000, 8000)
    whole = ramp() / 32768
    # 0.29 * 8000 is 2319.9999999999995 in floating-point numbers.
    assert (piece(path, "0.29", "0.5") == whole[2320:4000]).all()
    assert (piece(path, "0", "0.00019") == whole[:1]).all()
    assert (piece(path, "0.9", "1") == whole[7200:]).all()
    assert (piece(path, "0.9", None) == whole[7200:]).all()
    assert read_audio(path, 4000, Decimal("0.5"), Decimal(1)).samples.shape == (2000,)
    # Ends are rounded, to 1/100 s and finer.
    assert (piece(path, "0.9", "1.005") == whole[7200:]).all()
    with pytest.raises(AudioError, match=r"ends at 1\.006 s, sample 8048; the recording has 8000"):
        piece(path, "0.9", "1.006")
    with pytest.raises(AudioError, match=r"begins at 1\.1 s, sample 8800; the recording has 8000"):
        piece(path, "1.1", None)
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
        assert len(read_audio(path, 16000).samples) == frames >= 32000
    path.write_bytes(b"not so")
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"WAV": "WAV (Microsoft)"})
    with pytest.raises(AudioError, match=r"a\.mp3: .*libsndfile .* reads no MP3, 1\.1"):
        read_audio(path, 16000)


def test_resampling(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    tone = np.sin(np.arange(22050) * 2 * np.pi * 440 / 22050)
    soundfile.write(path, tone, 22050, subtype="FLOAT")
    samples = read_audio(path, 16000).samples
    assert samples.dtype == np.float32
    assert abs(len(samples) - 16000) <= 1
    expected = np.sin(np.arange(len(samples)) * 2 * np.pi * 440 / 16000)
    assert np.abs(samples - expected)[200:-200].max() < 1e-3
    assert (read_audio(path, 16000).samples == samples).all()


@pytest.mark.parametrize("rate", [8000, 44100, 16001])
@pytest.mark.parametrize("block", [1000, 4096, 1 << 18])
def test_blocks_are_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int, block: int
) -> None:
    """Same: bit for bit what one call of soxr makes of all samples."""
    monkeypatch.setattr(sound_file, "_BLOCK", block)
    soundfile.write(tmp_path / "a.flac", ramp(20000), rate)
    expected = soxr.resample((ramp(20000) / 32768).astype(np.float32), rate, 16000, quality="HQ")
    assert read_audio(tmp_path / "a.flac", 16000).samples.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("MP3", "MPEG_LAYER_III"), ("OGG", "OPUS"), ("OGG", "VORBIS"), ("WAV", "MS_ADPCM")],
)
def test_decoders_do_not_begin_anew_at_a_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, subtype: str
) -> None:
    if format not in soundfile.available_formats():
        needs.lacking("dev", f"this libsndfile has no {format}")
    path = tmp_path / "a"
    tone = np.sin(np.arange(100_000) / 9) * 0.3
    soundfile.write(path, np.stack([tone, tone], axis=1), 48000, subtype, format=format)
    with soundfile.SoundFile(path) as file:
        whole = file.read(file.frames, dtype="float32")[:, 0]
    for block in (1000, 33_334):
        monkeypatch.setattr(sound_file, "_BLOCK", block)
        assert read_audio(path, 48000, channel=0).samples.tobytes() == whole.tobytes()


def test_memory_is_that_of_what_is_kept(tmp_path: Path) -> None:
    """60 s of two channels at 96 kHz are 46 MB; at 1 kHz and one channel a quarter of one."""
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros((60 * 96000, 2), np.int16), 96000)
    tracemalloc.start()
    try:
        assert len(read_audio(path, 1000).samples) == 60_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20, peak


def test_a_recording_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, ramp(), 8000)
    assert len(read_audio(path, 8000, longest=1).samples) == 8000
    message = r"a\.flac: 1\.000 s long; at most 0\.9 s are read at a time \(--longest\)"
    with pytest.raises(AudioError, match=message):
        read_audio(path, 8000, longest=0.9)
    # A piece counts by its own length.
    assert len(read_audio(path, 8000, Decimal("0.1"), Decimal("0.9"), longest=0.9).samples) == 6400
    with pytest.raises(AudioError, match=r"a\.flac: 0\.900 s long; at most 0\.5 s"):
        read_audio(path, 8000, Decimal("0.1"), longest=0.5)
    flac_of(path, (1 << 36) - 1)
    with pytest.raises(AudioError, match=r"a\.flac: 8589934\.592 s long; at most 3600 s"):
        read_audio(path, 8000)
    flac_of(path, 0)
    with pytest.raises(AudioError, match=r"a\.flac: 1\.000 s long; at most 0\.9 s"):
        read_audio(path, 8000, longest=0.9)


@pytest.mark.parametrize("rate", [0, 1, 999, 1_000_001, 0x7FFFFFFF])
def test_rates_that_no_recorder_has(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, ramp(), 8000)
    data = path.read_bytes()
    path.write_bytes(data[:24] + struct.pack("<I", rate) + data[28:])
    for read in (audio_rate, audio_length, lambda path: read_audio(path, 16000)):
        with pytest.raises(
            AudioError, match=r"a\.wav: (\d+ Hz; needs 1000 to 1000000 Hz|not a rea)"
        ):
            read(path)


def two(tmp_path: Path, other: np.ndarray) -> Path:
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([ramp(), other], axis=1), 8000)
    return path


def test_equal_channels_are_one(tmp_path: Path) -> None:
    path = two(tmp_path, ramp())
    for channel in (None, 0, 1, MIX):
        samples = read_audio(path, 8000, channel=channel).samples
        assert samples.flags.c_contiguous
        assert (samples == ramp() / 32768).all()


def test_channels_that_differ_are_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_file, "_BLOCK", 1000)
    other = ramp()
    other[5001:] = 5
    path = two(tmp_path, other)
    message = (
        r"two\.wav: 2 channels that differ, first at sample 5001; .*--channel N.*--channel mix"
    )
    with pytest.raises(AudioError, match=message):
        read_audio(path, 8000)
    with pytest.raises(AudioError, match="first at sample 5001"):
        read_audio(path, 8000, Decimal("0.5"))
    assert (read_audio(path, 8000, channel=0).samples == ramp() / 32768).all()
    assert (read_audio(path, 8000, channel=1).samples == other / 32768).all()
    # Of 16 bits the mean of two is exact.
    mean = (ramp().astype(int) + other) / 65536
    assert (read_audio(path, 8000, channel=MIX).samples == mean).all()
    with pytest.raises(AudioError, match=r"two\.wav: channel 2; the recording has 2 channels, c"):
        read_audio(path, 8000, channel=2)
    soundfile.write(tmp_path / "one.wav", ramp(), 8000)
    assert (read_audio(tmp_path / "one.wav", 8000, channel=MIX).samples == ramp() / 32768).all()
    with pytest.raises(AudioError, match=r"one\.wav: channel 1; the recording has 1 channel, c"):
        read_audio(tmp_path / "one.wav", 8000, channel=1)


def test_a_mix_is_the_canonical_mean(each_isa: str) -> None:
    """Right and same: added in order in float32 from +0, then divided by their number."""
    block = np.random.default_rng(1).normal(size=(1000, 3)).astype(np.float32)
    total = np.zeros(1000, np.float32)
    for channel in block.T:
        total += channel
    assert one_of(block, MIX).tobytes() == (total / np.float32(3)).tobytes()


STRETCHES = [
    ([0, 0, 0, 0], "PCM_16", True, False),
    ([], "PCM_16", True, False),
    ([0, 1, 0], "PCM_16", False, False),
    ([1, 0.9, 1, 1], "PCM_16", False, False),
    ([0, 1, 1, 1, 0], "PCM_16", False, True),
    ([0, -1, -1, -1], "PCM_16", False, True),
    ([1, 1, -1, -1, 1, 1], "PCM_16", False, False),
    ([0.9, 1.5, 1.1, 1.2], "FLOAT", False, True),
    ([127 / 128] * 3, "PCM_U8", False, True),
    ([127 / 128] * 3, "PCM_16", False, False),
    ([32124 / 32768] * 3, "ULAW", False, True),
]


@pytest.mark.parametrize(("values", "subtype", "silent", "clipped"), STRETCHES)
@pytest.mark.parametrize("size", [1, 2, 3, 99])
def test_silence_and_clipping(
    values: list[float], subtype: str, silent: bool, clipped: bool, size: int
) -> None:
    level = Level(subtype)
    samples = np.array([v if abs(v) < 1 or subtype == "FLOAT" else v - 2**-15 for v in values])
    for start in range(0, len(values), size):
        level.hear(samples[start : start + size].astype(np.float32))
    assert (level.silent, level.clipped) == (silent, clipped)


@pytest.mark.parametrize("cut", [44, 60, 3001, -7])
def test_a_wav_cut_off_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, ramp(), 8000)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(AudioError, match=r"a\.wav: cut off: its header declares 16000 bytes"):
        read_audio(path, 8000)


def test_samples_in_an_order_of_their_own(tmp_path: Path) -> None:
    """Chunks that are not of the sound stand before and behind it."""
    path = tmp_path / "a.wav"
    soundfile.write(path, ramp(), 8000)
    data = path.read_bytes()
    odd = b"note" + struct.pack("<I", 3) + b"abc\0"
    whole = data[:12] + odd + data[12:] + odd
    path.write_bytes(whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:])
    assert (read_audio(path, 8000).samples == ramp() / 32768).all()
    at = whole.index(b"data") + 4
    empty = whole[:at] + bytes(4) + odd
    path.write_bytes(empty[:4] + struct.pack("<I", len(empty) - 8) + empty[8:])
    with pytest.raises(AudioError, match=r"a\.wav: the recording has no samples"):
        read_audio(path, 8000)


def field_of(format: str, data: bytes) -> tuple[int, str]:
    """Return where the size of the samples stands, and how."""
    return {
        "WAV": (data.find(b"data") + 4, "<I"),
        "RF64": (data.find(b"ds64") + 16, "<Q"),
        "W64": (data.find(b"data") + 16, "<Q"),
        "AU": (8, ">I"),
        "CAF": (data.find(b"data") + 4, ">Q"),
    }[format]


STREAMS = [
    # arecord of alsa-utils before and since 1.0.24; sox; ffmpeg; others
    *(("WAV", size) for size in (0x7FFFFF00, 0x80000000, 0x7FFFF000, 0xFFFFFFFF, 0x7FFFFFFF)),
    *(("WAV", size) for size in (0xFFFFFFFF - 44, 0)),
    *(("RF64", size) for size in (0, (1 << 64) - 1, (1 << 63) - 1)),
    *(("W64", size) for size in ((1 << 63) - 1, 0)),
    *(("AU", size) for size in (0xFFFFFFFF, 0)),
    ("CAF", (1 << 64) - 1),
]


@pytest.mark.parametrize(("format", "size"), STREAMS)
def test_a_stream_goes_to_the_end_of_the_file(tmp_path: Path, format: str, size: int) -> None:
    """What programs leave in the header that write into a pipe."""
    path = tmp_path / "a"
    soundfile.write(path, ramp(), 8000, "PCM_16", format=format)
    data = path.read_bytes()
    at, kind = field_of(format, data)
    width = struct.calcsize(kind)
    mended = data[:at] + struct.pack(kind, size) + data[at + width :]
    if format in ("WAV", "RF64"):
        mended = mended[:4] + b"\xff\xff\xff\xff" + mended[8:]
    if format == "RF64":
        mended = mended[: at - 8] + bytes(8) + mended[at:]
    path.write_bytes(mended)
    assert audio_length(path) == (8000, 8000)
    assert (read_audio(path, 8000).samples == ramp() / 32768).all()
    assert (piece(path, "0.5", "1") == ramp()[4000:] / 32768).all()


def flac_of(path: Path, frames: int) -> None:
    """Let the header of a FLAC say that it has so many samples: 36 bits from byte 21 on."""
    data = bytearray(path.read_bytes())
    data[21] = data[21] & 0xF0 | frames >> 32
    data[22:26] = struct.pack(">I", frames & 0xFFFFFFFF)
    path.write_bytes(data)


def test_a_flac_from_a_pipe_has_no_length(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, ramp(), 8000)
    flac_of(path, 0)
    assert audio_length(path) == (8000, 8000)
    assert (read_audio(path, 8000).samples == ramp() / 32768).all()
    assert (piece(path, "0.5", None) == ramp()[4000:] / 32768).all()
    with pytest.raises(AudioError, match="ends at 2 s, sample 16000; the recording has 8000"):
        piece(path, "0.5", "2")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(AudioError, match=r"a\.flac: damaged or cut off"):
        read_audio(path, 8000)


@pytest.mark.parametrize("format", ["RF64", "W64", "AU", "CAF", "NIST", "AIFF"])
def test_other_containers_cut_off_are_refused(tmp_path: Path, format: str) -> None:
    path = tmp_path / "a"
    soundfile.write(path, ramp(), 8000, "PCM_16", format=format)
    assert (read_audio(path, 8000).samples == ramp() / 32768).all()
    path.write_bytes(path.read_bytes()[:-4000])
    read: Callable[[Path], object]
    for read in (audio_rate, lambda path: read_audio(path, 8000)):
        with pytest.raises(AudioError, match=r"/a: cut off: its header declares 160\d\d bytes of"):
            read(path)


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
        samples = read_audio(entry.path, rate).samples
        assert len(samples) > rate // 10
        assert 0 < np.abs(samples).max() <= 1.5


def test_a_cut_off_ogg(tmp_path: Path) -> None:
    whole = tmp_path / "a.ogg"
    tone = np.sin(np.arange(64000) / 7).astype(np.float32) / 2
    soundfile.write(whole, tone, 16000, format="OGG", subtype="VORBIS")
    assert len(read_audio(whole, 16000).samples) > 60000
    cut = tmp_path / "cut.ogg"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with pytest.raises(AudioError, match=r"cut.ogg: cut off"):
        read_audio(cut, 16000)
