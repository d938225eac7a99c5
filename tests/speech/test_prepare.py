"""From a manifest to a corpus, and the two commands that make data."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from pathlib import Path

import needs
import numpy as np
import pytest
import soundfile

from majelpy.cli import prepare as prepare_command
from majelpy.cli import synth as synth_command
from majelpy.errors import (
    AudioError,
    MajelError,
    ManifestError,
    OutputError,
    PoolError,
    RecipeError,
)
from majelpy.memory.pool import Pool
from majelpy.sound.audio import read_audio
from majelpy.speech import features
from majelpy.speech.corpus import Corpus
from majelpy.speech.prepare import prepare


def samples_of(seed: int, seconds: float, rate: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(-8000, 8000, int(seconds * rate)).astype(np.int16)


def make(folder: Path, rows: list[tuple[str, str]], rate: int = 8000) -> Path:
    """Write a recording of 0.3 s per row, and the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, (name, _) in enumerate(rows):
        soundfile.write(folder / name, samples_of(i, 0.3, rate), rate)
    manifest = folder / "m.tsv"
    lines = ["path\ttranscript", *(f"{name}\t{text}" for name, text in rows)]
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


ROWS = [("a.wav", "One  two"), ("b.flac", "THREE"), ("c.wav", "four")]


def test_the_corpus_holds_the_features_of_the_recordings(tmp_path: Path) -> None:
    report = prepare(make(tmp_path, ROWS), tmp_path / "c.h5")
    with Corpus.open(tmp_path / "c.h5") as corpus:
        assert corpus.digest == report.digest
        assert corpus.names == ["a.wav", "b.flac", "c.wav"]
        assert corpus.transcripts == ["one two", "three", "four"]
        assert (corpus.rate, corpus.window, corpus.hop, corpus.features) == (8000, 160, 80, 81)
        statistics = features.Statistics()
        for i, name in enumerate(corpus.names):
            expected = features.spectrogram(read_audio(tmp_path / name, 8000).samples, 8000)
            assert corpus.frames(i).tobytes() == expected.tobytes()
            statistics.add(expected)
        mean, scale = statistics.finish()
        assert corpus.mean.tobytes() == mean.tobytes()
        assert corpus.scale.tobytes() == scale.tobytes()
        frames = int(corpus.lengths.sum())
    assert (report.utterances, report.frames, report.features) == (3, frames, 81)
    assert (report.rate, report.hop, report.skipped) == (8000, 80, 0)
    assert report.seconds == pytest.approx(frames / 100)


def test_the_digest_does_not_depend_on_place_time_or_kind_of_manifest(tmp_path: Path) -> None:
    first = prepare(make(tmp_path / "a", ROWS), tmp_path / "a.h5")
    moved = make(tmp_path / "deeper" / "b", ROWS)
    assert prepare(moved, tmp_path / "b.h5").digest == first.digest
    absolute = moved.with_name("absolute.jsonl")
    absolute.write_text(
        "\n".join(
            json.dumps({"audio_filepath": str(moved.parent / name), "text": text})
            for name, text in ROWS
        )
    )
    assert prepare(absolute, tmp_path / "c.h5").digest == first.digest
    other = make(tmp_path / "d", [*ROWS[:2], ("c.wav", "five")])
    assert prepare(other, tmp_path / "d.h5").digest != first.digest


