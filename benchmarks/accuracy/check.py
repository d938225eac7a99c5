"""Is the twin the same model? Held against majelpy with majelpy's weights.

Policy. The twin computes in float64, so that what is left is majelpy's own rounding, as a relative
2-norm. Values keep within `VALUES`, some units in the last place of float32 over sums of a thousand
terms. Gradients and changes of weights have coarser causes, hence `GRADIENTS`: a rectifier whose
input is as close to 0 as rounding may be decided differently, about 1e-4 of a gradient, and
small changes are rounded when they are added to float32 weights (1e-3). What a wrong border, mask
or order of columns does is larger, at the least in the values.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from sides import Theirs, mean_loss, padded

from majelpy.array import Array, zeros
from majelpy.comm.world import World
from majelpy.data import minibatches as leaves
from majelpy.nn.layer import Training
from majelpy.nn.model import Model
from majelpy.recipes.launch import Launch
from majelpy.recipes.recipe import Recipe
from majelpy.train.setup import Prepared
from majelpy.train.trainer import Trainer

VALUES, GRADIENTS = 1e-6, 5e-3
STEPS = 3
"""Training steps after which weights are compared, without dropout."""


def check(recipe: Recipe, prepared: Prepared) -> None:
    """Compare log-probabilities, loss, gradients and weights after steps; print.

    Raises
    ------
    ValueError
        If they differ by more than rounding.
    """
    layers = tuple(x for x in recipe.model.layers if x["layer"] != "dropout")
    model = Model(replace(prepared.model.architecture, layers=layers))
    prepared = replace(prepared, model=model)
    data, theirs = prepared.train, Theirs(recipe, prepared)
    trainer = Trainer(
        recipe, Launch(prefetch=False), World.start(), model, data, prepared.description
    )
    twin = theirs.twin.double()
    start = arrays(model, trainer.parameters)
    twin.copy(start)
    settings = recipe.data
    members = leaves.minibatches(
        data.lengths, settings.batch, settings.bin, seed=recipe.seed, epoch=0
    )[0]
    batch = data.batch([members], np.zeros(1, dtype=np.int32))
    features, frames = padded(data, members, 1)
    with torch.no_grad():
        found, lengths = twin.eval()(features.double(), frames)
    packed = np.concatenate([found[:end, n] for n, end in enumerate(lengths)])
    log_probs = model.forward(batch, trainer.parameters).log_probs
    compare("log-probabilities", log_probs.numpy(), packed, VALUES)
    slots = zeros((1, model.layout.gradient_size))
    model.train(batch, trainer.parameters, slots, 1.0 / len(members), Training(recipe.seed, 0))
    loss = mean_loss(twin.train(), data, members, 1)
    loss.backward()
    total = slots.numpy()[0, model.layout.loss]
    compare("loss", total, loss.item() * len(members), VALUES)
    gradients = arrays(model, slots[0, : model.layout.size])
    for name, value, described in twin.described():
        if described.tracked:
            continue
        compare(f"gradient of {name}", gradients[name], value.grad.numpy(), GRADIENTS)
    twin.copy(start)  # its running statistics have seen a minibatch
    for index in range(STEPS):
        trainer.advance()
        theirs.advance(0, index)
    weights = arrays(model, trainer.parameters)
    for name, value, _ in twin.described():
        ours, moved = weights[name] - start[name], value.detach().numpy() - start[name]
        compare(f"change of {name} in {STEPS} steps", ours, moved, GRADIENTS)


def arrays(model: Model, vector: Array) -> dict[str, np.ndarray]:
    """The parameters in a flat vector."""
    return {name: value.numpy().copy() for name, value in model.layout.items(vector)}


def compare(what: str, ours: np.ndarray, theirs: np.ndarray | float, tolerance: float) -> None:
    """Print the relative difference; raise ValueError if it is too large."""
    difference = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
    print(f"{what}: relative difference {difference:.1e}")
    if not difference < tolerance:
        raise ValueError(f"check: {what} differs by {difference:.1e}; needs below {tolerance:.0e}")
