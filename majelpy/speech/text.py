"""Transcripts and alphabets: from text to labels and back.

Policy: label 0 is the blank, the character at index i of an alphabet has label i + 1.
Transcripts are normalised once, when a corpus is prepared, in a way that keeps any
script; what a given alphabet lacks is decided later, by `Alphabet.fit`.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from majelpy.errors import TextError
from majelpy.wording import counted

ENGLISH = " 'abcdefghijklmnopqrstuvwxyz"
"""Characters of the English alphabet: space, apostrophe, a to z."""


def normalise(text: str) -> str:
    """Return the text in Unicode NFKC and lower case, with single spaces between words."""
    # Lower-casing can undo the normal form (Turkish dotted capital I), hence NFKC again.
    lower = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return " ".join(lower.split())


class Alphabet:
    """An ordered set of characters with labels from 1; label 0 is the blank.

    Parameters
    ----------
    characters : str
        The characters in the order of their labels, each once.

    Raises
    ------
    TextError
        If there are no characters, or one stands twice.
    """

    def __init__(self, characters: str) -> None:
        twice = [character for character, n in Counter(characters).items() if n > 1]
        if twice:
            raise TextError(f"alphabet: {_list(twice)} stands more than once in {characters!r}")
        if not characters:
            raise TextError("alphabet: no characters; at least 1 is needed")
        self.characters = characters
        self._labels = {character: i for i, character in enumerate(characters, 1)}

    @classmethod
    def from_characters(cls, characters: str) -> Alphabet:
        """Return the alphabet of these characters, in this order."""
        return cls(characters)

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> Alphabet:
        """Return the alphabet of all characters in the texts, sorted by code point."""
        return cls("".join(sorted(set().union(*texts))))

    @property
    def size(self) -> int:
        """Number of labels V, the blank included."""
        return len(self.characters) + 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Alphabet):
            return NotImplemented
        return self.characters == other.characters

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"Alphabet({self.characters!r})"

    def encode(self, text: str) -> list[int]:
        """Return the labels of a text, each in 1..V-1.

        Raises
        ------
        TextError
            If the text has a character outside the alphabet.
        """
        try:
            return [self._labels[character] for character in text]
        except KeyError:
            raise self._outside_error(text) from None

    def decode(self, labels: Sequence[int]) -> str:
        """Return the text of labels.

        Raises
        ------
        TextError
            If a label is not in 1..V-1; blanks are removed before this.
        """
        for label in labels:
            if not 1 <= label < self.size:
                raise TextError(
                    f"decode: label {label} is outside 1..{self.size - 1} "
                    f"(0 is the blank; remove it first)"
                )
        return "".join(self.characters[label - 1] for label in labels)

    def outside(self, texts: Iterable[str]) -> Counter[str]:
        """Return how often each character outside the alphabet stands in the texts."""
        return Counter(
            character for text in texts for character in text if character not in self._labels
        )

    def fit(self, text: str, outside: Literal["error", "drop"] = "error") -> str:
        """Return the text with nothing but characters of the alphabet.

        Parameters
        ----------
        text : str
            A normalised transcript.
        outside : {'error', 'drop'}
            What to do with characters outside the alphabet; after dropping some, spaces
            are single again.

        Raises
        ------
        TextError
            If the text has a character outside the alphabet and they are not dropped.
        """
        if all(character in self._labels for character in text):
            return text
        if outside == "error":
            raise self._outside_error(text)
        kept = "".join(character for character in text if character in self._labels)
        return " ".join(kept.split())

    def _outside_error(self, text: str) -> TextError:
        return TextError(
            f"{_list(sorted(self.outside([text])))} of the transcript {text!r} "
            f"not in the alphabet of {counted(len(self.characters), 'character')}"
        )


def _list(characters: list[str]) -> str:
    return ", ".join(f"{character!r} (U+{ord(character):04X})" for character in characters)
