"""The tree as text: for any ranks and hosts the same expression. No MPI, no floats."""

from __future__ import annotations

import pytest

from majelpy import tree
from majelpy.comm import bucket
from majelpy.errors import ShapeError


def definition(first: int, last: int) -> str:
    """Return the tree's expression straight from its definition."""
    if last - first == 1:
        return str(first)
    left = 1
    while left * 2 < last - first:
        left *= 2
    return f"({definition(first, first + left)}+{definition(first + left, last)})"


def groupings(ranks: int) -> list[list[int]]:
    """Return numbers of ranks per host: all alone, all together, and uneven ones."""
    found = [[1] * ranks, [ranks]]
    for per_host in (2, 3, 4):
        counts = [per_host] * (ranks // per_host)
        rest = [ranks % per_host] if ranks % per_host else []
        found += [counts + rest, rest + counts]
    return found


@pytest.mark.parametrize("leaves", range(1, 18))
def test_every_world_calculates_the_same_expression(leaves: int) -> None:
    expected = definition(0, leaves)
    assert tree.expression(leaves) == expected
    for ranks in range(1, min(leaves, 9) + 1):
        ranges = [tree.leaf_range(leaves, ranks, r) for r in range(ranks)]
        for counts in groupings(ranks):
            left = iter(ranges)
            hosts = [[[next(left)] for _ in range(count)] for count in counts]
            assert tree.expression(leaves, hosts) == expected, counts


def tree_of_trees(first: int, last: int, parts: int) -> str:
    """Return the tree over leaves, each of them the tree over its parts."""
    if last - first == 1:
        return definition(first * parts, last * parts)
    middle = first + tree.split(last - first)
    return f"({tree_of_trees(first, middle, parts)}+{tree_of_trees(middle, last, parts)})"


@pytest.mark.parametrize("leaves", range(1, 7))
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_parts_of_leaves_give_the_tree_of_trees_on_any_ranks(leaves: int, parts: int) -> None:
    expected = tree_of_trees(0, leaves, parts)
    assert tree.expression(leaves * parts) == expected
    for rows in range(1, min(leaves, 4) + 1):
        # Each rank of a row has one part of each of the row's leaves.
        mesh = [
            [
                [(leaf * parts + part, leaf * parts + part + 1) for leaf in range(*row)]
                for part in range(parts)
            ]
            for row in (tree.leaf_range(leaves, rows, r) for r in range(rows))
        ]
        assert tree.expression(leaves * parts, mesh) == expected
        columns = [[row[part] for row in mesh] for part in range(parts)]
        assert tree.expression(leaves * parts, columns) == expected


def test_another_order_is_another_expression() -> None:
    left_to_right = "0"
    for leaf in range(1, 6):
        left_to_right = f"({left_to_right}+{leaf})"
    assert tree.expression(6) == "(((0+1)+(2+3))+(4+5))" != left_to_right
    with pytest.raises(ShapeError, match="ascending nodes"):
        tree.node_merges(6, [(2, 4), (0, 2), (4, 6)])


def test_split_is_the_largest_power_of_two_below() -> None:
    assert [tree.split(n) for n in range(2, 18)] == [1, 2, 2, 4, 4, 4, 4] + [8] * 8 + [16]
    with pytest.raises(ShapeError, match="1 leaves"):
        tree.split(1)


def test_leaf_ranges_divide_the_leaves_evenly() -> None:
    for leaves in range(18):
        for ranks in range(1, 10):
            ranges = [tree.leaf_range(leaves, ranks, r) for r in range(ranks)]
            assert [leaf for low, high in ranges for leaf in range(low, high)] == list(
                range(leaves)
            )
            lengths = [high - low for low, high in ranges]
            assert max(lengths) - min(lengths) <= 1
    with pytest.raises(ShapeError, match="position 3 of 3"):
        tree.leaf_range(8, 3, 3)


def test_stack_programs() -> None:
    assert tree.merges(8, 0, 8) == [0, 1, 0, 2, 0, 1, 0, 3]
    assert tree.merges(6, 0, 6) == [0, 1, 0, 2, 0, 2]
    assert tree.nodes(8, 0, 3) == [(0, 2), (2, 3)]
    assert tree.nodes(8, 3, 6) == [(3, 4), (4, 6)]
    assert tree.node_merges(8, [(0, 2), (2, 3), (3, 4), (4, 6), (6, 8)]) == [0, 0, 2, 0, 2]
    assert tree.depth(8, 0, 8) == 4
    assert tree.depth(1, 0, 1) == 1
    gaps = tree.stack(8, [(0, 1), (2, 4), (6, 8)])
    assert gaps == ([0, 0, 1, 0, 1], [(0, 1), (2, 4), (6, 8)], 4)
    assert tree.stack(8, [(0, 4), (5, 8)]).nodes == [(0, 4), (5, 6), (6, 8)]
    with pytest.raises(ShapeError, match=r"\[3, 9\) of 8 leaves"):
        tree.merges(8, 3, 9)


@pytest.mark.parametrize("leaves", range(1, 18))
def test_the_stack_keeps_the_maximal_subtrees(leaves: int) -> None:
    def maximal(first: int, last: int, low: int, high: int) -> list[tree.Node]:
        if last <= low or high <= first:
            return []
        if first <= low and high <= last:
            return [(low, high)]
        middle = low + tree.split(high - low)
        return maximal(first, last, low, middle) + maximal(first, last, middle, high)

    for first in range(leaves):
        for last in range(first + 1, leaves + 1):
            nodes = tree.nodes(leaves, first, last)
            assert nodes == maximal(first, last, 0, leaves)
            merges = tree.merges(leaves, first, last)
            assert len(merges) == last - first == sum(merges) + len(nodes)
            assert len(nodes) <= tree.depth(leaves, first, last) <= 2 * leaves.bit_length()


def test_items_must_be_ascending_nodes() -> None:
    for items in ([(0, 3)], [(0, 2), (1, 2)], [(4, 5), (0, 4)], [(1, 3)], [(0, 0)]):
        with pytest.raises(ShapeError, match="needs ascending nodes"):
            tree.node_merges(8, items)


@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000, 4097])
@pytest.mark.parametrize("bucket_bytes", [64, 1000, 1 << 20])
def test_buckets_and_chunks_cover_the_vector_once(size: int, bucket_bytes: int) -> None:
    at = 0
    found = bucket.buckets(size, bucket_bytes)
    for start, stop, _ in found:
        assert (stop - start) * 4 <= bucket_bytes
        for ranks in (1, 2, 3, 8):
            low = start
            for rank in range(ranks):
                first, last = bucket.chunk(start, stop, ranks, rank)
                assert first == low and first <= last <= stop
                assert first % 16 == 0 or first == last == stop
                assert last - first <= bucket.largest_chunk(*found[0][:2], ranks)
                low = last
            assert low == stop
        assert start == at
        at = stop
    assert at == size


