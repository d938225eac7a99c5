"""Manifests: what is read, and how each fault is named."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from majelpy.errors import ManifestError
from majelpy.speech.manifest import read_manifest
from majelpy.speech.piece import Piece


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_tsv_gives_absolute_paths_names_and_lines(tmp_path: Path) -> None:
    manifest = write(
        tmp_path,
        "a.tsv",
        "speaker\ttranscript\tpath\n"
        'x\tsay "ah\twav/a.wav\n'
        "\n"
        f"y\t你好\t{tmp_path}/wav/b.wav\n"
        "z\t\t../c.wav\n"
        "z\tdee\t/elsewhere/d.wav\n",
    )
    entries = read_manifest(manifest)
    assert [entry.path for entry in entries] == [
        tmp_path / "wav/a.wav",
        tmp_path / "wav/b.wav",
        tmp_path.parent / "c.wav",
        Path("/elsewhere/d.wav"),
    ]
    assert [entry.transcript for entry in entries] == ['say "ah', "你好", "", "dee"]
    assert [entry.where for entry in entries] == [f"{manifest}:{line}" for line in (2, 4, 5, 6)]
    assert [entry.name for entry in entries] == [
        "wav/a.wav", "wav/b.wav", "../c.wav", "/elsewhere/d.wav",
    ]  # fmt: skip


def test_jsonl_reads_its_own_keys(tmp_path: Path) -> None:
    manifest = write(
        tmp_path,
        "a.jsonl",
        '{"audio_filepath": "a.wav", "text": "one", "duration": 1.5}\n\n'
        '{"text": "two\u2028lines", "audio_filepath": "./b/../b.wav"}\r\n',
    )
    entries = read_manifest(manifest)
    assert [(e.name, e.transcript, e.where) for e in entries] == [
        ("a.wav", "one", f"{manifest}:1"),
        ("b.wav", "two\u2028lines", f"{manifest}:3"),
    ]


def test_relative_manifest_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.tsv", "path\ttranscript\na.wav\tone\n")
    monkeypatch.chdir(tmp_path)
    assert read_manifest("a.tsv")[0].path == tmp_path / "a.wav"


def test_byte_order_mark_and_crlf_do_no_harm(tmp_path: Path) -> None:
    manifest = write(tmp_path, "a.tsv", b"\xef\xbb\xbfpath\ttranscript\r\na.wav\tone\r\n")
    assert [(e.name, e.transcript) for e in read_manifest(manifest)] == [("a.wav", "one")]


def test_the_same_recording_may_stand_twice(tmp_path: Path) -> None:
    manifest = write(tmp_path, "a.tsv", "path\ttranscript\na.wav\tone\na.wav\ttwo\n")
    assert len(read_manifest(manifest)) == 2


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.csv",
            "path,transcript\n",
            r"a\.csv: a manifest ends in .* \.jsonl; this one in '\.csv'",
        ),
        ("a.tsv", "", r"a\.tsv: the manifest is empty"),
        ("a.tsv", "path\ttranscript\n", r"a\.tsv: the manifest has no utterances"),
        ("a.jsonl", "\n", r"a\.jsonl: the manifest has no utterances"),
        ("a.tsv", "path\ttext\n", r"a\.tsv:1: no column 'transcript'.*has 'path', 'text'"),
        ("a.tsv", "a,b\n", r"no column 'path' and 'transcript'.*'a,b'.*tabs"),
        ("a.tsv", "path\ttranscript\nx.wav\n", r"a\.tsv:2: the row has 1 field, .* has 2"),
        ("a.tsv", "path\ttranscript\nx\ty\tz\n", r"a\.tsv:2: the row has 3 fields"),
        ("a.tsv", "path\ttranscript\n\ty\n", r"a\.tsv:2: the field 'path' is empty"),
        ("a.tsv", "path\ttranscript\na\0b\ty\n", r"a\.tsv:2: "),
        ("a.tsv", b"path\ttranscript\nx\ty\nx\t\xff\n", r"a\.tsv:3: not UTF-8 \(byte 0xff\)"),
        ("a.tsv", "path\ttranscript\nx\t" + "y" * 200000, r"a\.tsv:2: not a \.tsv row"),
        ("a.jsonl", '{"text": "x"}\n', r"a\.jsonl:1: no key 'audio_filepath'; found 'text'"),
        ("a.jsonl", '{"audio_filepath": "x"}\n', r"a\.jsonl:1: no key 'text'"),
        ("a.jsonl", '{"audio_filepath": "x", "text": 3}', r":1: 'text' must be a string.*int"),
        ("a.jsonl", '{"audio_filepath": "", "text": "y"}', r":1: 'audio_filepath' is empty"),
        ("a.jsonl", '\n{"audio', r"a\.jsonl:2: not a JSON object: Unterminated string"),
        ("a.jsonl", "[" * 100000, r"a\.jsonl:1: not a JSON object"),
        ("a.jsonl", '{"audio_filepath": "x", "text": "\\ud800"}', r":1: half of a surrogate"),
        ("a.jsonl", '["x"]', r"a\.jsonl:1: a JSON object is needed, found list"),
    ],
)
def test_faults_are_named(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(write(tmp_path, name, text))
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.tsv: there is no such manifest"):
        read_manifest(tmp_path / "none.tsv")
    (tmp_path / "folder.tsv").mkdir()
    with pytest.raises(ManifestError, match=r"folder\.tsv: cannot read the manifest"):
        read_manifest(tmp_path / "folder.tsv")


PIECES = {
    "a.tsv": "path\tend\ttranscript\tstart\nt.sph\t2.75\tone\t0.10\nt.sph\t\ttwo\t\n",
    "a.jsonl": '{"audio_filepath": "t.sph", "text": "one", "start": 0.10, "end": "2.75"}\n'
    '{"audio_filepath": "t.sph", "text": "two", "start": null}\n',
}


@pytest.mark.parametrize("name", PIECES)
def test_start_and_end_name_a_piece_of_a_recording(tmp_path: Path, name: str) -> None:
    piece, whole = read_manifest(write(tmp_path, name, PIECES[name]))
    assert piece.path == whole.path == tmp_path / "t.sph"
    assert (piece.piece.start, piece.piece.end) == (Decimal("0.10"), Decimal("2.75"))
    assert (whole.piece.start, whole.piece.end) == (None, None)
    assert (piece.name, whole.name) == ("t.sph#0.10-2.75", "t.sph")


@pytest.mark.parametrize(
    ("start", "end"),
    [("1", ""), ("", "1"), ("2", "2"), ("-1", "2"), ("a", "2"), ("0", "inf"), ("nan", "1"),
     ("0", "1e999999")],
)  # fmt: skip
def test_bad_limits_are_named(tmp_path: Path, start: str, end: str) -> None:
    text = f"path\ttranscript\tstart\tend\nt.sph\tone\t{start}\t{end}\n"
    message = rf"a\.tsv:2: start '{start}' and end '{end}'; needs two numbers of seconds"
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(tmp_path, "a.tsv", text))


def test_offset_and_duration_name_a_piece(tmp_path: Path) -> None:
    """As in NeMo's manifests; a duration alone is what the whole should last."""
    lines = (
        '{"audio_filepath": "t.wav", "text": "one", "offset": 1.10, "duration": 2.35}\n'
        '{"audio_filepath": "t.wav", "text": "two", "offset": 0, "duration": null}\n'
        '{"audio_filepath": "t.wav", "text": "three", "duration": 3.5, "offset": null}\n'
    )
    first, second, third = read_manifest(write(tmp_path, "a.jsonl", lines))
    assert (first.piece.start, first.piece.end) == (Decimal("1.10"), Decimal("3.45"))
    assert (second.piece.start, second.piece.end) == (Decimal(0), None)
    assert (third.piece.start, third.piece.end) == (None, None)
    assert third.piece.duration == Decimal("3.5")
    assert [e.name for e in (first, second, third)] == ["t.wav#1.10-3.45", "t.wav#0-", "t.wav"]
    table = "path\ttranscript\toffset\tduration\nt.wav\tone\t1.10\t2.35\nt.wav\ttwo\t0\t\n"
    assert [e.piece for e in read_manifest(write(tmp_path, "a.tsv", table))] == [
        first.piece, second.piece,
    ]  # fmt: skip


