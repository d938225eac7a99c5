"""Words for people: counts, sizes, durations, losses and remedies, said in one way everywhere.

Policy. Messages round; what programs read (JSON, ledgers, files) keeps every digit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SIZE = re.compile(r"([+-]?[0-9]+(?:\.[0-9]+)?) ?(?:bytes?|([KMGTPE])(?:iB)?)?", re.IGNORECASE)
_MOST_DIGITS = 20


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun: ``1 utterance``, ``2 utterances``."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def listed(names: Sequence[str]) -> str:
    """Return names as one says them: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def byte_size(nbytes: int, digits: int = 3) -> str:
    """Return a number of bytes with three significant digits: ``317 MiB``."""
    power = 0
    while abs(nbytes) >= 1023.5 * 1024**power and power + 1 < len(_UNITS):
        power += 1
    if power == 0:
        return counted(nbytes, "byte")
    value = nbytes / 1024**power
    return f"{value:.{max(digits, 4) if abs(value) >= 999.5 else digits}g} {_UNITS[power]}"


def byte_sizes(*several: int) -> tuple[str, ...]:
    """Return several numbers of bytes, with as many digits as tell different ones apart."""
    for digits in range(3, _MOST_DIGITS):
        texts = tuple(byte_size(nbytes, digits) for nbytes in several)
        if len(set(texts)) == len(set(several)):
            return texts
    return tuple(counted(nbytes, "byte") for nbytes in several)


def read_byte_size(text: str) -> int:
    """Return the bytes of a text such as ``1048576``, ``512MiB`` or ``1.5G``, or of `byte_size`.

    Raises
    ------
    ValueError
        If it is no such text.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r}: needs bytes, such as 1048576, 512MiB or 1.5GiB")
    return int(Fraction(found[1]) * 1024 ** " KMGTPE".index((found[2] or " ").upper()))


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, with hours where there are some."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def lasting(seconds: float) -> str:
    """Return a short time with three significant digits: ``14.3 ms``."""
    for unit, name in ((1e-6, "us"), (1e-3, "ms")):
        if seconds < 999.5 * unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"


def loss(value: float) -> str:
    """Return a loss with three decimals, or with a power of ten where it is huge."""
    return f"{value:.3f}" if not math.isfinite(value) or abs(value) < 1e6 else f"{value:.2e}"


def bound(value: float) -> str:
    """Return a bound of a setting: whole numbers with all digits, or as a power of two."""
    if float(value).is_integer() and abs(value) >= 1 << 31:
        whole = int(value)
        for less, said in ((0, ""), (1, " - 1")):
            if (whole + less).bit_count() == 1:
                return f"2^{(whole + less).bit_length() - 1}{said}"
    return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:g}"


def bounds(least: float | None, most: float | None) -> str:
    """Return what a setting needs: ``at least 1 and at most 2^63 - 1``."""
    said = [] if least is None else [f"at least {bound(least)}"]
    said += [] if most is None or most == math.inf else [f"at most {bound(most)}"]
    return " and ".join(said)


def install(extra: str) -> str:
    """Return how to install what an optional part needs, which works wherever majelpy is from."""
    return f"pip install '.[{extra}]' in the folder of majelpy's sources"