def test_the_rate_is_the_lowest_found_up_to_16000(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = make(tmp_path, ROWS, rate=44100)
    assert prepare(manifest, tmp_path / "c.h5").rate == 16000
    assert "rate: 16000 Hz (3 of 3 recordings will be resampled)" in capsys.readouterr().err
    soundfile.write(tmp_path / "c.wav", samples_of(2, 0.3, 11025), 11025)
    assert prepare(manifest, tmp_path / "c.h5").rate == 11025
    assert "rate: 11025 Hz (2 of 3 " in capsys.readouterr().err
    report = prepare(manifest, tmp_path / "c.h5", rate=8000)
    assert (report.rate, report.features) == (8000, 81)
    assert capsys.readouterr().err == ""


def test_pieces_of_a_recording_are_utterances(tmp_path: Path) -> None:
    samples = samples_of(0, 1, 8000)
    soundfile.write(tmp_path / "talk.sph", samples, 8000, format="NIST")
    soundfile.write(tmp_path / "piece.wav", samples[1600:4400], 8000)
    manifest = tmp_path / "m.tsv"
    manifest.write_text(
        "path\ttranscript\tstart\tend\n"
        "talk.sph\tone\t0.2\t0.55\ntalk.sph\ttwo\t0.55\t1\npiece.wav\tone\t\t\n"
    )
    prepare(manifest, tmp_path / "c.h5")
    with Corpus.open(tmp_path / "c.h5") as corpus:
        assert corpus.names == ["talk.sph#0.2-0.55", "talk.sph#0.55-1", "piece.wav"]
        assert corpus.frames(0).tobytes() == corpus.frames(2).tobytes()
    with manifest.open("a") as file:
        file.write("talk.sph\tthree\t0.5\t1.5\n")
    message = r"m\.tsv:5: .*talk\.sph: the utterance ends at 1\.5 s, sample 12000; .* has 8000"
    with pytest.raises(AudioError, match=message):
        prepare(manifest, tmp_path / "d.h5")
    manifest.write_text("path\ttranscript\tstart\tend\nx.npy\tone\t0\t1\n")
    with pytest.raises(ManifestError, match=r"m\.tsv:2: .*x\.npy: start and end, offset and"):
        prepare(manifest, tmp_path / "d.h5")


def test_several_manifests_make_one_corpus(tmp_path: Path) -> None:
    """As when made-up speech is mixed into recorded speech; the lowest rate of all counts."""
    first = make(tmp_path / "a", ROWS, rate=16000)
    second = make(tmp_path / "b", [("a.wav", "five"), ("d.wav", "six")], rate=8000)
    report = prepare([first, second], tmp_path / "c.h5")
    assert (report.utterances, report.rate) == (5, 8000)
    with Corpus.open(tmp_path / "c.h5") as corpus:
        assert corpus.transcripts == ["one two", "three", "four", "five", "six"]
        assert corpus.names == ["a.wav", "b.flac", "c.wav", "a.wav", "d.wav"]
    assert prepare([second, first], tmp_path / "d.h5").digest != report.digest
    (tmp_path / "b" / "d.wav").unlink()
    with pytest.raises(AudioError, match=r"b/m\.tsv:3: .*d\.wav: there is no such file"):
        prepare([first, second], tmp_path / "d.h5")
    assert prepare([first, second], tmp_path / "d.h5", skip_bad=True).utterances == 4


def test_a_forgotten_name_of_the_corpus_costs_no_manifest(tmp_path: Path) -> None:
    first, second = make(tmp_path / "a", ROWS), make(tmp_path / "b", ROWS)
    before = second.read_bytes()
    with pytest.raises(RecipeError, match=r"b/m\.tsv: a corpus cannot be written over a manifest"):
        prepare([first], second)
    assert second.read_bytes() == before
    with pytest.raises(ManifestError, match="no manifest; at least 1 is needed"):
        prepare([], tmp_path / "c.h5")


def test_rates_out_of_range(tmp_path: Path) -> None:
    manifest = make(tmp_path, ROWS)
    for rate in (0, -8000, 999, 192001):
        with pytest.raises(RecipeError, match=f"rate {rate} Hz; needs 1000 to 192000"):
            prepare(manifest, tmp_path / "c.h5", rate=rate)
    soundfile.write(tmp_path / "b.flac", samples_of(0, 0.3, 500), 500)
    with pytest.raises(AudioError, match=r"m\.tsv:3: .*b\.flac: 500 Hz; needs 1000 to 1000000 Hz"):
        prepare(manifest, tmp_path / "c.h5")


def not_audio(path: Path) -> None:
    path.write_bytes(b"dear diary " * 50)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def missing(path: Path) -> None:
    path.unlink()


def silent_about_length(path: Path) -> None:
    soundfile.write(path, samples_of(0, 0, 8000), 8000)


def too_short(path: Path) -> None:
    soundfile.write(path, samples_of(0, 0.01, 8000), 8000)


def too_few_frames(path: Path) -> None:
    soundfile.write(path, samples_of(0, 0.04, 8000), 8000)


def slow_beyond_reason(path: Path) -> None:
    """A WAV of 1 Hz, which at 16 kHz would be 16000 times as long."""
    soundfile.write(path, samples_of(0, 0.3, 8000), 8000, format="WAV")
    data = path.read_bytes()
    path.write_bytes(data[:24] + (1).to_bytes(4, "little") + data[28:])


def long_beyond_reason(path: Path) -> None:
    """1.1 hours of silence, in some KiB."""
    soundfile.write(path, np.zeros(4000 * 1000, np.int16), 1000)


def of_two_minds(path: Path) -> None:
    left = samples_of(1, 0.3, 8000)
    soundfile.write(path, np.stack([left, left * 0], axis=1), 8000)


FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (not_audio, "not a readable recording"),
    (cut_off, "damaged or cut off"),
    (missing, "there is no such file"),
    (silent_about_length, "has no samples|not a readable"),
    (too_short, "80 samples at 8000 Hz; needs at least 160"),
    (slow_beyond_reason, "1 Hz; needs 1000 to 1000000 Hz"),
    (long_beyond_reason, "4000.000 s long; at most 3600 s are read at a time"),
    (of_two_minds, "2 channels that differ, first at sample 0; choose one by its number"),
    (too_few_frames, "3 frames for 5 labels with 1 repeat; needs at least 6"),
]


