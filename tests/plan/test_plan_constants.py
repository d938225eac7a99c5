"""The cluster file and the rates in it: what is refused, and what lies between measured points."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from paths import ROOT

from majelpy.errors import RecipeError
from majelpy.plan.constants import Link, load
from majelpy.plan.grid import interpolate
from majelpy.plan.ranks import listed, powers
from majelpy.plan.text import toml

EXAMPLE = ROOT / "slurm" / "cluster.toml"

AXES = ((1, 4), (10, 100, 1000))
VALUES = (1.0, 2.0, 3.0, 5.0, 6.0, 11.0)


def test_a_grid_is_exact_at_its_points() -> None:
    points = [(a, b) for a in AXES[0] for b in AXES[1]]
    assert tuple(interpolate(AXES, VALUES, point) for point in points) == VALUES


@pytest.mark.parametrize(
    ("point", "value"),
    [((2, 10), 3.0), ((1, 10**1.5), 1.5), ((2, 10**2.5), 5.5), ((0.1, 1), 1.0), ((9, 9999), 11.0)],
)
def test_a_grid_interpolates_by_ratios_and_keeps_to_its_edges(
    point: tuple[float, float], value: float
) -> None:
    assert interpolate(AXES, VALUES, point) == pytest.approx(value)


def test_a_link_costs_alpha_and_beta() -> None:
    assert Link(2.0, 5.0).seconds(10_000, 3) == pytest.approx(3 * 2e-6 + 2e-6)


def test_the_example_is_read_and_written() -> None:
    cluster = load(str(EXAMPLE))
    assert (cluster.hosts, cluster.ranks) == (64, 64 * 32)
    assert cluster.links.fabric == Link(2.0, 24.0)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    cluster = load(str(EXAMPLE))
    path = tmp_path / "cluster.toml"
    path.write_text(toml(cluster, ["a remark"]))
    assert load(str(path)) == cluster
    assert "# a remark\n" in path.read_text()


CHANGES = [
    ("hosts = 64", "hosts = 0", r"hosts is 0; needs at least 1.*"),
    ("hosts = 64", 'hosts = "many"', r"hosts is 'many'; needs an integer"),
    ("hosts = 64", "host = 64", r"unknown key 'host'; did you mean 'hosts'\?"),
    ("[links.fabric]", "[links.fabrik]", r"unknown key 'links.fabrik'; did you mean .*"),
    ("beta_gb_s = 24.0", "beta_gb_s = nan", r"links.fabric.beta_gb_s is nan; needs a finite .*"),
    ("beta_gb_s = 24.0", "", r"links.fabric.beta_gb_s is 0 \(0: not .*\); 64 hosts need .*"),
    ("beta_gb_s = 12.0", "", r"links.socket.beta_gb_s is 0 \(0: .*\); 32 ranks of a host .*"),
    ("beta_gb_s = 24.0", "beta_gb_s = 5e-324", r"links.fabric.beta_gb_s is 4.94066e-324 .*1e-06"),
    ("beta_gb_s = 8.0", "", r"links.host.beta_gb_s is 0 \(0: not known\); 2 sockets need .*"),
    ("states = [9,", "states = [50,", r"rates.ctc.states is \[50, 41, 161\]; needs to ascend"),
    ("states = [9,", "states = [3, 9,",
     r"rates.ctc.mega_per_s has 3 values; needs 4 \(4 states\)"),
    ("n = [32,", "n = [8, 32,",
     r"rates.gemm.gflops has 27 values; needs 36 \(3 m x 4 n x 3 k\)"),
    ("[rates]", "[other]", r"unknown key 'other'.*"),
    ("hosts = 64", "hosts = = 64", r"not TOML: .*"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), CHANGES, ids=[c[1] or c[0] for c in CHANGES])
def test_a_wrong_cluster_file_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    text = EXAMPLE.read_text()
    assert old in text
    path = tmp_path / "cluster.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RecipeError) as found:
        load(str(path))
    assert re.fullmatch(re.escape(f"{path}: ") + message, str(found.value)), found.value


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.toml: cannot be read \(No such file"):
        load(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("3", [3]), ("1, 6,2", [1, 6, 2]), ("1,2,4,...,16", [1, 2, 4, 8, 16]), ("3,...,6", [3, 6])],
)
def test_a_list_of_ranks(text: str, numbers: list[int]) -> None:
    assert listed(text) == numbers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("two", "'two' is no number of ranks"),
        ("1,", "'' is no number of ranks"),
        ("0", "'0' is no number of ranks"),
        ("-1", "'-1' is no number of ranks"),
        ("1.5", "'1.5' is no number of ranks"),
        ("9" * 50, "9' is no number of ranks"),
        ("1,...", "needs a number behind '...'"),
        ("...,4", "'...' is no number of ranks"),
        ("1,...,6", "doubling leads from 4 to 8, not to 6"),
        ("4,...,2", "doubling leads from 4 to 8, not to 2"),
    ],
)
def test_a_wrong_list_of_ranks(text: str, message: str) -> None:
    with pytest.raises(RecipeError) as found:
        listed(text)
    assert message in str(found.value)


def test_powers_of_two() -> None:
    assert [powers(n) for n in (1, 7, 8)] == [[1], [1, 2, 4], [1, 2, 4, 8]]
