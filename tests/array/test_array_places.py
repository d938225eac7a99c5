"""Arrays on every place: equal bits, one place for each operation, exchange without copying.

Policy. Same? Each function is called with the same touchy data on the CPU and on a GPU place (the
emulation; a machine with a GPU runs them there too), and results have the same bytes.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import needs
import numpy as np
import pytest
from gpu_place import GPU, Foreign, Moved, emulated_gpu
from makers import same_bits, touchy_data, touchy_double, words

import majelpy as mj
from majelpy.array import Array
from majelpy.errors import CopyError, MajelError, RangeError
from majelpy.memory import CPU, Place

SPECIAL = [0.0, -0.0, math.nan, -math.nan, math.inf, -math.inf, 1e-310, -1e-42, 1e-42, 1.0, -1.0]
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
SHAPES = [(), (0,), (3, 0), (13,), (4, 1, 5), (300,)]


def data(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Return touchy numbers; integers of every size, the least and the largest among them."""
    raw = words((*shape, 2), seed)
    if dtype == "bool":
        return raw[..., 0] % 2 == 0
    if dtype in INTEGERS:
        ends = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max, 0, 1, 2, 7], dtype)
        wide = (raw[..., 0].astype(np.uint64) * np.uint64(0x1_0000_0001)).astype(dtype)
        return np.where(raw[..., 1] % 2 == 0, ends[raw[..., 0] % 6], wide).astype(dtype)
    plain = touchy_data(shape, seed) if dtype == "float32" else touchy_double(shape, seed)
    with np.errstate(over="ignore", under="ignore"):
        special = np.array(SPECIAL).astype(dtype)
    return np.where(raw[..., 1] % 3 == 0, special[raw[..., 0] % len(special)], plain)


def parts(result: Any) -> list[Array]:
    """Return the arrays of a result."""
    return [result] if isinstance(result, Array) else [a for part in result for a in parts(part)]


def content(array: Array, one_nan: bool) -> tuple[str, bytes]:
    """Return type and bytes; all NaN as one where their bits are the processor's choice."""
    host = array.to_device(CPU).numpy()
    if one_nan and host.dtype.kind == "f":
        host = np.where(np.isnan(host), np.array(np.nan, host.dtype), host)
    return str(array.dtype), host.tobytes()


def same(call: Callable[..., Any], *hosts: np.ndarray, one_nan: bool = False) -> None:
    """Let ``call`` have equal bits, or equal errors, on the CPU and on the GPU."""
    results: list[Any] = []
    for place in (CPU, GPU):
        given = [mj.asarray(host.copy(), device=place) for host in hosts]
        try:
            found = parts(call(*given))
        except MajelError as error:
            results.append(type(error))
            continue
        assert all(array.place == place for array in found)
        results.append([content(array, one_nan) for array in found])
    assert results[0] == results[1]


FLOATS = ("float32", "float64")
NUMERIC = (*INTEGERS, *FLOATS)
BITS = ("abs", "negative", "positive", "sign", "sort", "unique_all", "unique_values", "copysign")
"""Functions that keep the bits of a NaN."""

