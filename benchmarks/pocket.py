"""The pocket job over several seeds: is the reward model's best-of-n above the mean, and what did each part add?

    python benchmarks/pocket.py [--seeds 0 1 2] [--out FOLDER]

Each seed is a run of its own in a new process; a finished run in FOLDER is not repeated. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from roles.ranking import report as reports
from roles.ranking.report import Report

ROOT = Path(__file__).parent.parent


def run(seed: int, folder: Path) -> Report:
    path = folder / f"seed-{seed}"
    command = [sys.executable, str(ROOT / "driver.py"), "run", str(ROOT / "configs" / "pocket.yaml")]
    subprocess.run([*command, "--set", f"seed={seed}", "--set", f"run_dir={path}"], check=True, stdout=sys.stderr)
    return reports.read(path / "report.json")


def summary(found: dict[int, Report]) -> dict[str, Any]:
    """Per policy and ranker: the gap closed of every seed, and on how many of them its interval lies above 0."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for report in found.values():
        for row in report.table:
            rows.setdefault(f"{row['policy']}: {row['ranker']}", []).append(row)
    gaps = {
        name: {
            "gap_closed": [round(row["gap_closed"], 3) for row in seeds],
            "mean": round(statistics.mean(row["gap_closed"] for row in seeds), 3),
            "seeds_above_zero": sum(row["low"] > 0 for row in seeds),
        }
        for name, seeds in rows.items()
    }
    differences: dict[str, Any] = {}
    for report in found.values():
        for entry in report.differences:
            name = f"{entry['policy']}: {entry['what']}, {entry['a']} - {entry['b']}"
            differences.setdefault(name, []).append({"value": round(entry["value"], 3), "reading": entry["verdict"]})
    return {
        "seeds": list(found),
        "wall_seconds": [round(report.wall_seconds) for report in found.values()],
        "peak_gib": [round(report.peak_memory_bytes / 2**30, 1) for report in found.values()],
        "gaps": gaps,
        "differences": differences,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "bench-pocket")
    arguments = parser.parse_args()
    console = Console(width=140)
    found = {seed: run(seed, arguments.out) for seed in arguments.seeds}
    for seed, report in found.items():
        console.rule(f"seed {seed}: {report.wall_seconds:.0f} s, {report.peak_memory_bytes / 2**30:.1f} GiB")
        reports.show(report.table, report.differences, report.suite, report.problems, seed, console)
    total = summary(found)
    for name, entry in total["gaps"].items():
        console.print("{}: gap closed {gap_closed}, mean {mean}, above 0 on {seeds_above_zero}".format(name, **entry))
    for name, entries in total["differences"].items():
        console.print(f"{name}: {', '.join('{value:+.3f} ({reading})'.format(**entry) for entry in entries)}")
    print(json.dumps(total))


if __name__ == "__main__":
    main()
