"""The library mpi4py, and the MPI that it is built on.

Policy. MPI is loaded by whoever needs it and started by `World.start` alone.
"""

from __future__ import annotations

import sys
from types import ModuleType

from majelpy.wording import install


def library_version() -> str:
    """Return the name and version of the MPI library in one line, without starting MPI."""
    try:
        text: str = load_mpi().Get_library_version()
    except (ImportError, RuntimeError):
        return f"none ({install('mpi')})"
    return text.strip("\0\n ").splitlines()[0]


def supports_cuda() -> bool:
    """Ask the MPI library, which has to be started; one that cannot be asked does not."""
    import ctypes

    # An extension of Open MPI, MPICH and MVAPICH that mpi4py does not know.
    query = getattr(ctypes.CDLL(load_mpi().__file__), "MPIX_Query_cuda_support", None)
    return query is not None and bool(query())


def load_mpi() -> ModuleType:
    """Import mpi4py's MPI without the start of MPI that its import otherwise brings."""
    import mpi4py

    if "mpi4py.MPI" not in sys.modules:
        mpi4py.rc(initialize=False, finalize=True, errors="exception")
    from mpi4py import MPI

    return MPI