UNARY = {
    **dict.fromkeys(("abs", "negative", "positive", "sign", "square"), NUMERIC),
    **dict.fromkeys(("ceil", "floor", "round", "trunc"), NUMERIC),
    **dict.fromkeys(("isfinite", "isinf", "isnan"), NUMERIC),
    **dict.fromkeys(("sort", "argsort", "unique_all", "unique_values", "nonzero"), NUMERIC),
    **dict.fromkeys(("sum", "prod", "max", "min", "argmax", "argmin"), NUMERIC),
    **dict.fromkeys(("all", "any", "count_nonzero", "diff"), NUMERIC),
    **dict.fromkeys(("cumulative_sum", "cumulative_prod"), NUMERIC),
    **dict.fromkeys(("reciprocal", "sqrt", "signbit", "mean", "var", "std"), FLOATS),
    **dict.fromkeys(
        (
            *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "expm1"),
            *("log", "log1p", "log2", "log10", "sin", "sinh", "tan", "tanh"),
        ),
        FLOATS,
    ),
    "bitwise_invert": ("bool", *INTEGERS),
    "logical_not": ("bool",),
}
BINARY = {
    **dict.fromkeys(("add", "subtract", "multiply", "floor_divide", "remainder"), NUMERIC),
    **dict.fromkeys(("maximum", "minimum", "pow", "clip", "isin"), NUMERIC),
    **dict.fromkeys(("less", "less_equal", "greater", "greater_equal"), NUMERIC),
    **dict.fromkeys(("equal", "not_equal"), ("bool", *NUMERIC)),
    **dict.fromkeys(("divide", "copysign", "nextafter", "atan2", "hypot", "logaddexp"), FLOATS),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), ("bool", *INTEGERS)),
    **dict.fromkeys(("bitwise_left_shift", "bitwise_right_shift"), INTEGERS),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), ("bool",)),
}


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_array(name: str, gpu: Place) -> None:
    for dtype in UNARY[name]:
        for seed, shape in enumerate(SHAPES):
            same(getattr(mj, name), data(dtype, shape, seed), one_nan=name not in BITS)


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_arrays(name: str, gpu: Place) -> None:
    shapes = [((), (7,)), ((3, 1), (1, 4)), ((0, 3), (3,)), ((90,), (90,)), ((5,), ())]
    for dtype in BINARY[name]:
        for seed, (a, b) in enumerate(shapes):
            y = data(dtype, b, 50 + seed)
            if name == "pow" and dtype in INTEGERS:
                y = y % 9 if dtype[0] == "u" else np.where(seed % 2, y, y & 7).astype(dtype)
            if name in ("floor_divide", "remainder") and dtype in INTEGERS:
                y = np.where(y == 0, 3, y)
            x = data(dtype, a, seed)
            same(getattr(mj, name), x, y.astype(dtype), one_nan=name not in BITS)


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "all", "any", "count_nonzero"])
def test_reductions_along_axes(name: str, gpu: Place) -> None:
    for dtype in ("int8", "uint64", *FLOATS):
        for axis in (0, 1, (0, 2), (1, 2), (), None):
            for keepdims in (False, True):
                x = data(dtype, (2, 3, 300), 1)

                def call(x: Array, axis: Any = axis, keepdims: bool = keepdims) -> Array:
                    return getattr(mj, name)(x, axis=axis, keepdims=keepdims)

                same(call, x, one_nan=True)
        same(lambda x: getattr(mj, name)(x, axis=1), data(dtype, (0, 3), 2))


@pytest.mark.parametrize("dtype", ["bool", *NUMERIC])
def test_searching_and_sorting(dtype: str, gpu: Place) -> None:
    x, y = data(dtype, (5, 7), 1), data(dtype, (40,), 2)
    for axis in (0, 1):
        for down in (False, True):
            same(lambda x, a=axis, d=down: mj.sort(x, axis=a, descending=d), x)
            same(lambda x, a=axis, d=down: mj.argsort(x, axis=a, descending=d), x)
    same(lambda x, y: (mj.isin(x, y), mj.isin(x, y, invert=True)), x, y)
    same(lambda x, y: mj.where(x == x[0, 0], x, y[0]), x, y)
    same(lambda x: (*mj.unique_counts(x), *mj.unique_inverse(x)), x)
    if dtype != "bool":
        for axis in (0, 1, None):
            same(lambda x, a=axis: (mj.argmax(x, axis=a), mj.argmin(x, axis=a, keepdims=True)), x)
        same(lambda x: (mj.argmax(x, axis=1), mj.argmin(x, axis=1)), data(dtype, (0, 3), 1))
        for side in ("left", "right"):
            same(lambda x, y, s=side: mj.searchsorted(mj.sort(y), x, side=s), x, y)
            same(lambda x, y, s=side: mj.searchsorted(y, x, side=s, sorter=mj.argsort(y)), x, y)


