"""Optimizer operations. Bodies: kernels/optim.h."""

from __future__ import annotations

from typing import Any

from majelpy.array import Array, checks, empty, kernels, operands
from majelpy.memory import CPU, Place
from majelpy.native import library


def factor_of(square_sum: Any, limit: float, *, out: Array | None = None) -> tuple[Array, Array]:
    """Return the 2-norm of a vector and the factor that brings it to at most ``limit``.

    Both have shape (1,); they are the two numbers of ``out``, (2,) float32, if that is given.

    Parameters
    ----------
    square_sum : (1,) float32
        Of `square_sum`.
    """
    total = operands.vector("factor_of", "square_sum", square_sum)
    both = empty(2, device=total.place) if out is None else out
    checks.columns("factor_of", "out", operands.vector("factor_of", "out", both), 2)
    on, _ = operands.kernels("factor_of", square_sum=total, out=both)
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
    states = {"parameters": parameters, "velocities": velocities}
    on, g = _checked("nesterov", gradient, states, factor=factor, rate=rate)
    on.mj_nesterov_array(
        g.size,
        parameters.pointer,
        velocities.pointer,
        g.pointer,
        factor.pointer,
        rate.pointer,
        momentum,
        decay,
    )


def moment_weights(step: int, *, beta1: float, beta2: float, device: Place = CPU) -> Array:
    """Return what the first ``step`` gradients weigh in Adam's two averages, (2,).

    They are 1 - beta^step, with a relative error below 62 * 2^-24.
    """
    out = empty(2, device=device)
    kernels.library(device).mj_moment_weights(step, beta1, beta2, out.pointer)
    return out


def adam(
    parameters: Array,
    first_moments: Array,
    second_moments: Array,
    gradient: Any,
    *,
    factor: Array,
    rate: Array,
    weights: Array,
    beta1: float,
    beta2: float,
    epsilon: float,
    decay: float,
) -> None:
    """Step of Adam with decoupled decay; changes parameters and moments in place.

    Parameters
    ----------
    parameters, first_moments, second_moments, gradient : (size,) float32
    factor, rate : (1,) float32
        Multiplies the gradient; learning rate.
    weights : (2,) float32
        Of `moment_weights`, for this step, counted from 1.
    beta1, beta2 : float
        What stays of the first and of the second moments.
    epsilon : float
        Added to the root of the second moment; above 0, or a gradient of zeros gives NaN.
    decay : float
        Takes ``rate * decay * parameter`` off the parameter, beside Adam's own step.

    References
    ----------
    Kingma and Ba 2015, Adam: a method for stochastic optimization; Loshchilov and Hutter 2019,
    Decoupled weight decay regularization, with decay times the rate as PyTorch has it.
    """
    states = {
        "parameters": parameters,
        "first_moments": first_moments,
        "second_moments": second_moments,
    }
    on, g = _checked("adam", gradient, states, factor=factor, rate=rate, weights=weights)
    checks.columns("adam", "weights", weights, 2)
    on.mj_adam_array(
        g.size,
        parameters.pointer,
        first_moments.pointer,
        second_moments.pointer,
        g.pointer,
        factor.pointer,
        rate.pointer,
        weights.pointer,
        beta1,
        beta2,
        epsilon,
        decay,
    )


def adagrad(
    parameters: Array,
    squares: Array,
    gradient: Any,
    *,
    factor: Array,
    rate: Array,
    epsilon: float,
    decay: float,
) -> None:
    """Step of Adagrad; changes parameters and sums of squares in place.

    Parameters
    ----------
    parameters, squares, gradient : (size,) float32
    factor, rate : (1,) float32
        Multiplies the gradient; learning rate.
    epsilon, decay : float
        Added to the root of the sum of squares, above 0; decay adds ``decay * parameter`` to the
        gradient.

    References
    ----------
    Duchi et al. 2011, Adaptive subgradient methods for online learning.
    """
    states = {"parameters": parameters, "squares": squares}
    on, g = _checked("adagrad", gradient, states, factor=factor, rate=rate)
    on.mj_adagrad_array(
        g.size,
        parameters.pointer,
        squares.pointer,
        g.pointer,
        factor.pointer,
        rate.pointer,
        epsilon,
        decay,
    )


def _checked(
    operation: str, gradient: Any, states: dict[str, Array], **numbers: Array
) -> tuple[Any, Array]:
    """The entry points of the place where all lies, and the gradient; vectors have one size."""
    g = operands.vector(operation, "gradient", gradient)
    for name, state in states.items():
        operands.vector(operation, name, state)
    for state in [g, *states.values()]:
        checks.same_shape(operation, states["parameters"], state)
    return operands.kernels(operation, **states, gradient=g, **numbers)[0], g
