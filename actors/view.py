"""The live view of a run: a table that redraws itself on a terminal, one line every few seconds elsewhere."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from tensorboardX import SummaryWriter

from actors.crew import WorkerRole
from actors.evaluation import HeldOut
from actors.stages import Counts
from actors.streams import Pool, Stream
from actors.telemetry import Timeline, memory_of_process_tree
from actors.weights import Versions
from roles.run_folder import Run
from roles.sandbox.judge import Load


@dataclasses.dataclass
class View:
    console: Console
    counts: Counts
    streams: Sequence[Stream[Any]]
    pools: Mapping[WorkerRole, Pool]
    versions: Sequence[Versions]
    held_out: HeldOut
    timeline: Timeline
    run: Run
    doing: str = "starting"
    peak_memory_bytes: int = 0

    async def show(self) -> None:
        """Redraw for ever; also keeps the peak of the memory and writes TensorBoard."""
        with SummaryWriter(str(self.run.folder / "tensorboard")) as writer:
            if self.console.is_terminal:
                with Live(console=self.console, refresh_per_second=2, transient=True) as live:
                    await self._refresh(writer, lambda rate: live.update(self._table(rate)), 1.0)
            else:
                await self._refresh(writer, lambda rate: self.console.print(self._line(rate), soft_wrap=True), 10.0)

    async def _refresh(self, writer: SummaryWriter, draw: Any, seconds: float) -> None:
        samples, since, measured = 0, time.monotonic(), 0.0
        while True:
            now = time.monotonic()
            rate = (self.counts.samples - samples) / max(now - since, 1e-9)
            samples, since = self.counts.samples, now
            if now - measured > 5:
                memory = await asyncio.to_thread(memory_of_process_tree)
                self.peak_memory_bytes, measured = max(self.peak_memory_bytes, memory), now
            draw(rate)
            self.run.note(self._facts(rate))
            self._write(writer, rate)
            await asyncio.sleep(seconds)

    def _facts(self, rate: float) -> dict[str, str]:
        counts = self.counts
        passed, judged = counts.verdicts["passed"], max(counts.verdicts.total(), 1)
        facts = {
            "doing": self.doing,
            "samples": f"{counts.samples} ({rate:.0f}/s), {self.held_out.sampled} held-out",
            "passed": f"{passed / judged:.0%} of {judged}",
            "jails": _jails(list(counts.executors.values())),
            "waiting": " ".join(f"{stream.name} {stream.depth}/{stream.capacity}" for stream in self.streams),
            "busy": " ".join(f"{role}s {pool.busy}/{pool.capacity}" for role, pool in self.pools.items()),
            "versions": " ".join(f"{versions.model} v{max(versions.newest, 0)}" for versions in self.versions),
            "pairs": f"{counts.pairs} ({counts.hard_pairs} hard)",
        }
        if counts.reward and counts.reward.steps:
            last = counts.reward.steps[-1]
            facts["reward model"] = f"loss {last.loss:.3f}, new pairs right {last.pair_accuracy:.0%}"
            if counts.reward.measured:
                version, measured = max(counts.reward.measured.items())
                facts["reward model"] += (
                    f"; v{version} {measured.pair_accuracy:.0%} by problem, temperature {measured.temperature:.2f}, "
                    f"calibration error {measured.calibration_error:.3f}"
                )
        if counts.policy:
            ppo = counts.policy.ppo
            facts["policy"] = (
                f"step {counts.policy.steps}, reward {ppo.reward:.3f}, KL {ppo.kl:.3f}, lag {counts.policy.lag:.1f}"
            )
        facts["memory"] = f"{self.peak_memory_bytes / 2**30:.1f} GiB at most"
        return facts

    def _table(self, rate: float) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_row("time", f"{time.time() - self.timeline.start:.0f} s")
        for name, value in self._facts(rate).items():
            table.add_row(name, value)
        return table

    def _line(self, rate: float) -> str:
        facts = "; ".join(f"{name}: {value}" for name, value in self._facts(rate).items())
        return f"{time.time() - self.timeline.start:4.0f} s  {facts}"

    def _write(self, writer: SummaryWriter, rate: float) -> None:
        counts = self.counts
        step = int(time.time() - self.timeline.start)
        writer.add_scalar("loop/samples_per_second", rate, step)
        writer.add_scalar("loop/memory_bytes", self.peak_memory_bytes, step)
        for stream in self.streams:
            writer.add_scalar(f"stream/{stream.name}", stream.depth, step)
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


def _jails(loads: Sequence[Load]) -> str:
    busy, jails = sum(load.busy for load in loads), sum(load.jails for load in loads)
    repeated = sum(load.repeated for load in loads) / max(1, sum(load.judged for load in loads))
    faults, waiting = sum(load.faults for load in loads), sum(load.waiting for load in loads)
    return f"{busy} of {jails} busy, {waiting} programs waiting, {repeated:.0%} known already, {faults} faults"
