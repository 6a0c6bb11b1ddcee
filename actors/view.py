"""The live view of a run: a table that redraws itself on a terminal, one line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections import deque

from rich.console import Console
from rich.live import Live
from tensorboardX import SummaryWriter

from actors.facts import Sources
from actors.metrics import Metrics
from actors.telemetry import memory_of_process_tree
from roles.run_folder import Run
from roles.run_status import Facts, describe, table

_SECONDS = 1.0
_SECONDS_OF_RATE = 10.0
_SECONDS_OF_MEMORY = 5.0
_SECONDS_OF_LINE = 10.0


class View:
    """Says once a second what the run is doing: to the console, to RUN/status.json and to the metrics."""

    def __init__(self, console: Console, sources: Sources, run: Run) -> None:
        self.doing = "starting"
        self.peak_memory_bytes = 0
        self._console, self._sources, self._run = console, sources, run
        self._memory_bytes = 0
        self._sampled: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])  # of late: when, how many until then

    async def show(self) -> None:
        """For ever; also keeps the peak of the memory and writes TensorBoard."""
        metrics = Metrics(self._run.folder.name)
        terminal = self._console.is_terminal
        live = Live(console=self._console, refresh_per_second=2, transient=True) if terminal else None
        with SummaryWriter(str(self._run.folder / "tensorboard")) as writer, live or contextlib.nullcontext():
            await self._refresh(writer, metrics, live)

    async def _refresh(self, writer: SummaryWriter, metrics: Metrics, live: Live | None) -> None:
        printed = measured = float("-inf")
        while True:
            now = time.monotonic()
            if now - measured >= _SECONDS_OF_MEMORY:
                self._memory_bytes, measured = await asyncio.to_thread(memory_of_process_tree), now
                self.peak_memory_bytes = max(self.peak_memory_bytes, self._memory_bytes)
            facts = self._sources.facts(self.doing, self._rate(), self._memory_bytes, self.peak_memory_bytes)
            self._run.note(facts)
            metrics.tell(facts)
            if live:
                live.update(table(facts))
            if now - printed >= (_SECONDS if live else _SECONDS_OF_LINE):
                printed = now
                self._write(writer, facts)
                if not live:
                    told = "; ".join(f"{name}: {value}" for name, value in describe(facts).items())
                    self._console.print(f"{facts.seconds:4.0f} s  {told}", soft_wrap=True)
            await asyncio.sleep(_SECONDS)

    def _rate(self) -> float:
        """Samples per second of late."""
        now, samples = time.monotonic(), self._sources.counts.samples
        self._sampled.append((now, samples))
        while self._sampled[0][0] < now - _SECONDS_OF_RATE and len(self._sampled) > 2:
            self._sampled.popleft()
        since, before = self._sampled[0]
        return (samples - before) / max(now - since, 1e-9)

    def _write(self, writer: SummaryWriter, facts: Facts) -> None:
        counts, step = self._sources.counts, int(facts.seconds)
        writer.add_scalar("loop/samples_per_second", facts.samples_per_second, step)
        writer.add_scalar("loop/memory_bytes", self.peak_memory_bytes, step)
        for name, stream in facts.streams.items():
            writer.add_scalar(f"stream/{name}", stream.items, step)
        if counts.policy:
            for name, value in dataclasses.asdict(counts.policy.ppo).items():
                writer.add_scalar(f"policy/{name}", value, counts.policy.steps)
        if counts.reward and counts.reward.steps:
            last = counts.reward.steps[-1]
            writer.add_scalar("reward/loss", last.loss, step)
            writer.add_scalar("reward/pair_accuracy", last.pair_accuracy, step)
            for version, measured in counts.reward.measured.items():
                for name, value in dataclasses.asdict(measured).items():
                    writer.add_scalar(f"reward_version/{name}", value, version)
