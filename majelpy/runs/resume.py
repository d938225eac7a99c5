"""What a run goes on from: the newest checkpoint that its ledger proves.

Policy. The ledger is the proof, so a checkpoint counts only if every step up to it has its line.
What lies beyond is trained again, to the same bits. `look` says what there is, `settle` makes the
folder agree with it; nothing that could be evidence is deleted, it is kept under another name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from majelpy import files
from majelpy.runs import checkpoint as checkpoints
from majelpy.runs import ledger
from majelpy.runs.checkpoint import Checkpoint
from majelpy.runs.run_folder import RunFolder


@dataclass(frozen=True)
class Start:
    """What a run goes on from.

    Attributes
    ----------
    checkpoint : Checkpoint or None
    proved : int
        Steps that have a line in the ledger, from the first one on.
    said : list of str
        What is wrong with the folder.
    beyond : list of Path
        Checkpoints of later steps than the ledger reaches.
    damaged : bool
        Whether the ledger is more than lines without a gap.
    """

    checkpoint: Checkpoint | None
    proved: int
    said: list[str]
    beyond: list[Path]
    damaged: bool

    @property
    def step(self) -> int:
        """The step to go on from."""
        return self.checkpoint.step if self.checkpoint else 0


def look(folder: RunFolder) -> Start:
    """Return what a run goes on from; a damaged checkpoint is given another name."""
    lines = ledger.read(folder.ledger)
    every = checkpoints.newest_first(folder.checkpoints)
    beyond = [path for step, path in every if step > lines.reaches]
    found, passed = checkpoints.newest(folder.checkpoints, most=lines.reaches, keep_aside=True)
    said = [f"passed over {problem}" for problem in passed]
    if passed and found is None and not beyond:
        said.append("no good checkpoint is left; starting over")
    wrong = ledger.faults(folder.ledger, lines)
    damaged = bool(wrong)
    if beyond and lines.torn:
        wrong, damaged = [*wrong, lines.torn], True
    return Start(found, lines.reaches, [*wrong, *said], beyond, damaged)


def settle(folder: RunFolder, start: Start) -> list[str]:
    """Keep aside what does not belong to the run's past; return lines to be said.

    Raises
    ------
    OutputError
        If something cannot be renamed or written.
    """
    said = []
    if start.damaged:
        kept = files.keep_copy(folder.ledger, "damaged")
        said.append(f"{folder.ledger}: kept as it was in {kept.name}")
    if start.beyond:
        proved = f"{ledger.span(1, start.proved)} only" if start.proved else "no step"
        back = "starting over"
        if start.checkpoint is not None:
            back = f"going back to the checkpoint of step {start.step}"
        said.append(f"the ledger proves {proved}; {back}")
        folder.note(start.step, said[-1])
        names = [files.set_aside(path, "beyond").name for path in start.beyond]
        said.append(f"{folder.checkpoints}: later ones kept as {', '.join(names)}")
    return said
