"""Importers of public corpora: what is found in each layout, and each fault in one line."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import needs
import pytest
import soundfile
from corpus_trees import TREES, VOICES, Tree, record, write
from paths import ROOT
from training import Inside, Said

from majelpy.corpora import CORPORA
from majelpy.speech.manifest import read_manifest
from majelpy.speech.prepare import prepare

pytest_plugins = ["training"]


names = pytest.mark.parametrize("name", CORPORA)
with_transcripts = pytest.mark.parametrize("name", [n for n in TREES if TREES[n].file])


def run(inside: Inside, name: str, folder: Path, out: Path, *options: str) -> Said:
    split = TREES[name].split
    chosen = [] if split is None or "--split" in options else ["--split", split]
    return inside("corpus", name, folder, "-o", out, *chosen, *options)


def made(tmp_path: Path, name: str) -> tuple[Tree, Path, Path]:
    """Make the tree; return it, its folder, and where the manifest is to go."""
    TREES[name].make(tmp_path / "data")
    (tmp_path / "out").mkdir()
    return TREES[name], tmp_path / "data", tmp_path / "out" / "m.tsv"


def check(said: Said, out: Path, message: str) -> None:
    """Fail unless the command ended as bad input should, with this message, and wrote nothing."""
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"majel corpus: {message}")
    assert said.err.count("\n") == 1
    assert list(out.parent.iterdir()) == []


def test_every_corpus_has_a_tree_and_stands_in_help_and_document(inside: Inside) -> None:
    assert set(TREES) == set(CORPORA)
    shown = inside("corpus", "--help").out
    document = (ROOT / "docs" / "corpora.md").read_text()
    for name, source in CORPORA.items():
        assert name in shown
        assert f"majel corpus {name} " in document
        assert all(f"`{split}`" in document for split in source.splits)


@names
def test_what_is_found(tmp_path: Path, inside: Inside, name: str) -> None:
    tree, folder, out = made(tmp_path, name)
    said = run(inside, name, folder, out)
    assert said == Said(0, f"{out}\n", f"{out}: {tree.said}\n")
    header, *rows = [line.split("\t") for line in out.read_text().splitlines()]
    pieces = ["start", "end"] if len(tree.rows[0]) == 5 else []
    assert header == ["path", "transcript", "duration", "speaker", *pieces]
    assert [(row[0].removeprefix("../data/"), row[1], *row[3:]) for row in rows] == tree.rows
    first = out.read_bytes()
    out.unlink()
    assert run(inside, name, folder, out).code == 0
    assert out.read_bytes() == first
    assert os.listdir(out.parent) == ["m.tsv"]


@names
def test_prepare_takes_the_manifest(tmp_path: Path, inside: Inside, name: str) -> None:
    tree, folder, out = made(tmp_path, name)
    run(inside, name, folder, out)
    report = prepare(out, tmp_path / "c.h5")
    assert (report.utterances, report.skipped) == (len(tree.rows), 0)


@names
def test_other_splits(tmp_path: Path, inside: Inside, name: str) -> None:
    tree, folder, out = made(tmp_path, name)
    for split, transcripts in tree.other_splits.items():
        assert run(inside, name, folder, out, "--split", split).code == 0
        assert [entry.transcript for entry in read_manifest(out)] == transcripts
        out.unlink()


def test_durations_are_exact_milliseconds(tmp_path: Path, inside: Inside) -> None:
    """Headers, a corpus's own table (312 ms) and pieces (0.405 s, no floating-point number)."""
    expected = {
        "fsdd": ["0.300", "0.300"], "tedlium3": ["0.400", "0.405"],
        "common-voice": ["0.312", None],
    }  # fmt: skip
    for name, durations in expected.items():
        (tmp_path / name).mkdir()
        _, folder, out = made(tmp_path / name, name)
        run(inside, name, folder, out)
        for line, duration in zip(out.read_text().splitlines()[1:], durations, strict=True):
            assert duration in (None, line.split("\t")[2])


@names
def test_a_wrong_folder_is_told_what_was_looked_for(
    tmp_path: Path, inside: Inside, name: str
) -> None:
    _, folder, out = made(tmp_path, name)
    wrong = folder.with_name("wrong")
    check(run(inside, name, wrong, out), out, f"{wrong}: there is no such folder\n")
    write(wrong / "dear" / "diary.txt", "Nothing here.")
    said = run(inside, name, wrong, out)
    check(said, out, f"{wrong}: no ")
    assert " here; looked for " in said.err
    file = wrong / "dear" / "diary.txt"
    check(run(inside, name, file, out), out, f"{file}: not a folder\n")


