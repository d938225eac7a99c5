"""What a launcher (mpirun, srun) says of the ranks that it started, before MPI is asked.

Policy. Only environment variables are read. The nearest launcher counts, so mpirun's variables
stand before those of the SLURM step that it may run in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


_SIZE_VARIABLES = (
    "OMPI_COMM_WORLD_SIZE",
    "MV2_COMM_WORLD_SIZE",
    "PMI_SIZE",
    "SLURM_STEP_NUM_TASKS",
)


_LOCAL_SIZE_VARIABLES = (
    *("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"),
    "SLURM_STEP_TASKS_PER_NODE",
)


_RANK_VARIABLES = ("PMIX_RANK", "PMI_RANK")


_RANKS = ("OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", *_RANK_VARIABLES, "SLURM_PROCID")


def launched_size(environ: Mapping[str, str]) -> int:
    """Return how many ranks the launcher started; 1 without one, 0 if it does not say.

    The nearest launcher counts, so mpirun's variables stand before those of the SLURM step
    that it may run in. ``SLURM_NTASKS`` says nothing: a batch script has it, before any
    rank is launched.
    """
    for name in _SIZE_VARIABLES:
        if environ.get(name, "").isdigit():
            return int(environ[name])
    return 0 if any(name in environ for name in _RANK_VARIABLES) else 1


def launched(environ: Mapping[str, str]) -> bool:
    """Return whether a launcher started this process, be it alone."""
    return any(environ.get(name, "").isdigit() for name in _RANKS)


def launched_first(environ: Mapping[str, str]) -> bool:
    """Return whether this process is the first that the launcher started, or has no launcher.

    It is for what one rank does alone, so MPI is not asked. The nearest launcher counts here too;
    a batch script is process 0 of its own step.
    """
    for name in _RANKS:
        if environ.get(name, "").isdigit():
            return int(environ[name]) == 0
    return True


def set_defaults(environ: MutableMapping[str, str]) -> None:
    """Set what Open MPI or MPICH reads when it starts and has no setting for."""
    # Ranks that wait spin; where they outnumber the cores, they must let the others run. MPICH
    # without it is seven times slower with small buckets.
    if _local_size(environ) > _launcher_cores():
        environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
        environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE", "1")
        environ.setdefault("MPIR_CVAR_CH4_PROGRESS_THROTTLE_NO_PROGRESS_COUNT", "1000")
    # Open MPI 5.0 complains from its one-sided UCX component on machines without the
    # hardware; our windows are shared memory, which that component cannot give anyway.
    environ.setdefault("OMPI_MCA_osc", "^ucx")


def _local_size(environ: Mapping[str, str]) -> int:
    for name in _LOCAL_SIZE_VARIABLES:
        digits = environ.get(name, "").partition("(")[0].partition(",")[0]  # SLURM: "4(x2),3"
        if digits.isdigit():
            return int(digits)
    return launched_size(environ)


def _launcher_cores() -> int:
    """Return the cores that the launcher may use; it may have bound this rank to one."""
    try:
        return len(os.sched_getaffinity(os.getppid()))
    except (AttributeError, OSError):
        return os.cpu_count() or 1
