"""Write docs/array.md: each name of the Python Array API standard, supported or not, tested or not.

Usage: python tools/make_array_table.py [--check]

Policy. The names are listed here once, from the text of version 2025.12. "Supported" is what
`majelpy` has. "Tested" is measured: the array tests are run, and a name counts for a file in which
it was called while a test ran that passed, and for the GPU place if that test ran on the emulated
one. With --check nothing is written, and the exit code is 1
if the file is stale.
"""

from __future__ import annotations

import functools
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MemberDescriptorType
from typing import Any

import pytest

import majelpy as mj

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "array.md"

STANDARD = {
    "constants": "e inf nan newaxis pi",
    "types": """
        bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64 complex64
        complex128""",
    "creation": """
        arange asarray empty empty_like eye from_dlpack full full_like linspace meshgrid ones
        ones_like tril triu zeros zeros_like""",
    "types of data": "astype can_cast finfo iinfo isdtype result_type",
    "elementwise": """
        abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_left_shift
        bitwise_invert bitwise_or bitwise_right_shift bitwise_xor ceil clip conj copysign cos cosh
        divide equal exp expm1 floor floor_divide greater greater_equal hypot imag isfinite isinf
        isnan less less_equal log log1p log2 log10 logaddexp logical_and logical_not logical_or
        logical_xor maximum minimum multiply negative nextafter not_equal positive pow real
        reciprocal remainder round sign signbit sin sinh square sqrt subtract tan tanh trunc""",
    "indexing": "take take_along_axis",
    "linear algebra": "matmul matrix_transpose tensordot vecdot",
    "manipulation": """
        broadcast_arrays broadcast_shapes broadcast_to concat expand_dims flip moveaxis
        permute_dims repeat reshape roll squeeze stack tile unstack""",
    "searching": "argmax argmin count_nonzero nonzero searchsorted where",
    "sets": "isin unique_all unique_counts unique_inverse unique_values",
    "sorting": "argsort sort",
    "statistics": "cumulative_prod cumulative_sum max mean min prod std sum var",
    "utilities": "all any diff",
    "inspection": "__array_namespace_info__ __array_api_version__",
    "extensions": "fft linalg",
    "Array": """
        T device dtype mT ndim shape size to_device __array_namespace__ __bool__ __complex__
        __dlpack__ __dlpack_device__ __float__ __getitem__ __index__ __int__ __setitem__ __abs__
        __invert__ __neg__ __pos__ __eq__ __ge__ __gt__ __le__ __lt__ __ne__ __add__ __and__
        __floordiv__ __lshift__ __matmul__ __mod__ __mul__ __or__ __pow__ __rshift__ __sub__
        __truediv__ __xor__ __radd__ __rand__ __rfloordiv__ __rlshift__ __rmatmul__ __rmod__
        __rmul__ __ror__ __rpow__ __rrshift__ __rsub__ __rtruediv__ __rxor__ __iadd__ __iand__
        __ifloordiv__ __ilshift__ __imatmul__ __imod__ __imul__ __ior__ __ipow__ __irshift__
        __isub__ __itruediv__ __ixor__""",
}

LEFT_OUT = {
    **dict.fromkeys(("complex64", "complex128", "imag"), "complex numbers"),
    "fft": "an extension; spectrograms have `majelpy.ops.spectrogram`",
    "linalg": "an extension; decompositions have no canonical body",
}

