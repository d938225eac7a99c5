"""Deep Speech 1: context window, dense layers, one bidirectional layer, a dense layer, CTC.

Hannun et al. 2014 (arXiv 1412.5567), section 2: layers 1-3 and 5 are clipped rectifiers, layer 4
is recurrent, layer 6 gives the logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from majelpy import ops
from majelpy.array import Array
from majelpy.nn import birnn
from majelpy.nn.batch import Batch
from majelpy.nn.birnn import BiRnn
from majelpy.nn.dense import Dense
from majelpy.nn.parameters import Gradients, Layout
from majelpy.nn.share import Share


@dataclass(frozen=True)
class Sizes:
    """Widths of the model.

    Attributes
    ----------
    features, alphabet : int
        Input columns, output columns (with blank).
    context : int
        Frames on each side of the one that layer 1 looks at.
    dense : sequence of int
        Units of the layers before the recurrent one.
    recurrent : int
        Units of the recurrent layer, in each direction.
    output_dense : int
        Units of the layer after it.
    recurrent_gain : float
        Variance of the recurrent weight at the start, times its fan-in.
    """

    features: int
    alphabet: int
    context: int
    dense: tuple[int, ...]
    recurrent: int
    output_dense: int
    recurrent_gain: float


@dataclass
class Activations:
    """What the backward pass needs of a forward pass.

    Of each dense layer both the share's output and, after dropout, what the next layer read; the
    first entry of ``read`` is the input with its context. ``batch`` and ``dropout`` are for the
    frames that are here.
    """

    batch: Batch
    dropout: ops.Dropout | None
    read: list[Array]
    dense: list[Array]
    recurrent: birnn.Saved
    recurrent_out: Array
    last: Array
    last_read: Array
    log_probs: Array


class Model:
    """Forward and backward of the whole network for the leaves of one rank.

    Attributes
    ----------
    layout : Layout
        Names, shapes and places of the parameters that the share holds.
    """

    def __init__(self, sizes: Sizes, share: Share | None = None):
        self.sizes = sizes
        self.share = share = share or Share()
        widths = [(2 * sizes.context + 1) * sizes.features, *sizes.dense]
        self.dense = [
            Dense(
                *(f"dense.{i + 1}", widths[i], widths[i + 1]),
                clipped=True,
                share=share,
                of_units=i > 0,
            )
            for i in range(len(sizes.dense))
        ]
        number = len(self.dense) + 1
        self.birnn = BiRnn(
            *(f"birnn.{number}", widths[-1], sizes.recurrent),
            recurrent_gain=sizes.recurrent_gain,
            share=share,
        )
        self.output_dense = Dense(
            f"dense.{number + 1}", sizes.recurrent, sizes.output_dense, clipped=True, share=share
        )
        self.output = Dense(
            "output", sizes.output_dense, sizes.alphabet, clipped=False, share=share
        )
        layers: list[Dense | BiRnn] = [*self.dense, self.birnn, self.output_dense, self.output]
        self.layout = Layout([p for layer in layers for p in layer.parameters()], share)

    def forward(
        self, batch: Batch, parameters: Array, dropout: ops.Dropout | None = None
    ) -> Activations:
        """Return all activations; ``log_probs`` is (M, V). Dropout is for training only."""
        share, weights = self.share, dict(self.layout.items(parameters))
        frames, here = share.cut(batch, self.sizes.context)
        if dropout is not None:
            dropout = replace(dropout, offsets=here.offsets, starts=here.starts)
        read, dense = [frames], []
        for i, layer in enumerate(self.dense):
            dense.append(layer.forward(read[-1], weights))
            read.append(_drop(dropout, share.gather(dense[-1], layer.outputs), i))
        summed, saved = self.birnn.forward(read[-1], here, weights)
        recurrent_out = share.gather(summed, self.sizes.recurrent)
        last = self.output_dense.forward(recurrent_out, weights)
        last_read = _drop(dropout, share.gather(last, self.sizes.output_dense), len(self.dense))
        log_probs = ops.log_softmax(self.output.forward(last_read, weights))
        return Activations(
            here, dropout, read, dense, saved, recurrent_out, last, last_read, log_probs
        )

    def losses(self, batch: Batch, log_probs: Array, scale: float = 1.0) -> tuple[Array, Array]:
        """Return CTC losses (N,) and the scaled gradient by the logits (M, V)."""
        return self.share.losses(log_probs, batch, scale)

    def train(
        self,
        batch: Batch,
        parameters: Array,
        slots: Array,
        scale: float,
        dropout: ops.Dropout | None = None,
        pushed: Callable[[int, int], None] | None = None,
        rounded: bool = False,
    ) -> None:
        """Push loss sum and gradients of each leaf onto the slots.

        Parameters
        ----------
        slots : (depth, layout.gradient_size) float32
        scale : float
            Multiplies the gradients: 1 / utterances of the whole minibatch.
        pushed, rounded
            See `Gradients`.

        Notes
        -----
        Order: over frames and utterances within a leaf (of a time part, where the recipe has parts)
        by canonical sums, over parts and leaves by the tree.
        """
        weights = dict(self.layout.items(parameters))
        acts = self.forward(batch, parameters, dropout)
        frames, utterances, order = self.share.items(acts.batch)
        gradients = Gradients(self.layout, slots, frames, order, pushed, rounded)
        losses, dx = self.losses(batch, acts.log_probs, scale)
        gradients.loss(losses, utterances)
        dx = self.output.backward(dx, acts.last_read, acts.log_probs, weights, gradients)
        dx = self._drop_back(acts, dx, len(self.dense), self.sizes.output_dense)
        dx = self.output_dense.backward(dx, acts.recurrent_out, acts.last, weights, gradients)
        dx = self.birnn.backward(dx, acts.batch, acts.recurrent, weights, gradients)
        for i in reversed(range(len(self.dense))):
            dx = self._drop_back(acts, dx, i, self.dense[i].outputs)
            d = self.dense[i].push(dx, acts.read[i], acts.dense[i], gradients)
            if i > 0:  # the input of the first layer needs no gradient
                dx = self.dense[i].input_gradient(d, weights)

    def _drop_back(self, acts: Activations, dx: Array, layer: int, units: int) -> Array:
        return _drop(acts.dropout, dx, layer, self.share.units(units)[0])


def _drop(dropout: ops.Dropout | None, x: Array, layer: int, first: int = 0) -> Array:
    return x if dropout is None else dropout.apply(x, layer, first)
