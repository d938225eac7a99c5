"""Numbers of ranks as people write them: ``1,2,6`` or ``1,2,...,64``."""

from __future__ import annotations

from majelpy.errors import RecipeError

_MOST = 1 << 20


def powers(most: int) -> list[int]:
    """Return the powers of two up to ``most``."""
    return [1 << i for i in range(most.bit_length())]


def listed(text: str) -> list[int]:
    """Return the numbers of a list; ``...`` doubles from the number before it to that behind it.

    Raises
    ------
    RecipeError
        If an entry is not a number of ranks, or doubling does not lead to the number behind it.
    """
    entries = [entry.strip() for entry in text.split(",")]
    numbers: list[int] = []
    doubling = False
    for entry in entries:
        if entry == "..." and numbers and not doubling:
            doubling = True
            continue
        if not (entry.isascii() and entry.isdigit() and 1 <= int(entry[:9]) <= _MOST >= len(entry)):
            raise RecipeError(
                f"plan: --ranks {text}: {entry!r} is no number of ranks; needs such as 1,2,...,64"
            )
        number = int(entry)
        while doubling and numbers[-1] * 2 < number:
            numbers.append(numbers[-1] * 2)
        if doubling and numbers[-1] * 2 != number:
            raise RecipeError(
                f"plan: --ranks {text}: doubling leads from {numbers[-1]} to {numbers[-1] * 2}, "
                f"not to {number}"
            )
        doubling = False
        numbers.append(number)
    if doubling:
        raise RecipeError(f"plan: --ranks {text}: needs a number behind '...'")
    return numbers