@pytest.mark.parametrize(("spoil", "reason"), FAULTS)
def test_a_bad_recording_stops_or_is_skipped(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    reason: str,
) -> None:
    manifest = make(tmp_path, ROWS)
    spoil(tmp_path / "b.flac")
    with pytest.raises(AudioError, match=rf"m\.tsv:3: .*b\.flac: .*({reason})") as caught:
        prepare(manifest, tmp_path / "c.h5", rate=8000)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.h5*")) + list(tmp_path.glob(".*"))
    capsys.readouterr()
    report = prepare(manifest, tmp_path / "c.h5", rate=8000, skip_bad=True)
    assert (report.utterances, report.skipped) == (2, 1)
    skipped = [line for line in capsys.readouterr().err.splitlines() if "skipped" in line]
    assert skipped == [f"skipped {caught.value}"]
    assert report.remarks == ()
    good = make(tmp_path / "good", [ROWS[0], ("x.wav", "x"), ROWS[2]])
    good.write_text("path\ttranscript\na.wav\tOne two\nc.wav\tfour\n")
    assert prepare(good, tmp_path / "good.h5").digest == report.digest


def test_a_pool_that_is_full_names_the_recording(
    tmp_path: Path, own_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = make(tmp_path, ROWS)
    whole = features.spectrogram

    def asks_for_more(samples: np.ndarray, rate: int) -> np.ndarray:
        if len(samples) == 2399:
            raise PoolError("pool: 9 bytes asked, and there are none")
        return whole(samples, rate)

    monkeypatch.setattr(features, "spectrogram", asks_for_more)
    soundfile.write(tmp_path / "b.flac", samples_of(0, 0.3, 8000)[:-1], 8000)
    with pytest.raises(AudioError, match=r"m\.tsv:3: .*b\.flac: pool: 9 bytes asked"):
        prepare(manifest, tmp_path / "c.h5")
    assert prepare(manifest, tmp_path / "c.h5", skip_bad=True).skipped == 1


def test_what_is_strange_is_counted_and_named(tmp_path: Path) -> None:
    rows = [(f"{i}.wav", "one") for i in range(6)]
    manifest = make(tmp_path, rows)
    for i in range(1, 6):
        soundfile.write(tmp_path / f"{i}.wav", np.zeros(2400, np.int16), 8000)
    soundfile.write(tmp_path / "5.wav", np.full(2400, 32767, np.int16), 8000)
    lines = [
        "path\ttranscript\tduration\tsampling_rate",
        *(f"{name}\tone\t0.3\t8000" for name, _ in rows[:4]),
        "4.wav\tone\t0.401\t8000",
        "5.wav\tone\t0.4\t16000",
    ]
    manifest.write_text("\n".join(lines) + "\n")
    assert prepare(manifest, tmp_path / "c.h5", rate=4000).remarks == (
        "4 of 6 recordings are silent: all samples are 0: 1.wav, 2.wav, 3.wav, ...",
        "1 of 6 recordings differ from the manifest's duration by more than 0.1 s: 4.wav "
        "(0.300 s, there 0.401 s)",
        "1 of 6 recordings are clipped: 3 or more samples in a row at full scale: 5.wav",
        "1 of 6 recordings differ from the manifest's sampling_rate: 5.wav (8000 Hz, there "
        "16000 Hz)",
    )


def test_an_offset_is_a_piece(tmp_path: Path) -> None:
    """A line of NeMo's `.jsonl` means the piece, not the whole recording."""
    soundfile.write(tmp_path / "talk.wav", samples_of(0, 1, 8000), 8000)
    soundfile.write(tmp_path / "piece.wav", samples_of(0, 1, 8000)[1600:4400], 8000)
    manifest = tmp_path / "m.jsonl"
    line = {"audio_filepath": "talk.wav", "text": "one", "offset": 0.2, "duration": 0.35}
    manifest.write_text(f'{json.dumps(line)}\n{{"audio_filepath": "piece.wav", "text": "one"}}\n')
    report = prepare(manifest, tmp_path / "c.h5")
    assert report.remarks == ()
    with Corpus.open(tmp_path / "c.h5") as corpus:
        assert corpus.names == ["talk.wav#0.2-0.55", "piece.wav"]
        assert corpus.frames(0).tobytes() == corpus.frames(1).tobytes()
    manifest.write_text(json.dumps(line | {"duration": 0.9}) + "\n")
    message = r"m\.jsonl:1: .*talk\.wav: the utterance ends at 1\.1 s, sample 8800; .* has 8000"
    with pytest.raises(AudioError, match=message):
        prepare(manifest, tmp_path / "d.h5")


def test_channels_are_those_of_the_line_or_of_the_call(tmp_path: Path) -> None:
    left, right = samples_of(1, 0.3, 8000), samples_of(2, 0.3, 8000)
    soundfile.write(tmp_path / "call.wav", np.stack([left, right], axis=1), 8000)
    for name, samples in (("left.wav", left), ("right.wav", right)):
        soundfile.write(tmp_path / name, samples, 8000)
    manifest = tmp_path / "m.tsv"
    manifest.write_text(
        "path\ttranscript\tchannel\ncall.wav\tone\t\ncall.wav\tone\t0\nleft.wav\tone\t\n"
        "right.wav\tone\t0\n"
    )
    with pytest.raises(
        AudioError, match=r"m\.tsv:4: .*left\.wav: channel 1; the recording has 1 c"
    ):
        prepare(manifest, tmp_path / "c.h5", channel=1)
    prepare(manifest, tmp_path / "c.h5", channel=1, skip_bad=True)
    with Corpus.open(tmp_path / "c.h5") as corpus:
        assert corpus.names == ["call.wav", "call.wav@0", "right.wav@0"]
        found = [corpus.frames(i).tobytes() for i in range(3)]
        assert found[0] == found[2] != found[1]
        assert found[1] == features.spectrogram((left / 32768).astype(np.float32), 8000).tobytes()


def test_an_empty_transcript_is_bad(tmp_path: Path) -> None:
    manifest = make(tmp_path, [ROWS[0], ("b.wav", "\u3000 ")])
    with pytest.raises(ManifestError, match=r"m\.tsv:3: .*b\.wav: its transcript is empty"):
        prepare(manifest, tmp_path / "c.h5")
    assert prepare(manifest, tmp_path / "c.h5", skip_bad=True).skipped == 1


def test_nothing_usable_is_an_error_in_any_case(tmp_path: Path) -> None:
    manifest = make(tmp_path, [("a.wav", ""), ("b.wav", " ")])
    with pytest.raises(ManifestError, match=r"m\.tsv: none of 2 recordings can be used"):
        prepare(manifest, tmp_path / "c.h5", skip_bad=True)
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).unlink()
    with pytest.raises(ManifestError, match=r"m\.tsv: none of 2 recordings can be used"):
        prepare(manifest, tmp_path / "c.h5", skip_bad=True)
    assert not list(tmp_path.glob("*.h5*"))


