"""Tiny folders of the exact layouts in which public corpora are downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile


def record(path: Path, seconds: float = 0.3, rate: int = 16000) -> None:
    """Write a recording of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(len(path.name)).integers(-999, 999, int(seconds * rate))
    kind = {".sph": "NIST", ".WAV": "WAV"}.get(path.suffix)
    soundfile.write(path, samples.astype(np.int16), rate, format=kind)


def write(path: Path, *lines: str) -> None:
    """Write a file of lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def librispeech(top: Path) -> None:
    for folder, speaker, chapter in (("dev-clean", 84, 121123), ("dev-other", 116, 288045)):
        name = f"{speaker}-{chapter}"
        place = top / "LibriSpeech" / folder / str(speaker) / str(chapter)
        write(place / f"{name}.trans.txt", f"{name}-0000 GO DO YOU HEAR", f"{name}-0001 BUT IN")
        record(place / f"{name}-0000.flac")
        record(place / f"{name}-0001.flac")
    record(top / "LibriSpeech/dev-clean/84/121123/84-121123-0002.flac")
    write(top / "LibriSpeech/SPEAKERS.TXT", ";ID  |SEX| SUBSET           |MINUTES| NAME")


def aishell1(top: Path) -> None:
    write(
        top / "data_aishell/transcript/aishell_transcript_v0.8.txt",
        "BAC009S0002W0122 而 对 楼市 成交",
        "BAC009S0002W0123 也 成为 地方 ",
        "BAC009S0724W0121 广州市 房地产",
    )
    for speaker, number, split in (
        *(("S0002", "W0122", "train"), ("S0002", "W0123", "train"), ("S0002", "W0124", "train")),
        *(("S0724", "W0121", "dev"), ("S0764", "W0121", "test")),
    ):
        record(top / f"data_aishell/wav/{split}/{speaker}/BAC009{speaker}{number}.wav")


VOICES = "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage"


def common_voice(top: Path) -> None:
    row = "{}\tcommon_voice_en_{}.mp3\t9a\t{}\t\t2\t0\ttwenties"
    write(
        top / "train.tsv", VOICES, row.format("aa", 7, 'He said "go".'), row.format("bb", 8, "Hi!")
    )
    for split in ("dev", "test", "validated"):
        write(top / f"{split}.tsv", VOICES, row.format("cc", 9, "Bye"))
    for number in (7, 8, 9):
        record(top / f"clips/common_voice_en_{number}.mp3")
    write(top / "clip_durations.tsv", "clip\tduration[ms]", "common_voice_en_7.mp3\t312")


def tedlium3(top: Path) -> None:
    legacy = top / "TEDLIUM_release-3/legacy"
    talk = "AlGore_2009"
    for split in ("train", "test", "dev"):
        write(
            legacy / f"{split}/stm/{talk}.stm",
            ';; LABEL "o" "Overall" "Overall results"',
            f"{talk} 1 inter_segment_gap 0 0.20 <o,,unknown> ignore_time_segment_in_scoring",
            f"{talk} 1 {talk} 0.20 0.60 <o,f0,male> it 's <sil> {{NOISE}} for(2) rock 'n",
            f"{talk} 1 {talk} 0.60 1.005 <o,f0,male> we 're 'cause ({talk}-0.60-1.005-F0)",
            f"{talk} 1 {talk} 1.01 1.1 <o,f0,male> {{COUGH}}",
            f"{talk} 1 {talk} 1.1 1.2 <o,f0,male> hello <unk>",
        )
        record(legacy / f"{split}/sph/{talk}.sph", seconds=1.2)
    record(legacy / "train/sph/NoText_2010.sph")


def an4(top: Path) -> None:
    names = ("an251-fash-b", "cen1-fash-b")
    for split, folder in (("train", "an4_clstk"), ("test", "an4test_clstk")):
        write(
            top / f"an4/etc/an4_{split}.fileids",
            *(f"{folder}/fash/{name}" for name in (*names, "cen2-fash-b")),
        )
        for name in (*names, "cen2-fash-b"):
            record(top / f"an4/wav/{folder}/fash/{name}.sph")
    write(
        top / "an4/etc/an4_train.transcription",
        *("<s> YES </s> (an251-fash-b)", "<s> F A S H </s> (cen1-fash-b)"),
    )
    write(top / "an4/etc/an4_test.transcription", "GO (an251-fash-b)", "RUBOUT (cen1-fash-b)")


def voxforge(top: Path) -> None:
    for session, kind in (("1snoke-20120412-hge", "wav"), ("anonymous-20080425-pjl", "flac")):
        write(
            top / session / "etc/PROMPTS",
            *(f"{session}/mfc/a0405 IT SEEMED", f"{session}/mfc/a0406 AN ORDER"),
        )
        write(top / session / "etc/prompts-original", "a0405 It seemed", "a0406 An order.")
        write(top / session / "etc/README", "User Name:" + session.partition("-")[0])
        for name in ("a0405", "a0406"):
            record(top / session / kind / f"{name}.{kind}")
    write(top / "1snoke-20120413-abc/etc/prompts-original", "rb-01 A rainbow,")
    record(top / "1snoke-20120413-abc/wav/rb-01.wav", rate=48000)
    record(top / "1snoke-20120413-abc/wav/rb-02.wav", rate=48000)


def fsdd(top: Path) -> None:
    for name in ("0_george_4", "0_george_5", "9_theo_0", "9_theo_49"):
        record(top / f"recordings/{name}.wav", rate=8000)


def asterisk(top: Path) -> None:
    write(
        top / "core-sounds-en.txt",
        *("", "; Core Asterisk Sounds in English", "", "auth-thankyou: Thank you."),
        *("beep: [this is a simple beep tone]", "digits/1: one", "followme/sorry.wav: I'm sorry"),
        *("vm-intro: Go. (simple tone sound plays)", "silence/1: (1 second of silence)"),
    )
    write(top / "extra-sounds-en.txt", "an-hour: an hour: now")
    for name in ("auth-thankyou", "beep", "digits/1", "followme/sorry", "vm-intro", "silence/1"):
        record(top / f"{name}.wav", rate=8000)
    record(top / "an-hour.wav", rate=8000)
    record(top / "untold.wav", rate=8000)


def speechocean762(top: Path) -> None:
    for split, speaker in (("train", "0001"), ("test", "0003")):
        names = [f"0{speaker}0011", f"0{speaker}0035"]
        write(top / split / "text", f"{names[0]}\tWE CALL IT BEAR", f"{names[1]}\tZERO")
        write(top / split / "utt2spk", *(f"{name}\t{speaker}" for name in names))
        write(
            top / split / "wav.scp",
            *(f"{name}\tWAVE/SPEAKER{speaker}/{name}.WAV" for name in names),
        )
        for name in names:
            record(top / f"WAVE/SPEAKER{speaker}/{name}.WAV")


@dataclass(frozen=True)
class Tree:
    """A folder of a corpus and what is to be found in its first split.

    `rows` are path, transcript and speaker, and start and end for pieces; `file` and `line` are
    of the transcript of the first row; `malformed` is a line that this file must not hold.
    """

    make: Callable[[Path], None]
    rows: list[tuple[str, ...]]
    said: str
    other_splits: dict[str, list[str]]
    file: str = ""
    line: int = 0
    malformed: dict[str, str] = field(default_factory=dict)
    split: str | None = None


_TALK = "TEDLIUM_release-3/legacy/train/sph/AlGore_2009.sph"

TREES = {
    "librispeech": Tree(
        librispeech,
        [
            ("LibriSpeech/dev-clean/84/121123/84-121123-0000.flac", "GO DO YOU HEAR", "84"),
            ("LibriSpeech/dev-clean/84/121123/84-121123-0001.flac", "BUT IN", "84"),
            ("LibriSpeech/dev-other/116/288045/116-288045-0000.flac", "GO DO YOU HEAR", "116"),
            ("LibriSpeech/dev-other/116/288045/116-288045-0001.flac", "BUT IN", "116"),
        ],
        "4 utterances, 0.00 hours, 2 speakers; left out: 1 recording without a transcript",
        {"dev-clean": ["GO DO YOU HEAR", "BUT IN"], "dev-other": ["GO DO YOU HEAR", "BUT IN"]},
        "LibriSpeech/dev-clean/84/121123/84-121123.trans.txt",
        1,
        {
            "84-121123-0009": "a name and a text are needed, found '84-121123-0009'",
            "HEAR YE": "a name such as 84-121123-0000 is needed, found 'HEAR'",
        },
        split="dev",
    ),
    "aishell1": Tree(
        aishell1,
        [
            ("data_aishell/wav/train/S0002/BAC009S0002W0122.wav", "而对楼市成交", "S0002"),
            ("data_aishell/wav/train/S0002/BAC009S0002W0123.wav", "也成为地方", "S0002"),
        ],
        "2 utterances, 0.00 hours, 1 speaker; left out: 1 recording without a transcript",
        {"dev": ["广州市房地产"]},
        "data_aishell/transcript/aishell_transcript_v0.8.txt",
        1,
        {
            "BAC009S0002W0125": "a name and a text are needed, found 'BAC009S0002W0125'",
            "S0002 而": "a name such as BAC009S0002W0122 is needed, found 'S0002'",
        },
    ),
    "common-voice": Tree(
        common_voice,
        [
            ("clips/common_voice_en_7.mp3", 'He said "go".', "aa"),
            ("clips/common_voice_en_8.mp3", "Hi!", "bb"),
        ],
        "2 utterances, 0.00 hours, 2 speakers",
        {"dev": ["Bye"], "test": ["Bye"], "validated": ["Bye"]},
        "train.tsv",
        2,
        {"aa\tx.mp3\tone": "3 fields, the header has 8"},
    ),
    "tedlium3": Tree(
        tedlium3,
        [
            (_TALK, "it's for rock 'n", "AlGore_2009", "0.20", "0.60"),
            (_TALK, "we're 'cause", "AlGore_2009", "0.60", "1.005"),
        ],
        "2 utterances, 0.00 hours, 1 speaker; left out: 1 piece not to be scored; "
        "left out: 1 piece without words; left out: 1 piece with <unk>; "
        "left out: 1 recording without a transcript",
        {"dev": ["it's for rock 'n", "we're 'cause"], "test": ["it's for rock 'n", "we're 'cause"]},
        "TEDLIUM_release-3/legacy/train/stm/AlGore_2009.stm",
        3,
        {
            "AlGore_2009 1 A 1 2 no label": "'TALK CHANNEL SPEAKER START END <LABEL> TEXT'",
            "AlGore_2009 1 A 0.5 0.5 <o> a": "start 0.5 and end 0.5; needs seconds, 0 <= start",
            "AlGore_2009 1 A x 0.5 <o> a": "start x and end 0.5; needs seconds",
            "AlGore_2009 1 A 0 nan <o> a": "start 0 and end nan; needs seconds",
            "AlGore_2009 1 A 0 1e999999 <o> a": "start 0 and end 1e999999; needs seconds",
            "AlGore_2009 1 A 0 1_0 <o> a": "start 0 and end 1_0; needs seconds",
            "AlGore_2009 1 A 1 1.3 <o> a": "AlGore_2009.sph: the utterance ends at 1.3 s, "
            "sample 20800; the recording has 19200",
        },
    ),
    "an4": Tree(
        an4,
        [
            ("an4/wav/an4_clstk/fash/an251-fash-b.sph", "YES", "fash"),
            ("an4/wav/an4_clstk/fash/cen1-fash-b.sph", "F A S H", "fash"),
        ],
        "2 utterances, 0.00 hours, 1 speaker; left out: 1 recording without a transcript",
        {"test": ["GO", "RUBOUT"]},
        "an4/etc/an4_train.transcription",
        1,
        {
            "<s> YES </s>": "'<s> WORDS </s> (NAME)' is needed, found '<s> YES </s>'",
            "<s> YES </s> (x)": "x is not in etc/an4_train.fileids",
        },
    ),
    "voxforge": Tree(
        voxforge,
        [
            ("1snoke-20120412-hge/wav/a0405.wav", "IT SEEMED", "1snoke"),
            ("1snoke-20120412-hge/wav/a0406.wav", "AN ORDER", "1snoke"),
            ("1snoke-20120413-abc/wav/rb-01.wav", "A rainbow,", "1snoke"),
            ("anonymous-20080425-pjl/flac/a0405.flac", "IT SEEMED", "anonymous-20080425-pjl"),
            ("anonymous-20080425-pjl/flac/a0406.flac", "AN ORDER", "anonymous-20080425-pjl"),
        ],
        "5 utterances, 0.00 hours, 2 speakers; left out: 1 recording without a transcript",
        {"all": ["IT SEEMED", "AN ORDER", "A rainbow,", "IT SEEMED", "AN ORDER"]},
        "1snoke-20120412-hge/etc/PROMPTS",
        1,
        {"1snoke/mfc/a0407": "a name and a text are needed, found '1snoke/mfc/a0407'"},
    ),
    "fsdd": Tree(
        fsdd,
        [
            ("recordings/0_george_5.wav", "zero", "george"),
            ("recordings/9_theo_49.wav", "nine", "theo"),
        ],
        "2 utterances, 0.00 hours, 2 speakers",
        {"test": ["zero", "nine"]},
    ),
    "asterisk": Tree(
        asterisk,
        [
            ("auth-thankyou.wav", "Thank you.", "en"),
            ("digits/1.wav", "one", "en"),
            ("followme/sorry.wav", "I'm sorry", "en"),
            ("vm-intro.wav", "Go.", "en"),
            ("an-hour.wav", "an hour: now", "en"),
        ],
        "5 utterances, 0.00 hours, 1 speaker; left out: 2 prompts without speech; "
        "left out: 1 recording without a transcript",
        {"all": ["Thank you.", "one", "I'm sorry", "Go.", "an hour: now"]},
        "core-sounds-en.txt",
        4,
        {
            "auth-thankyou Thank you.": "'NAME: TEXT' is needed, found 'auth-thankyou Thank you.'",
            "auth-thankyou: ": "'NAME: TEXT' is needed, found 'auth-thankyou: '",
        },
    ),
    "speechocean762": Tree(
        speechocean762,
        [
            ("WAVE/SPEAKER0001/000010011.WAV", "WE CALL IT BEAR", "0001"),
            ("WAVE/SPEAKER0001/000010035.WAV", "ZERO", "0001"),
        ],
        "2 utterances, 0.00 hours, 1 speaker",
        {"test": ["WE CALL IT BEAR", "ZERO"]},
        "train/text",
        1,
        {
            "000010099": "a name and a text are needed, found '000010099'",
            "000010099\tZERO": "000010099 is not in train/wav.scp",
        },
    ),
}
