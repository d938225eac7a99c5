"""What is strange about recordings that are used all the same: counted, and the first few named.

Policy. Nothing here decides anything; who prepares a corpus should look at what is told.
"""

from __future__ import annotations

from decimal import Decimal

from majelpy.sound.audio import Recording
from majelpy.speech.piece import Piece

_NAMED = 3
_TOLERANCE = Decimal("0.1")  # seconds; encoders pad, and manifests round


class Remarks:
    """Remarks on the recordings of a corpus, one kind a line."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._count = 0

    def hear(self, name: str, piece: Piece, found: Recording) -> None:
        """Take in a recording that was read, and what its manifest says of it."""
        self._count += 1
        seconds = Decimal(found.frames) / found.rate
        if found.silent:
            self._add("are silent: all samples are 0", name)
        if found.clipped:
            self._add("are clipped: 3 or more samples in a row at full scale", name)
        if piece.duration is not None and abs(seconds - piece.duration) > _TOLERANCE:
            self._add(
                f"differ from the manifest's duration by more than {_TOLERANCE} s",
                f"{name} ({seconds:.3f} s, there {piece.duration} s)",
            )
        if piece.sampling_rate not in (None, found.rate):
            self._add(
                "differ from the manifest's sampling_rate",
                f"{name} ({found.rate} Hz, there {piece.sampling_rate} Hz)",
            )

    def lines(self) -> tuple[str, ...]:
        """Return a line for each kind."""
        return tuple(
            f"{len(names)} of {self._count} recordings {kind}: {', '.join(names[:_NAMED])}"
            f"{', ...' if len(names) > _NAMED else ''}"
            for kind, names in self._found.items()
        )

    def _add(self, kind: str, name: str) -> None:
        self._found.setdefault(kind, []).append(name)
