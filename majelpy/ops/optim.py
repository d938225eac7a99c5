"""Optimizer operations. Bodies: kernels/optim.h."""

from __future__ import annotations

from typing import Any

from majelpy.array import Array, empty
from majelpy.native import library
from majelpy.ops import check
from majelpy.ops.statistics import square_sum


def norm_and_factor(
    gradient: Any, limit: float, *, out: Array | None = None
) -> tuple[Array, Array]:
    """Return the 2-norm of a vector and the factor that brings it to at most ``limit``.

    Both have shape (1,); they are the two numbers of ``out``, (2,) float32, if that is given.

    Notes
    -----
    Order: canonical sum of squares.
    """
    return factor_of(square_sum(gradient), limit, out=out)


def factor_of(square_sum: Any, limit: float, *, out: Array | None = None) -> tuple[Array, Array]:
    """Return the same as `norm_and_factor`, from the sum of squares, (1,)."""
    total = check.vector("factor_of", "square_sum", square_sum)
    both = empty(2, device=total.place) if out is None else out
    check.columns("factor_of", "out", check.vector("factor_of", "out", both), 2)
    on, _ = check.kernels("factor_of", square_sum=total, out=both)
    norm, factor = both[:1], both[1:]
    on.mj_norm_and_factor(total.pointer, limit, norm.pointer, factor.pointer)
    return norm, factor


def learning_rate(
    rate: float, *, anneal: float, epoch: int, hold: int, step: int, warmup: int
) -> Array:
    """Return the rate of a step: warm-up over steps, then times ``anneal`` an epoch.

    It has shape (1,) and lies on the CPU.
    """
    out = empty(1)
    library().mj_learning_rate_at(rate, anneal, epoch, hold, step, warmup, out.pointer)
    return out


def nesterov(
    parameters: Array,
    velocities: Array,
    gradient: Any,
    *,
    factor: Array,
    rate: Array,
    momentum: float,
    decay: float,
) -> None:
    """Step of SGD with Nesterov momentum; changes parameters and velocities in place.

    Parameters
    ----------
    parameters, velocities, gradient : (size,) float32
    factor, rate : (1,) float32
        Multiplies the gradient; learning rate.
    momentum, decay : float
        Decay adds ``decay * parameter`` to the gradient.

    References
    ----------
    Sutskever et al. 2013, On the importance of initialization and momentum in deep learning.
    """
    g = check.vector("nesterov", "gradient", gradient)
    check.vector("nesterov", "parameters", parameters)
    check.vector("nesterov", "velocities", velocities)
    check.same_shape("nesterov", parameters, g)
    check.same_shape("nesterov", parameters, velocities)
    on, _ = check.kernels(
        "nesterov",
        parameters=parameters,
        velocities=velocities,
        gradient=g,
        factor=factor,
        rate=rate,
    )
    on.mj_nesterov_array(
        *(g.size, parameters.pointer, velocities.pointer, g.pointer),
        *(factor.pointer, rate.pointer, momentum, decay),
    )
