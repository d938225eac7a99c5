"""Right: words for people."""

from __future__ import annotations

import math

import pytest

from majelpy import wording


def test_counts() -> None:
    assert wording.counted(0, "utterance") == "0 utterances"
    assert wording.counted(1, "utterance") == "1 utterance"
    assert wording.counted(2, "utterance") == "2 utterances"
    assert [wording.counted(n, "entry", "entries") for n in (1, 3)] == ["1 entry", "3 entries"]


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (-1, "-1 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1536, "1.5 KiB"),
        (1000 * 1024, "1000 KiB"),
        (1023 * 1024 + 511, "1023 KiB"),
        (1023 * 1024 + 512, "1 MiB"),
        (332399104, "317 MiB"),
        (11150508288, "10.4 GiB"),
        (1 << 60, "1 EiB"),
        (3000 << 60, "3000 EiB"),
    ],
)
def test_sizes(nbytes: int, text: str) -> None:
    assert wording.byte_size(nbytes) == text


def test_sizes_that_differ_read_differently() -> None:
    assert wording.byte_sizes(1025, 1000, 1024) == ("1.001 KiB", "1000 bytes", "1 KiB")
    assert wording.byte_sizes(332399104, 11150508288) == ("317 MiB", "10.4 GiB")
    assert wording.byte_sizes(5 << 30, 5 << 30) == ("5 GiB", "5 GiB")
    one_more = wording.byte_sizes(10 << 30, (10 << 30) + 1)
    assert len(set(one_more)) == 2


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [
        ("0", 0),
        ("-1", -1),
        ("1048576", 1 << 20),
        ("512MiB", 512 << 20),
        ("512 mib", 512 << 20),
        ("1.5G", 3 << 29),
        ("0.1KiB", 102),
        ("12 bytes", 12),
    ],
)
def test_sizes_are_read(text: str, nbytes: int) -> None:
    assert wording.read_byte_size(text) == nbytes


@pytest.mark.parametrize("text", ["", "x", "1MB", "1 M B", "1.5.2", "nan", "1e9", "MiB", "٣"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="needs bytes, such as"):
        wording.read_byte_size(text)


def test_durations() -> None:
    assert [wording.clock(s) for s in (0, 59.4, 59.6, 3599, 3600)] == [
        *("0:00", "0:59", "1:00", "59:59", "1:00:00"),
    ]


def test_short_times() -> None:
    assert [wording.lasting(s) for s in (0.0, 5.58e-6, 9.994e-4, 9.996e-4, 0.0143, 0.9696, 2)] == [
        *("0 us", "5.58 us", "999 us", "1 ms", "14.3 ms", "970 ms", "2 s"),
    ]


def test_losses() -> None:
    assert wording.loss(194.4684) == "194.468"
    assert wording.loss(7187068125259507926601790383980544.0) == "7.19e+33"
    assert wording.loss(math.nan) == "nan"
    assert wording.loss(math.inf) == "inf"


def test_bounds() -> None:
    assert wording.bounds(0, (1 << 63) - 1) == "at least 0 and at most 2^63 - 1"
    assert wording.bounds(1, 4096) == "at least 1 and at most 4096"
    assert wording.bounds(0, 0.999999) == "at least 0 and at most 0.999999"
    assert wording.bounds(0, math.inf) == "at least 0"
    assert wording.bounds(None, 3_000_000) == "at most 3000000"
    assert wording.bounds(1e-20, None) == "at least 1e-20"
