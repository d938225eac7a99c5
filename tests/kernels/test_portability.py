"""The same bits from every compiler and processor: each builds CMakeLists.txt, digests agree.

``portability/digests.cpp`` calls every kernel of a built library on data made of integers.
The libraries in use are what all others are held to. Arm runs in qemu, which rounds as the hardware
does. What is not installed is skipped by name.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import needs
import pytest
from paths import ROOT

from majelpy import native

pytestmark = pytest.mark.timeout(3600)  # a busy machine builds for long

PROGRAM = Path(__file__).parent / "portability" / "digests.cpp"
ON_X86 = platform.machine() in ("x86_64", "AMD64")
ARM = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
QEMU = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]
STRICT = "-Werror -Wno-error=deprecated-declarations"
"""Headers of an older libstdc++ use what a newer clang calls deprecated."""
WRAP = "-Wl,--wrap=_ZN2mj9workspaceENS_9WorkspaceEm"
"""Workspaces of the program's own, of exactly the size asked for (see digests.cpp)."""

HOLLOW = re.compile(
    r"gemm/4/6/0$|log_softmax/1/|(rectify|rectify_zeros|rectify_backward|rectify_backward_zeros|log|log_any)/1$|fma_ties/1/63$"
)
"""Digests whose right outputs are all 0 or infinite, most of them of a single number."""


def run(*command: str | Path) -> str:
    """Return the standard output."""
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
    return done.stdout


def build(
    folder: Path, compiler: str, isas: list[str], options: list[str] | None = None, flags: str = ""
) -> dict[str, Path]:
    """Build the libraries of these instruction sets as an installation does; no warnings."""
    cmake = needs.program("cmake", "cmake", "pip install '.[dev]'")
    run(
        cmake,
        *("-S", ROOT, "-B", folder, "-DCMAKE_BUILD_TYPE=Release"),
        *(f"-DCMAKE_CXX_COMPILER={compiler}", f"-DCMAKE_CXX_FLAGS={flags} {STRICT}"),
        *(options or []),
    )
    run(cmake, "--build", folder, "-j2", "--target", *(f"majel_{isa}" for isa in isas))
    return {isa: folder / f"libmajel_{isa}.so" for isa in isas}


def program(folder: Path, compiler: str, *flags: str) -> Path:
    common = ["-std=gnu++17", "-O1", "-Wall", "-Wextra", "-Werror", "-rdynamic", "-pthread"]
    run(compiler, *common, *flags, PROGRAM, "-o", folder / "digests", "-ldl")
    return folder / "digests"


def digests(output: str) -> dict[str, str]:
    """Return the digest by name, after a look that 1 and 3 threads agree and no case is hollow."""
    by_threads: dict[str, dict[str, str]] = {"1": {}, "3": {}}
    for line in output.splitlines():
        threads, name, digest, live = line.split()
        by_threads[threads][name] = digest
        assert int(live) > 0 or HOLLOW.match(name), f"{name}: all outputs are 0 or infinite"
    assert by_threads["1"] == by_threads["3"]
    return by_threads["1"]


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the program that prints the digests of a library."""
    if shutil.which("g++") is None:
        pytest.fail("g++ is missing: apt-get install g++")
    return program(tmp_path_factory.mktemp("program"), "g++")


@pytest.fixture(scope="module")
def expected(runner: Path) -> dict[str, dict[str, str]]:
    """Return what the libraries in use compute, by instruction set."""
    found = {}
    for isa in native.available_isas():
        (path,) = native._folder().glob(f"*majel_{isa}.so")
        found[isa] = digests(run(runner, path))
    return found


def one_of(expected: dict[str, dict[str, str]]) -> dict[str, str]:
    return next(iter(expected.values()))


def test_every_kernel_has_a_digest() -> None:
    header = (ROOT / "kernels" / "entry_points.h").read_text()
    called = set(re.findall(r"CALL\((mj_\w+)\)", PROGRAM.read_text()))
    assert called == set(native.parameters_of(header))


def test_instruction_sets_agree(expected: dict[str, dict[str, str]]) -> None:
    for isa, found in expected.items():
        assert found == one_of(expected), isa
    assert len(one_of(expected)) > 150


@pytest.mark.slow
@pytest.mark.extra
@pytest.mark.parametrize("name", ["g++", "clang++"])
def test_compilers_agree(
    name: str, expected: dict[str, dict[str, str]], runner: Path, tmp_path: Path
) -> None:
    compiler = name if name == "g++" else needs.program("clang", name, "apt-get install clang")
    for isa, path in build(tmp_path, compiler, native.available_isas()).items():
        assert digests(run(runner, path)) == one_of(expected), isa


@pytest.fixture(scope="module")
def arm_libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the Arm libraries by compiler, built side by side, and the program."""
    if not ON_X86:
        needs.lacking("arm", "cross-builds are made on x86-64 only")
    cross = needs.program("arm", "aarch64-linux-gnu-g++", "apt-get install g++-aarch64-linux-gnu")
    needs.program("arm", "qemu-aarch64", "apt-get install qemu-user")
    target = "-DCMAKE_CXX_COMPILER_TARGET=aarch64-linux-gnu"
    jobs = {"g++": (cross, ARM)}
    if clang := shutil.which("clang++"):
        jobs["clang++"] = (clang, [*ARM, target])
    folder = tmp_path_factory.mktemp("arm")

    def make(name: str) -> Path:
        compiler, options = jobs[name]
        return build(folder / name, compiler, ["neon"], options)["neon"]

    with ThreadPoolExecutor(2) as pool:
        libraries = dict(zip(jobs, pool.map(make, jobs), strict=True))
    return {**libraries, "program": program(folder, cross)}


@pytest.mark.slow
@pytest.mark.extra
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_arm_agrees(
    compiler: str,
    expected: dict[str, dict[str, str]],
    arm_libraries: dict[str, Path],
) -> None:
    needs.program("clang", compiler, "apt-get install clang")
    arm_program = arm_libraries["program"]
    assert digests(run(*QEMU, arm_program, arm_libraries[compiler])) == one_of(expected)


SANITIZERS = {
    "address,bounds,shift": f"-DCMAKE_MODULE_LINKER_FLAGS={WRAP}",
    "thread": "-DCMAKE_MODULE_LINKER_FLAGS=",
}


@pytest.fixture(scope="module")
def checked_libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return libraries with checks built in, by sanitizer, built side by side.

    They are of the last instruction set: plain C has the fewest variants of the tile, so a build
    takes half as long.
    """
    isa = native.available_isas()[-1]
    folder = tmp_path_factory.mktemp("checked")

    def make(name: str) -> Path:
        return build(folder / name, "g++", [isa], [SANITIZERS[name]], checks(name))[isa]

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(SANITIZERS, pool.map(make, SANITIZERS), strict=True))


def checks(sanitizer: str) -> str:
    return f"-fsanitize={sanitizer} -fno-sanitize-recover=all -g1"


@pytest.mark.slow
@pytest.mark.extra
@pytest.mark.parametrize("sanitizer", list(SANITIZERS))
def test_sanitizers_find_nothing(
    sanitizer: str,
    expected: dict[str, dict[str, str]],
    checked_libraries: dict[str, Path],
    tmp_path: Path,
) -> None:
    checked = program(tmp_path, "g++", *checks(sanitizer).split())
    # ThreadSanitizer before GCC 14 does not start where addresses are spread too widely.
    together = [needs.program("sanitizers", "setarch", "apt-get install util-linux"), "-R"]
    output = run(*together, checked, checked_libraries[sanitizer])
    assert digests(output) == one_of(expected)