NOTES = """\
`import majelpy as mj` gives the names of version 2025.12. Further than the standard: `float16` and
`bfloat16` are types for storage (they convert with `astype`, move, and are refused by every
calculation; in DLPack they are kDLBfloat, so PyTorch's come and go); `setitem` takes arrays of
integers; operands of functions and operators may be NumPy arrays, which then are typed as in any
function (a NumPy float64 beside float32 gives float64); `einsum`; `random`, below; `Array.numpy()`,
`Array.copy()`, `Array.item()`, `Array.reshape()` of sizes or of a sequence, formats
(`f"{x[0]:.2f}"`), `__array_interface__`. Arrays can be copied (`copy`) where they lie, and pickled:
by their bytes, and what is unpickled lies on the CPU. No file of majelpy is a pickle.

Choices that the standard leaves open: the default floating type is float32; arrays are always
contiguous, so `permute_dims`, `broadcast_to`, `flip` and the like copy, and an index gives a view
only where it selects contiguous memory; sorting is always stable, NaN last; floats become integers
by cutting towards 0, held at the ends of the range, NaN becomes 0; sums of float32 are float32
(docs/determinism.md has their order); elementary functions are right to 0.6 ulp in float64, and
their float32 results are the float64 ones rounded (kernels/standard_exp.h, standard_trig.h);
`conj` and `real` copy, as all elements are real; slices beyond the end are cut, as in Python.
`floor_divide` is the floor of the quotient for infinite operands too, as the standard prefers and
NumPy does not. What an integer has no value for is refused: `//` and `%` by 0, and powers below 0
(RangeError); sums, products and conversions of integers wrap around.

What the standard asks and majelpy refuses, since it has no complex type: a Python complex number
as an operand, in `asarray`, `full` or `setitem`, and the entry `complex floating` of
`default_dtypes()`.

Arrays lie on the CPU or on a GPU (`device="gpu:0"`, `to_device`), and every function has the same
bits there (a NaN's own bits aside); an operation has one place, and mixed ones are refused. CuPy
moves elements and does integers; floats, which it sees as unsigned integers, are calculated and
compared by majelpy's kernels. "On a GPU place" below means the tests' emulation of blocks and
threads, with a stand-in for CuPy (tests/helpers/gpu_place.py); names without it have no elements.

## Random numbers

`mj.random` has no state: numbers are a function of a key and of their place in the array, the same
bits on any place, processor and number of threads (docs/determinism.md has the rules).

```python
key = mj.random.key(7)  # of a seed
data, dropped = mj.random.split(key)  # new keys of a key; use one for one purpose
x = mj.random.normal(data, (3, 4))  # also uniform, integers, bernoulli, permutation
epoch = mj.random.fold_in(dropped, 12)  # child number 12
```

`uniform(key, shape, low=, high=)` is never `high`; `integers(key, shape, low=, high=)` are below
`high` and equally likely to 2^-64; `bernoulli(key, p, shape)`; `permutation(key, n)`, or of the
parts of an array along an axis. The same key gives the same numbers: take a new one for new ones.
"""


def names() -> Iterator[tuple[str, str, bool]]:
    """Yield section, name and whether majelpy has it."""
    for section, text in STANDARD.items():
        for name in text.split():
            there = hasattr(mj.Array if section == "Array" else mj, name)
            assert there != (name in LEFT_OUT), f"{name}: supported is {there}"
            yield section, name, there


class Recorder:
    """A pytest plugin that notes which names are used while a test runs."""

    def __init__(self) -> None:
        self.files: defaultdict[str, set[str]] = defaultdict(set)
        self.on_gpu: set[str] = set()
        self._used: set[str] = set()

    def watch(self) -> None:
        """Put a note before every name of the namespace and of the class."""
        find = mj.__getattr__

        def note(name: str) -> Any:
            self._used.add(name)
            found = find(name)
            vars(mj).pop(name)  # so that the next use is noted too
            return found

        mj.__getattr__ = note  # type: ignore[assignment]
        for name in mj.__all__:
            if name not in STANDARD["constants"] and name != "__array_api_version__":
                vars(mj).pop(name, None)
        for section, name, there in names():
            if section == "Array" and there:
                setattr(mj.Array, name, self._noted(name, getattr(mj.Array, name)))

    def _noted(self, name: str, member: Any) -> Any:
        key = f"Array.{name}"
        if isinstance(member, property):
            return property(self._call(key, member.fget))
        if isinstance(member, MemberDescriptorType):
            return property(self._call(key, member.__get__), member.__set__)
        return self._call(key, member)

    def _call(self, key: str, function: Any) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            self._used.add(key)
            return function(*arguments, **options)

        return call

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._used.clear()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            for name in self._used:
                self.files[name].add(Path(report.location[0]).stem.removeprefix("test_array_"))
            if "emulated" in report.nodeid:
                self.on_gpu |= self._used


def table() -> str:
    """Return the text of docs/array.md."""
    recorder = Recorder()
    recorder.watch()
    tests = [str(path) for path in sorted((ROOT / "tests" / "array").glob("test_array_*.py"))]
    if pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[recorder]) != 0:
        raise SystemExit("the tests failed; no table")
    constants = {*STANDARD["constants"].split(), "__array_api_version__"}
    rows, supported = [], 0
    for section, name, there in names():
        key = f"Array.{name}" if section == "Array" else name
        found = recorder.files[key]
        tested = ", ".join(sorted(found)) or "no"
        if name in constants:
            tested = "exchange"  # plain values, held against math by test_the_namespace
        answer = "yes" if there else f"no: {LEFT_OUT[name]}"
        gpu = "yes" if key in recorder.on_gpu else ""
        rows.append(f"| {section} | `{name}` | {answer} | {tested if there else ''} | {gpu} |")
        supported += there
    return "\n".join(
        [
            "# Arrays: the Python Array API standard",
            "",
            "Made by `python tools/make_array_table.py`; do not edit.",
            "",
            NOTES,
            f"{supported} of {len(rows)} names are supported.",
            "",
            "| section | name | supported | called in the passing tests of test_array_*.py "
            "| on a GPU place too |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    text = table()
    if "--check" in sys.argv:
        sys.exit(TABLE.read_text("utf-8") != text)
    TABLE.write_text(text, "utf-8")