def test_products(gpu: Place) -> None:
    def call(x: Array, y: Array) -> Any:
        yield from (x @ y, x[0] @ y, x @ y[:, 0], mj.tensordot(x, y, axes=1))
        yield from (mj.vecdot(x, y[:, 1]), x @ mj.matrix_transpose(x))
        yield from (x[:, :, :0] @ y[:0, :], x[:0] @ y)

    for dtype in NUMERIC:
        same(call, data(dtype, (4, 5, 3), 1), data(dtype, (3, 6), 2), one_nan=True)


KEYS: list[Callable[..., Any]] = [
    lambda i, j, m: 1,
    lambda i, j, m: (-1, ..., 2),
    lambda i, j, m: (slice(None, None, -1), None, 0),
    lambda i, j, m: i,
    lambda i, j, m: (i, j),
    lambda i, j, m: (slice(1, 3), i),
    lambda i, j, m: (i, slice(None), j),
    lambda i, j, m: (0, i, j),
    lambda i, j, m: m,
    lambda i, j, m: m[:, :, 0],
    lambda i, j, m: m[:, 0, 0],
    lambda i, j, m: (0, m[0, :, 0]),
    lambda i, j, m: (..., m[0, 0, :]),
    lambda i, j, m: (m[:, 0, 0], 1, i[0]),
]


@pytest.mark.parametrize("number", range(len(KEYS)))
def test_reading_and_writing_elements(number: int, gpu: Place) -> None:
    i, j, m = np.array([2, 0, 2, -1]), np.array([1, 1, 1, 0]), data("bool", (3, 3, 5), 4)

    def write(value: Callable[[Array, Array], Any]) -> Callable[..., Any]:
        def call(x: Array, y: Array, i: Array, j: Array, m: Array) -> Array:
            x[KEYS[number](i, j, m)] = value(x, y)
            return x

        return call

    for dtype in ("bool", "uint8", "int64", *FLOATS):
        x, y = data(dtype, (3, 3, 5), 1), data(dtype, (5,), 2)
        same(lambda x, i, j, m: x[KEYS[number](i, j, m)], x, i, j, m)
        same(write(lambda x, y: True if x.dtype == mj.bool else 3), x, y, i, j, m)
        same(write(lambda x, y: y[0]), x, y, i, j, m)
        same(write(lambda x, y: y), x, y, i, j, m)
        whole = data(dtype, x[KEYS[number](i, j, m)].shape, 3)
        same(write(lambda x, y: y), x, whole, i, j, m)
    for bad in (3, -4):
        same(lambda x, i: x[i], m, np.array([0, bad]))
        same(lambda x, i: (x[0, i], x[i, 0]), m, np.array([bad, 0]))
        same(lambda x, i: mj.take(x, i, axis=1), m, np.array([0, bad]))
        same(lambda x, i: mj.take_along_axis(x, i, axis=1), m, np.full((3, 1, 5), bad))
        same(lambda x, i: x.__setitem__(i, x[:2]), m, np.array([0, bad]))
    same(lambda x, m: x[m[:2]], m, m)
    same(lambda x, i: x[i, i, i, i], m, i)


def test_shapes_and_places_of_elements(gpu: Place) -> None:
    def call(x: Array, y: Array) -> Any:
        yield from (mj.concat([x, y]), mj.concat([x, y], axis=None), mj.stack([x, y], axis=1))
        yield from (mj.unstack(x), mj.flip(x), mj.flip(x, axis=1), mj.roll(x, 3))
        yield from (mj.roll(x, (1, -2), axis=(0, 1)), mj.repeat(x, 2), mj.repeat(x, 3, axis=1))
        yield from (mj.tile(x, (2, 1, 3)), mj.permute_dims(x, (1, 0)), x.T, x.mT)
        yield from (mj.moveaxis(x, 0, 1), mj.broadcast_to(x, (2, 3, 4)), mj.tril(x, k=1))
        yield from (mj.triu(x), mj.reshape(x, (2, -1)), mj.expand_dims(x, axis=(0, 2)), x.copy())
        yield from (mj.squeeze(x[:1], axis=0), mj.broadcast_arrays(x, y[0]), mj.unstack(x, axis=1))
        yield from (mj.meshgrid(x[0], y[:, 1]), mj.meshgrid(x[0], y[1], x[:, 0], indexing="ij"))
        yield mj.meshgrid(x[0], y[:, 1], x[1])

    for dtype in ("bool", *NUMERIC):
        same(call, data(dtype, (3, 4), 1), data(dtype, (3, 4), 2))
    times = np.array([2, 0, 1, 3])
    same(
        lambda x, n: (mj.repeat(x, n, axis=1), mj.repeat(x, n[0])),
        data("float32", (3, 4), 1),
        times,
    )
    same(lambda x, n: mj.repeat(x[0], n), data("float64", (3, 4), 1), times)