@with_transcripts
def test_a_missing_recording(tmp_path: Path, inside: Inside, name: str) -> None:
    tree, folder, out = made(tmp_path, name)
    path = folder / tree.rows[0][0]
    path.unlink()
    message = f"{folder / tree.file}:{tree.line}: {path}: there is no such file\n"
    check(run(inside, name, folder, out), out, message)
    said = run(inside, name, folder, out, "--skip-bad")
    kept = [row for row in tree.rows if row[0] != tree.rows[0][0]]
    if not kept:
        assert said.err.endswith("has no usable utterances\n")
        return
    assert said.code == 0
    assert said.err.startswith(f"skipped {message}")
    assert "left out: 1 that cannot be used" in said.err
    assert len(read_manifest(out)) == len(kept)


FAULTS = [(name, line) for name, tree in TREES.items() for line in tree.malformed]


@pytest.mark.parametrize(("name", "line"), FAULTS)
def test_a_malformed_line(tmp_path: Path, inside: Inside, name: str, line: str) -> None:
    tree, folder, out = made(tmp_path, name)
    with (folder / tree.file).open("a") as file:
        file.write(line + "\n")
    number = len((folder / tree.file).read_text().splitlines())
    said = run(inside, name, folder, out)
    check(said, out, f"{folder / tree.file}:{number}: ")
    assert tree.malformed[line] in said.err
    assert run(inside, name, folder, out, "--skip-bad").code == 0
    assert len(read_manifest(out)) == len(tree.rows)


@with_transcripts
def test_a_line_that_is_not_utf8(tmp_path: Path, inside: Inside, name: str) -> None:
    tree, folder, out = made(tmp_path, name)
    with (folder / tree.file).open("ab") as file:
        file.write(b"\nf\xfcr\n")
    number = len((folder / tree.file).read_bytes().splitlines())
    message = f"{folder / tree.file}:{number}: not UTF-8 (byte 0xfc)\n"
    check(run(inside, name, folder, out), out, message)


@with_transcripts
def test_an_utterance_that_stands_there_twice(tmp_path: Path, inside: Inside, name: str) -> None:
    tree, folder, out = made(tmp_path, name)
    lines = (folder / tree.file).read_text().splitlines()
    write(folder / tree.file, *lines, lines[tree.line - 1])
    path = folder / tree.rows[0][0]
    message = (
        f"{folder / tree.file}:{len(lines) + 1}: {path} stands there twice, "
        f"first at {folder / tree.file}:{tree.line}\n"
    )
    check(run(inside, name, folder, out), out, message)


@names
def test_a_recording_that_is_none(tmp_path: Path, inside: Inside, name: str) -> None:
    tree, folder, out = made(tmp_path, name)
    row = 1 if name == "common-voice" else 0  # its first clip is in the table of durations
    path = folder / tree.rows[row][0]
    path.write_bytes(b"dear diary " * 50)
    where = f"{folder / tree.file}:{tree.line + row}: " if tree.file else ""
    said = run(inside, name, folder, out)
    # The library that reads MP3 adds notes of its own before ours.
    last = said.err.splitlines(keepends=True)[-1]
    check(Said(said.code, said.out, last), out, f"{where}{path}: not a readable recording: ")


def test_a_recording_without_samples(tmp_path: Path, inside: Inside) -> None:
    _, folder, out = made(tmp_path, "fsdd")
    path = folder / "recordings/0_george_5.wav"
    record(path, seconds=0)
    check(run(inside, "fsdd", folder, out), out, f"{path}: the recording has no samples\n")
    record(path.with_name("7_x_1\n.wav"))
    message = f"{path.parent}/7_x_1\\n.wav: a name such as 7_jackson_32.wav is needed\n"
    check(run(inside, "fsdd", folder, out), out, message)
    path.with_name("7_x_1\n.wav").unlink()
    record(path.with_name("zero_george_7.wav"))
    message = f"{path.with_name('zero_george_7.wav')}: a name such as 7_jackson_32.wav is needed\n"
    check(run(inside, "fsdd", folder, out), out, message)


