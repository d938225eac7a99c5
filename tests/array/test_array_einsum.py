"""einsum. Right: against NumPy's in float64, within a derived bound. Same: its stated order."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from makers import level_data, level_double, same_bits, touchy_data

import majelpy as mj
from majelpy.errors import CopyError, DTypeError, MajelError, ShapeError
from majelpy.memory import CPU, Place

CASES: list[tuple[str, list[tuple[int, ...]]]] = [
    ("ij,jk->ik", [(3, 4), (4, 5)]),
    ("ij,jk", [(3, 300), (300, 5)]),
    ("i,i", [(700,), (700,)]),
    ("i,j->ji", [(3,), (4,)]),
    ("ii", [(4, 4)]),
    ("ii->i", [(4, 4)]),
    ("iij->j", [(3, 3, 4)]),
    ("iii->i", [(3, 3, 3)]),
    ("ijij->ij", [(2, 3, 2, 3)]),
    ("ijk->", [(2, 300, 4)]),
    ("ijk->kj", [(2, 3, 4)]),
    ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
    ("bi,bi->b", [(3, 40), (3, 40)]),
    ("bij,bj->ib", [(3, 4, 5), (3, 5)]),
    ("ij,ij->ij", [(2, 3), (2, 3)]),
    ("ij,k->k", [(2, 3), (4,)]),
    ("ij,kl,jk->il", [(2, 3), (4, 5), (3, 4)]),
    ("abc,cd,def->aef", [(2, 3, 4), (4, 5), (5, 2, 3)]),
    ("ab,ac,ad->bcd", [(5, 2), (5, 3), (5, 4)]),
    (",ij->ji", [(), (2, 3)]),
    ("ij,jk", [(3, 0), (0, 2)]),
    ("ij,jk->k", [(0, 3), (3, 2)]),
    ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 6)]),
    ("...i->...", [(2, 3, 4)]),
    ("i...->...", [(2, 3, 4)]),
    ("...", [(2, 3)]),
    ("...,...", [(2, 1, 3), (4, 1)]),
    ("a...,b...->ab...", [(2, 1, 4), (3, 5, 1)]),
    ("...ij,j->...i", [(2, 2, 3, 4), (4,)]),
    ("ba,Ab", [(2, 3), (4, 2)]),
    ("zy , yx -> zx", [(2, 3), (3, 4)]),
]
"""Subscripts and shapes."""

LEVEL: dict[str, Callable[..., np.ndarray]] = {"float32": level_data, "float64": level_double}


def summed(subscripts: str, shapes: list[tuple[int, ...]]) -> int:
    """Return how many products an element of the result is the sum of, at most."""
    most = 1
    for term, shape in zip(subscripts.split("->")[0].split(","), shapes, strict=True):
        most *= math.prod(shape) if "." in term else 1
    sizes = {
        label: size
        for term, shape in zip(subscripts.split("->")[0].split(","), shapes, strict=True)
        for label, size in zip(term.replace(" ", ""), shape, strict=False)
    }
    return most * math.prod(sizes.values())


@pytest.mark.parametrize(("subscripts", "shapes"), CASES, ids=[c[0] for c in CASES])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_right(subscripts: str, shapes: list[tuple[int, ...]], dtype: str) -> None:
    # A sum of n products of k factors rounds at most n + k times on the way of each of them, so it
    # is off by at most (n + k) u of the sum of their magnitudes; n is bounded by all there is.
    hosts = [LEVEL[dtype](shape, seed) for seed, shape in enumerate(shapes, 1)]
    found = mj.einsum(subscripts, *map(mj.asarray, hosts))
    wide = [host.astype(np.longdouble) for host in hosts]
    wanted = np.einsum(subscripts, *wide)
    magnitude = np.einsum(subscripts, *map(np.abs, wide))
    bound = (summed(subscripts, shapes) + len(hosts)) * np.finfo(dtype).eps
    assert found.dtype == dtype and found.shape == wanted.shape
    assert (np.abs(found.numpy() - wanted) <= bound * magnitude).all()


@pytest.mark.parametrize(("subscripts", "shapes"), CASES, ids=[c[0] for c in CASES])
def test_integers_are_exact_and_places_agree(
    subscripts: str, shapes: list[tuple[int, ...]], each_place: Place
) -> None:
    hosts = [
        np.round(LEVEL["float64"](shape, seed, 9.0)).astype(np.int64)
        for seed, shape in enumerate(shapes, 1)
    ]
    there = [mj.asarray(host, device=each_place) for host in hosts]
    found = mj.einsum(subscripts, *there)
    assert found.place == each_place
    assert same_bits(found.to_device(CPU), np.einsum(subscripts, *hosts))
    floats = [touchy_data(shape, seed) for seed, shape in enumerate(shapes, 1)]
    found = mj.einsum(subscripts, *(mj.asarray(x, device=each_place) for x in floats))
    assert same_bits(found.to_device(CPU), mj.einsum(subscripts, *map(mj.asarray, floats)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_stated_order(dtype: str) -> None:
    a, b, c = (
        mj.astype(mj.asarray(touchy_data(shape, seed)), dtype)
        for shape, seed in (((7, 300), 1), ((300, 9), 2), ((9, 4), 3))
    )
    assert same_bits(mj.einsum("ij,jk->ik", a, b), a @ b)
    assert same_bits(mj.einsum("ij,jk->ki", a, b), (a @ b).T)
    assert same_bits(mj.einsum("ij,jk,kl->il", a, b, c), a @ b @ c)
    assert same_bits(mj.einsum("ij->", a), mj.sum(a))
    assert same_bits(mj.einsum("ji->", a), mj.sum(a.T.copy()))  # alphabetical: i, then j
    assert same_bits(mj.einsum("ij->j", a), mj.sum(a, axis=0))
    assert same_bits(mj.einsum("ij,kl->k", a, b), mj.sum(a) * mj.sum(b, axis=1))
    assert same_bits(mj.einsum("ij,ij->ij", a, a), a * a)
    assert same_bits(mj.einsum("ij,ij->i", a, a), mj.vecdot(a, a))
    # A sum of several labels goes by their names, whatever the order of the operands' axes.
    wide = a.reshape(7, 1, 300) * mj.ones((1, 2, 1), dtype=dtype)
    turned = mj.permute_dims(wide, (2, 0, 1))
    found = mj.einsum("ij,ikj->k", a, wide)
    assert same_bits(mj.einsum("ji,jik->k", a.T, turned), found)
    assert not same_bits(mj.einsum("ij,ijk->k", a.T, turned), found)
    assert same_bits(mj.einsum("ij,jk->ik", a, b), mj.einsum("ji,kj->ik", a.T, b.T))


def test_an_element_of_a_batch_has_the_bits_of_one_alone() -> None:
    x, y = (mj.asarray(touchy_data(shape, s)) for shape, s in (((5, 6, 300), 1), ((5, 300, 7), 2)))
    whole = mj.einsum("bij,bjk->bik", x, y)
    rows = mj.einsum("bj,bj->b", x[:, 0], y[:, :, 0])
    for b in range(5):
        assert same_bits(mj.einsum("ij,jk->ik", x[b], y[b]), whole[b])
        assert same_bits(mj.einsum("j,j", x[b, 0], y[b, :, 0]), rows[b])
        assert same_bits(mj.einsum("j,j", x[b, 0], y[b, :, 0]), whole[b, 0, 0])


def test_the_result_is_new_memory_and_types_promote() -> None:
    a = mj.ones((2, 3))
    for subscripts in ("ij->ij", "ij", "...", "ij->ji"):
        found = mj.einsum(subscripts, a)
        found += 1
        assert float(mj.sum(a)) == 6
    assert mj.einsum("ij,j", a, mj.ones(3, dtype=mj.float64)).dtype == mj.float64
    assert mj.einsum("ij,j", np.ones((2, 3), np.float32), a[0]).shape == (2,)
    small = mj.full((3,), 100, dtype=mj.int8)
    assert int(mj.einsum("i->", small)) == 44  # wraps around, as a product of matrices does


A = mj.ones((2, 3))
I8 = mj.ones((2, 3), dtype=mj.int8)
REFUSED: list[tuple[type[MajelError], str, tuple[Any, ...]]] = [
    (ShapeError, "einsum: 'ij,jk' has 2 operands; 1 given", ("ij,jk", A)),
    (ShapeError, "einsum: 'ij->ik' has 'k' in the result alone", ("ij->ik", A)),
    (ShapeError, "einsum: 'ij->ii' has 'i' twice in the result", ("ij->ii", A)),
    (ShapeError, "einsum: 'i', 'i' has 1 labels for shape (2, 3); needs one an axis", ("i", A)),
    (
        ShapeError,
        "einsum: 'i,ijk...', 'ijk...' has 3 labels for shape (2, 3)",
        ("i,ijk...", A[:, 0], A),
    ),
    (ShapeError, "einsum: 'i-j' has '-'; needs letters and '...'", ("i-j", A)),
    (ShapeError, "einsum: 'i..j' has '.'; needs letters and '...'", ("i..j", A)),
    (ShapeError, "einsum: '...ij...' has '.'; needs letters", ("...ij...", A)),
    (ShapeError, "einsum: 'ij->j->i' has '-'", ("ij->j->i", A)),
    (ShapeError, "einsum: 'i1' has '1'", ("i1", A)),
    (ShapeError, "einsum: no operands; needs one or more", ("ij",)),
    (ShapeError, "einsum: 'ij,kj', 'j' has sizes 3 and 2", ("ij,kj", A, A.T)),
    (ShapeError, "einsum: 'ii', 'i' has sizes 2 and 3", ("ii", A)),
    (
        ShapeError,
        "einsum: '...i,...i', an axis of '...' has sizes 2 and 4",
        ("...i,...i", A, mj.ones((4, 3))),
    ),
    (ShapeError, "einsum: '...->' broadcasts 2 axes; needs '...' behind '->'", ("...->", A)),
    (
        ShapeError,
        "einsum: '...', '...' stands for 11 axes; needs at most 10",
        ("...", mj.ones((1,) * 11)),
    ),
    (DTypeError, "einsum: int found; needs subscripts, a text", (3, A)),
    (
        DTypeError,
        "einsum: float32 and int8 have no common type",
        ("ij,ij", A, I8),
    ),
    (DTypeError, "einsum: bool found; needs one of", ("ij", mj.ones((2, 3), dtype=mj.bool))),
    (DTypeError, "einsum: float found; needs an array", ("ij,", A, 2.0)),
]


@pytest.mark.parametrize(("kind", "message", "arguments"), REFUSED, ids=[m for _, m, _ in REFUSED])
def test_refusals(kind: type[MajelError], message: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(kind, match="^" + re.escape(message)) as caught:
        mj.einsum(*arguments)
    assert "\n" not in str(caught.value)


def test_one_place(gpu: Place) -> None:
    with pytest.raises(CopyError, match=r"^einsum: an array lies on cpu and another on gpu:0"):
        mj.einsum("ij,ij", A, A.to_device(gpu))
