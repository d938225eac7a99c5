"""`majel plan`: output, refusals and measuring. No time is judged."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import needs
import pytest
from mpi_launch import launch
from paths import ROOT
from quick_measure import QUICK
from training import Inside, write_corpus, write_recipe

from majelpy.plan import measure
from majelpy.plan.constants import load

pytest_plugins = ["training"]


EXAMPLE = ROOT / "slurm" / "cluster.toml"


def test_the_table(tmp_path: Path, inside: Inside) -> None:
    write_corpus(tmp_path / "train.h5")
    recipe = write_recipe(tmp_path / "r.toml", tmp_path / "train.h5")
    said = inside("plan", recipe, "--cluster", EXAMPLE, "--ranks", "1,2,...,8")
    assert said.code == 0
    heading, *rows = said.out.splitlines()
    assert re.split(r"  +", heading.strip()) == [
        "ranks", "mesh", "step ms", "compute ms", "communication ms", "exposed %",
        "efficiency %", "memory MiB",
    ]  # fmt: skip
    cells = [re.split(r"  +", row.strip()) for row in rows]
    assert [int(row[0]) for row in cells] == [1, 2, 4, 8]
    assert cells[0][1] == "data=1,model=1" and cells[0][4:7] == ["0.00", "0.0", "100.0"]
    assert [row[-2:] for row in cells] == [["*", "train"]] * 4
    (line,) = said.err.splitlines()
    assert line == (
        f"plan: {recipe}: 5 of the 5 minibatches of the first epoch of {tmp_path / 'train.h5'}"
    )


OWN = """
from dataclasses import dataclass, replace

from majelpy.nn.layer import Layer


class Thin(Layer):
    @dataclass(frozen=True)
    class Settings:
        pass

    learns = False

    def __init__(self, settings, name, number, inputs, share):
        super().__init__(settings, name, number, inputs, share)
        self.outputs = replace(inputs, stride=2 * inputs.stride)

    def forward(self, x, run):
        raise NotImplementedError

    backward = forward
