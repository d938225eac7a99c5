"""Corpora of samples and of noise, and several files that are one corpus."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import soundfile

from majelpy import ops
from majelpy.cli import main
from majelpy.errors import CorpusError, ManifestError, RecipeError
from majelpy.speech.corpus import Corpus
from majelpy.speech.corpus_writer import CorpusWriter
from majelpy.speech.joined import Joined, files, open_corpora
from majelpy.speech.prepare import prepare
from majelpy.speech.shards import path_of

TEXTS = ["one", "two", "three", "four", "five"]


def make(folder: Path, rate: int = 8000, subtype: str = "PCM_16", first: int = 0) -> Path:
    """Write recordings of growing length and their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, text in enumerate(TEXTS):
        samples = np.random.default_rng(first + i).integers(-9000, 9000, 2000 + 300 * i)
        path = folder / f"{text}.wav"
        soundfile.write(path, samples.astype(np.int16), rate, subtype=subtype)
    rows = "".join(f"{text}.wav\t{text}\n" for text in TEXTS)
    (folder / "m.tsv").write_text(f"path\ttranscript\n{rows}")
    return folder / "m.tsv"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return make(tmp_path)


@pytest.fixture
def sampled(manifest: Path, tmp_path: Path) -> Path:
    prepare(manifest, tmp_path / "s.h5", kind="samples")
    return tmp_path / "s.h5"


def shards(manifest: Path, out: Path, count: int, **options: str) -> str:
    """Prepare shards; return the pattern that names them."""
    prepare(manifest, out, shards=count, **options)  # type: ignore[arg-type]
    return str(out.with_name(f"{out.stem}-*.h5"))


def assert_same_content(a: Corpus | Joined, b: Corpus | Joined) -> None:
    assert (a.names, a.transcripts) == (b.names, b.transcripts)
    assert a.lengths.tolist() == b.lengths.tolist()
    assert a.mean.tobytes() == b.mean.tobytes()
    assert a.scale.tobytes() == b.scale.tobytes()
    for i in range(len(a)):
        assert a.frames(i).tobytes() == b.frames(i).tobytes()


def test_samples_of_16_bits_give_the_bits_of_features(sampled: Path, manifest: Path) -> None:
    report = prepare(manifest, sampled.with_name("f.h5"))
    with Corpus.open(sampled.with_name("f.h5")) as a, Corpus.open(sampled) as b:
        assert (a.kind, b.kind) == ("features", "samples")
        assert_same_content(a, b)
        assert b.sizes.tolist() == [2000, 2300, 2600, 2900, 3200]
        pcm, _ = soundfile.read(manifest.with_name("two.wav"), dtype="int16")
        assert b.samples(1).tobytes() == pcm.tobytes()
        assert b.digest != a.digest == report.digest
        with pytest.raises(CorpusError, match=r"f\.h5: it has features, not samples; .* --samples"):
            a.samples(0)


def test_samples_of_24_bits_are_rounded(tmp_path: Path) -> None:
    """To the nearest of 16 bits, and the statistics are those of what is stored."""
    x = np.random.default_rng(0).integers(-(1 << 23), 1 << 23, 3000).astype(np.int32) << 8
    soundfile.write(tmp_path / "a.wav", x, 8000, subtype="PCM_24")
    (tmp_path / "m.tsv").write_text("path\ttranscript\na.wav\thello\n")
    prepare(tmp_path / "m.tsv", tmp_path / "c.h5", kind="samples")
    with Corpus.open(tmp_path / "c.h5") as corpus:
        expected = np.clip(np.rint(x / 65536), -32768, 32767).astype(np.int16)
        assert corpus.samples(0).tobytes() == expected.tobytes()
        again = ops.spectrogram(ops.samples(expected), 160, 80).numpy()
        assert corpus.frames(0).tobytes() == again.tobytes()