def make_features(folder: Path, widths: list[int]) -> Path:
    for i, width in enumerate(widths):
        np.save(folder / f"{i}.npy", np.full((20 + i, width), i, np.float32))
    manifest = folder / "m.tsv"
    rows = "".join(f"{i}.npy\tabc\n" for i in range(len(widths)))
    manifest.write_text("path\ttranscript\n" + rows)
    return manifest


def test_features_of_ones_own(tmp_path: Path) -> None:
    report = prepare(make_features(tmp_path, [3, 3]), tmp_path / "c.h5")
    assert (report.utterances, report.frames, report.features) == (2, 41, 3)
    assert (report.rate, report.hop, report.seconds) == (0, 0, 0.0)
    with Corpus.open(tmp_path / "c.h5") as corpus:
        assert (corpus.rate, corpus.window, corpus.hop) == (0, 0, 0)
        assert (corpus.frames(1) == np.ones((21, 3))).all()


def test_features_that_do_not_fit(tmp_path: Path) -> None:
    manifest = make_features(tmp_path, [3, 4, 3])
    with pytest.raises(AudioError, match=r"m\.tsv:3: .*1\.npy: 4 features, .* before have 3"):
        prepare(manifest, tmp_path / "c.h5")
    report = prepare(manifest, tmp_path / "c.h5", skip_bad=True)
    assert (report.utterances, report.skipped) == (2, 1)
    with pytest.raises(RecipeError, match=r"rate 8000 Hz has no use for features in \.npy"):
        prepare(manifest, tmp_path / "c.h5", rate=8000)
    with manifest.open("a") as file:
        file.write("a.wav\tabc\n")
    with pytest.raises(ManifestError, match=r"m\.tsv:5: 'a\.wav' after '0\.npy': .* not from both"):
        prepare(manifest, tmp_path / "c.h5", skip_bad=True)


