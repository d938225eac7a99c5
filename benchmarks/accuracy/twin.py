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

from majelpy.nn.model import Model, Sizes
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

    def __init__(self, inputs: int, units: int, *, clipped: bool = True):
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


def ds1_layers(sizes: Sizes, dropout: float) -> list[tuple[str, dict[str, Any]]]:
    """Return kind and settings of each layer of Deep Speech 1, the last one without."""
    layers: list[tuple[str, dict[str, Any]]] = [("context", {"frames": sizes.context})]
    for units in sizes.dense:
        layers += [("dense", {"units": units}), ("dropout", {"share": dropout})]
    layers += [("birnn", {"units": sizes.recurrent}), ("dense", {"units": sizes.output_dense})]
    return [*layers, ("dropout", {"share": dropout})]


KINDS: dict[str, type[nn.Module]] = {
    "context": Context,
    "dense": Dense,
    "dropout": Dropout,
    "birnn": BiRnn,
}


class Twin(nn.Module):
    """The network of a model of majelpy.

    Parameters
    ----------
    model : Model
        Which layers, which parameters, and the distributions that they start from.
    dropout : float
        Share of the dense layers' outputs.
    """

    def __init__(self, model: Model, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList()
        self._described = {p.name: p for p in model.layout.parameters}
        self._names: dict[str, nn.Parameter] = {}
        columns = model.sizes.features
        for kind, settings in ds1_layers(model.sizes, dropout):
            columns = self._add(kind, KINDS[kind](columns, **settings))
        self._add("output", Dense(columns, model.sizes.alphabet, clipped=False))
        found = {name: tuple(value.shape) for name, value in self._names.items()}
        wanted = {name: described.shape for name, described in self._described.items()}
        if found != wanted:
            raise ValueError(f"twin: its parameters are {found}; needs {wanted}")

    def _add(self, kind: str, layer: nn.Module) -> int:
        """Append a layer, whose parameters get majelpy's names; return its columns."""
        number = 1 + len({name.rpartition(".")[0] for name in self._names})
        prefix = kind if kind == "output" else f"{kind}.{number}"
        self._names |= {f"{prefix}.{name}": value for name, value in layer.named_parameters()}
        self.layers.append(layer)
        return int(layer.columns)  # type: ignore[arg-type]

    def described(self) -> Iterator[tuple[str, nn.Parameter, Parameter]]:
        """Yield majelpy's name of each parameter, the parameter, and majelpy's description."""
        for name, value in self._names.items():
            yield name, value, self._described[name]

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