@with_transcripts
def test_an_empty_split(tmp_path: Path, inside: Inside, name: str) -> None:
    tree, folder, out = made(tmp_path, name)
    kept = [VOICES] if name == "common-voice" else []
    for path in folder.rglob(Path(tree.file).name):
        write(path, *kept)
    for path in (*folder.rglob("*.trans.txt"), *folder.rglob("*-sounds-*"), *folder.rglob("prom*")):
        write(path)
    split = tree.split or CORPORA[name].splits[0]
    title = CORPORA[name].title
    message = f"{folder}: split {split!r} of {title} has no usable utterances\n"
    check(run(inside, name, folder, out), out, message)


@with_transcripts
def test_a_byte_order_mark_and_crlf_do_no_harm(tmp_path: Path, inside: Inside, name: str) -> None:
    tree, folder, out = made(tmp_path, name)
    path = folder / tree.file
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert run(inside, name, folder, out).code == 0
    assert [entry.transcript for entry in read_manifest(out)] == [row[1] for row in tree.rows]


@with_transcripts
def test_a_transcript_file_cut_anywhere(tmp_path: Path, inside: Inside, name: str) -> None:
    """It is one line, or all utterances before the cut; only the line that was cut may differ."""
    tree, folder, out = made(tmp_path, name)
    whole = (folder / tree.file).read_bytes()
    there = [row[:2] for row in tree.rows]
    for cut in range(0, len(whole), 5):
        (folder / tree.file).write_bytes(whole[:cut])
        said = run(inside, name, folder, out)
        if said.code:
            check(said, out, f"{folder}")
            continue
        entries = read_manifest(out)
        found = [(os.path.relpath(entry.path, folder), entry.transcript) for entry in entries]
        assert len(set(found) - set(there)) <= 1, cut
        out.unlink()


@pytest.mark.parametrize(
    "name", [n for n in TREES if TREES[n].file and n not in ("librispeech", "aishell1")]
)
def test_a_name_that_no_file_can_have(tmp_path: Path, inside: Inside, name: str) -> None:
    tree, folder, out = made(tmp_path, name)
    path = folder / {"an4": "an4/etc/an4_train.fileids", "speechocean762": "train/wav.scp"}.get(
        name, tree.file
    )
    stem = Path(tree.rows[0][0]).stem
    path.write_text(path.read_text().replace(stem, "x" * 300), "utf-8")
    said = run(inside, name, folder, out)
    check(said, out, f"{folder}")
    assert run(inside, name, folder, out, "--skip-bad").code in (0, 2)


def test_a_transcript_file_that_must_not_be_read(tmp_path: Path, inside: Inside) -> None:
    _, folder, out = made(tmp_path, "speechocean762")
    (folder / "train/text").unlink()
    (folder / "train/text").mkdir()
    message = f"{folder}/train/text: cannot be read: Is a directory\n"
    check(run(inside, "speechocean762", folder, out), out, message)


def test_an_empty_transcript(tmp_path: Path, inside: Inside) -> None:
    _, folder, out = made(tmp_path, "common-voice")
    text = (folder / "train.tsv").read_text()
    (folder / "train.tsv").write_text(text.replace("Hi!", " "))
    message = f"{folder}/train.tsv:3: {folder}/clips/common_voice_en_8.mp3: its transcript is empty"
    check(run(inside, "common-voice", folder, out), out, message)


def test_tables_that_do_not_fit(tmp_path: Path, inside: Inside) -> None:
    _, folder, out = made(tmp_path, "common-voice")
    write(folder / "clip_durations.tsv", "clip\tduration[ms]", "a.mp3\t0.5")
    message = f"{folder}/clip_durations.tsv:2: a clip and its whole milliseconds are needed"
    check(run(inside, "common-voice", folder, out), out, message)
    write(folder / "clip_durations.tsv", "clip\tduration[ms]", "a.mp3\t" + "9" * 5000)
    check(run(inside, "common-voice", folder, out), out, message)
    write(folder / "train.tsv", "path\tsentence", "a.mp3\tone")
    (folder / "clip_durations.tsv").unlink()
    message = f"{folder}/train.tsv:1: no column 'client_id'; it has 'path', 'sentence'\n"
    check(run(inside, "common-voice", folder, out), out, message)


