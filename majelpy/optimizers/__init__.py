"""Optimizers, a module each, and noise on the weights that a gradient is taken at."""

from majelpy.optimizers.adagrad import Adagrad
from majelpy.optimizers.adam import Adam
from majelpy.optimizers.nesterov import Nesterov
from majelpy.optimizers.optimizer import Optimizer

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "nesterov": Nesterov,
    "adam": Adam,
    "adagrad": Adagrad,
}
"""By the names that a recipe knows."""
