"""Connectionist temporal classification in float64, and what a float32 one may err by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from makers import CHUNK, U

NONE = -np.inf


SHIFT = 16  # MJ_CTC_SHIFT of kernels/ctc.h


@dataclass
class Reference:
    """Float64 forward-backward, and what a float32 one in the same form may err by.

    A pass shifts its variables every 16 frames so that their largest is 0; in between a state
    holds a = its logarithm - the last shift. In units of 2^-24 a step adds to a state at most: 2.2
    for exp (1.1 ulp) and 2 for the additions before log, 2 for log (1 ulp of a value below 2), 1
    for the difference that goes into exp (its error |d| counts by exp(d)), and the roundings of
    log-add and of + log_prob, |a| + |log_prob| and |a|, and of a shift, |a| again.
    Log-add passes errors on by its operands' shares, so the logarithm of the likelihood errs by
    the mean of these under the posterior, summed over frames (B of a pass); the loss also by the
    canonical sum of the shifts and by two roundings. A frame's posteriors, as a whole, err by
    twice the mean error of their logarithms: B forward, B backward, and some roundings of sums.
    """

    loss: float
    gradient: np.ndarray
    loss_bound: float
    gradient_bound: float


def reference(lp: np.ndarray, labels: list[int]) -> Reference:
    frames, wide = len(lp), lp.astype(np.float64)
    states = [0]
    for label in labels:
        states += [label, 0]
    emit = wide[:, states]
    skip = np.array([s > 2 and a != 0 and a != states[s - 2] for s, a in enumerate(states)])

    def run(emit: np.ndarray, skip: np.ndarray) -> np.ndarray:
        rows = np.full(emit.shape, NONE)
        rows[0, :2] = emit[0, :2]
        for t in range(1, frames):
            before = np.concatenate([[NONE, NONE], rows[t - 1]])
            jump = np.where(skip, before[:-2], NONE)
            rows[t] = np.logaddexp(np.logaddexp(before[2:], before[1:-1]), jump) + emit[t]
        return rows

    alpha = run(emit, skip)
    back_skip = np.concatenate([skip[2:], [False, False]])[::-1][: len(states)]
    beta = run(emit[::-1, ::-1], back_skip)[::-1, ::-1]
    log_likelihood = np.logaddexp.reduce(alpha[-1, -2:])
    gamma = np.exp(alpha + beta - emit - log_likelihood)
    posterior = np.zeros(lp.shape)
    for s, label in enumerate(states):
        posterior[:, label] += gamma[:, s]

    def mean_error(rows: np.ndarray, gamma: np.ndarray) -> tuple[float, float, float]:
        """Return B, the sum of |shift|, and the largest posterior mean of |a|."""
        last = (np.arange(frames) // SHIFT) * SHIFT - 1
        base = np.where(last >= 0, rows.max(axis=1)[last], 0)
        live = gamma > 0
        a = np.abs(np.where(live, rows - base[:, None], 0))
        total = U * (gamma * (8 + 3 * a + np.where(live, np.abs(emit), 0))).sum()
        shifts = np.abs(np.diff(base, prepend=0)).sum()
        return total, shifts, (gamma * a).sum(axis=1).max()

    forward, shifts, high = mean_error(alpha, gamma)
    backward, _, back_high = mean_error(beta[::-1], gamma[::-1])
    count = frames // SHIFT
    loss_bound = forward + U * ((min(count, CHUNK) + count / CHUNK + 1) * shifts + 8)
    loss_bound += 2 * U * abs(log_likelihood)
    sums = 2 * min(len(labels) + 1, CHUNK) + len(labels) / CHUNK + 3 * (high + back_high) + 16
    return Reference(
        -log_likelihood,
        np.exp(wide) - posterior,
        1.01 * loss_bound,
        1.01 * (2 * (forward + backward) + 2 * U * sums),
    )