def test_the_layout_and_digests_of_samples_and_noise(tmp_path: Path) -> None:
    """Runs are held against corpora prepared long ago; a change needs a new name of the format."""
    digests = {}
    for kind in ("samples", "noise"):
        out = tmp_path / f"{kind}.h5"
        with CorpusWriter(out, features=81, rate=8000, window=160, hop=80, kind=kind) as writer:
            for i in range(3):
                writer.append(np.arange(160 + i, dtype=np.int16) - 99, "ab"[:i], f"{i}.wav")
            digests[kind] = writer.finish(np.zeros(81, np.float32), np.ones(81, np.float32))
        with h5py.File(out) as file:
            assert file.attrs["format"].decode() == f"majelpy {kind} 1"
            assert (file["samples"].shape, file["samples"].dtype.str) == ((483,), "<i2")
            assert "frames" not in file
    assert digests == {
        "samples": "c3696a3f7b2d26df80c433b55f22d5596cead23d4b9fffcf1293362ac8e72f12",
        "noise": "86b305ceebd48014f8b11187ce6ecb92e3d731f83d2a111f4c51cbab130842c3",
    }


def test_a_changed_sample_is_noticed(sampled: Path) -> None:
    with h5py.File(sampled, "r+") as file:
        file["samples"][2100] ^= 1
    with Corpus.open(sampled) as corpus:
        corpus.frames(0)
        for read in (corpus.frames, corpus.samples):
            with pytest.raises(CorpusError, match=r"the samples of utterance 1 \('two\.wav'\)"):
                read(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 162}, "window 162, hop 80 and 81 features do not agree"),
        ({"hop": 0}, "window 160, hop 0 and 81 features do not agree"),
        ({"rate": 16000}, "its content has the digest"),
        ({"shard": 1, "shards": 1}, "it is shard 1 of 1"),
        ({"shard": 1, "shards": 2}, "its content has the digest"),
        ({"format": np.bytes_("majelpy corpus 1")}, "not a corpus, or damaged"),
        ({"format": np.bytes_("majelpy noise 1")}, "its content has the digest"),
        ({"format": np.bytes_("majelpy samples 2")}, "not a corpus of this version of majelpy"),
    ],
)
def test_damaged_descriptions(sampled: Path, change: dict[str, int], message: str) -> None:
    with h5py.File(sampled, "r+") as file:
        for key, value in change.items():
            file.attrs[key] = value
    with pytest.raises(CorpusError, match=message):
        Corpus.open(sampled)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(13000, np.int32), "samples are int32 .13000,., needed int16"),
        (np.zeros((13000, 1), np.int16), "samples are int16 .13000, 1., needed int16"),
        (np.zeros(12999, np.int16), "6 offsets for 5 utterances and 12999 samples"),
    ],
)
def test_damaged_samples(sampled: Path, value: np.ndarray, message: str) -> None:
    with h5py.File(sampled, "r+") as file:
        del file["samples"]
        file["samples"] = value
    with pytest.raises(CorpusError, match=message):
        Corpus.open(sampled)


def test_every_cut_of_the_file_is_noticed(sampled: Path) -> None:
    data = sampled.read_bytes()
    for size in np.linspace(0, len(data) - 1, 60).astype(int):
        sampled.write_bytes(data[:size])
        with pytest.raises(CorpusError, match=r"s\.h5: "), Corpus.open(sampled) as corpus:
            for i in range(len(corpus)):
                corpus.samples(i)


def test_the_writer_refuses_what_are_no_samples(tmp_path: Path) -> None:
    with CorpusWriter(tmp_path / "a.h5", features=81, kind="samples") as writer:
        for wrong in (np.zeros(9), np.zeros((9, 81), np.float32), np.zeros(0, np.int16)):
            with pytest.raises(CorpusError, match=r"y: samples must be int16 \(S,\) with S >= 1"):
                writer.append(wrong, "x", "y")


