"""What a running job notes about itself in RUN/status.json, as numbers, and how a person reads it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict
from rich.table import Table


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True)


class StageFacts(_Facts):
    """Since the stage's first item."""

    worker_seconds: dict[Literal["busy", "waiting", "blocked"], float]  # waiting for input, blocked on output
    items: int  # done, as the report counts them


class StreamFacts(_Facts):
    items: int
    capacity: int
    oldest_seconds: float  # how long the oldest item has been in it
    taken: int  # items that left it
    waited_seconds: float  # how long those were in it, together
    bytes: int  # of the items in it, as far as they have a size
    capacity_bytes: int | None  # None: bounded by items alone


class WorkerFacts(_Facts):
    wanted: int
    actual: int
    calls: int  # being served
    calls_at_once: int  # that all of them may serve
    deaths: int
    redelivered: int  # calls that another worker had to serve


class SandboxFacts(_Facts):
    """Of the executors, by the last word of each: of those that are there, then of all that ever were."""

    jails: int
    busy: int
    waiting: int  # programs

    judged: int
    repeated: int  # verdicts that were known already
    retried: int  # programs that met the wall limit and were run again alone
    faults: int  # jails that broke


class RewardVersionFacts(_Facts):
    """The newest complete version, on pairs that it was not trained on yet. None: not defined."""

    version: int
    pair_accuracy: float | None  # mean over problems
    temperature: float | None
    calibration_error: float | None


class RewardModelFacts(_Facts):
    """The newest step, before its update. None: not defined."""

    loss: float | None
    pair_accuracy: float | None
    complete: RewardVersionFacts | None


class PolicyFacts(_Facts):
    """The newest step. None: not defined."""

    steps: int
    reward: float | None
    kl: float | None
    behaviour_gap: float | None
    lag: float  # versions between a token's policy and the newest, mean over the step's tokens
    max_lag: int


class Facts(_Facts):
    doing: str
    seconds: float  # since this process began
    samples: int
    samples_per_second: float  # of late
    held_out_samples: int
    tokens: int
    reward: float | None  # mean of the batch that was scored last
    verdicts: dict[str, int]  # by status
    batches: dict[Literal["resumed", "lost", "quarantined"], int]  # from the ledger; made again; killed their workers
    groups: dict[str, int]  # admitted for the policy: submitted, trained, dropped, running, trained_twice
    groups_limit: int  # that may be between sampling and training
    pairs: int
    hard_pairs: int
    false_favourites: int
    stages: dict[str, StageFacts]
    streams: dict[str, StreamFacts]
    workers: dict[str, WorkerFacts]  # by role
    learner_processes: dict[str, int]  # by role
    learner_deaths: dict[str, int]  # by role
    sandbox: SandboxFacts
    versions: dict[str, int]  # newest that is published, by model
    updates: dict[str, int]  # versions that workers took up, by model
    pause_seconds: float  # of all generators' updates
    mismatch: float | None  # mean |log-probability of a generator less the trainer's| after the newest update, in nats
    trained_by_lag: dict[int, int]  # samples, by the versions that their oldest token lay behind
    reward_model: RewardModelFacts | None
    policy: PolicyFacts | None
    memory_bytes: int
    peak_memory_bytes: int


class Noted(_Facts):
    """RUN/status.json."""

    time: float  # seconds since the epoch
    facts: Facts


def describe(facts: Facts) -> dict[str, str]:
    """One line for each subject."""
    verdicts, sandbox = sum(facts.verdicts.values()), facts.sandbox
    passed = facts.verdicts.get("passed", 0) / max(verdicts, 1)
    repeated = sandbox.repeated / max(sandbox.judged, 1)
    lines = {
        "doing": facts.doing,
        "samples": f"{facts.samples} ({facts.samples_per_second:.0f}/s), {facts.held_out_samples} held-out",
        "passed": f"{passed:.0%} of {verdicts}",
        "jails": f"{sandbox.busy} of {sandbox.jails} busy, {sandbox.waiting} programs waiting, "
        f"{repeated:.0%} known already, {sandbox.faults} faults",
        "waiting": " ".join(f"{name} {stream.items}/{stream.capacity}" for name, stream in facts.streams.items()),
        "busy": " ".join(f"{role}s {crew.calls}/{crew.calls_at_once}" for role, crew in facts.workers.items()),
        "workers": " ".join(
            [f"{role}s {crew.actual}/{crew.wanted}" for role, crew in facts.workers.items()]
            + [f"{role} {count}" for role, count in facts.learner_processes.items() if count > 1]
        ),
        "versions": " ".join(f"{model} v{newest}" for model, newest in facts.versions.items()),
        "pairs": f"{facts.pairs} ({facts.hard_pairs} hard)",
    }
    if found := facts.reward_model:
        lines["reward model"] = f"loss {_figure(found.loss)}, new pairs right {_share(found.pair_accuracy)}"
        if complete := found.complete:
            lines["reward model"] += (
                f"; v{complete.version} {_share(complete.pair_accuracy)} by problem, temperature "
                f"{_figure(complete.temperature, 2)}, calibration error {_figure(complete.calibration_error)}"
            )
    if policy := facts.policy:
        lines["policy"] = (
            f"step {policy.steps}, reward {_figure(policy.reward)}, KL {_figure(policy.kl)}, lag {policy.lag:.1f}"
        )
    lines["memory"] = f"{facts.peak_memory_bytes / 2**30:.1f} GiB at most"
    return lines


def table(facts: Facts) -> Table:
    lines = Table.grid(padding=(0, 2))
    lines.add_row("time", f"{facts.seconds:.0f} s")
    for name, line in describe(facts).items():
        lines.add_row(name, line)
    return lines


def _figure(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"
