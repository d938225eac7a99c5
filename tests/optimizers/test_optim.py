"""Norm clipping, the optimizers' steps and the learning rate."""

from __future__ import annotations

import needs
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


def doubled_share(beta: np.float32, step: int) -> np.float32:
    """1 - beta^step as the body's text has it, in fused float32 steps."""
    share, rest = np.float32(0), np.float32(1) - beta
    for bit in reversed(range(31)):
        share = fma(-share, share, np.float32(2) * share)[()]
        if step >> bit & 1:
            share = fma(beta, share, rest)[()]
    return share


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.5, 0.9, 0.99, 0.999, 0.999999])
def test_weights_of_the_averages(each_isa: str, beta: float) -> None:
    b = np.float32(beta)
    for step in (1, 2, 3, 4, 7, 100, 12_345, 1 << 20, (1 << 31) - 1):
        found = ops.moment_weights(step, beta1=beta, beta2=0.5).numpy()
        assert same_bits(
            found, np.array([doubled_share(b, step), doubled_share(one(0.5)[0], step)])
        )
        # -expm1(t log b) in float64, b the float32 number: at most 62 operations of 2^-24.
        exact = -np.expm1(step * np.log1p(float(b) - 1)) if b else 1.0
        assert abs(float(found[0]) - exact) <= 62 * 2.0**-24 * exact


def adam(count: int, *, step: int, decay: float, tiny: bool = False) -> list[np.ndarray]:
    """Run a step; return parameters and moments and what the definition gives for them."""
    p, m, v, g = (touchy_data(count, seed, tiny=tiny) for seed in (1, 2, 3, 4))
    v = np.abs(v)
    numbers = {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-6, "decay": decay}
    b1, b2, eps, d = (np.full(count, x, np.float32) for x in numbers.values())
    factor, rate = one(0.37), one(0.01)
    weights = ops.moment_weights(step, beta1=0.9, beta2=0.99)
    s1, s2 = weights.numpy()
    new = [asarray(x.copy()) for x in (p, m, v)]
    ops.adam(*new, g, factor=asarray(factor), rate=asarray(rate), weights=weights, **numbers)
    clipped = g * factor
    first = fma(b1, m, (np.float32(1) - b1) * clipped)
    second = fma(b2, v, (np.float32(1) - b2) * (clipped * clipped))
    adapted = fma(d, p, first / s1 / (np.sqrt(second / s2) + eps))
    parameter = fma(-np.full(count, rate[0]), adapted, p)
    return [*(x.numpy() for x in new), parameter, first, second]


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1003])
def test_adam_by_the_definition(each_isa: str, count: int) -> None:
    for step, decay, tiny in ((1, 0.0, False), (9, 0.25, False), (1000, 1e-3, True)):
        found = adam(count, step=step, decay=decay, tiny=tiny)
        for a, b in zip(found[:3], found[3:], strict=True):
            assert same_bits(a, b)


def adagrad(count: int, *, decay: float) -> list[np.ndarray]:
    p, s, g = (touchy_data(count, seed) for seed in (1, 2, 3))
    s, eps, d = np.abs(s), np.full(count, 1e-6, np.float32), np.full(count, decay, np.float32)
    factor, rate = one(0.37), one(0.01)
    new = [asarray(x.copy()) for x in (p, s)]
    numbers = {"factor": asarray(factor), "rate": asarray(rate)}
    ops.adagrad(*new, g, **numbers, epsilon=1e-6, decay=decay)
    clipped = fma(d, p, g * factor)
    squares = fma(clipped, clipped, s)
    step = clipped / (np.sqrt(squares) + eps)
    return [*(x.numpy() for x in new), fma(-np.full(count, rate[0]), step, p), squares]


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1003])
def test_adagrad_by_the_definition(each_isa: str, count: int) -> None:
    for decay in (0.0, 0.125):
        p, s, parameter, squares = adagrad(count, decay=decay)
        assert same_bits(p, parameter) and same_bits(s, squares)


def test_gaps_between_parameters_stay_zero() -> None:
    for update in (ops.adam, ops.adagrad):
        states = [asarray(np.zeros(20, np.float32)) for _ in range(3 if update is ops.adam else 2)]
        weights = ops.moment_weights(1, beta1=0.9, beta2=0.999)
        rest = {"weights": weights, "beta1": 0.9, "beta2": 0.9}
        update(
            *(*states, np.zeros(20, np.float32)),
            factor=asarray(one(1)),
            rate=asarray(one(0.1)),
            epsilon=1e-20,
            decay=0.1,
            **(rest if update is ops.adam else {}),
        )
        assert all(same_bits(x.numpy(), np.zeros(20, np.float32)) for x in states)


STEPS, RATE = 200, 2.0**-7


