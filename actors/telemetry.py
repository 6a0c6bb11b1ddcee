"""What happened when: spans recorded inside the actors, collected by the driver into one timeline."""

from __future__ import annotations

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil


@dataclasses.dataclass(frozen=True)
class Span:
    """Work of one actor for one stage; times are seconds since the epoch."""

    stage: str
    actor: str
    start: float
    end: float
    items: int


@dataclasses.dataclass(frozen=True)
class TakeUp:
    """An actor began to use a weight version."""

    model: str  # policy | reward
    version: int
    actor: str
    time: float
    pause_seconds: float | None = None  # in which it generated nothing
    mismatch: float | None = None  # mean |log-probability here less the trainer's|, in nats


@dataclasses.dataclass(frozen=True)
class Drained:
    spans: list[Span]
    taken_up: list[TakeUp]


class Recorder:
    """Owned by one actor. `drain` hands over what was recorded since the last time."""

    def __init__(self, actor: str) -> None:
        self.actor = actor
        self._spans: list[Span] = []
        self._taken_up: list[TakeUp] = []

    @contextmanager
    def span(self, stage: str, items: int) -> Iterator[None]:
        start = time.time()
        try:
            yield
        finally:
            self._spans.append(Span(stage, self.actor, start, time.time(), items))

    def took_up(
        self, model: str, version: int, pause_seconds: float | None = None, mismatch: float | None = None
    ) -> None:
        self._taken_up.append(TakeUp(model, version, self.actor, time.time(), pause_seconds, mismatch))

    def drain(self) -> Drained:
        spans, self._spans = self._spans, []
        taken_up, self._taken_up = self._taken_up, []
        return Drained(spans, taken_up)


class Timeline:
    """All spans of a run, on the driver's disk: a run may go on for long.

    The file is a trace in the array form of Chrome's format, which Perfetto opens too, and which needs no end: a
    process for each actor, a track for each lane.
    """

    def __init__(self, path: Path) -> None:
        """Writes to `path`, anew."""
        self.start = time.time()
        self.items: Counter[str] = Counter()  # done, by stage
        self.updates: Counter[str] = Counter()  # versions that workers took up, by model
        self.pause_seconds = 0.0  # of all generators' updates
        self.mismatch: float | None = None  # of the newest update that was checked
        self._path, self._file = path, path.open("w")
        self._pids: dict[str, int] = {}
        self._lanes: dict[str, list[float]] = {}  # when each lane of an actor is free again
        self._file.write("[\n")
        self._write({"ph": "M", "name": "start", "pid": 0, "args": {"seconds": self.start}})  # since the epoch

    def add(self, drained: Drained) -> None:
        for span in sorted(drained.spans, key=lambda span: span.start):
            self.items[span.stage] += span.items
            if span.actor not in self._pids:
                pid = self._pids[span.actor] = 1 + len(self._pids)
                self._write({"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": span.actor}})
            ends = self._lanes.setdefault(span.actor, [])
            lane = next((i for i, end in enumerate(ends) if end <= span.start), len(ends))
            ends[lane : lane + 1] = [span.end]
            self._write({
                "ph": "X", "name": span.stage, "cat": "stage", "pid": self._pids[span.actor], "tid": lane,
                "ts": (span.start - self.start) * 1e6, "dur": (span.end - span.start) * 1e6,
                "args": {"items": span.items},
            })  # fmt: skip
        for taken in drained.taken_up:
            self.updates[taken.model] += 1
            self.pause_seconds += taken.pause_seconds or 0.0
            self.mismatch = self.mismatch if taken.mismatch is None else taken.mismatch
            self._write({
                "ph": "i", "s": "g", "name": f"{taken.actor} takes up {taken.model} v{taken.version}",
                "cat": "weights", "pid": 0, "tid": 0, "ts": (taken.time - self.start) * 1e6,
                "args": dataclasses.asdict(taken),
            })  # fmt: skip

    def close(self) -> None:
        """Nothing more comes."""
        if not self._file.closed:
            self._file.write(json.dumps({"ph": "M", "name": "end", "pid": 0, "args": {}}) + "\n]\n")
            self._file.close()

    def stages(self) -> dict[str, dict[str, float]]:
        """Once closed: for each stage, the seconds in which at least one of its actors was busy, and the items done."""
        busy: dict[str, list[tuple[float, float]]] = {}
        for event in self._events("X"):
            busy.setdefault(event["name"], []).append((event["ts"] / 1e6, (event["ts"] + event["dur"]) / 1e6))
        return {
            stage: {"busy_seconds": covered(spans), "items": self.items[stage]} for stage, spans in sorted(busy.items())
        }

    def taken_up(self) -> list[dict[str, Any]]:
        """Once closed: the `TakeUp`s."""
        return [event["args"] for event in self._events("i")]

    def _write(self, event: dict[str, Any]) -> None:
        self._file.write(json.dumps(event) + ",\n")

    def _events(self, phase: str) -> Iterator[dict[str, Any]]:
        with self._path.open() as file:
            for line in file:
                if line.startswith("{") and (event := json.loads(line.rstrip(",\n")))["ph"] == phase:
                    yield event


def memory_of_process_tree() -> int:
    """Bytes used by this process and all below it; pages that several share count once (proportional set size)."""
    total = 0
    this = psutil.Process()
    for process in [this, *this.children(recursive=True)]:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except (OSError, psutil.Error):
            continue  # it ended meanwhile
        total += next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)
    return total


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of the spans, each from a start to an end."""
    seconds, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        seconds += max(0.0, end - max(start, until))
        until = max(until, end)
    return seconds
