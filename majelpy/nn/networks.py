"""Published networks as lists of layers, as a recipe has them."""

from __future__ import annotations

from collections.abc import Sequence

from majelpy.nn.layers import Table, read


def deep_speech_1(
    context: int,
    dense: Sequence[int],
    recurrent: int,
    output_dense: int,
    *,
    dropout: float = 0.0,
    gain: float = 0.5,
) -> tuple[Table, ...]:
    """Return the layers of Hannun et al. 2014 (arXiv 1412.5567), section 2.

    Parameters
    ----------
    context : int
        Frames on each side of the one that layer 1 looks at.
    dense : sequence of int
        Units of the layers before the recurrent one.
    recurrent, output_dense : int
        Units of the recurrent layer, in each direction, and of the layer after it.
    dropout : float
        Share of the dense layers' activations; 0 for no such layers.
    gain : float
        Variance of the recurrent weight at the start, times its fan-in.
    """
    drop: list[Table] = [{"layer": "dropout", "rate": dropout}] if dropout else []
    layers: list[Table] = [{"layer": "context", "frames": context}]
    for units in dense:
        layers += [{"layer": "dense", "units": units}, *drop]
    layers += [{"layer": "birnn", "units": recurrent, "gain": gain}]
    layers += [{"layer": "dense", "units": output_dense}, *drop]
    return read(layers, "deep_speech_1", "")
