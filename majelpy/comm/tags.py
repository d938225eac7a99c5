"""The tags of messages: one for each kind, so that none is taken for another.

Policy. Two messages of one tag between two ranks arrive in the order in which they were sent; kinds
of messages that may be on their way at once have tags of their own. `World.send` and
`World.receive` take a `Tag` and nothing else.
"""

from __future__ import annotations

from enum import IntEnum, auto, unique


@unique
class Tag(IntEnum):
    """What a message carries."""

    # The sum of gradients, a pair for each bucket on its way: subtrees, and what they add up to.
    FIRST_NODES = auto()
    FIRST_RESULT = auto()
    SECOND_NODES = auto()
    SECOND_RESULT = auto()
    # Activations and their gradients, between the ranks of one model.
    NEIGHBOURS = auto()
    # Distributed arrays: nodes of a partial array, and boxes of any.
    ARRAY_NODES = auto()
    ARRAY_BOX = auto()
    # What `majel plan --measure` times.
    MEASURED = auto()
    # What a rank tells rank 0 unasked: a signal that it had.
    CALL = auto()
