"""Share of majelpy's lines that the tests run, with all their processes and ranks.

    python tools/measure_coverage.py [PYTEST ARGUMENT ...]     # -m "not extra" -n 2, say

Policy. Lines of Python on the CPU side; a process that is killed by a signal loses what it ran.
Prints a table by room and the ten least covered modules, for docs/figures.md. Needs coverage 7.10
or later; takes about twice the time of the tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

SETTINGS = """
[run]
source_pkgs = majelpy
parallel = true
sigterm = true
patch = subprocess, _exit, execv
data_file = {folder}/data

[report]
exclude_also =
    if TYPE_CHECKING:
    raise NotImplementedError
"""

LEAST = 10


def measure(arguments: list[str]) -> tuple[int, dict[str, tuple[int, int]]]:
    """Run the tests; return their exit code, and covered and all lines by module."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "settings"
        settings.write_text(SETTINGS.format(folder=folder))
        coverage = [sys.executable, "-m", "coverage"]
        rc = f"--rcfile={settings}"
        run = [*coverage, "run", rc, "-m", "pytest", "-q", *arguments]
        tests = subprocess.run(run, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
        subprocess.run([*coverage, "combine", "-q", rc], cwd=ROOT, check=True)
        report = Path(folder) / "report.json"
        subprocess.run([*coverage, "json", "-q", rc, "-o", str(report)], cwd=ROOT, check=True)
        found: dict[str, tuple[int, int]] = {}
        for name, of in json.loads(report.read_text())["files"].items():
            total = of["summary"]
            module = name.partition("majelpy/")[2]
            found[module] = (total["covered_lines"], total["num_statements"])
    return tests.returncode, found


def main() -> int:
    """Print the tables; the exit code is that of the tests."""
    code, found = measure(sys.argv[1:])
    rooms: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for module, (covered, lines) in found.items():
        room = module.rpartition("/")[0] or "ground floor"
        for key in (room, "all"):
            rooms[key][0] += covered
            rooms[key][1] += lines
    print("| room | lines | covered |\n|---|---|---|")
    for room, (covered, lines) in sorted(rooms.items(), key=lambda row: row[0] == "all"):
        print(f"| {room} | {lines} | {100 * covered / lines:.1f}% |")
    shares = sorted((c / n, module, c, n) for module, (c, n) in found.items() if n)
    print("\n| least covered | lines | covered |\n|---|---|---|")
    for share, module, _, lines in shares[:LEAST]:
        print(f"| {module} | {lines} | {100 * share:.1f}% |")
    if code:
        print(f"measure_coverage: the tests ended with code {code}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
