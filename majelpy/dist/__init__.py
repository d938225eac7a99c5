"""Distributed arrays: one array over a mesh of ranks, the same bits on any mesh.

docs/dist.md is the guide.
"""

from majelpy.dist.array import DistArray
from majelpy.dist.creation import distribute, from_local, full, ones, zeros
from majelpy.dist.elementwise import apply
from majelpy.dist.file import load, save
from majelpy.dist.mesh import Mesh
from majelpy.dist.placement import Layout, Partial, Replicate, Shard, layout
from majelpy.dist.plan import Plan
from majelpy.dist.products import matmul, max, min, prod, sum

__all__ = [
    "DistArray",
    "Layout",
    "Mesh",
    "Partial",
    "Plan",
    "Replicate",
    "Shard",
    "apply",
    "distribute",
    "from_local",
    "full",
    "layout",
    "load",
    "matmul",
    "max",
    "min",
    "ones",
    "prod",
    "save",
    "sum",
    "zeros",
]