def test_a_bucket_holds_a_line() -> None:
    with pytest.raises(ShapeError, match=r"buckets of 63 bytes; needs .* 64 bytes"):
        bucket.buckets(100, 63)


def test_buckets_follow_pushes() -> None:
    # As a model has it: loss, a weight and its bias below, a weight in two parts, the first layer.
    pushes = [(192, 193), (80, 190), (64, 70), (320, 331), (331, 350), (0, 64), (208, 320)]
    assert bucket.buckets(368, 1 << 20, pushes) == [
        (64, 208, 3),
        (320, 368, 5),
        (0, 64, 6),
        (208, 320, 7),
    ]
    assert bucket.buckets(368, 256, pushes) == [
        (192, 208, 1),
        (80, 144, 2),
        (144, 192, 2),
        (64, 80, 3),
        (320, 368, 5),
        (0, 64, 6),
        (208, 272, 7),
        (272, 320, 7),
    ]


@pytest.mark.parametrize("bucket_bytes", [64, 200, 1000, 1 << 20])
def test_buckets_of_pushes_cover_the_vector_once_and_early(bucket_bytes: int) -> None:
    pushes = [(900, 901), (400, 880), (300, 303), (16, 290), (304, 399)]
    found = bucket.buckets(1000, bucket_bytes, pushes)
    covered = sorted((start, stop) for start, stop, _ in found)
    assert [start for start, _ in covered] + [1000] == [0] + [stop for _, stop in covered]
    assert [b.pushes for b in found] == sorted(b.pushes for b in found)
    for start, stop, count in found:
        assert 0 < (stop - start) * 4 <= bucket_bytes
        missing = [(low, high) for low, high in pushes[count:] if low < stop and start < high]
        assert not missing


def test_pushes_do_not_overlap() -> None:
    for pushes in ([(0, 10), (9, 20)], [(0, 101)], [(5, 5)], [(-1, 5)]):
        with pytest.raises(ShapeError, match="needs pushes that do not overlap, within 100"):
            bucket.buckets(100, 64, pushes)