TYPES = ("bool", *NUMERIC, "float16", "bfloat16")


@pytest.mark.parametrize("target", TYPES)
def test_conversions(target: str, gpu: Place) -> None:
    kind = getattr(mj, target)
    for source in ("bool", *NUMERIC):
        same(lambda x: mj.astype(x, kind), data(source, (77,), 1))
        same(lambda x: mj.astype(mj.astype(x, kind), mj.float64), data(source, (3, 4), 1))
    there = mj.astype(mj.asarray(data("float64", (3, 4), 1)), kind, device=gpu)
    assert there.place == gpu and there.dtype == kind


def test_creation(gpu: Place) -> None:
    for dtype in TYPES:
        kind, results = getattr(mj, dtype), []
        for place in (CPU, gpu):
            options: Any = {"dtype": kind, "device": place}
            value = True if dtype == "bool" else 3
            made = [mj.zeros((2, 3), **options), mj.ones((2, 3), **options)]
            made += [mj.eye(3, **options), mj.eye(3, 5, k=2, **options), mj.eye(4, k=-2, **options)]
            made += [
                mj.eye(2, 0, **options),
                mj.eye(2, k=5, **options),
                mj.eye(3, 2, k=-1, **options),
            ]
            made += [mj.asarray([[1, 0], [0, 1]], **options), mj.full((2, 1), value, **options)]
            if dtype != "bool":
                made += [mj.arange(7, **options), mj.arange(2.5, 9, 0.75, **options)]
                made += [
                    mj.linspace(0, 1, 9, **options),
                    mj.linspace(3, 1, 4, endpoint=False, **options),
                ]
            made += [mj.zeros_like(made[0]), mj.ones_like(made[0]), mj.full_like(made[0], value)]
            assert all(array.place == place and array.dtype == kind for array in made)
            assert mj.empty_like(made[0]).place == place
            assert mj.zeros_like(made[0], device=CPU).place == CPU
            results.append([array.to_device(CPU).numpy().tobytes() for array in made])
        assert results[0] == results[1]
    assert mj.arange(2**63 - 3, 2**63 - 1, device=gpu).to_device(CPU).numpy().tolist() == [
        2**63 - 3,
        2**63 - 2,
    ]


def mixtures() -> dict[str, Callable[[Array, Array], Any]]:
    """Return calls with arrays on two places, by operation."""
    return {
        "add": lambda a, b: a + b,
        "less": lambda a, b: a < b,
        "equal": lambda a, b: mj.equal(a, b.to_device(CPU).numpy()) if a.place == GPU else a == b,
        "concat": lambda a, b: mj.concat([a, b]),
        "stack": lambda a, b: mj.stack([a, b]),
        "where": lambda a, b: mj.where(b > 0, a, a),
        "matmul": lambda a, b: a @ b,
        "vecdot": lambda a, b: mj.vecdot(a, b),
        "take": lambda a, b: mj.take(a, mj.zeros(1, dtype=mj.int64, device=b.place), axis=0),
        "take_along_axis": lambda a, b: mj.take_along_axis(a, mj.argsort(b)),
        "index": lambda a, b: a[mj.argsort(b)],
        "setitem": lambda a, b: a.__setitem__(0, b[0]),
        "searchsorted": lambda a, b: mj.searchsorted(a[0], b),
        "isin": lambda a, b: mj.isin(a, b),
        "repeat": lambda a, b: mj.repeat(a, mj.ones(2, dtype=mj.int8, device=b.place), axis=0),
        "meshgrid": lambda a, b: mj.meshgrid(a[0], b[0]),
        "diff": lambda a, b: mj.diff(a, append=b),
        "maximum": lambda a, b: mj.clip(a, b),
    }


