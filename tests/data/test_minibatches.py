"""Minibatches and leaves: pure integers, from seed, epoch and lengths alone."""

from __future__ import annotations

import numpy as np
import pytest

from majelpy.data.minibatches import cut, hold_out, minibatches

LENGTHS = np.random.default_rng(2).integers(8, 200, 101)


def lists(batches: list[np.ndarray]) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


@pytest.mark.parametrize("count", [1, 2, 7, 8, 101])
@pytest.mark.parametrize("batch", [1, 3, 8, 200])
@pytest.mark.parametrize("bin", [1, 4])
def test_every_utterance_comes_once_an_epoch(count: int, batch: int, bin: int) -> None:
    for epoch in (0, 1, 30):
        batches = lists(minibatches(LENGTHS[:count], batch, bin, seed=3, epoch=epoch))
        assert sorted(i for members in batches for i in members) == list(range(count))
        assert len(batches) == -(-count // batch)
        sizes = sorted(len(members) for members in batches)
        assert sizes[1:] == [batch] * (len(batches) - 1)  # one may be smaller
        assert 1 <= sizes[0] <= batch


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return lists(minibatches(LENGTHS, 8, 4, seed=seed, epoch=epoch))

    first = order(3, 0)
    np.random.seed(9)  # noqa: NPY002
    order(5, 5)
    assert order(3, 0) == first
    others = [order(3, 1), order(3, 2), order(4, 0), order(0, 3)]
    for other in others:
        assert other != first
        assert sorted(map(sorted, other)) != sorted(map(sorted, first))
    assert len({str(order) for order in others}) == len(others)


@pytest.mark.parametrize("seed", [0, 1, (1 << 63) - 1])
def test_any_seed(seed: int) -> None:
    assert len(minibatches(LENGTHS, 8, 4, seed=seed, epoch=0)) == 13


def test_a_bin_is_sorted_by_length() -> None:
    # With one bin for all, the minibatches together are the utterances in order of length.
    batches = minibatches(LENGTHS, 8, 1000, seed=3, epoch=0)
    ordered = sorted(batches, key=lambda members: (int(LENGTHS[members[0]]), -len(members)))
    along = LENGTHS[np.concatenate(ordered)]
    assert (np.diff(along) >= 0).all()
    assert lists(batches) != lists(ordered)  # but they are shuffled among themselves


def test_bins_make_minibatches_of_like_lengths() -> None:
    def spread(bin: int) -> float:
        batches = minibatches(LENGTHS, 8, bin, seed=3, epoch=0)
        return float(np.mean([np.ptp(LENGTHS[members]) for members in batches]))

    assert spread(13) < spread(4) < spread(1)
    assert spread(13) < spread(1) / 4


def test_the_first_epoch_in_order_of_length() -> None:
    def order(epoch: int, sort_first: bool) -> list[list[int]]:
        settings = {"seed": 3, "epoch": epoch, "sort_first": sort_first}
        return lists(minibatches(LENGTHS, 8, 4, **settings))

    first = order(0, True)
    along = LENGTHS[[i for members in first for i in members]]
    assert along.tolist() == sorted(LENGTHS.tolist())
    assert [len(members) for members in first] == [8] * 12 + [5]
    assert first != order(0, False)
    for epoch in (1, 2):
        assert order(epoch, True) == order(epoch, False)
    assert first != lists(minibatches(LENGTHS, 8, 4, seed=4, epoch=0, sort_first=True))  # ties


def test_equal_lengths_are_shuffled_all_the_same() -> None:
    lengths = np.full(40, 10)
    batches = lists(minibatches(lengths, 4, 5, seed=3, epoch=0))
    assert [i for members in batches for i in members] != list(range(40))
    assert batches != lists(minibatches(lengths, 4, 5, seed=3, epoch=1))


@pytest.mark.parametrize("leaves", [1, 2, 3, 8, 64])
@pytest.mark.parametrize("count", [1, 7, 8, 32])
def test_leaves_divide_a_minibatch(leaves: int, count: int) -> None:
    members = np.arange(101)[::3][:count]
    found = cut(members, LENGTHS, leaves)
    assert len(found) == leaves
    assert all(leaf.dtype == np.int64 for leaf in found)
    assert sorted(i for leaf in found for i in leaf.tolist()) == members.tolist()
    assert all((np.diff(leaf) > 0).all() for leaf in found)
    assert sum(len(leaf) == 0 for leaf in found) == max(0, leaves - count)


@pytest.mark.parametrize("seed", range(20))
def test_leaves_hold_about_equally_many_frames(seed: int) -> None:
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 500, 64)
    members = random.permutation(64)[:40]
    for leaves in (2, 3, 8):
        frames = [int(lengths[leaf].sum()) for leaf in cut(members, lengths, leaves)]
        # Who puts the next on the lightest is never further out than by the one put last.
        assert max(frames) - min(frames) <= lengths[members].max()
        # Graham 1969: at most 4/3 of the best possible, which is at least the mean.
        least = max(sum(frames) / leaves, int(lengths[members].max()))
        assert max(frames) <= (4 / 3) * least + int(np.sort(lengths[members])[-leaves])


def test_leaves_do_not_depend_on_the_order_of_the_minibatch() -> None:
    members = np.arange(40)
    expected = lists(cut(members, LENGTHS, 8))
    assert lists(cut(members[::-1], LENGTHS, 8)) == expected
    assert lists(cut(np.random.default_rng(1).permutation(members), LENGTHS, 8)) == expected


def test_leaves_by_hand() -> None:
    lengths = np.array([5, 3, 3, 2, 9, 0])
    # 9 to leaf 0; 5 to 1; 3, 3 to 2 and then (5 < 6 no: 3 is least) 2 again; 2 to leaf 1.
    assert lists(cut(np.array([0, 1, 2, 3, 4]), lengths, 3)) == [[4], [0, 3], [1, 2]]
    assert lists(cut(np.array([1, 2]), lengths, 4)) == [[1], [2], [], []]


@pytest.mark.parametrize("count", [0, 1, 8, 40])
def test_what_is_held_out_is_not_trained_on(count: int) -> None:
    kept, held = hold_out(40, count, seed=3)
    assert len(held) == count
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(40))
    for part in (kept, held):
        assert (np.diff(part) > 0).all()


def test_what_is_held_out_depends_on_the_seed() -> None:
    assert hold_out(40, 8, seed=3)[1].tolist() == hold_out(40, 8, seed=3)[1].tolist()
    assert hold_out(40, 8, seed=3)[1].tolist() != hold_out(40, 8, seed=4)[1].tolist()
    # More held out of the same contains what was held out before.
    assert set(hold_out(40, 8, seed=3)[1]) < set(hold_out(40, 12, seed=3)[1])
