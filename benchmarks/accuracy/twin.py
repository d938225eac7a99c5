"""The twin: a model of majelpy in PyTorch, on padded batches.

Policy. A module a layer class, built from majelpy's own layer; its parameters have majelpy's names
and shapes, so weights can be copied. Frames behind an utterance's end enter no result of a real
frame: they are zeros when a window looks at them, no mean counts them, and the backward direction
reaches the real ones with a state of zero. Activations are (T, N, columns).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from majelpy.errors import RecipeError
from majelpy.nn import context, conv, dense, dropout, recurrent
from majelpy.nn.layer import Layer
from majelpy.nn.model import Model
from majelpy.nn.norm import RUNNING_RATE
from majelpy.nn.parameters import Parameter

CLIP = 20.0


@dataclass(frozen=True)
class Frames:
    """Which frames of a padded minibatch are real.

    Attributes
    ----------
    lengths : (N,) int64
    leaves : (N,) int64
        Leaf of each utterance, from 0 on and none left out.
    """

    lengths: Tensor
    leaves: Tensor

    def real(self, frames: int) -> Tensor:
        """Which of so many frames are real, (T, N, 1)."""
        return (torch.arange(frames)[:, None] < self.lengths)[:, :, None]

    def strided(self, stride: int) -> Frames:
        """The frames of a layer that keeps one of so many."""
        return replace(self, lengths=-(-self.lengths // stride))


class Context(nn.Module):
    """Each frame with its neighbours on either side; zeros beyond the ends."""

    def __init__(self, layer: Layer):
        super().__init__()
        self._frames = layer.settings.frames

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        padded = functional.pad(x, (0, 0, 0, 0, self._frames, self._frames))
        return padded.unfold(0, 2 * self._frames + 1, 1).transpose(2, 3).flatten(2)


class Dense(nn.Module):
    """y = clip(x W^T + b)."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(layer.outputs.units, layer.inputs.units))
        self.bias = nn.Parameter(torch.empty(layer.outputs.units))

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        y = functional.linear(x, self.weight, self.bias)
        return functional.hardtanh(y, 0.0, CLIP, inplace=True)


class Logits(Dense):
    """log softmax(x W^T + b)."""

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        return functional.log_softmax(functional.linear(x, self.weight, self.bias), -1)


class Dropout(nn.Module):
    """Inverted dropout, in majelpy's steps of 1/256."""

    def __init__(self, layer: Layer):
        super().__init__()
        self._share = int(layer.settings.share * 256) / 256

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
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

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        weights, biases = (w.chunk(self._directions) for w in (self.weight_ih, self.bias))
        total = None
        for k in range(self._directions):
            products = functional.linear(x, weights[k], biases[k])
            if k:  # the backward direction begins in the padding; so it has the state 0 there
                products = products.masked_fill(~frames.real(len(x)), -torch.inf)
            states = Recurrence.apply(products, self.weight_hh[k], bool(k))  # type: ignore[no-untyped-call]
            total = states if total is None else total + states
        return total


class LeafNorm(nn.Module):
    """Batch normalisation over the real frames of each leaf, and the clipped rectifier.

    In evaluation it has the running means of the leaves' statistics.
    """

    def __init__(self, columns: int):
        super().__init__()
        self.gain = nn.Parameter(torch.empty(columns))
        self.shift = nn.Parameter(torch.empty(columns))
        self.running_mean = nn.Parameter(torch.empty(columns), requires_grad=False)
        self.running_variance = nn.Parameter(torch.empty(columns), requires_grad=False)

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        mean, variance, leaves = self.running_mean, self.running_variance, 0
        if self.training:
            leaves, real = frames.leaves, frames.real(len(x))
            member = functional.one_hot(leaves).T.to(x.dtype)  # (K, N)
            counts = member @ frames.lengths[:, None].to(x.dtype)
            mean = member @ (x * real).sum(0) / counts  # (K, columns)
            variance = member @ ((x - mean[leaves]) * real).square().sum(0) / counts
            with torch.no_grad():
                self.running_mean.lerp_(mean.mean(0), RUNNING_RATE)
                self.running_variance.lerp_(variance.mean(0), RUNNING_RATE)
        slope = self.gain * torch.rsqrt(variance + 1e-5)
        shift = self.shift - mean * slope
        if self.training:
            slope, shift = slope[leaves], shift[leaves]
        return functional.hardtanh(torch.addcmul(shift, x, slope), 0.0, CLIP, inplace=True)


