"""The twin: a recipe's network in PyTorch, on padded batches.

Policy. A module a layer kind of majelpy; its parameters have majelpy's names and shapes, so weights
can be copied. Frames behind an utterance's end enter no result of a real frame: they are zeros
when a window looks at them, and the backward direction reaches them with a state of zero.
Activations are (T, N, columns).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from majelpy.nn.model import Model
from majelpy.nn.parameters import Parameter

CLIP = 20.0


class Context(nn.Module):
    """Each frame with ``frames`` neighbours on either side; zeros beyond the ends."""

    def __init__(self, inputs: int, frames: int):
        super().__init__()
        self.frames, self.columns = frames, (2 * frames + 1) * inputs

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return (T, N, (2 frames + 1) columns)."""
        padded = functional.pad(x, (0, 0, 0, 0, self.frames, self.frames))
        return padded.unfold(0, 2 * self.frames + 1, 1).transpose(2, 3).flatten(2)


class Dense(nn.Module):
    """y = x W^T + b, clipped or not."""

    def __init__(self, inputs: int, units: int, *, clipped: bool):
        super().__init__()
        self.clipped, self.columns = clipped, units
        self.weight = nn.Parameter(torch.empty(units, inputs))
        self.bias = nn.Parameter(torch.empty(units))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return (T, N, units)."""
        y = functional.linear(x, self.weight, self.bias)
        return functional.hardtanh(y, 0.0, CLIP) if self.clipped else y


class Dropout(nn.Module):
    """Inverted dropout, in majelpy's steps of 1/256."""

    def __init__(self, inputs: int, share: float):
        super().__init__()
        self.share, self.columns = int(share * 256) / 256, inputs

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return x with numbers dropped in training."""
        return functional.dropout(x, self.share, self.training)


class Recurrence(torch.autograd.Function):
    """h_t = clip(x_t + W h_{t-1}) in one direction: PyTorch has no such cell.

    A loop with a backward pass of its own, so that the weight's gradient is one product and not
    one a step. It was the fastest of the ways that README.md compares.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, reverse: bool) -> Tensor:  # type: ignore[override]
        """Return the states, (T, N, H)."""
        states = torch.empty_like(x)
        inputs, outputs, across = x.unbind(0), states.unbind(0), weight.t().contiguous()
        order = range(len(inputs))[:: -1 if reverse else 1]
        torch.clamp(inputs[order[0]], 0.0, CLIP, out=outputs[order[0]])
        for before, t in itertools.pairwise(order):
            torch.addmm(inputs[t], outputs[before], across, out=outputs[t]).clamp_(0.0, CLIP)
        ctx.save_for_backward(states, weight)
        ctx.order, ctx.reverse = order, reverse
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return the gradients by x and by the weight."""
        states, weight = ctx.saved_tensors
        inside = (states > 0.0) & (states < CLIP)
        d = gradients[0] * inside
        steps, masks = d.unbind(0), inside.unbind(0)
        for after, t in itertools.pairwise(ctx.order[::-1]):
            torch.addmm(steps[t], steps[after], weight, out=steps[t]).mul_(masks[t])
        later, before = (d[:-1], states[1:]) if ctx.reverse else (d[1:], states[:-1])
        return d, later.flatten(0, 1).t() @ before.flatten(0, 1), None


class BiRnn(nn.Module):
    """The sum of two clipped recurrent layers, one for each direction."""

    def __init__(self, inputs: int, units: int):
        super().__init__()
        self.columns = units
        self.weight_ih = nn.Parameter(torch.empty(2 * units, inputs))
        self.weight_hh = nn.Parameter(torch.empty(2, units, units))
        self.bias = nn.Parameter(torch.empty(2 * units))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return (T, N, units)."""
        inputs = [
            functional.linear(x, weight, bias)
            for weight, bias in zip(self.weight_ih.chunk(2), self.bias.chunk(2), strict=True)
        ]
        # The backward direction begins in the padding; so it has the state 0 there.
        inputs[1] = inputs[1].masked_fill(padding(len(x), lengths), -torch.inf)
        forth, back = (
            Recurrence.apply(inputs[k], self.weight_hh[k], bool(k))  # type: ignore[no-untyped-call]
            for k in range(2)
        )
        return forth + back


def padding(frames: int, lengths: Tensor) -> Tensor:
    """Which frames are behind their utterance's end, (T, N, 1)."""
    return (torch.arange(frames)[:, None] >= lengths)[:, :, None]


class Twin(nn.Module):
    """The network of a model of majelpy.

    Parameters
    ----------
    model : Model
        Whose layers, and which parameters with which starting distribution.
    dropout : float
        Share of the dense layers' outputs.
    """

    def __init__(self, model: Model, dropout: float):
        super().__init__()
        self._described = {p.name: p for p in model.layout.parameters}
        self._names: list[str] = []
        self.layers = nn.ModuleList()
        sizes = model.sizes
        self._add("", Context(sizes.features, sizes.context))
        for number, units in enumerate(sizes.dense, 1):
            self._add(f"dense.{number}", Dense(self._columns, units, clipped=True))
            self._add("", Dropout(self._columns, dropout))
        number = len(sizes.dense) + 1
        self._add(f"birnn.{number}", BiRnn(self._columns, sizes.recurrent))
        last = Dense(self._columns, sizes.output_dense, clipped=True)
        self._add(f"dense.{number + 1}", last)
        self._add("", Dropout(self._columns, dropout))
        self._add("output", Dense(self._columns, sizes.alphabet, clipped=False))
        shapes = {name: tuple(value.shape) for name, value, _ in self.described()}
        wanted = {name: p.shape for name, p in self._described.items()}
        assert shapes == wanted, f"twin: it has {shapes}; needs {wanted}"

    @property
    def _columns(self) -> int:
        return int(self.layers[-1].columns)  # type: ignore[arg-type]

    def _add(self, name: str, layer: nn.Module) -> None:
        self._names.append(name)
        self.layers.append(layer)

    def described(self) -> Iterator[tuple[str, nn.Parameter, Parameter]]:
        """Yield majelpy's name of each parameter, the parameter, and majelpy's description."""
        for prefix, layer in zip(self._names, self.layers, strict=True):
            for name, value in layer.named_parameters():
                yield f"{prefix}.{name}", value, self._described[f"{prefix}.{name}"]

    def start(self, seed: int) -> None:
        """Let the parameters start from majelpy's distributions, by PyTorch's generator."""
        torch.manual_seed(seed)
        for _, value, described in self.described():
            bound = (3.0 * described.gain / described.fan_in) ** 0.5
            nn.init.uniform_(value, -bound, bound)

    def copy(self, parameters: Mapping[str, np.ndarray]) -> None:
        """Take over majelpy's weights."""
        with torch.no_grad():
            for name, value, _ in self.described():
                value.copy_(torch.from_numpy(parameters[name]))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return log-probabilities (T, N, V) of frames (T, N, F), zeros behind the ends."""
        for layer in self.layers:
            x = layer(x, lengths)
        return functional.log_softmax(x, -1)