def test_an_interruption_leaves_the_old_corpus_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = make(tmp_path, ROWS)
    digest = prepare(manifest, tmp_path / "c.h5").digest
    before = sorted(path.name for path in tmp_path.iterdir())
    whole = features.spectrogram
    calls = []

    def interrupted(samples: np.ndarray, rate: int) -> np.ndarray:
        calls.append(rate)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(samples, rate)

    monkeypatch.setattr(features, "spectrogram", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(manifest, tmp_path / "c.h5")
    assert len(calls) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    with Corpus.open(tmp_path / "c.h5") as corpus:
        assert corpus.digest == digest


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    manifest = make(tmp_path, ROWS)
    with pytest.raises(OutputError, match=r"none/c\.h5: cannot write the corpus: No such file"):
        prepare(manifest, tmp_path / "none" / "c.h5")
    with pytest.raises(OutputError, match="a folder"):
        prepare(manifest, tmp_path)


def majel(*words: object) -> int:
    """Run a command as the program does."""
    parser = argparse.ArgumentParser(prog="majel")
    subparsers = parser.add_subparsers(required=True)
    prepare_command.add(subparsers)
    synth_command.add(subparsers)
    args = parser.parse_args([str(word) for word in words])
    status: int = args.run(args)
    return status


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert majel("synth", out, "--utterances", 4, "--dev", 2, "--seed", 1) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [f"{out}/train.tsv", f"{out}/dev.tsv"]
    assert majel("prepare", f"{out}/train.tsv", tmp_path / "c.h5") == 0
    said = capsys.readouterr()
    with Corpus.open(tmp_path / "c.h5") as corpus:
        assert said.out == f"corpus digest: {corpus.digest}\n"
        assert corpus.rate == 16000
    assert re.search(r"4 utterances, 0\.\d minutes, \d+ frames of 161 features\n", said.err)
    assert "skipped" not in said.err
    (out / "wav/train-00001.wav").unlink()
    with pytest.raises(MajelError, match=r"train-00001\.wav: there is no such file"):
        majel("prepare", f"{out}/train.tsv", tmp_path / "c.h5", "--force")
    assert majel("prepare", f"{out}/train.tsv", tmp_path / "d.h5", "--skip-bad") == 0
    assert "161 features, 1 skipped" in capsys.readouterr().err
    assert majel("prepare", f"{out}/dev.tsv", tmp_path / "c.h5", "--rate", 8000, "--force") == 0
    assert "frames of 81 features" in capsys.readouterr().err


def test_options_for_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = samples_of(1, 0.3, 8000)
    soundfile.write(tmp_path / "a.wav", np.stack([left, left * 0], axis=1), 8000)
    (tmp_path / "m.tsv").write_text("path\ttranscript\na.wav\tone\n")
    words = ("prepare", tmp_path / "m.tsv", tmp_path / "c.h5")
    with pytest.raises(AudioError, match="channels that differ"):
        majel(*words)
    with pytest.raises(AudioError, match=r"0\.300 s long; at most 0\.2 s"):
        majel(*words, "--longest", 0.2)
    capsys.readouterr()
    for option in (
        ("--channel", "2x"),
        ("--channel", "-1"),
        ("--longest", "0"),
        ("--longest", "nan"),
    ):
        with pytest.raises(SystemExit) as caught:
            majel(*words, *option)
        assert caught.value.code == 2
        assert f"argument {option[0]}: " in capsys.readouterr().err
    assert majel(*words, "--channel", 1) == 0
    assert "1 of 1 recordings are silent: all samples are 0: a.wav\n" in capsys.readouterr().err
    assert majel(*words, "--channel", "mix", "--force") == 0
    assert "silent" not in capsys.readouterr().err


def test_a_corpus_is_replaced_by_force_only(tmp_path: Path) -> None:
    manifest = make(tmp_path, ROWS)
    for name, options in (("c.h5", ()), ("s-00001.h5", ("--shards", 2))):
        words = ("prepare", manifest, tmp_path / name.replace("-00001", ""), *options)
        taken = tmp_path / name
        taken.write_bytes(b"\x89HDF and more")
        message = f"{taken} exists; give another name, or --force to replace it"
        with pytest.raises(OutputError, match=re.escape(message)):
            majel(*words)
        assert taken.read_bytes() == b"\x89HDF and more"
        assert majel(*words, "--force") == 0
        Corpus.open(taken).close()
    (tmp_path / "notes.h5").write_text("notes")
    with pytest.raises(OutputError, match=r"notes\.h5: exists and is no corpus"):
        majel("prepare", manifest, tmp_path / "notes.h5", "--force")
    assert (tmp_path / "notes.h5").read_text() == "notes"


@pytest.mark.parametrize("command", ["prepare", "synth"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        majel(command, "--help")
    assert caught.value.code == 0
    assert f"majel {command} " in capsys.readouterr().out.split("example:")[1]


@pytest.mark.parametrize(
    ("folder", "features_found"), [("fsdd", 81), ("speechocean762", 161), ("aishell1_sample", 161)]
)
def test_real_recordings(tmp_path: Path, folder: str, features_found: int) -> None:
    source = needs.recordings(f"{folder}/train.tsv")
    header, *rows = source.read_text().splitlines()[:9]
    assert "path" in header.split("\t")
    place = header.split("\t").index("path")
    cells = [row.split("\t") for row in rows]
    for row in cells:
        row[place] = str(source.parent / row[place])
    manifest = tmp_path / "m.tsv"
    manifest.write_text("\n".join([header, *("\t".join(row) for row in cells)]) + "\n")
    report = prepare(manifest, tmp_path / "c.h5")
    assert (report.utterances, report.features) == (8, features_found)
    again = prepare(manifest, tmp_path / "d.h5")
    assert again.digest == report.digest
