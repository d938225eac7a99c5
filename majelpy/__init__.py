"""majelpy: deterministic arrays and a data- and model-parallel BiRNN-CTC trainer.

One recipe, one answer: the bits of every loss, gradient and weight are a function of
the recipe, the corpus and the arithmetic version. Importing majelpy starts neither
MPI nor CUDA.
"""

ARITHMETIC = 1
"""Version of the canonical arithmetic; raised by any change of bits."""

__version__ = "0.1.0"
