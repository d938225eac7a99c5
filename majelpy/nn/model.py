"""A model: the layers of a recipe one after another, then the logits, softmax and CTC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from majelpy import ops, tree
from majelpy.array import Array
from majelpy.errors import RecipeError
from majelpy.nn import user_layers
from majelpy.nn.batch import Batch
from majelpy.nn.dense import Logits
from majelpy.nn.layer import Layer, Pass, Training
from majelpy.nn.layers import class_of, settings_of
from majelpy.nn.parameters import Gradients, Layout, Parameter
from majelpy.nn.share import Share
from majelpy.nn.signal import Columns, Signal
from majelpy.settings import parse
from majelpy.wording import counted


@dataclass(frozen=True)
class Architecture:
    """What decides a model but for its weights.

    Attributes
    ----------
    features, alphabet : int
        Input columns, output columns (with blank).
    layers : sequence of mappings
        As `majelpy.nn.layers.read` gives them.
    precision : str
        "float32", or "bfloat16": operands of products are rounded to it (docs/determinism.md).
    """

    features: int
    alphabet: int
    layers: tuple[Mapping[str, Any], ...]
    precision: str = "float32"


@dataclass(frozen=True)
class Forward:
    """A forward pass.

    Attributes
    ----------
    batch : Batch
        The frames that ``log_probs`` are of: with a stride fewer than the input's.
    log_probs : (M, V) float32
    saved : list
        What each layer's backward pass needs.
    """

    batch: Batch
    log_probs: Array
    saved: list[Any]


class Model:
    """Forward and backward of the whole network for the leaves of one rank.

    Parameters
    ----------
    architecture : Architecture
    share : Share, optional
        What of it this rank computes; all by default.

    Attributes
    ----------
    layers : list of Layer
        The logits' last.
    layout : Layout
        Names, shapes and places of the parameters that the share holds.

    Raises
    ------
    RecipeError
        If a layer cannot read what the one below it gives; the message names both.
    """

    def __init__(self, architecture: Architecture, share: Share | None = None):
        self.architecture = architecture
        self.share = share = share or Share()
        self.layers: list[Layer] = []
        columns = Columns(architecture.features, architecture.features, cut=False)
        below, kinds, learning = "the features", Counter[type[Layer]](), 0
        for place, table in enumerate(architecture.layers):
            where, name, kind = f"model.layers[{place}]", table["layer"], class_of(table)
            settings = parse(kind.Settings, settings_of(table), where)
            learning += kind.learns
            stem = name.rpartition(":")[2].lower()
            try:
                with user_layers.naming(table, f"{where} ({name})"):
                    layer = kind(settings, f"{stem}.{learning}", kinds[kind], columns, share)
                user_layers.check_outputs(getattr(layer, "outputs", None))
                _check_parts(layer.outputs, share.parts)
            except RecipeError as error:
                raise RecipeError(f"{where} ({name}) on top of {below}: {error}") from None
            kinds[kind] += 1
            columns, below = layer.outputs, f"{where} ({name})"
            self.layers.append(layer)
        last = Logits.Settings(architecture.alphabet)
        self.layers.append(Logits(last, "output", 0, columns, share))
        self.layout = Layout([p for i in range(len(self.layers)) for p in self._named(i)], share)

    @property
    def stride(self) -> int:
        """Input frames from one row of log-probabilities to the next."""
        return self.layers[-1].outputs.stride

    def frames(self, lengths: np.ndarray) -> np.ndarray:
        """Return how many frames of log-probabilities utterances of these frames have."""
        return -(-lengths // self.stride)

    def forward(self, batch: Batch, parameters: Array, training: Training | None = None) -> Forward:
        """Return the log-probabilities (M, V), and what the backward pass needs."""
        return self._forward(batch, self._pass(parameters, training))

    def _pass(self, parameters: Array, training: Training | None) -> Pass:
        rounded = None
        if self.architecture.precision == "bfloat16":
            rounded = dict(self.layout.items(ops.round_bfloat16(parameters)))
        return Pass(dict(self.layout.items(parameters)), training, rounded)

    def _forward(self, batch: Batch, pass_: Pass) -> Forward:
        here = self.share.cut(batch)
        x = Signal(self.share, here, self.architecture.features, whole=here.frames)
        saved: list[Any] = []
        for place, layer in enumerate(self.layers):
            with self._naming(place):
                found = layer.forward(x, pass_)
            if self._own(place):
                user_layers.check_forward(found, self._where(place), layer.outputs.units)
            x, kept = found
            saved.append(kept)
        return Forward(x.batch, x.whole, saved)

    def losses(self, found: Forward, scale: float = 1.0) -> tuple[Array, Array]:
        """Return CTC losses (N,) and the scaled gradient by the logits (M, V)."""
        return self.share.losses(found.log_probs, found.batch, scale)

    def train(
        self,
        batch: Batch,
        parameters: Array,
        slots: Array,
        scale: float,
        training: Training,
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
        pass_ = self._pass(parameters, training)
        found = self._forward(batch, pass_)
        gradients = Gradients(self.layout, slots, pushed, rounded)
        losses, dy = self.losses(found, scale)
        gradients.loss(losses, self.share.once(found.batch.leaf_utterances, found.batch))
        saved, first = found.saved, self.first_learning
        del found
        for place in reversed(range(len(self.layers))):
            layer, kept = self.layers[place], saved.pop()
            with self._naming(place):
                dx = layer.backward(dy, kept, pass_, gradients, needed=place > first)
            if self._own(place):
                user_layers.check_pushed(self._named(place), gradients.named, self._where(place))
                if place > first:
                    held = self.share.units(layer.inputs.units)
                    user_layers.check_backward(dx, self._where(place), held)
            if place <= first:  # nothing below learns
                return
            assert dx is not None
            dy = dx

    def _table(self, place: int) -> Mapping[str, Any]:
        tables = self.architecture.layers
        return tables[place] if place < len(tables) else {}

    def _own(self, place: int) -> bool:
        """Whether a layer comes from a file of the user's."""
        return "sha256" in self._table(place)

    def _where(self, place: int) -> str:
        return f"model.layers[{place}] ({self._table(place).get('layer')})"

    def _naming(self, place: int) -> AbstractContextManager[None]:
        return user_layers.naming(self._table(place), self._where(place))

    def _named(self, place: int) -> list[Parameter]:
        """The parameters of a layer."""
        with self._naming(place):
            found = self.layers[place].parameters()
        if self._own(place):
            user_layers.check_parameters(found, self._where(place))
        return found

    @property
    def first_learning(self) -> int:
        """Place of the first layer with parameters; the backward pass ends there."""
        return next(i for i, layer in enumerate(self.layers) if layer.learns)


def _check_parts(columns: Columns, parts: int) -> None:
    if columns.cut and parts > 1 and -(-columns.units // tree.LINE) < parts:
        raise RecipeError(
            f"{counted(columns.units, 'unit')} in {parts} parts (model.parts); each needs "
            f"{tree.LINE}, so {parts * tree.LINE} units"
        )