def test_a_channel_is_of_its_line(tmp_path: Path) -> None:
    table = "path\ttranscript\tchannel\tsampling_rate\na.wav\tx\t1\t8000\na.wav\ty\tmix\t\n"
    one, mix = read_manifest(write(tmp_path, "a.tsv", table))
    assert (one.piece.channel, one.piece.sampling_rate, one.name) == (1, 8000, "a.wav@1")
    assert (mix.piece.channel, mix.piece.sampling_rate, mix.name) == ("mix", None, "a.wav@mix")
    line = '{"audio_filepath": "a.wav", "text": "x", "channel": 0, "sampling_rate": 8000}'
    (entry,) = read_manifest(write(tmp_path, "a.jsonl", line))
    assert (entry.piece.channel, entry.piece.sampling_rate) == (0, 8000)


WRONG = [
    ({"offset": -1}, "offset '-1'; needs a number of seconds, 0 to 10000000"),
    ({"offset": "soon"}, "offset 'soon'; needs a number of seconds"),
    ({"offset": 1, "duration": 0}, "duration '0'; needs a number of seconds, above 0"),
    ({"duration": "0:03"}, "duration '0:03'; needs a number of seconds"),
    ({"offset": 1, "start": 1, "end": 2}, "'offset' beside 'start' and 'end'; needs one of the tw"),
    ({"start": 1, "duration": 2}, "start '1' and end ''; needs two numbers of seconds"),
    ({"channel": -1}, "channel '-1'; needs a number from 0, or mix"),
    ({"channel": [0, 1]}, "channel '[0, 1]'; needs a number from 0, or mix"),
    ({"channel": "left"}, "channel 'left'; needs a number from 0, or mix"),
    ({"sampling_rate": 0.5}, "sampling_rate '0.5'; needs a whole number of Hz"),
    ({"channel_selector": 1}, "'channel_selector' would change what is read; call it 'channel' or"),
    ({"start_time": 1.5}, "'start_time' would change what is read; call it 'start' or remove it"),
    ({"Offset": 1.5}, "'Offset' would change what is read; call it 'offset' or remove it"),
    ({"_skipme": 1}, "'_skipme' would change what is read; remove such lines, or the name"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG, ids=[str(fields) for fields, _ in WRONG])
def test_what_would_change_the_meaning_is_not_passed_over(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    line = json.dumps({"audio_filepath": "t.wav", "text": "one", **fields})
    with pytest.raises(ManifestError, match=re.escape(f"a.jsonl:1: {message}")):
        read_manifest(write(tmp_path, "a.jsonl", line))
    names, values = "\t".join(fields), "\t".join(map(str, fields.values()))
    table = f"path\ttranscript\t{names}\nt.wav\tone\t{values}\n"
    with pytest.raises(ManifestError, match=rf"a\.tsv:[12]: {re.escape(message)}"):
        read_manifest(write(tmp_path, "a.tsv", table))


def test_what_changes_nothing_is_passed_over(tmp_path: Path) -> None:
    fields = {"lang": "de", "speaker": "x", "id": 7, "_skipme": False, "channel": None}
    line = json.dumps({"audio_filepath": "t.wav", "text": "one", **fields})
    (entry,) = read_manifest(write(tmp_path, "a.jsonl", line))
    assert entry.piece == Piece()
    assert entry.name == "t.wav"
