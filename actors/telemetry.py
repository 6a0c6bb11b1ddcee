"""What happened when: spans recorded inside the actors, collected by the driver into one timeline."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    """All spans of a run, on the driver."""

    def __init__(self) -> None:
        self.start = time.time()
        self.spans: list[Span] = []
        self.taken_up: list[TakeUp] = []
        self.items: Counter[str] = Counter()  # done, by stage
        self.updates: Counter[str] = Counter()  # versions that workers took up, by model
        self.pause_seconds = 0.0  # of all generators' updates
        self.mismatch: float | None = None  # of the newest update that was checked

    def add(self, drained: Drained) -> None:
        self.spans += drained.spans
        for span in drained.spans:
            self.items[span.stage] += span.items
        for taken in drained.taken_up:
            self.updates[taken.model] += 1
            self.pause_seconds += taken.pause_seconds or 0.0
            self.mismatch = self.mismatch if taken.mismatch is None else taken.mismatch
        self.taken_up += drained.taken_up

    def stages(self) -> dict[str, dict[str, float]]:
        """For each stage, the seconds in which at least one of its actors was busy, and the items done."""
        by_stage: dict[str, list[Span]] = {}
        for span in self.spans:
            by_stage.setdefault(span.stage, []).append(span)
        return {
            stage: {"busy_seconds": covered(spans), "items": sum(span.items for span in spans)}
            for stage, spans in sorted(by_stage.items())
        }

    def write(self, path: Path) -> None:
        """A trace in Chrome's format, which Perfetto opens too: a process for each actor, a track for each lane."""
        events: list[dict[str, object]] = []
        pids = {actor: pid for pid, actor in enumerate(sorted({span.actor for span in self.spans}), start=1)}
        for actor, pid in pids.items():
            events.append({"ph": "M", "name": "process_name", "pid": pid, "tid": 0, "args": {"name": actor}})
        lanes: dict[str, list[float]] = {}
        for span in sorted(self.spans, key=lambda span: span.start):
            ends = lanes.setdefault(span.actor, [])
            lane = next((i for i, end in enumerate(ends) if end <= span.start), len(ends))
            ends[lane : lane + 1] = [span.end]
            events.append({
                "ph": "X", "name": span.stage, "cat": "stage", "pid": pids[span.actor], "tid": lane,
                "ts": (span.start - self.start) * 1e6, "dur": (span.end - span.start) * 1e6,
                "args": {"items": span.items},
            })  # fmt: skip
        for taken in self.taken_up:
            events.append({
                "ph": "i", "s": "g", "name": f"{taken.actor} takes up {taken.model} v{taken.version}", "pid": 0,
                "tid": 0, "ts": (taken.time - self.start) * 1e6,
            })  # fmt: skip
        aside = path.with_suffix(".part")
        facts = {"start": self.start}  # seconds since the epoch
        aside.write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms", "otherData": facts}))
        os.replace(aside, path)


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


def covered(spans: list[Span]) -> float:
    """Length of the union of the spans."""
    seconds, until = 0.0, float("-inf")
    for span in sorted(spans, key=lambda span: span.start):
        seconds += max(0.0, span.end - max(span.start, until))
        until = max(until, span.end)
    return seconds
