"""Norm clipping, Nesterov momentum and the learning rate."""

from __future__ import annotations

import numpy as np
import pytest
from makers import fma, level_data, same_bits, square_sum, touchy_data

from majelpy import native, ops
from majelpy.array import asarray
from majelpy.errors import DTypeError, ShapeError


def one(value: float) -> np.ndarray:
    return np.float32([value])


def nesterov(count: int, *, momentum: float, decay: float, tiny: bool = False) -> list[np.ndarray]:
    """Run a step; return parameters, velocities and what the definition gives for both."""
    p, v, g = (touchy_data(count, seed, tiny=tiny) for seed in (1, 2, 3))
    factor, rate = one(0.37), one(0.01)
    d, m = np.full(count, decay, np.float32), np.full(count, momentum, np.float32)
    clipped = fma(d, p, g * factor)
    velocity = fma(m, v, clipped)
    step = fma(m, velocity, clipped)
    parameter = fma(-np.full(count, rate[0]), step, p)
    new_p, new_v = asarray(p.copy()), asarray(v.copy())
    ops.nesterov(
        *(new_p, new_v, g),
        factor=asarray(factor),
        rate=asarray(rate),
        momentum=momentum,
        decay=decay,
    )
    return [new_p.numpy(), new_v.numpy(), parameter, velocity]


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1003])
def test_nesterov_by_the_definition(each_isa: str, count: int) -> None:
    for momentum, decay, tiny in ((0.9, 1e-4, False), (0.0, 0.0, False), (0.99, 0.5, True)):
        p, v, parameter, velocity = nesterov(count, momentum=momentum, decay=decay, tiny=tiny)
        assert same_bits(p, parameter) and same_bits(v, velocity)


def test_nesterov_is_right() -> None:
    # Float64, from the formula of Sutskever et al.; four fused steps: 4 roundings of 2^-24 each of
    # the largest intermediate value.
    p, v, g = (level_data(500, seed).astype(np.float64) for seed in (1, 2, 3))
    new_p, new_v = (asarray(x.astype(np.float32)) for x in (p, v))
    ops.nesterov(
        *(new_p, new_v, g.astype(np.float32)),
        factor=asarray(one(0.5)),
        rate=asarray(one(0.125)),
        momentum=0.75,
        decay=0.25,
    )
    clipped = 0.5 * g + 0.25 * p
    velocity = 0.75 * v + clipped
    assert np.abs(new_v.numpy() - velocity).max() < 4 * 2.0**-24 * 8
    wanted = p - 0.125 * (clipped + 0.75 * velocity)
    assert np.abs(new_p.numpy() - wanted).max() < 4 * 2.0**-24 * 16


def test_threads_change_no_bit(threads: None) -> None:
    native.set_threads(3)
    p, v, parameter, velocity = nesterov(50_000, momentum=0.9, decay=1e-3)
    assert same_bits(p, parameter) and same_bits(v, velocity)


def test_norm_and_factor_by_the_definition() -> None:
    for seed, limit in ((1, 1e3), (2, 1e9), (3, 0.0)):
        g = touchy_data(700, seed)
        norm, factor = ops.norm_and_factor(g, limit)
        wanted = np.sqrt(square_sum(g))
        assert same_bits(norm, wanted)
        over = wanted > np.float32(limit)
        assert same_bits(factor, np.where(over, np.float32(limit) / wanted, one(1)))


def test_a_zero_gradient_keeps_the_factor_1() -> None:
    norm, factor = ops.norm_and_factor(np.zeros(5, np.float32), 0.0)
    assert norm.numpy()[0] == 0 and factor.numpy()[0] == 1


def test_a_gradient_with_nan_shows_in_the_norm() -> None:
    g = level_data(600, 4)
    g[300] = np.nan
    assert np.isnan(ops.norm_and_factor(g, 1.0)[0].numpy()[0])
    g[300] = np.inf
    assert np.isinf(ops.norm_and_factor(g, 1.0)[0].numpy()[0])


def test_learning_rate_by_the_definition() -> None:
    def rate(epoch: int, step: int) -> np.float32:
        found = ops.learning_rate(0.1, anneal=0.9, epoch=epoch, hold=2, step=step, warmup=3)
        return found.numpy()[0]

    full, anneal = np.float32(0.1), np.float32(0.9)
    assert [rate(0, step) for step in range(5)] == [
        full * (np.float32(1) / np.float32(3)),
        full * (np.float32(2) / np.float32(3)),
        *[full] * 3,
    ]
    assert [rate(epoch, 10) for epoch in range(5)] == [
        *[full] * 3,
        full * anneal,
        full * anneal * anneal,
    ]
    assert rate(4, 0) == full * anneal * anneal * (np.float32(1) / np.float32(3))
    assert ops.learning_rate(0.1, anneal=1, epoch=0, hold=0, step=0, warmup=0).numpy()[0] == full


def test_errors_of_the_optimizer() -> None:
    ok, short = asarray(np.zeros(4, np.float32)), asarray(np.zeros(3, np.float32))
    wide = asarray(np.zeros(4))
    rest = {"factor": ok, "rate": ok, "momentum": 0.9, "decay": 0.0}
    with pytest.raises(ShapeError, match=r"^nesterov: shapes \(3,\) and \(4,\) differ$"):
        ops.nesterov(short, ok, ok, **rest)
    with pytest.raises(ShapeError, match=r"^nesterov: shapes \(4,\) and \(3,\) differ$"):
        ops.nesterov(ok, short, ok, **rest)
    with pytest.raises(DTypeError, match=r"^nesterov: velocities is float64; needs float32$"):
        ops.nesterov(ok, wide, ok, **rest)
    with pytest.raises(DTypeError, match=r"^nesterov: gradient is float64; needs float32$"):
        ops.nesterov(ok, ok, wide, **rest)
    with pytest.raises(ShapeError, match=r"^square_sum: x has shape \(2, 2\); needs 1 axes$"):
        ops.norm_and_factor(np.zeros((2, 2), np.float32), 1.0)