class Conv(nn.Module):
    """Convolution over time and frequency, `LeafNorm` or a bias, and the clipped rectifier."""

    def __init__(self, layer: conv.Conv):
        super().__init__()
        settings = layer.settings
        self._features, self._stride = layer.inputs.features, settings.stride
        channels = layer.inputs.units // layer.inputs.features
        self.weight = nn.Parameter(torch.empty(settings.channels, *settings.kernel, channels))
        self.norm = LeafNorm(layer.outputs.units) if settings.batch_norm else None
        if not settings.batch_norm:
            self.bias = nn.Parameter(torch.empty(layer.outputs.units))

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        images = (x * frames.real(len(x))).unflatten(2, (self._features, -1)).permute(1, 3, 0, 2)
        borders: list[int] = []
        for size, taps, step in zip(
            images.shape[:1:-1], self.weight.shape[2:0:-1], self._stride[::-1], strict=True
        ):
            before = (taps - 1) // 2
            borders += [before, (-(-size // step) - 1) * step + taps - size - before]
        weight = self.weight.permute(0, 3, 1, 2)
        sums = functional.conv2d(functional.pad(images, borders), weight, stride=self._stride)
        columns = sums.permute(2, 0, 3, 1).flatten(2)
        if self.norm is not None:
            return self.norm(columns, frames.strided(self._stride[0]))
        return functional.hardtanh(columns + self.bias, 0.0, CLIP)


class Gru(nn.Module):
    """The function of `nn.GRU` on packed sequences, the sum of its directions.

    It has one bias, majelpy's; that of the recurrent products is 0.
    """

    def __init__(self, layer: recurrent.Gru):
        super().__init__()
        self._units, self._directions = layer.outputs.units, layer.directions
        tall = 3 * self._units
        self.weight_ih = nn.Parameter(torch.empty(self._directions * tall, layer.inputs.units))
        self.weight_hh = nn.Parameter(torch.empty(self._directions, tall, self._units))
        self.bias = nn.Parameter(torch.empty(self._directions * tall))

    def forward(self, x: Tensor, frames: Frames) -> Tensor:
        packed = pack_padded_sequence(x, frames.lengths, enforce_sorted=False)
        d, count = self._directions, int(packed.batch_sizes[0])
        flat = []
        for w, b, u in zip(
            self.weight_ih.chunk(d), self.bias.chunk(d), self.weight_hh, strict=True
        ):
            flat += [w, u, b, torch.zeros_like(b)]
        start = x.new_zeros(d, count, self._units)
        y, _ = torch.gru(
            packed.data,
            packed.batch_sizes,
            start,
            flat,
            True,
            1,
            0.0,
            self.training,
            d == 2,
        )
        y, _ = pad_packed_sequence(PackedSequence(y, *packed[1:]), total_length=len(x))
        return y.unflatten(2, (d, self._units)).sum(2)


KINDS: Mapping[type[Layer], type[nn.Module]] = {
    context.Context: Context,
    dense.Dense: Dense,
    dense.Logits: Logits,
    dropout.Dropout: Dropout,
    recurrent.Rnn: Rnn,
    recurrent.BiRnn: Rnn,
    recurrent.Gru: Gru,
    recurrent.BiGru: Gru,
    conv.Conv: Conv,
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
        self._strides = [x.outputs.stride // x.inputs.stride for x in model.layers]
        for layer in model.layers:
            if type(layer) not in KINDS:
                raise RecipeError(f"twin: no module for {type(layer).__name__} ({layer.name})")
            module = KINDS[type(layer)](layer)
            for name, value in module.named_parameters():
                self._names[f"{layer.name}.{name.removeprefix('norm.')}"] = value
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

    def forward(self, x: Tensor, frames: Frames) -> tuple[Tensor, Tensor]:
        """Return log-probabilities (T, N, V) of features (T, N, F), and their lengths, (N,)."""
        for layer, stride in zip(self.layers, self._strides, strict=True):
            x = layer(x, frames)
            frames = frames.strided(stride)
        return x, frames.lengths
