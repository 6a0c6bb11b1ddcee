"""A run's metrics, told to Ray's metrics agent, which Prometheus reads and Ray's dashboard shows.

All of them are read off `Facts`, so that they are what `driver.py status --json` says. docs/metrics.md documents them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from ray.util import metrics as ray_metrics

from roles.run_status import Facts

PREFIX = "rewardranker_"  # Ray puts `ray_` before it
_LAGS = (0.5, 1.5, 2.5, 3.5, 4.5, 6.5, 8.5, 16.5)  # bounds between whole versions


@dataclasses.dataclass(frozen=True)
class Metric:
    kind: Literal["counter", "gauge", "histogram"]
    name: str
    unit: str
    path: str  # of the figure in the facts; `*` is every key of a mapping, and gives the value of a label
    meaning: str
    labels: tuple[str, ...] = ()


METRICS = (
    Metric("counter", "stage_worker_seconds_total", "worker-seconds", "stages.*.worker_seconds.*",
           "busy, waiting for input, or blocked on output", ("stage", "state")),
    Metric("counter", "stage_items_total", "items", "stages.*.items", "done by the stage's actors", ("stage",)),
    Metric("gauge", "stream_items", "items", "streams.*.items", "in the stream", ("stream",)),
    Metric("gauge", "stream_capacity_items", "items", "streams.*.capacity", "it holds at most", ("stream",)),
    Metric("gauge", "stream_bytes", "bytes", "streams.*.bytes", "of the items in the stream", ("stream",)),
    Metric("gauge", "stream_capacity_bytes", "bytes", "streams.*.capacity_bytes", "it holds at most", ("stream",)),
    Metric("gauge", "stream_oldest_seconds", "seconds", "streams.*.oldest_seconds",
           "that the oldest item has been in the stream", ("stream",)),
    Metric("counter", "stream_taken_items_total", "items", "streams.*.taken", "that left the stream", ("stream",)),
    Metric("counter", "stream_waited_seconds_total", "seconds", "streams.*.waited_seconds",
           "that the items which left were in the stream, together", ("stream",)),
    Metric("gauge", "workers", "workers", "workers.*.actual", "that serve", ("role",)),
    Metric("gauge", "workers_wanted", "workers", "workers.*.wanted", "that are wanted", ("role",)),
    Metric("gauge", "calls", "calls", "workers.*.calls", "being served: leases that are out", ("role",)),
    Metric("gauge", "calls_at_once", "calls", "workers.*.calls_at_once", "that may be served at once", ("role",)),
    Metric("counter", "worker_deaths_total", "workers", "workers.*.deaths", "that died and were replaced", ("role",)),
    Metric("gauge", "learner_processes", "processes", "learner_processes.*", "that a learner has", ("role",)),
    Metric("counter", "learner_deaths_total", "learners", "learner_deaths.*", "that died and were replaced", ("role",)),
    Metric("counter", "calls_redelivered_total", "calls", "workers.*.redelivered",
           "that another worker served because the first one died", ("role",)),
    Metric("counter", "batches_total", "batches", "batches.*",
           "resumed from the ledger, lost with a node and made again, or quarantined", ("fate",)),
    Metric("counter", "samples_total", "samples", "samples", "for training"),
    Metric("counter", "tokens_total", "tokens", "tokens", "sampled for training"),
    Metric("counter", "held_out_samples_total", "samples", "held_out_samples", "for the evaluation"),
    Metric("counter", "verdicts_total", "samples", "verdicts.*", "judged, by the verdict", ("status",)),
    Metric("counter", "sandbox_repeated_total", "samples", "sandbox.repeated", "whose verdict was known already"),
    Metric("counter", "sandbox_retried_total", "samples", "sandbox.retried",
           "judged again alone because they met the wall limit"),
    Metric("counter", "sandbox_faults_total", "jails", "sandbox.faults", "that broke; never a verdict"),
    Metric("counter", "pairs_total", "pairs", "pairs", "mined"),
    Metric("counter", "hard_pairs_total", "pairs", "hard_pairs", "whose rejected program was chosen as hard"),
    Metric("counter", "false_favourites_total", "samples", "false_favourites",
           "that fail and were scored above a passing one of their problem"),
    Metric("gauge", "reward_mean", "reward", "reward", "of the batch that was scored last, mean"),
    Metric("gauge", "reward_model_loss", "nats", "reward_model.loss", "in the newest step"),
    Metric("gauge", "reward_model_pair_accuracy", "share", "reward_model.pair_accuracy",
           "of new pairs in order, before the newest step"),
    Metric("counter", "groups_submitted_total", "groups", "groups.submitted", "for the policy, admitted"),
    Metric("counter", "groups_trained_total", "groups", "groups.trained", "for the policy, trained on"),
    Metric("counter", "groups_dropped_total", "groups", "groups.dropped", "for the policy, dropped; stays 0"),
    Metric("counter", "groups_trained_twice_total", "groups", "groups.trained_twice", "trained on again; stays 0"),
    Metric("gauge", "groups_running", "groups", "groups.running", "for the policy, between sampling and training"),
    Metric("gauge", "groups_limit", "groups", "groups_limit", "for the policy that may be there at most"),
    Metric("histogram", "staleness_versions", "versions", "trained_by_lag.*",
           "that the oldest token of each trained sample lay behind the policy"),
    Metric("gauge", "policy_steps", "steps", "policy.steps", "of the policy"),
    Metric("gauge", "policy_reward", "reward", "policy.reward", "of the samples of the newest step, mean"),
    Metric("gauge", "policy_kl_nats", "nats", "policy.kl", "from the reference, mean over sequences, newest step"),
    Metric("gauge", "policy_behaviour_gap_nats", "nats", "policy.behaviour_gap",
           "of a token's log-probability between trainer and sampler, mean magnitude, newest step"),
    Metric("gauge", "model_version", "version", "versions.*", "that is published, newest", ("model",)),
    Metric("counter", "weight_updates_total", "updates", "updates.*", "versions that workers took up", ("model",)),
    Metric("counter", "weight_update_pause_seconds_total", "seconds", "pause_seconds",
           "that generators paused to take up a policy, together"),
    Metric("gauge", "weight_mismatch_nats", "nats", "mismatch",
           "of a token's log-probability between generator and trainer, mean magnitude, after the newest update"),
    Metric("gauge", "memory_bytes", "bytes", "memory_bytes",
           "of the run's processes on the driver's machine, shared pages once"),
)  # fmt: skip


class Metrics:
    """The metrics of one run. Ray must be up."""

    def __init__(self, run: str) -> None:
        """`run` is the label by which the runs on one cluster are told apart."""
        self._run = run
        self._told: dict[tuple[str, tuple[str, ...]], float] = {}
        self._instruments = {metric.name: _instrument(metric) for metric in METRICS}

    def tell(self, facts: Facts) -> None:
        tree = facts.model_dump()
        for metric in METRICS:
            for keys, value in figures(tree, metric.path).items():
                self._tell(metric, keys, value)

    def _tell(self, metric: Metric, keys: tuple[str, ...], value: float) -> None:
        instrument = self._instruments[metric.name]
        tags = dict(zip(("run", *metric.labels), (self._run, *keys), strict=False))
        if metric.kind == "gauge":
            instrument.set(value, tags)
            return
        more = value - self._told.get((metric.name, keys), 0)
        if more <= 0:
            return  # Ray's counters take no zero: a series begins with its first event
        self._told[metric.name, keys] = value
        if metric.kind == "counter":
            instrument.inc(more, tags)
        else:
            for _ in range(int(more)):
                instrument.observe(float(keys[0]), tags)


def figures(tree: dict[str, Any], path: str) -> dict[tuple[str, ...], float]:
    """What is defined at `path`, by the keys that each `*` stands for."""
    found: dict[tuple[str, ...], Any] = {(): tree}
    for part in path.split("."):
        if part == "*":
            found = {(*keys, str(key)): entry for keys, at in found.items() for key, entry in at.items()}
        else:
            found = {keys: at[part] for keys, at in found.items() if at is not None}
    return {keys: value for keys, value in found.items() if value is not None}


def _instrument(metric: Metric) -> Any:
    name, description = PREFIX + metric.name, f"{metric.unit} {metric.meaning}"
    tags = ("run", *metric.labels)
    match metric.kind:
        case "counter":
            return ray_metrics.Counter(name, description, tags)
        case "gauge":
            return ray_metrics.Gauge(name, description, tags)
        case "histogram":
            return ray_metrics.Histogram(name, description, list(_LAGS), tags)
