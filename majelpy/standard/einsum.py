"""Sums of products by subscripts, as Einstein wrote them.

Policy. A chain of products of two, from the left, each sum in a canonical order: a label that
nothing else needs is summed before the product (`sum`), one that both operands have and nothing
else needs in the product (`matmul`), and a product without a sum is `multiply`.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from majelpy.array.array import Array, array_of
from majelpy.array.checks import needs_kind, one_place
from majelpy.array.operands import converted
from majelpy.errors import DTypeError, ShapeError
from majelpy.memory import dtypes
from majelpy.standard.arithmetic import multiply
from majelpy.standard.elementary import NUMERIC
from majelpy.standard.linalg import matmul, vecdot
from majelpy.standard.manipulation import permute_dims
from majelpy.standard.statistics import sum

MOST_DOTS = 10
"""Axes that an ellipsis may stand for: their labels are digits."""


class Labelled(NamedTuple):
    """An array and a label for each of its axes, no label twice."""

    array: Array
    labels: str

    def size(self, labels: str) -> int:
        """Number of elements along axes together."""
        return math.prod(self.sizes(labels))

    def sizes(self, labels: str) -> tuple[int, ...]:
        """Size of each label, 1 where there is no such axis."""
        found = dict(zip(self.labels, self.array.shape, strict=True))
        return tuple(found.get(label, 1) for label in labels)

    def ordered(self, labels: str) -> Array:
        """The array with its axes in the order of the labels, which are all of them."""
        if labels == self.labels:
            return self.array
        return permute_dims(self.array, tuple(map(self.labels.index, labels)))


def einsum(subscripts: str, /, *operands: Any) -> Array:
    """Return the sum of products that ``subscripts`` says, such as ``"ij,jk->ik"``.

    Parameters
    ----------
    subscripts : str
        A label, a letter, for each axis of each operand; behind ``->`` those of the result. Without
        ``->`` these are the labels that occur once, in alphabetical order. ``...`` stands for axes
        that are broadcast, and come first in the result where there is no ``->``.
    operands
        Arrays of numbers, of one place.

    Raises
    ------
    ShapeError
        If the subscripts say nothing, or if they do not fit the operands.

    Notes
    -----
    Order: operands are taken from the left, each multiplied with the product of those before. First
    the labels that nothing else needs are summed, of each of the two by itself, by one canonical
    sum; then those that both have and nothing else needs, by one canonical sum of products. Several
    labels of a sum count as one axis, row-major in alphabetical order.
    """
    if not isinstance(subscripts, str):
        raise DTypeError(f"einsum: {type(subscripts).__name__} found; needs subscripts, a text")
    arrays = [array_of("einsum", x) for x in operands]
    if not arrays:
        raise ShapeError("einsum: no operands; needs one or more")
    one_place("einsum", *arrays)
    joint = dtypes.promote("einsum", *(a.dtype for a in arrays))
    needs_kind("einsum", joint, NUMERIC)
    terms, result = _parsed(subscripts, [a.shape for a in arrays])
    parts = [_diagonal(converted(a, joint), term) for a, term in zip(arrays, terms, strict=True)]
    done = parts[0]
    for number, part in enumerate(parts[1:], 2):
        needed = {*result}.union(*(later.labels for later in parts[number:]))
        left, right = _summed(done, needed | {*part.labels}), _summed(part, needed | {*done.labels})
        done = _product(left, right, needed)
    found = _summed(done, {*result}).ordered(result)
    return found.copy() if len(operands) == 1 else found  # else it may lie in the operand


def _parsed(subscripts: str, shapes: Sequence[tuple[int, ...]]) -> tuple[list[str], str]:
    """Return the labels of each operand and of the result; of ``...`` digits, counted from its end.

    A broadcast axis of size 1 has the label ``.``: it stands for nothing.
    """
    given, arrow, wanted = subscripts.replace(" ", "").partition("->")
    terms = given.split(",")
    if len(terms) != len(shapes):
        raise ShapeError(f"einsum: {subscripts!r} has {len(terms)} operands; {len(shapes)} given")
    for term in (*terms, wanted):
        wrong = [c for c in term.replace("...", "", 1) if c not in string.ascii_letters]
        if wrong:
            raise ShapeError(f"einsum: {subscripts!r} has {wrong[0]!r}; needs letters and '...'")
    counts = [_dotted(subscripts, *pair) for pair in zip(terms, shapes, strict=True)]
    dots = "".join(str(i) for i in reversed(range(max(counts))))
    named = [
        term.replace("...", dots[len(dots) - count :])
        for term, count in zip(terms, counts, strict=True)
    ]
    sizes = _sizes(subscripts, named, shapes)
    if not arrow:
        once = (c for c in sorted({*given} - {".", ","}) if given.count(c) == 1)
        wanted = ("..." if dots else "") + "".join(once)
    elif dots and "..." not in wanted:
        raise ShapeError(
            f"einsum: {subscripts!r} broadcasts {len(dots)} axes; needs '...' behind '->'"
        )
    result = wanted.replace("...", dots)
    for label in result:
        if result.count(label) > 1:
            raise ShapeError(f"einsum: {subscripts!r} has {label!r} twice in the result")
        if label not in sizes:
            raise ShapeError(f"einsum: {subscripts!r} has {label!r} in the result alone")
    plain = [
        "".join(
            "." if label.isdigit() and size == 1 != sizes[label] else label
            for label, size in zip(term, shape, strict=True)
        )
        for term, shape in zip(named, shapes, strict=True)
    ]
    return plain, result


def _dotted(subscripts: str, term: str, shape: tuple[int, ...]) -> int:
    """Return how many axes of an operand its ``...`` stands for; 0 where there is none."""
    letters = len(term.replace("...", ""))
    rest = len(shape) - letters
    if rest < 0 or ("..." not in term and rest > 0):
        raise ShapeError(
            f"einsum: {subscripts!r}, {term!r} has {letters} labels for shape {shape}; "
            "needs one an axis"
        )
    if rest > MOST_DOTS:
        raise ShapeError(
            f"einsum: {subscripts!r}, '...' stands for {rest} axes; needs at most {MOST_DOTS}"
        )
    return rest


def _sizes(
    subscripts: str, terms: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> dict[str, int]:
    """Return the size of each label."""
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for label, size in zip(term, shape, strict=True):
            before = sizes.setdefault(label, size)
            if label.isdigit() and 1 in (before, size):
                sizes[label] = before if size == 1 else size
            elif before != size:
                name = "an axis of '...'" if label.isdigit() else repr(label)
                raise ShapeError(f"einsum: {subscripts!r}, {name} has sizes {before} and {size}")
    return sizes


def _diagonal(x: Array, labels: str) -> Labelled:
    """The elements where axes of one label have one index, without axes that stand for nothing."""
    while twice := [label for label in labels if label != "." and labels.count(label) > 1]:
        label = twice[0]
        first = labels.index(label)
        second = labels.index(label, first + 1)
        others = [i for i in range(x.ndim) if i not in (first, second)]
        size = x.shape[first]
        beside = permute_dims(x, (*others, first, second))
        x = beside.reshape(*beside.shape[:-2], size * size)[..., :: size + 1]
        labels = "".join(labels[i] for i in others) + label
    kept = labels.replace(".", "")
    sizes = (n for n, label in zip(x.shape, labels, strict=True) if label != ".")
    return Labelled(x.reshape(*sizes), kept)


def _summed(x: Labelled, needed: Iterable[str]) -> Labelled:
    """The sum over the labels that are not needed."""
    kept = "".join(label for label in x.labels if label in needed)
    rest = "".join(sorted({*x.labels} - {*kept}))
    if not rest:
        return x
    lines = x.ordered(kept + rest).reshape(*x.sizes(kept), x.size(rest))
    return Labelled(sum(lines, axis=-1, dtype=lines.dtype), kept)


def _product(x: Labelled, y: Labelled, needed: Iterable[str]) -> Labelled:
    """The product, summed over the labels of both that are not needed."""
    both = "".join(label for label in x.labels if label in y.labels and label in needed)
    joined = "".join(sorted({*x.labels} & {*y.labels} - {*both}))
    left = "".join(label for label in x.labels if label not in both + joined)
    right = "".join(label for label in y.labels if label not in both + joined)
    labels = both + left + right
    sizes = (*x.sizes(both + left), *y.sizes(right))
    if not joined:
        a = x.ordered(both + left).reshape(*x.sizes(labels))
        return Labelled(multiply(a, y.ordered(both + right).reshape(*y.sizes(labels))), labels)
    a = x.ordered(both + left + joined)
    b = y.ordered(both + joined + right)
    batch, rows, inner, columns = x.size(both), x.size(left), x.size(joined), y.size(right)
    if not both:
        found = matmul(a.reshape(rows, inner), b.reshape(inner, columns))
    elif not left and not right:
        found = vecdot(a.reshape(batch, inner), b.reshape(batch, inner))
    else:
        found = matmul(a.reshape(batch, rows, inner), b.reshape(batch, inner, columns))
    return Labelled(found.reshape(*sizes), labels)