def beside_torch(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Parameters after some steps of noisy gradients, ours and PyTorch's in float64."""
    torch = needs.module("torch")
    start = level_data(300, 1)
    gradients = [level_data(300, 100 + i, 1.0) + 0.1 * start for i in range(STEPS)]
    theirs = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    made = {
        "nesterov": lambda: torch.optim.SGD(
            [theirs], lr=RATE, momentum=0.5, nesterov=True, weight_decay=0.125
        ),
        "adam": lambda: torch.optim.AdamW(
            [theirs], lr=RATE, betas=(0.5, 0.75), eps=2.0**-20, weight_decay=0.125
        ),
        "adagrad": lambda: torch.optim.Adagrad([theirs], lr=RATE, eps=2.0**-20, weight_decay=0.125),
    }[kind]()
    parameters, *states = (asarray(x.copy()) for x in [start, *[np.zeros_like(start)] * 2])
    numbers = {"factor": asarray(one(1)), "rate": asarray(one(RATE)), "decay": 0.125}
    for i, gradient in enumerate(gradients):
        theirs.grad = torch.tensor(gradient, dtype=torch.float64)
        made.step()
        if kind == "nesterov":
            ops.nesterov(parameters, states[0], gradient, **numbers, momentum=0.5)
        elif kind == "adagrad":
            ops.adagrad(parameters, states[0], gradient, **numbers, epsilon=2.0**-20)
        else:
            weights = ops.moment_weights(i + 1, beta1=0.5, beta2=0.75)
            betas = {"beta1": 0.5, "beta2": 0.75, "epsilon": 2.0**-20}
            ops.adam(parameters, *states, gradient, **numbers, **betas, weights=weights)
    return parameters.numpy(), theirs.detach().numpy()


@pytest.mark.parametrize("kind", ["nesterov", "adam", "adagrad"])
def test_many_steps_beside_torch(kind: str) -> None:
    """All settings are exact in float32, so only roundings differ.

    Parameters stay below 8, so a step's last rounding is at most 2^-22, and the step itself, below
    12 RATE (Adam's below 2 RATE each with these betas, Adagrad's below RATE; Nesterov's gradient
    is below 1.4 + 1, times 1 / (1 - 0.5) and 1.5), has a relative error of some ten roundings of
    2^-24, a share that the averages raise by their length of 4 and the shares' by 62.
    """
    found, wanted = beside_torch(kind)
    assert np.abs(wanted).max() < 8
    bound = STEPS * (2.0**-22 + 12 * RATE * (40 + 62) * 2.0**-24)
    assert np.abs(found - wanted).max() < bound
    assert np.abs(wanted - level_data(300, 1)).max() > 1000 * bound


def test_threads_change_no_bit(threads: None) -> None:
    native.set_threads(3)
    p, v, parameter, velocity = nesterov(50_000, momentum=0.9, decay=1e-3)
    assert same_bits(p, parameter) and same_bits(v, velocity)
    found = adam(50_000, step=3, decay=1e-3)
    assert all(same_bits(a, b) for a, b in zip(found[:3], found[3:], strict=True))
    p, s, parameter, squares = adagrad(50_000, decay=1e-3)
    assert same_bits(p, parameter) and same_bits(s, squares)


def test_factor_of_by_the_definition() -> None:
    for seed, limit in ((1, 1e3), (2, 1e9), (3, 0.0)):
        g = touchy_data(700, seed)
        norm, factor = ops.factor_of(ops.square_sum(g), limit)
        wanted = np.sqrt(square_sum(g))
        assert same_bits(norm, wanted)
        over = wanted > np.float32(limit)
        assert same_bits(factor, np.where(over, np.float32(limit) / wanted, one(1)))


def test_a_zero_gradient_keeps_the_factor_1() -> None:
    norm, factor = ops.factor_of(ops.square_sum(np.zeros(5, np.float32)), 0.0)
    assert norm.numpy()[0] == 0 and factor.numpy()[0] == 1


def test_a_gradient_with_nan_shows_in_the_norm() -> None:
    g = level_data(600, 4)
    g[300] = np.nan
    assert np.isnan(ops.factor_of(ops.square_sum(g), 1.0)[0].numpy()[0])
    g[300] = np.inf
    assert np.isinf(ops.factor_of(ops.square_sum(g), 1.0)[0].numpy()[0])


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
    weights = ops.moment_weights(1, beta1=0.9, beta2=0.9)
    betas = {"factor": ok, "rate": ok, "beta1": 0.9, "beta2": 0.9, "epsilon": 1.0, "decay": 0.0}
    with pytest.raises(ShapeError, match=r"^adam: shapes \(4,\) and \(3,\) differ$"):
        ops.adam(ok, ok, short, ok, weights=weights, **betas)
    with pytest.raises(ShapeError, match=r"^adam: weights has 4 columns; needs 2$"):
        ops.adam(ok, ok, ok, ok, weights=ok, **betas)
    with pytest.raises(DTypeError, match=r"^adagrad: squares is float64; needs float32$"):
        ops.adagrad(ok, wide, ok, factor=ok, rate=ok, epsilon=1.0, decay=0.0)
    with pytest.raises(ShapeError, match=r"^square_sum: x has shape \(2, 2\); needs 1 axes$"):
        ops.square_sum(np.zeros((2, 2), np.float32))
