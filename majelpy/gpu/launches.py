"""How each entry point is launched on a GPU.

Policy. A kernel that takes what its entry point takes is a line of `PLAIN`: over what it is
launched, by names of parameters; all else follows from the signature in kernels/entry_points.h.
What brings integers up from the host, or needs more than one kernel, is a function in the module of
its family, with the name and the arguments of the entry point after the launcher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from majelpy import native
from majelpy.gpu import conv, ctc, elementwise, gemm, norm, random, rnn, spectrogram, standard, sums
from majelpy.gpu.launcher import Launcher, ceil_div, elements, matrix

ONE: tuple[str, ...] = ()
"""Launched as one thread."""

PLAIN: dict[str, tuple[str, ...]] = {
    "mj_add_arrays": ("count",),
    "mj_multiply_arrays": ("count",),
    "mj_rectify_array": ("count",),
    "mj_rectify_backward_array": ("count",),
    "mj_round_bfloat16_array": ("count",),
    "mj_bias_rows": ("rows", "columns"),
    "mj_bias_rectify_rows": ("rows", "columns"),
    "mj_normalise_rows": ("rows", "columns"),
    "mj_math_array": ("count",),
    "mj_fma_array": ("count",),
    "mj_mean_of": ("columns",),
    "mj_scale_of": ("columns",),
    "mj_sum_directions": ("rows", "hidden"),
    "mj_repeat_directions": ("rows", "hidden"),
    "mj_rstd_array": ("count",),
    "mj_running_array": ("count",),
    "mj_norm_and_factor": ONE,
    "mj_nesterov_array": ("count",),
    "mj_moment_weights": ONE,
    "mj_adam_array": ("count",),
    "mj_adagrad_array": ("count",),
    "mj_learning_rate_at": ONE,
    "mj_order_key": ("count",),
    "mj_cast": ("count",),
    "mj_random_integers": ("count",),
}
"""Parameters that count elements, or rows and columns."""

QUADS = {
    *("mj_add_arrays", "mj_multiply_arrays", "mj_rectify_array", "mj_rectify_backward_array"),
    *("mj_round_bfloat16_array", "mj_math_array", "mj_fma_array"),
    *("mj_bias_rows", "mj_bias_rectify_rows", "mj_normalise_rows"),
    *("mj_rstd_array", "mj_running_array"),
    *("mj_nesterov_array", "mj_adam_array", "mj_adagrad_array"),
}
"""Those of them whose threads take four numbers a turn (kernels/gpu/quads.h)."""

FAMILIES = (elementwise, random, gemm, sums, rnn, norm, conv, ctc, spectrogram, standard)


def plain(entry: str, over: tuple[str, ...]) -> Callable[..., None]:
    """Return the launch of an entry point whose kernel takes the same arguments."""
    parameters = native.prototypes()[entry]
    names = [parameter.name for parameter in parameters]
    positions = [names.index(name) for name in over]
    floats = [parameter.kind == "float" for parameter in parameters]
    kernel, turn = f"{entry}_kernel", 4 if entry in QUADS else 1

    def launch(on: Launcher, *values: Any) -> None:
        arguments = [
            np.float32(value) if real else value for value, real in zip(values, floats, strict=True)
        ]
        sizes = [values[i] for i in positions]
        if not sizes:
            on.launch(kernel, (1,), (1,), arguments)
        elif len(sizes) == 1:
            elements(on, kernel, ceil_div(sizes[0], turn), arguments)
        else:
            matrix(on, kernel, sizes[0], ceil_div(sizes[1], turn), arguments)

    return launch


LAUNCHES: dict[str, Callable[..., None]] = {
    **{entry: plain(entry, over) for entry, over in PLAIN.items()},
    **{
        name: launch
        for family in FAMILIES
        for name, launch in vars(family).items()
        if name.startswith("mj_")
    },
}
"""The launch of each entry point."""
