"""Runs of the driver in a process of their own, and what their traces say."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from actors.telemetry import Span, covered

ROOT = Path(__file__).parent.parent
POLICY_STEP = "train policy"
Watch = Callable[["subprocess.Popen[str]"], None]


@dataclasses.dataclass(frozen=True)
class Trace:
    """Spans of a run, in seconds from its start, which is in seconds since the epoch."""

    folder: Path
    start: float
    spans: list[Span]

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return report

    def of(self, *stages: str) -> list[Span]:
        return sorted((span for span in self.spans if span.stage in stages), key=lambda span: span.end)

    def busy(self, stages: Iterable[str], start: float, end: float) -> float:
        """Seconds between `start` and `end` in which at least one worker was busy with one of `stages`."""
        clipped = (
            (max(span.start, start), min(span.end, end))
            for span in self.of(*stages)
            if span.end > start and span.start < end
        )
        return covered(clipped)


def run(folder: Path, settings: Mapping[str, Any], watch: Watch | None = None) -> Trace:
    """A run of the pocket configuration with `settings`, on a Ray of its own. `watch` is called once it is started.

    Raises `CalledProcessError`, with the last of its output as a note, when it breaks off.
    """
    shutil.rmtree(folder, ignore_errors=True)
    fixed = {"run_dir": folder, "cluster.address": "local", "cluster.dashboard": "false"}
    overrides = [part for name, value in (fixed | dict(settings)).items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, str(ROOT / "driver.py"), "run", str(ROOT / "configs" / "pocket.yaml"), *overrides]
    log = folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        running = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, text=True)
    try:
        if watch is not None:
            watch(running)
        if running.wait():
            error = subprocess.CalledProcessError(running.returncode, command)
            error.add_note(log.read_text()[-2000:])
            raise error
    finally:
        running.kill()
    return read(folder)


def read(folder: Path) -> Trace:
    events = json.loads((folder / "timeline.json").read_text())
    actors = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    return Trace(
        folder,
        events[0]["args"]["seconds"],
        [
            Span(
                event["name"], actors[event["pid"]], event["ts"] / 1e6, (event["ts"] + event["dur"]) / 1e6,
                event["args"]["items"],
            )
            for event in events
            if event["ph"] == "X"
        ],
    )  # fmt: skip


def show(line: str) -> None:
    """To the terminal, aside from the results."""
    print(line, file=sys.stderr, flush=True)