"""


def test_a_layer_of_ones_own_is_named_and_halves_the_frames_above(
    tmp_path: Path, inside: Inside
) -> None:
    (tmp_path / "thin.py").write_text(OWN)
    thin, rnn = {"layer": "thin.py:Thin"}, {"layer": "birnn", "units": 64}
    found = {}
    for name, layers in {"all": [rnn, rnn], "half": [thin, rnn, rnn]}.items():
        recipe = write_recipe(tmp_path / "r.toml", tmp_path / "none.h5", model__layers=layers)
        said = inside(
            *("plan", recipe, "--cluster", EXAMPLE, "--json", "--ranks", "1", "--run-code")
        )
        assert said.code == 0, said.err
        found[name] = json.loads(said.out)["meshes"][0]
        named = f"plan: {recipe}: of thin.py:Thin only parameters and columns are counted"
        assert said.err.splitlines()[1:] == ([named] if name == "half" else [])
    assert found["half"]["compute_ms"] < found["all"]["compute_ms"]
    assert found["half"]["memory_bytes"]["pool"] < found["all"]["memory_bytes"]["pool"]


def test_json_adds_up(inside: Inside) -> None:
    said = inside("plan", "digits", "--cluster", EXAMPLE, "--json", "--frames", "50")
    (line,) = said.out.splitlines()
    found = json.loads(line)
    assert "32 utterances of 50 frames" in found["workload"]
    assert {row["ranks"] for row in found["meshes"]} == {1, 2, 4, 8}  # all that 8 leaves allow
    for row in found["meshes"]:
        assert row["step_ms"] == pytest.approx(row["compute_ms"] + row["exposed_ms"])
        assert row["communication_ms"] == pytest.approx(row["exposed_ms"] + row["hidden_ms"])
        assert 0 <= row["exposed_percent"] < 100 and 0 < row["efficiency_percent"] <= 100
        memory = row["memory_bytes"]
        assert memory["total"] == memory["pool"] + memory["slots"] + memory["workspace"]


REFUSED = [
    (["digits"], "no cluster; needs --cluster FILE.toml .*"),
    ([], "no recipe; needs RECIPE, or --measure"),
    (["digits", "--cluster", "none.toml"], r"none\.toml: cannot be read \(No such .*\)"),
    (["digit", "--cluster", str(EXAMPLE)], "recipe 'digit': not shipped .*"),
    (["digits", "--cluster", str(EXAMPLE), "--ranks", "16"],
     r"16 ranks for data\.leaves = 8 and model\.parts = 1; needs .*, such as 8 .*"),
    (["digits", "--cluster", str(EXAMPLE), "--ranks", "x"], "--ranks x: 'x' is no number .*"),
    (["digits", "--cluster", str(EXAMPLE), "--frames", "0"], "--frames is 0; needs 1 to .*"),
    (["digits", "--cluster", str(EXAMPLE), "--set", "model.x=3"], ".*unknown key 'model.x'.*"),
    (["digits", "--measure"], "--measure takes no recipe; leave it out"),
    (["--measure", "--threads", "0"], "--threads is 0; needs 1 to 1024"),
    (["--measure", "--no-overlap"], "--measure takes no --no-overlap; leave it out"),
    (["--measure", "--set", "seed=1"], "--measure takes no --set; leave it out"),
    (["--measure", "-o", "no/x.toml"], "no: there is no such folder"),
    (["digits", "--cluster", str(EXAMPLE), "-o", "x.toml"],
     "a prediction takes no --output; leave it out"),
    (["digits", "--cluster", str(EXAMPLE), "--threads", "2"],
     "a prediction takes no --threads; leave it out"),
    (["digits", "--cluster", str(EXAMPLE), "--ranks", "5", "--set", "data.leaves=4",
      "--set", "model.parts=2"],
     r"5 ranks for data\.leaves = 4 and model\.parts = 2; needs .*, such as 4 or 6 .*"),
    (["digits", "--cluster", str(EXAMPLE), "--set", "model.parts=3"],
     "digits: model.parts is 3; needs a power of two from 1 to 64"),
    (["digits", "--cluster", str(EXAMPLE), "--set", "model.parts=32"],
     r"model\.layers\[1\] \(dense\) .*: 256 units in 32 parts .*"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"), REFUSED, ids=[" ".join(a[-2:]) or "nothing" for a, _ in REFUSED]
)
def test_refusals_are_one_line(arguments: list[str], message: str, inside: Inside) -> None:
    said = inside("plan", *arguments)
    assert (said.code, said.out) == (2, "")
    lines = [line for line in said.err.splitlines() if not line.startswith("plan: ")]
    assert len(lines) == 1 and re.fullmatch(f"majel plan: {message}", lines[0]), said.err


def test_a_plan_does_not_ask_for_what_only_a_training_needs(tmp_path: Path, inside: Inside) -> None:
    # A dev corpus that is elsewhere, on which the schedule waits, and the memory of the ranks.
    write_corpus(tmp_path / "train.h5")
    recipe = write_recipe(
        tmp_path / "r.toml", tmp_path / "train.h5", data__dev="/elsewhere.h5",
        schedule={"kind": "plateau", "early_stop": 2, "result": "best"},
        model__layers=[{"layer": "birnn", "units": 1 << 16}] * 9,
    )  # fmt: skip
    said = inside("plan", recipe, "--cluster", EXAMPLE, "--ranks", "1")
    assert said.code == 0, said.err
    assert float(said.out.splitlines()[1].split()[-3]) > 1 << 20  # MiB
    write_corpus(tmp_path / "dev.h5")
    arguments = ["--set", f"data.dev={tmp_path / 'dev.h5'}", "--out", tmp_path / "run"]
    said = inside("train", recipe, *arguments)
    assert said.code == 2
    assert (
        " parameters, with gradients and the optimizer's states, need " in said.err
        and not (tmp_path / "run").exists()
    )


def test_a_plot_without_matplotlib_is_refused(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    picture = tmp_path / "plan.png"
    said = inside("plan", "digits", "--cluster", EXAMPLE, "--plot", picture)
    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[-1] == (
        "majel plan: --plot needs matplotlib; pip install '.[plot]' in the folder of majelpy's "
        "sources"
    )
    assert not picture.exists()


def test_a_plot_is_written(tmp_path: Path, inside: Inside) -> None:
    needs.module("dev", "matplotlib")
    picture = tmp_path / "plan.png"
    said = inside("plan", "digits", "--cluster", EXAMPLE, "--plot", picture)
    assert said.code == 0 and said.err.splitlines()[-1] == f"plan: wrote {picture}"
    assert picture.read_bytes().startswith(b"\x89PNG")
    said = inside("plan", "digits", "--cluster", EXAMPLE, "--plot", tmp_path / "plan.doc")
    assert (said.code, said.out) == (2, "")
    assert "Format 'doc' is not supported" in said.err.splitlines()[-1]


@pytest.mark.mpi
def test_two_ranks_measure_messages(tmp_path: Path) -> None:
    ended = launch("plan_program.py", 2)
    assert ended.returncode == 0, ended.stderr
    path = tmp_path / "cluster.toml"
    path.write_text(ended.stdout)
    found = load(str(path))
    assert (found.hosts, found.ranks_per_host) == (1, 2)
    assert found.links.socket.beta_gb_s > 0 and found.links.fabric.beta_gb_s == 0
    assert "# links.fabric: not measured" in ended.stdout
    assert found.rates.gemm.m == (4, 32) and len(found.rates.gemm.gflops) == 4
    assert ended.stderr.count("gemm 4x16x16: ") == 1  # rank 0 alone speaks


def test_one_process_measures_copies(
    tmp_path: Path, inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "Effort", lambda: QUICK)
    path = tmp_path / "cluster.toml"
    said = inside("plan", "--measure", "-o", path)
    assert (said.code, said.out) == (0, "")
    assert said.err.splitlines()[-1].startswith("plan: links: of memory copies alone")
    assert "links: of memory copies alone" in path.read_text()
    assert load(str(path)).hosts == 1
    assert inside("plan", "digits", "--cluster", path, "--ranks", "1").code == 0