def test_features_have_no_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((20, 3), np.float32))
    (tmp_path / "m.tsv").write_text("path\ttranscript\na.npy\tab\n")
    for kind in ("samples", "noise"):
        with pytest.raises(RecipeError, match=f"there are no {kind} in .npy files, only features"):
            prepare(tmp_path / "m.tsv", tmp_path / "c.h5", kind=kind)


# Noise.


@pytest.mark.parametrize("ending", ["tsv", "jsonl"])
def test_noise_needs_no_transcripts(tmp_path: Path, manifest: Path, ending: str) -> None:
    listed = tmp_path / f"noise.{ending}"
    rows = {"tsv": "path\tkind\none.wav\tsea\n", "jsonl": '{"audio_filepath": "one.wav"}\n'}
    listed.write_text(rows[ending])
    with pytest.raises(ManifestError, match=r"transcript|text"):
        prepare(listed, tmp_path / "n.h5")
    report = prepare(listed, tmp_path / "n.h5", kind="noise")
    assert report.utterances == 1
    with open_corpora(str(tmp_path / "n.h5"), noise=True) as corpus:
        assert (corpus.kind, corpus.transcripts, corpus.names) == ("noise", [""], ["one.wav"])
        assert corpus.samples(0).shape == (2000,)


def test_noise_and_speech_are_not_taken_for_one_another(sampled: Path, manifest: Path) -> None:
    noise = sampled.with_name("n.h5")
    prepare(manifest, noise, kind="noise")
    with pytest.raises(CorpusError, match=r"n\.h5: a corpus of noise, which has no transcripts"):
        open_corpora(str(noise))
    with pytest.raises(CorpusError, match=r"s\.h5: not a corpus of noise; make one with 'majel pr"):
        open_corpora(str(sampled), noise=True)


# Several files.


@pytest.mark.parametrize("kind", ["features", "samples"])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shards_are_the_corpus_that_one_file_is(tmp_path: Path, kind: str, count: int) -> None:
    manifest = make(tmp_path)
    whole = prepare(manifest, tmp_path / "whole.h5", kind=kind)
    pattern = shards(manifest, tmp_path / "s.h5", count, kind=kind) if count > 1 else ""
    if count == 1:
        prepare(manifest, tmp_path / "s.h5", kind=kind, shards=1)
        pattern = str(tmp_path / "s.h5")
    with open_corpora(pattern) as joined, Corpus.open(tmp_path / "whole.h5") as corpus:
        assert joined.digest == corpus.digest == whole.digest
        assert_same_content(joined, corpus)
        for i in (-1, len(corpus)):
            with pytest.raises(CorpusError, match=rf"no utterance {i}; there are 5, from 0"):
                joined.frames(i)
    sizes = [len(Corpus.open(path)) for path in files(pattern)]
    assert len(sizes) == count
    assert max(sizes) - min(sizes) <= 1


