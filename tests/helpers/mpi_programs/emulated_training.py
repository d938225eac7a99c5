"""`device_training.py`, with its small recipes, on a machine whose `gpu:0` is the emulation."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import device_training
from gpu_place import emulated_gpu

from majelpy.comm.world import World

if __name__ == "__main__":
    device_training.RECIPES = device_training.TINY
    World.sends_from_gpu = lambda _: False  # type: ignore[method-assign]
    with emulated_gpu():
        device_training.main()
