"""The corpus file: what is written is read, and nothing else is."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from mpi_launch import PATIENCE

from majelpy.errors import CorpusError, OutputError
from majelpy.speech.corpus import Corpus
from majelpy.speech.corpus_writer import CorpusWriter

UTTERANCES = [(7, "one two", "wav/a.wav"), (1, "你", "wav/b.wav"), (300, "", "../c.wav")]
MEAN = np.arange(5, dtype=np.float32)
SCALE = MEAN + 1


def frames_of(i: int, length: int) -> np.ndarray:
    return (np.arange(length * 5, dtype=np.float32) + i).reshape(length, 5)


def coded(value: object) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def write(path: Path, utterances: list[tuple[int, str, str]] = UTTERANCES, rate: int = 8000) -> str:
    with CorpusWriter(path, features=5, rate=rate, window=160, hop=80) as writer:
        for i, (length, transcript, name) in enumerate(utterances):
            writer.append(frames_of(i, length), transcript, name)
        return writer.finish(MEAN, SCALE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "a.h5")
    return tmp_path / "a.h5"


def test_everything_comes_back(path: Path) -> None:
    with Corpus.open(path) as corpus:
        assert len(corpus) == 3
        assert corpus.names == ["wav/a.wav", "wav/b.wav", "../c.wav"]
        assert corpus.transcripts == ["one two", "你", ""]
        assert corpus.lengths.tolist() == [7, 1, 300]
        assert corpus.lengths.dtype == np.int64
        assert (corpus.features, corpus.rate, corpus.window, corpus.hop) == (5, 8000, 160, 80)
        assert (corpus.mean == MEAN).all()
        assert (corpus.scale == SCALE).all()
        for i, length in [(2, 300), (0, 7), (1, 1), (2, 300)]:
            frames = corpus.frames(i)
            assert frames.dtype == np.float32
            assert (frames == frames_of(i, length)).all()


def test_the_layout_is_the_documented_one(path: Path) -> None:
    with h5py.File(path) as file:
        assert file.attrs["format"] == b"majelpy corpus 1"
        assert set(file.attrs) == {
            "format", "rate", "window", "hop", "features", "arithmetic", "digest",
        }  # fmt: skip
        assert json.loads(bytes(file["transcripts"])) == ["one two", "你", ""]
        assert {name: (file[name].shape, file[name].dtype.str) for name in file} == {
            "frames": ((308, 5), "<f4"),
            "offsets": ((4,), "<i8"),
            "transcripts": ((22,), "|u1"),
            "names": ((38,), "|u1"),
            "digests": ((3, 32), "|u1"),
            "mean": ((5,), "<f4"),
            "scale": ((5,), "<f4"),
        }


def test_the_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    digest = write(tmp_path / "a.h5")
    assert re.fullmatch("[0-9a-f]{64}", digest)
    (tmp_path / "elsewhere").mkdir()
    assert write(tmp_path / "elsewhere/b.h5") == digest
    with Corpus.open(tmp_path / "a.h5") as corpus:
        assert corpus.digest == digest


def test_the_digest_has_not_changed(tmp_path: Path) -> None:
    """Runs are held against corpora prepared long ago; a change needs a new FORMAT."""
    assert (
        write(tmp_path / "a.h5")
        == "7962dff45b42eae3602564f9f7604f60e8f6225a80d03173a38cb4231697c657"
    )


def test_any_difference_changes_the_digest(tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    first, second, third = UTTERANCES
    digests = [
        write(out),
        write(out, rate=16000),
        write(out, [second, first, third]),
        write(out, [first, second]),
        write(out, [(6, *first[1:]), second, third]),
        write(out, [(7, "one tw", first[2]), second, third]),
        write(out, [(7, first[1], "wav/A.wav"), second, third]),
        # The border between two texts counts as well.
        write(out, [(7, "one twow", "av/a.wav"), second, third]),
    ]
    assert len(set(digests)) == len(digests)


def test_a_changed_frame_is_noticed(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["frames"][7, 2] = np.nextafter(file["frames"][7, 2], np.float32(np.inf))
    with Corpus.open(path) as corpus:
        corpus.frames(0)
        with pytest.raises(
            CorpusError, match=r"a\.h5: damaged: the frames of utterance 1 \('wav/b"
        ):
            corpus.frames(1)
        corpus.frames(2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mean", np.zeros(5, np.float32), "its content has the digest"),
        ("scale", np.full(5, np.nan, np.float32), "its content has the digest"),
        ("transcripts", coded(["one two", "你", "x"]), "its content has the digest"),
        ("names", coded(["a", "b", "c"]), "its content has the digest"),
        ("digests", np.zeros((3, 32), np.uint8), "its content has the digest"),
        ("offsets", np.array([0, 6, 8, 308]), "its content has the digest"),
        ("offsets", np.array([0, 9, 8, 308]), "the offsets do not ascend"),
        ("offsets", np.array([0, 7, 7, 308]), "the offsets do not ascend"),
        ("offsets", np.array([0, -7, 8, 308]), "the offsets do not ascend"),
        ("offsets", np.array([1, 7, 8, 308]), "4 offsets for 3 utterances and 308 frames"),
        ("offsets", np.array([0, 7, 8, 309]), "4 offsets for 3 utterances and 308 frames"),
        ("offsets", np.array([0, 7, 308]), "3 offsets for 3 utterances and 308 frames"),
        ("offsets", np.array([0.0, 7, 8, 308]), "/offsets is float64"),
        ("names", coded(["a", "b"]), "3 transcripts, 2 names"),
        ("digests", np.zeros((3, 31), np.uint8), r"digests \(3, 31\)"),
        ("mean", np.zeros(4, np.float32), r"statistics are \(4,\) and \(5,\)"),
        ("frames", np.zeros((308, 4), np.float32), r"frames are float32 \(308, 4\)"),
        ("frames", np.zeros((308, 5), np.float64), r"frames are float64 \(308, 5\)"),
        ("frames", np.zeros((307, 5), np.float32), "4 offsets for 3 utterances and 307 frames"),
        ("names", np.arange(3), "/names is int64"),
        ("names", coded({"a": 1}), "/names is no list of texts"),
        ("names", coded(["a", "b", 3]), "/names is no list of texts"),
        ("names", coded(["a", "b", "c"])[:-1], "not a corpus, or damaged"),
        ("transcripts", np.full(9, 255, np.uint8), "not a corpus, or damaged"),
        ("transcripts", ["one two", "你", ""], "/transcripts is object"),
    ],
)
def test_replaced_parts_are_noticed(path: Path, name: str, value: object, message: str) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = value
    with pytest.raises(CorpusError, match=rf"a\.h5: .*{message}.*; prepare the corpus again$"):
        Corpus.open(path)


@pytest.mark.parametrize(
    "name", ["frames", "offsets", "transcripts", "names", "digests", "mean", "scale"]
)
def test_missing_parts_are_noticed(path: Path, name: str) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
    with pytest.raises(CorpusError, match=rf"a\.h5: .*damaged.*{name}.*prepare the corpus again"):
        Corpus.open(path)
    with h5py.File(path, "r+") as file:
        file.create_group(name)
    with pytest.raises(CorpusError, match=r"a\.h5: .*damaged.*prepare the corpus again"):
        Corpus.open(path)


@pytest.mark.parametrize(
    "key", ["format", "rate", "window", "hop", "features", "arithmetic", "digest"]
)
def test_changed_attributes_are_noticed(path: Path, key: str) -> None:
    with h5py.File(path, "r+") as file:
        value = file.attrs[key]
        file.attrs[key] = np.bytes_("other") if isinstance(value, bytes) else value + 1
    with pytest.raises(CorpusError, match=r"a\.h5: .*prepare the corpus again"):
        Corpus.open(path)
    with h5py.File(path, "r+") as file:
        file.attrs[key] = [[1.5]]
    with pytest.raises(CorpusError, match=r"a\.h5: .*prepare the corpus again"):
        Corpus.open(path)
    with h5py.File(path, "r+") as file:
        del file.attrs[key]
    with pytest.raises(CorpusError, match=r"a\.h5: .*prepare the corpus again"):
        Corpus.open(path)


def test_a_claim_of_absurd_size_takes_no_memory(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        del file["offsets"]
        file.create_dataset("offsets", shape=(1 << 40,), dtype="<i8", chunks=(1024,))
    with pytest.raises(CorpusError, match="/offsets claims 8 TiB"):
        Corpus.open(path)


def test_foreign_files_and_missing_ones(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"none\.h5: there is no such corpus"):
        Corpus.open(tmp_path / "none.h5")
    with pytest.raises(CorpusError, match="a folder, not a corpus of 'majel prepare'"):
        Corpus.open(tmp_path)
    for content in (b"", b"not HDF5 at all" * 100):
        (tmp_path / "a.h5").write_bytes(content)
        with pytest.raises(CorpusError, match=r"a\.h5: not a corpus.*, or damaged"):
            Corpus.open(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = [1, 2]
    with pytest.raises(CorpusError, match=r"b\.h5: not a corpus of this version.*'None'"):
        Corpus.open(tmp_path / "b.h5")


def test_cut_off_files_are_refused(path: Path) -> None:
    whole = path.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:size])
        with pytest.raises(CorpusError, match=r"a\.h5: "):
            Corpus.open(path)


_READ_ALL = """
import sys
from majelpy.errors import CorpusError
from majelpy.speech.corpus import Corpus
for path in sys.argv[1:]:
    try:
        with Corpus.open(path) as corpus:
            found = [(corpus.frames(i).tobytes(), corpus.names[i], corpus.transcripts[i])
                     for i in range(len(corpus))]
            print(hash(tuple(found)), corpus.digest)
    except CorpusError as error:
        assert chr(10) not in str(error)
        print("refused")