def test_prepare_tells_the_digest_of_the_whole(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["prepare", str(manifest), str(tmp_path / "c.h5"), "--samples"]
    assert main(words) == 0
    whole = capsys.readouterr().out
    assert main([*words, "--shards", "3"]) == 0
    assert capsys.readouterr().out == whole
    names = [f"c-0000{n}.h5" for n in range(3)]
    assert [p.name for p in sorted(tmp_path.glob("c-*.h5"))] == names
    assert path_of(tmp_path / "c.h5", 12) == tmp_path / "c-00012.h5"


@pytest.mark.parametrize("count", [0, -1, 6])
def test_numbers_of_shards_out_of_range(manifest: Path, tmp_path: Path, count: int) -> None:
    with pytest.raises(RecipeError, match=rf"prepare: {count} shards; needs 1 to 5"):
        prepare(manifest, tmp_path / "c.h5", shards=count)


def test_a_shard_without_a_usable_recording(manifest: Path, tmp_path: Path) -> None:
    for text in ("three", "five"):
        soundfile.write(tmp_path / f"{text}.wav", np.zeros(30), 8000)
    with pytest.raises(ManifestError, match=r"c\.h5: none of the recordings for shard 2 of 5"):
        prepare(manifest, tmp_path / "c.h5", shards=5, skip_bad=True)
    (tmp_path / "three.wav").write_bytes((tmp_path / "two.wav").read_bytes())
    with pytest.raises(ManifestError, match=r"c\.h5: none of the recordings for shard 4 of 5"):
        prepare(manifest, tmp_path / "c.h5", shards=5, skip_bad=True)
    assert not list(tmp_path.glob("*.h5*"))
    assert prepare(manifest, tmp_path / "c.h5", shards=2, skip_bad=True).utterances == 4


def test_missing_and_mixed_up_shards(manifest: Path, tmp_path: Path) -> None:
    pattern = shards(manifest, tmp_path / "s.h5", 3)
    a, b, c = map(str, files(pattern))
    for names in ([a], [a, b], [b, c], [a, c, b], [c], [a, b, c, a]):
        with pytest.raises(CorpusError, match=r"needs all its shards in order|is named twice"):
            open_corpora(names)
    other = make(tmp_path / "other", first=50)
    _, second, _ = map(str, files(shards(other, tmp_path / "other.h5", 3)))
    with pytest.raises(CorpusError, match=r"other-00001\.h5: a shard of another corpus than"):
        open_corpora([a, second, c])
    shards(manifest, tmp_path / "s.h5", 2)  # the third of before is left
    with pytest.raises(CorpusError, match=r"s-00002\.h5: shard 3/3 of a corpus; needs all its"):
        open_corpora(pattern)


def test_several_corpora_take_the_first_statistics(manifest: Path, tmp_path: Path) -> None:
    """As where made-up speech is mixed in."""
    prepare(manifest, tmp_path / "a.h5")
    shards(make(tmp_path / "b", first=9), tmp_path / "b.h5", 2)
    with (
        open_corpora([str(tmp_path / "a.h5"), str(tmp_path / "b-*.h5")]) as joined,
        Corpus.open(tmp_path / "a.h5") as first,
        open_corpora(str(tmp_path / "b-*.h5")) as second,
    ):
        assert len(joined) == 10
        assert joined.names == first.names + second.names
        assert joined.mean.tobytes() == first.mean.tobytes() != second.mean.tobytes()
        assert joined.frames(7).tobytes() == second.frames(2).tobytes()
        assert joined.digest not in (first.digest, second.digest)
        assert str(joined.path).endswith("a.h5 and 2 more")
    with open_corpora([str(tmp_path / "b-*.h5"), str(tmp_path / "a.h5")]) as other:
        assert other.digest != joined.digest


def test_files_that_do_not_go_together(manifest: Path, tmp_path: Path) -> None:
    prepare(manifest, tmp_path / "a.h5")
    prepare(manifest, tmp_path / "samples.h5", kind="samples")
    prepare(make(tmp_path / "b", rate=16000), tmp_path / "b.h5")
    for other, found in (
        ("b", r"161 features of 320 samples every 160 at 16000 Hz; .*a\.h5 has 81 features"),
        ("samples", r"81 features .* from stored samples; .*a\.h5 has 81 features of 160 samples"),
    ):
        with pytest.raises(CorpusError, match=rf"{other}\.h5: {found}"):
            open_corpora([str(tmp_path / "a.h5"), str(tmp_path / f"{other}.h5")])
    for names in (["no.h5"], ["no-*.h5"], [str(tmp_path / "a.h5"), "no.h5"]):
        with pytest.raises(CorpusError, match=r"no.*\.h5: there is no such corpus; make it with"):
            open_corpora(names)


def test_a_name_with_brackets_is_a_name(manifest: Path, tmp_path: Path) -> None:
    prepare(manifest, tmp_path / "a.h5")
    shutil.copy(tmp_path / "a.h5", tmp_path / "a[1].h5")
    assert files(str(tmp_path / "a[1].h5")) == [tmp_path / "a[1].h5"]
    assert files(str(tmp_path / "[a].h5")) == [tmp_path / "a.h5"]
