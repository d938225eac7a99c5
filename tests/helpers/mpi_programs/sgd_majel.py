"""`majel` with the optimizer of docs/training.md, as if its module and its line were there."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

from majelpy.optimizers import OPTIMIZERS

TEXT = (Path(__file__).parents[3] / "docs" / "training.md").read_text()


def example() -> ModuleType:
    """Return the module that the document shows, and take up the line that it says."""
    (block,) = re.findall(r"```python\n(.*?class Sgd.*?)```", TEXT, re.DOTALL)
    (line,) = re.findall(r"and in `majelpy/optimizers/__init__\.py`: `(.*?)`", TEXT)
    module = ModuleType("majelpy.optimizers.sgd")
    exec(compile(block, "docs/training.md", "exec"), module.__dict__)
    OPTIMIZERS.update(eval(f"{{{line}}}", module.__dict__))
    return module


if __name__ == "__main__":
    example()
    from majelpy.__main__ import program

    sys.exit(program())
