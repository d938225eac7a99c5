"""Error rates: how far a recogniser's text is from what was said.

Policy: errors are counted as whole numbers and only divided at the end, so the rates of a
corpus do not depend on the order or the grouping of its utterances. Spaces count as
characters; words are what stands between spaces (a text of a script without spaces is one
word, so look at its CER).
"""

from __future__ import annotations

from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein


@dataclass(frozen=True)
class Errors:
    """Counts of errors; `a + b` gives the counts of both.

    Attributes
    ----------
    wrong_characters, wrong_words : int
        Fewest insertions, deletions and substitutions from the reference to the
        hypothesis.
    characters, words : int
        Length of the reference.
    """

    wrong_characters: int = 0
    characters: int = 0
    wrong_words: int = 0
    words: int = 0

    def __add__(self, other: Errors) -> Errors:
        return Errors(
            self.wrong_characters + other.wrong_characters,
            self.characters + other.characters,
            self.wrong_words + other.wrong_words,
            self.words + other.words,
        )

    @property
    def cer(self) -> float:
        """Character error rate as a ratio; above 1 if much was inserted.

        An empty reference counts as one character, so that the rate is always finite.
        """
        return self.wrong_characters / max(self.characters, 1)

    @property
    def wer(self) -> float:
        """Word error rate as a ratio, as `cer`."""
        return self.wrong_words / max(self.words, 1)


def errors(reference: str, hypothesis: str) -> Errors:
    """Return the errors of a hypothesis against what was said."""
    said, heard = reference.split(), hypothesis.split()
    return Errors(
        Levenshtein.distance(reference, hypothesis),
        len(reference),
        Levenshtein.distance(said, heard),
        len(said),
    )