ON_TWO_PLACES = (
    r"^\w+: \w.* lies on (cpu|gpu:0) and \w+ on (cpu|gpu:0); needs one place "
    r"\(to_device moves an array\)$"
)


@pytest.mark.parametrize("name", mixtures())
def test_an_operation_has_one_place(name: str, gpu: Place) -> None:
    here, there = mj.ones((2, 2)), mj.ones((2, 2), device=gpu)
    for pair in ((here, there), (there, here)):
        with pytest.raises(CopyError, match=ON_TWO_PLACES):
            mixtures()[name](*pair)


def test_numbers_and_single_elements_go_everywhere(gpu: Place) -> None:
    x = mj.zeros((2, 3), device=gpu)
    x[0, 1], x[mj.asarray(1)] = 2.5, -1
    x += 1
    assert x.to_device(CPU).numpy().tolist() == [[1, 3.5, 1], [0, 0, 0]]
    assert float(x[0, 1]) == 3.5 and int(x[0, 1]) == 3 and bool(x[0, 0]) and len(x) == 2
    assert [10, 20][mj.ones((), dtype=mj.int8, device=gpu)] == 20
    assert [float(mj.sum(row)) for row in x] == [5.5, 0.0]


def test_an_integer_has_no_negative_power(each_place: Place) -> None:
    x = mj.ones(3, dtype=mj.int32, device=each_place)
    with pytest.raises(RangeError, match="pow: an integer has an exponent below 0"):
        x**-1
    assert (x[:0] ** -1).shape == (0,)