def test_names_that_stand_twice_in_a_table(tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for place, name, file in (("a", "speechocean762", "train/wav.scp"), ("b", "an4", "")):
        _, folder, out = made(tmp_path / place, name)
        path = folder / (file or "an4/etc/an4_train.fileids")
        lines = path.read_text().splitlines()
        write(path, *lines, lines[0])
        said = run(inside, name, folder, out)
        check(said, out, f"{path}:{len(lines) + 1}: ")
        assert said.err.endswith(" stands there twice\n")


def test_what_must_be_unpacked_or_downloaded_otherwise(tmp_path: Path, inside: Inside) -> None:
    (tmp_path / "a").mkdir()
    _, folder, out = made(tmp_path / "a", "aishell1")
    shutil.rmtree(folder / "data_aishell/wav/train")
    write(folder / "data_aishell/wav/S0002.tar.gz")
    said = run(inside, "aishell1", folder, out)
    check(said, out, f"{folder}/data_aishell: no recordings; looked for wav/train/*/*.wav (unpack")
    (tmp_path / "b").mkdir()
    _, folder, out = made(tmp_path / "b", "an4")
    for path in folder.rglob("*.sph"):
        path.rename(path.with_suffix(".raw"))
    check(run(inside, "an4", folder, out), out, f"{folder}/an4: headerless .raw recordings; ")


def test_names_splits_and_outputs(tmp_path: Path, inside: Inside) -> None:
    _, folder, out = made(tmp_path, "fsdd")
    message = f"no corpus 'timit'; there are {', '.join(CORPORA)}\n"
    check(inside("corpus", "timit", folder, "-o", out), out, message)
    message = "Free Spoken Digit Dataset has no split 'dev'; there are train, test\n"
    check(inside("corpus", "fsdd", folder, "--split", "dev", "-o", out), out, message)
    message = f"{out}x: a manifest ends in .tsv, this one in '.tsvx'\n"
    check(inside("corpus", "fsdd", folder, "-o", f"{out}x"), out, message)
    far = out.parent / "far" / "m.tsv"
    check(
        inside("corpus", "fsdd", folder, "-o", far), out, f"{far.parent}: there is no such folder"
    )
    out.write_text("mine")
    said = inside("corpus", "fsdd", folder, "-o", out)
    assert said == Said(
        2, "", f"majel corpus: {out} exists; give another name, or --force to replace it\n"
    )
    assert out.read_text() == "mine"


def test_a_manifest_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder, out = made(tmp_path, "fsdd")

    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    check(run(inside, "fsdd", folder, out), out, f"cannot write {out} (No space left on device)\n")


@pytest.mark.parametrize("folder", ["fsdd", "asterisk", "speechocean762", "aishell1_sample"])
def test_real_recordings_in_their_layout(tmp_path: Path, inside: Inside, folder: str) -> None:
    """Real names, transcripts and samples, put where the publisher has them."""
    source = needs.recordings(f"{folder}/train.tsv")
    name = folder.removesuffix("_sample")
    lines: dict[str, list[str]] = {}
    top = tmp_path / "data"
    expected = []
    for line in source.read_text().splitlines()[1:9]:
        path, text, _, speaker = line.split("\t")
        stem = Path(path).stem
        place, files = {
            "fsdd": (f"recordings/{stem}.wav", {}),
            "asterisk": (f"{stem}.wav", {"core-sounds-en.txt": f"{stem}: {text}"}),
            "speechocean762": (
                f"WAVE/SPEAKER{speaker[:4]}/{stem}.WAV",
                {
                    "train/text": f"{stem}\t{text}",
                    "train/utt2spk": f"{stem}\t{speaker[:4]}",
                    "train/wav.scp": f"{stem}\tWAVE/SPEAKER{speaker[:4]}/{stem}.WAV",
                },
            ),
            "aishell1": (
                f"wav/train/{speaker}/{stem}.wav",
                {"transcript/aishell_transcript_v0.8.txt": f"{stem} {' '.join(text)}"},
            ),
        }[name]
        (top / place).parent.mkdir(parents=True, exist_ok=True)
        samples, rate = soundfile.read(source.parent / path, dtype="int16")
        soundfile.write(top / place, samples, rate, format="WAV")
        for file, row in files.items():
            lines.setdefault(file, []).append(row)
        expected.append((place, text))
    for file, rows in lines.items():
        write(top / file, *rows)
    out = top / "m.tsv"
    assert inside("corpus", name, top, "-o", out).code == 0
    assert sorted((e.name, e.transcript) for e in read_manifest(out)) == sorted(expected)
    assert prepare(out, tmp_path / "c.h5").utterances == 8
