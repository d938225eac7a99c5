"""Distributed arrays: one array over a mesh of ranks, the same bits on any mesh.

docs/dist.md is the guide.
"""

from majelpy.distributed.array import DistArray
from majelpy.distributed.creation import distribute, from_local, full, ones, zeros
from majelpy.distributed.elementwise import apply
from majelpy.distributed.file import load, save
from majelpy.distributed.mesh import WorldMesh
from majelpy.distributed.placement import Layout, Partial, Replicate, Shard, layout
from majelpy.distributed.products import matmul, max, min, prod, sum
from majelpy.distributed.route import Route

__all__ = [
    "DistArray",
    "Layout",
    "Partial",
    "Replicate",
    "Route",
    "Shard",
    "WorldMesh",
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
