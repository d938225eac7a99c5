"""Operations on arrays: checks, allocation of results, launch of kernels."""

from majelpy.ops.beam import align, beam_search
from majelpy.ops.conv import conv, conv_backward
from majelpy.ops.ctc import argmax, ctc_loss, frames_needed, log_softmax
from majelpy.ops.elementwise import (
    add,
    bias,
    clip,
    clip_backward,
    context,
    fma,
    math_function,
    multiply,
    normalise,
)
from majelpy.ops.extent import Extent
from majelpy.ops.gemm import gemm
from majelpy.ops.leaves import Leaves, gemm_leaves, sum_leaves, tree_sum
from majelpy.ops.optim import factor_of, learning_rate, nesterov, norm_and_factor
from majelpy.ops.random import Dropout, permutation, uniform, words
from majelpy.ops.rnn import (
    Carried,
    Steps,
    repeat_directions,
    rnn_backward,
    rnn_backward_step,
    rnn_forward,
    rnn_forward_step,
    rnn_previous,
    sum_directions,
)
from majelpy.ops.spectrogram import spectrogram
from majelpy.ops.statistics import mean_of, scale_of, square_sum, sum_deviations, sum_rows

__all__ = [
    "Carried",
    "Dropout",
    "Extent",
    "Leaves",
    "Steps",
    "add",
    "align",
    "argmax",
    "beam_search",
    "bias",
    "clip",
    "clip_backward",
    "context",
    "conv",
    "conv_backward",
    "ctc_loss",
    "factor_of",
    "fma",
    "frames_needed",
    "gemm",
    "gemm_leaves",
    "learning_rate",
    "log_softmax",
    "math_function",
    "mean_of",
    "multiply",
    "nesterov",
    "norm_and_factor",
    "normalise",
    "permutation",
    "repeat_directions",
    "rnn_backward",
    "rnn_backward_step",
    "rnn_forward",
    "rnn_forward_step",
    "rnn_previous",
    "scale_of",
    "spectrogram",
    "square_sum",
    "sum_deviations",
    "sum_directions",
    "sum_leaves",
    "sum_rows",
    "tree_sum",
    "uniform",
    "words",
]
