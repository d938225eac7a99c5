"""Normalisation: of each unit over the frames of a leaf, or of each frame over its units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy import ops
from majelpy.array import Array
from majelpy.nn.batch import Batch
from majelpy.nn.layer import Layer, Pass
from majelpy.nn.parameters import Gradients, Parameter
from majelpy.nn.share import Share
from majelpy.nn.signal import Columns, Signal

RUNNING_RATE = 0.1
"""How fast the statistics for evaluation follow those of the leaves."""


@dataclass(frozen=True)
class Saved:
    """The input, and its statistics by leaf, (K, columns)."""

    x: Array
    batch: Batch
    mean: Array
    variance: Array
    rstd: Array


class Normaliser:
    """Sequence-wise batch normalisation (Amodei et al. 2016, section 3.2) for layers to use.

    The statistics are those of all frames of a leaf: padding does not exist, and no rank waits for
    another. In evaluation they are running means over the leaves of training.

    Parameters
    ----------
    name : str
    rows : (directions, groups, units)
        Of the columns, as of a `Parameter`.
    """

    def __init__(self, name: str, rows: tuple[int, int, int], share: Share):
        self._rows, self._share = rows, share
        self._gain, self._bias = f"{name}.gain", f"{name}.shift"
        self._mean, self._variance = f"{name}.running_mean", f"{name}.running_variance"

    def parameters(self) -> list[Parameter]:
        """Gain and bias, and the running statistics, for each column."""
        directions, groups, units = self._rows
        shape = (directions * groups * units,)
        return [
            Parameter(self._gain, shape, 0.0, 1, *self._rows, start=1.0),
            Parameter(self._bias, shape, 0.0, 1, *self._rows),
            Parameter(self._mean, shape, 0.0, 1, *self._rows, tracked=True),
            Parameter(self._variance, shape, 0.0, 1, *self._rows, start=1.0, tracked=True),
        ]

    def forward(
        self, x: Array, batch: Batch, pass_: Pass, *, clipped: bool = False
    ) -> tuple[Array, Saved | None]:
        """Return the normalised columns held, clipped if asked, and what `backward` needs."""
        gain, bias = pass_.weights[self._gain], pass_.weights[self._bias]
        if pass_.training is None:
            mean, variance = (pass_.weights[name] for name in (self._mean, self._variance))
            one = (1, mean.size)
            statistics = mean.reshape(*one), ops.rstd(variance).reshape(*one)
            everything = np.array([0, x.shape[0]], dtype=np.int64)
            return ops.batch_norm(x, everything, *statistics, gain, bias, clipped=clipped), None
        items, counts = self._share.rows(batch).items, batch.leaf_lengths()
        mean = ops.leaf_means(self._totals(ops.sum_items(x, items), items), counts)
        squares = self._totals(ops.deviation_items(x, mean, items), items)
        variance = ops.leaf_means(squares, counts)
        saved = Saved(x, batch, mean, variance, ops.rstd(variance))
        y = ops.batch_norm(*(x, batch.leaf_rows(), mean, saved.rstd, gain, bias), clipped=clipped)
        return y, saved

    def _totals(self, sums: Array, items: ops.Items) -> Array:
        """Sums of leaves, (K, columns), from those of items, here and on other ranks."""
        return self._share.leaf_totals(ops.merge_items(sums, items))

    def backward(self, dy: Array, saved: Saved, pass_: Pass, gradients: Gradients) -> Array:
        """Push gradients and statistics; return the gradient by x. dy is before the rectifier."""
        x, batch, columns = saved.x, saved.batch, saved.x.shape[1]
        items = self._share.rows(batch).items
        both = self._totals(ops.gradient_items(dy, x, saved.mean, saved.rstd, items), items)
        leaves = self._share.once(np.arange(len(both) + 1), batch)
        gradients.items(self._bias, both[:, :columns], leaves)
        gradients.items(self._gain, both[:, columns:], leaves)
        gradients.items(self._mean, saved.mean, leaves)
        gradients.items(self._variance, saved.variance, leaves)
        means = ops.leaf_means(both, batch.leaf_lengths())
        gain = pass_.weights[self._gain]
        return ops.batch_norm_backward(
            dy, x, batch.leaf_rows(), saved.mean, saved.rstd, gain, means
        )


class BatchNorm(Layer):
    """Batch normalisation by itself; conv, dense and recurrent layers have it as a setting."""

    @dataclass(frozen=True)
    class Settings:
        """A recipe says nothing more of it."""

    def __init__(self, settings: Any, name: str, number: int, inputs: Columns, share: Share):
        super().__init__(settings, name, number, inputs, share)
        self.outputs = inputs.shared()
        self._norm = Normaliser(name, (1, 1, inputs.units), share)

    def parameters(self) -> list[Parameter]:
        return self._norm.parameters()

    def forward(self, x: Signal, pass_: Pass) -> tuple[Signal, Any]:
        y, saved = self._norm.forward(x.own, x.batch, pass_)
        return x.with_own(y), saved

    def backward(
        self, dy: Array, saved: Any, pass_: Pass, gradients: Gradients, *, needed: bool
    ) -> Array | None:
        return self._norm.backward(dy, saved, pass_, gradients)


class LayerNorm(Layer):
    """Each frame's units get mean 0 and variance 1, then a gain and a bias (Ba et al. 2016)."""

    @dataclass(frozen=True)
    class Settings:
        """A recipe says nothing more of it."""

    def __init__(self, settings: Any, name: str, number: int, inputs: Columns, share: Share):
        super().__init__(settings, name, number, inputs, share)
        self.outputs = inputs.shared()
        self.gain, self.bias = f"{name}.gain", f"{name}.bias"

    def parameters(self) -> list[Parameter]:
        """Gain and bias, (units,); all ranks hold both, for a frame's sums run over all units."""
        units = (self.inputs.units,)
        return [
            Parameter(self.gain, units, 0.0, 1, start=1.0),
            Parameter(self.bias, units, 0.0, 1),
        ]

    def forward(self, x: Signal, pass_: Pass) -> tuple[Signal, Any]:
        y, mean, rstd = ops.layer_norm(x.whole, pass_.weights[self.gain], pass_.weights[self.bias])
        return Signal(self.share, x.batch, self.outputs.units, whole=y), (x, mean, rstd)

    def backward(
        self, dy: Array, saved: Any, pass_: Pass, gradients: Gradients, *, needed: bool
    ) -> Array | None:
        x, mean, rstd = saved
        whole = self.share.gather(dy, self.outputs.units)
        dx, by_gain = ops.layer_norm_backward(whole, x.whole, mean, rstd, pass_.weights[self.gain])
        rows = self.share.rows(x.batch)
        gradients.sum(self.gain, rows.of(by_gain), rows.leaves)
        gradients.sum(self.bias, rows.of(whole), rows.leaves)
        return self.share.own_columns(dx, self.inputs.units)