"""


def test_flipped_bytes_are_refused_or_harmless(path: Path, tmp_path: Path) -> None:
    """In a process of its own: a library that crashes must not take the tests with it."""
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    # The front of the file is HDF5's own structure; behind it are mostly frames.
    places = [*rng.choice(4096, 150, replace=False), *rng.choice(len(whole), 100, replace=False)]
    copies = [path]
    for i, place in enumerate(places):
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        copies.append(tmp_path / f"{i}.h5")
        copies[-1].write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", _READ_ALL, *map(str, copies)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    right, *others = done.stdout.splitlines()
    assert len(others) == len(places)
    assert set(others) <= {right, "refused"}
    assert others.count("refused") > 50


def test_closed_and_out_of_range(path: Path) -> None:
    corpus = Corpus.open(path)
    for i in (-1, 3):
        with pytest.raises(CorpusError, match=rf"no utterance {i}; there are 3, from 0"):
            corpus.frames(i)
    corpus.close()
    corpus.close()
    with pytest.raises(CorpusError, match="the corpus is closed"):
        corpus.frames(0)


def test_nothing_is_left_of_an_unfinished_corpus(tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    write(out)
    before = out.read_bytes()
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), CorpusWriter(out, features=5) as writer:
            writer.append(frames_of(0, 3), "x", "y")
            assert len(writer) == 1
            raise error
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    assert out.read_bytes() == before
    write(out)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    Corpus.open(out).close()


def test_an_interruption_inside_a_write(tmp_path: Path) -> None:
    """HDF5 calls back into Python to write; Ctrl-C there must stay Ctrl-C."""

    class Interrupted(io.FileIO):
        def write(self, data: object) -> int:
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        CorpusWriter(tmp_path / "a.h5", features=5) as writer,
    ):
        writer._sink._file.close()
        writer._sink._file = Interrupted(writer._aside, "r+")
        for _ in range(1000):
            writer.append(frames_of(0, 1000), "x", "y")
    assert list(tmp_path.iterdir()) == []


def test_a_moved_corpus_is_the_same(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "b.h5")
    with Corpus.open(path) as a, Corpus.open(tmp_path / "b.h5") as b:
        assert a.digest == b.digest


def test_the_writer_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with CorpusWriter(tmp_path / "a.h5", features=5) as writer:
        with pytest.raises(CorpusError, match="y: 4 features, the utterances before have 5"):
            writer.append(np.zeros((3, 4), np.float32), "x", "y")
        for frames in (np.zeros((3, 5)), np.zeros((0, 5), np.float32), np.zeros(5, np.float32)):
            with pytest.raises(CorpusError, match=r"y: frames must be float32 \(T, 5\)"):
                writer.append(frames, "x", "y")
        with pytest.raises(CorpusError, match="needs at least 1 utterance, there are 0"):
            writer.finish(MEAN, SCALE)
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.h5: cannot write the corpus: No such file"):
        CorpusWriter(tmp_path / "none" / "a.h5", features=5)
    with pytest.raises(OutputError, match="a folder; the corpus needs the name of a file"):
        CorpusWriter(tmp_path, features=5)


_FULL_DISK = """
import resource, sys
import numpy as np
from majelpy.errors import OutputError
from majelpy.speech.corpus_writer import CorpusWriter
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with CorpusWriter(sys.argv[1], features=100) as writer:
        for _ in range(int(sys.argv[3])):
            writer.append(np.ones((1000, 100), np.float32), "x", "y")
        writer.finish(np.zeros(100, np.float32), np.zeros(100, np.float32))
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize(("limit", "count"), [(2_000_000, 50), (100_000, 1), (1000, 1)])
def test_a_full_disk(tmp_path: Path, limit: int, count: int) -> None:
    """A limit on the size of files gives the same failing writes as a full disk."""
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(tmp_path / "a.h5"), str(limit), str(count)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r".*a\.h5: cannot write the corpus: File too large\n", done.stdout)
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_nothing_but_a_corpus_is_replaced(tmp_path: Path) -> None:
    manifest = tmp_path / "train.tsv"
    manifest.write_text("path\ttranscript\n")
    with pytest.raises(OutputError, match=r"train.tsv: exists and is no corpus; give the corpus"):
        CorpusWriter(manifest, features=5)
    assert manifest.read_text() == "path\ttranscript\n"