@pytest.mark.parametrize("name", ["floor_divide", "remainder"])
def test_an_integer_is_not_divided_by_0(name: str, each_place: Place) -> None:
    x = mj.asarray([7, 0, -7], device=each_place)
    message = f"^{name}: an integer is divided by 0; needs another divisor, or floats$"
    for left, right in ((x, 0), (x, mj.asarray([1, 0, 2], device=each_place)), (7, x)):
        with pytest.raises(RangeError, match=message):
            getattr(mj, name)(left, right)
    with pytest.raises(RangeError, match=message):
        x //= 0 if name == "floor_divide" else x % 0
    assert x.to_device(CPU).numpy().tolist() == [7, 0, -7]
    assert getattr(mj, name)(x[:0], 0).shape == (0,)
    assert (x // 2).to_device(CPU).numpy().tolist() == [3, 0, -4]


# --- exchange ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bool", *NUMERIC, "float16"])
def test_a_producer_on_the_gpu_is_not_copied(dtype: str, gpu: Place) -> None:
    kind = getattr(mj, dtype)
    first = mj.astype(mj.asarray(np.arange(12).reshape(3, 4)), kind, device=gpu)
    for second in (mj.from_dlpack(first), mj.asarray(CudaOnly(first))):
        assert second.place == gpu and second.pointer == first.pointer
        assert second.dtype == kind and second.shape == (3, 4)
    assert mj.from_dlpack(first, copy=True).pointer != first.pointer
    down = mj.from_dlpack(first, device="cpu")
    assert down.place == CPU and same_bits(down, first.to_device(CPU))
    with pytest.raises(CopyError, match="from_dlpack: memory on gpu:0; cpu needs a copy"):
        mj.from_dlpack(first, device="cpu", copy=False)
    with pytest.raises(CopyError, match="copy=False forbids it"):
        mj.asarray(first, device="cpu", copy=False)


class CudaOnly:
    """A producer of `__cuda_array_interface__` and nothing else."""

    def __init__(self, array: Array):
        self.__cuda_array_interface__ = array.__cuda_array_interface__
        self.owner = array


def test_strided_memory_of_the_gpu_is_copied() -> None:
    with emulated_gpu():
        host = touchy_data((4, 6), 1)
        turned = Foreign(host.T)
        found = mj.from_dlpack(turned)
        assert found.place == GPU and same_bits(found.to_device(CPU), np.ascontiguousarray(host.T))
        with pytest.raises(CopyError, match="not contiguous"):
            mj.from_dlpack(turned, copy=False)


def test_pytorch_and_arrays_of_every_place(each_place: Place) -> None:
    torch = needs.module("torch")
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    for take in (mj.asarray, mj.from_dlpack):
        here, there = take(tensor), take(tensor, device=each_place)
        assert here.pointer == tensor.data_ptr() and there.place == each_place
        assert same_bits(there.to_device(CPU), tensor.numpy())
    with pytest.raises(MajelError, match="from_dlpack: Tensor"):
        mj.asarray(tensor.requires_grad_())


@pytest.mark.gpu
def test_cupy_and_pytorch_share_memory_of_a_gpu() -> None:
    cupy = needs.module("cupy")
    if GPU not in mj.__array_namespace_info__().devices():
        needs.lacking("gpu", "this machine has none")
    theirs = cupy.arange(6, dtype=cupy.float32).reshape(2, 3)
    for take in (mj.asarray, mj.from_dlpack):
        ours = take(theirs)
        assert ours.place == GPU and ours.pointer == theirs.data.ptr
    ours += 1
    assert cupy.asnumpy(theirs).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert cupy.asarray(ours).data.ptr == cupy.from_dlpack(ours).data.ptr == ours.pointer
    torch = needs.module("torch")
    if not torch.cuda.is_available():
        needs.lacking("gpu", "this PyTorch has no CUDA")
    tensor = torch.from_dlpack(ours)
    assert tensor.data_ptr() == ours.pointer and tensor.is_cuda
    back = mj.asarray(tensor * 2)
    assert back.place == GPU and back.to_device(CPU).numpy().tolist() == [[2, 4, 6], [8, 10, 12]]
    assert torch.as_tensor(ours, device="cuda").data_ptr() == ours.pointer


def test_the_namespace_tells_of_places(gpu: Place) -> None:
    info = mj.__array_namespace_info__()
    assert info.devices() == (CPU, gpu) and info.default_device() == CPU
    assert info.dtypes(device=gpu) == info.dtypes()
    x = mj.empty(2, device="gpu:0")
    assert x.device == gpu and x.__array_namespace__() is mj


# --- CuPy --------------------------------------------------------------------------------------


def uses() -> Iterator[tuple[str, int, set[str]]]:
    """Yield what majelpy calls of a mover: name, number of arguments, names of further ones."""
    folder = Path(mj.__file__).parent
    for path in (
        *sorted((folder / "array").glob("*.py")),
        *sorted((folder / "standard").glob("*.py")),
        folder / "ops" / "conv.py",
    ):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                found = re.fullmatch(r"(?:on|launch\.mover\([^()]*\))\.([\w.]+)", called)
                if found and not found[1].startswith("mj_"):
                    yield found[1], len(node.args), {str(k.arg) for k in node.keywords}


NAMED = (
    *("negative", "abs", "sign", "add", "subtract", "multiply", "floor_divide", "remainder"),
    *("power", "maximum", "minimum", "equal", "not_equal", "less", "less_equal", "greater"),
    *("greater_equal", "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or"),
    *("bitwise_xor", "left_shift", "right_shift", "sum", "prod", "max", "min", "all", "any"),
    *("cumsum", "cumprod", "argmax", "argmin"),
)
"""Functions that are called by a name in a variable."""


def test_cupy_has_what_is_used_of_it() -> None:
    cupy = needs.module("cupy")
    found = list(uses())
    assert {"copyto", "argsort", "nonzero", "broadcast_to"} <= {name for name, *_ in found}
    for name, count, options in found:
        function = cupy
        for part in name.split("."):
            function = getattr(function, part)
        if isinstance(function, cupy.ufunc) or inspect.isbuiltin(function):
            continue
        signature = inspect.signature(function)
        signature.bind(*range(count), **dict.fromkeys(options))
    assert all(callable(getattr(cupy, name)) for name in NAMED)
    missing = [m for m in Moved.__dict__ if m.startswith("__") and not hasattr(cupy.ndarray, m)]
    assert set(missing) <= {"__weakref__", "__getattr__", "__dict__", "__index__"}
