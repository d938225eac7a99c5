"""Which utterances make a minibatch, and how it is cut into leaves: pure integers.

Policy. The order of data is a function of (seed, epoch) by Philox, never of ranks. Minibatches
hold utterances of similar length; leaves of a minibatch hold about equally many frames.
"""

from __future__ import annotations

import numpy as np

from majelpy import ops

ORDER_STREAM, BATCH_STREAM, HOLDOUT_STREAM = 1 << 40, 2 << 40, 3 << 40
"""Philox streams; the epoch is added."""


def hold_out(utterances: int, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the utterances kept for training and the ``count`` held out, both ascending."""
    order = ops.permutation(utterances, seed=seed, stream=HOLDOUT_STREAM)
    return np.sort(order[count:]), np.sort(order[:count])


def minibatches(
    lengths: np.ndarray, batch: int, bin: int, *, seed: int, epoch: int, sort_first: bool = False
) -> list[np.ndarray]:
    """Return the minibatches of an epoch, as arrays of indices into ``lengths``.

    Parameters
    ----------
    lengths : (N,) int64
        Frames of each utterance.
    batch : int
        Utterances of a minibatch; the last of an epoch may have fewer.
    bin : int
        Utterances are shuffled, taken ``bin * batch`` at a time, sorted by length among
        themselves and cut into minibatches; the minibatches are shuffled.
    seed, epoch : int
    sort_first : bool
        Epoch 0 is one bin whose minibatches stay in order of length (SortaGrad: Amodei et al. 2015,
        section 3.3; those of one length stay shuffled).
    """
    order = ops.permutation(len(lengths), seed=seed, stream=ORDER_STREAM + epoch)
    ascending = sort_first and epoch == 0
    span = len(order) if ascending else bin * batch
    batches = []
    for start in range(0, len(order), span):
        members = order[start : start + span]
        members = members[np.argsort(lengths[members], kind="stable")]
        batches += [members[i : i + batch] for i in range(0, len(members), batch)]
    if ascending:
        return batches
    shuffle = ops.permutation(len(batches), seed=seed, stream=BATCH_STREAM + epoch)
    return [batches[i] for i in shuffle]


def cut(members: np.ndarray, lengths: np.ndarray, leaves: int) -> list[np.ndarray]:
    """Return the utterances of each leaf of a minibatch.

    The longest utterance not yet placed goes to the leaf with the fewest frames (Graham 1969);
    among equals the first. A leaf's utterances ascend. With fewer utterances than leaves, some
    leaves are empty.
    """
    frames = [0] * leaves
    cut_members: list[list[int]] = [[] for _ in range(leaves)]
    for index in sorted(members.tolist(), key=lambda i: (-int(lengths[i]), i)):
        leaf = frames.index(min(frames))
        cut_members[leaf].append(index)
        frames[leaf] += int(lengths[index])
    return [np.array(sorted(leaf), dtype=np.int64) for leaf in cut_members]
