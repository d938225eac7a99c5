"""The twin: a model of majelpy in PyTorch, on padded batches.

Policy. A module a layer class, built from majelpy's own layer; its parameters have majelpy's names
and shapes, so weights can be copied. Frames behind an utterance's end enter no result of a real
frame: they are zeros when a window looks at them, and the backward direction reaches the real ones
with a state of zero. Activations are (T, N, columns).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from majelpy.errors import RecipeError
from majelpy.nn import context, dense, dropout, recurrent
from majelpy.nn.layer import Layer
from majelpy.nn.model import Model
from majelpy.nn.parameters import Parameter

CLIP = 20.0


class Context(nn.Module):
    """Each frame with its neighbours on either side; zeros beyond the ends."""

    def __init__(self, layer: Layer):
        super().__init__()
        self._frames = layer.settings.frames

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        padded = functional.pad(x, (0, 0, 0, 0, self._frames, self._frames))
        return padded.unfold(0, 2 * self._frames + 1, 1).transpose(2, 3).flatten(2)


class Dense(nn.Module):
    """y = clip(x W^T + b)."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(layer.outputs.units, layer.inputs.units))
        self.bias = nn.Parameter(torch.empty(layer.outputs.units))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        y = functional.linear(x, self.weight, self.bias)
        return functional.hardtanh(y, 0.0, CLIP, inplace=True)


class Logits(Dense):
    """log softmax(x W^T + b)."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return functional.log_softmax(functional.linear(x, self.weight, self.bias), -1)


class Dropout(nn.Module):
    """Inverted dropout, in majelpy's steps of 1/256."""

    def __init__(self, layer: Layer):
        super().__init__()
        self._share = int(layer.settings.share * 256) / 256

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return functional.dropout(x, self._share, self.training)


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


class Rnn(nn.Module):
    """The sum of clipped recurrent layers, one for each direction, the forward one first."""

    def __init__(self, layer: recurrent.Rnn):
        super().__init__()
        units, self._directions = layer.outputs.units, layer.directions
        rows = self._directions * units
        self.weight_ih = nn.Parameter(torch.empty(rows, layer.inputs.units))
        self.weight_hh = nn.Parameter(torch.empty(self._directions, units, units))
        self.bias = nn.Parameter(torch.empty(rows))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        weights, biases = (w.chunk(self._directions) for w in (self.weight_ih, self.bias))
        total = None
        for k in range(self._directions):
            products = functional.linear(x, weights[k], biases[k])
            if k:  # the backward direction begins in the padding; so it has the state 0 there
                products = products.masked_fill(padding(len(x), lengths), -torch.inf)
            states = Recurrence.apply(products, self.weight_hh[k], bool(k))  # type: ignore[no-untyped-call]
            total = states if total is None else total + states
        return total


def padding(frames: int, lengths: Tensor) -> Tensor:
    """Which frames are behind their utterance's end, (T, N, 1)."""
    return (torch.arange(frames)[:, None] >= lengths)[:, :, None]


KINDS: Mapping[type[Layer], type[nn.Module]] = {
    context.Context: Context,
    dense.Dense: Dense,
    dense.Logits: Logits,
    dropout.Dropout: Dropout,
    recurrent.Rnn: Rnn,
    recurrent.BiRnn: Rnn,
}


class Twin(nn.Module):
    """The network of a model of majelpy.

    Parameters
    ----------
    model : Model
        Which layers, which parameters, and the distributions that they start from.

    Raises
    ------
    RecipeError
        If it has a layer that there is no module for.
    """

    def __init__(self, model: Model):
        super().__init__()
        self.layers = nn.ModuleList()
        self._described = {p.name: p for p in model.layout.parameters}
        self._names: dict[str, nn.Parameter] = {}
        for layer in model.layers:
            if type(layer) not in KINDS:
                raise RecipeError(f"twin: no module for {type(layer).__name__} ({layer.name})")
            module = KINDS[type(layer)](layer)
            self._names |= {f"{layer.name}.{n}": x for n, x in module.named_parameters()}
            self.layers.append(module)
        found = {name: tuple(value.shape) for name, value in self._names.items()}
        wanted = {name: described.shape for name, described in self._described.items()}
        if found != wanted:
            raise RecipeError(f"twin: its parameters are {found}; needs {wanted}")

    def described(self) -> Iterator[tuple[str, nn.Parameter, Parameter]]:
        """Yield majelpy's name of each parameter, the parameter, and majelpy's description."""
        for name, value in self._names.items():
            yield name, value, self._described[name]

    def start(self, seed: int) -> None:
        """Let the parameters start from majelpy's distributions, by PyTorch's generator."""
        torch.manual_seed(seed)
        with torch.no_grad():
            for _, value, described in self.described():
                bound = (3.0 * described.gain / described.fan_in) ** 0.5
                value.uniform_(-bound, bound) if bound else value.fill_(described.start)

    def copy(self, parameters: Mapping[str, np.ndarray]) -> None:
        """Take over majelpy's weights."""
        with torch.no_grad():
            for name, value, _ in self.described():
                value.copy_(torch.from_numpy(parameters[name]))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return log-probabilities (T, N, V) of frames (T, N, F), zeros behind the ends."""
        for layer in self.layers:
            x = layer(x, lengths)
        return x
