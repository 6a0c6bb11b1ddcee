"""A job's bookkeeping without its actors: real streams, pools and counts, as the driver has them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

from actors.admission import Admission
from actors.control import Control
from actors.crew import WorkerRole
from actors.facts import Sources
from actors.messages import Executed
from actors.policy_learner import PolicyProgress
from actors.reward_learner import RewardProgress
from actors.stages import Counts
from actors.streams import Pool, Stream
from actors.telemetry import Drained, Span, TakeUp, Timeline
from actors.weights import Versions
from roles import config
from roles.policy.trainer import PPOStep
from roles.reward.metrics import PairMetrics
from roles.reward.trainer import RewardStep
from roles.sandbox.judge import Load

POCKET = Path(__file__).parent.parent / "configs" / "pocket.yaml"
NAN = float("nan")


def sources(folder: Path) -> Sources:
    """At the start of a job, which has its trace in `folder`."""
    pools = {role: Pool([f"{role} 0"]) for role in get_args(WorkerRole)}
    supervisor = SimpleNamespace(deaths=Counter())
    training = SimpleNamespace(revivals=Counter(), processes=lambda: {"policy learner": 2})
    names = ("candidates", "verdicts", "scored", "rollouts", "pairs")
    return Sources(
        Counts(), [Stream(name, 4, 1000) for name in names], pools, [Versions("policy"), Versions("reward")],
        SimpleNamespace(sampled=0), Admission(config.load(POCKET)), Control(dict.fromkeys(pools, 1)),
        supervisor, training, Timeline(folder / "timeline.json"),
    )  # fmt: skip


async def work(job: Sources) -> None:
    """Something of everything, so that no figure is undefined or zero."""
    counts = job.counts
    candidates, _, scored, _, pairs = job.streams
    await candidates.put(1)
    await candidates.take(1)
    await candidates.put(2)
    for stream in (scored, pairs):
        await stream.put(1)
        await stream.take(1)
    for role, pool in job.pools.items():
        await pool.call(_at_once)
        pool.redelivered += 1
        job.supervisor.deaths[role] += 1
    counts.resumed = counts.lost = counts.quarantined = 1
    counts.samples, counts.tokens, counts.mean_reward = 48, 1000, 0.5
    load = Load(jails=4, busy=1, waiting=2, judged=48, repeated=3, retried=1, faults=1)
    counts.executed(Executed("executor 0", Counter(passed=30, failed=17, timeout=1), load, 100))
    counts.pairs, counts.hard_pairs, counts.false_favourites = 9, 4, 2
    counts.reward = RewardProgress(
        1, 0, [RewardStep(0.6, 0.7, 9, 500, 1.0, ())], {1: PairMetrics(0.8, 5, NAN, 0.1, 0.1)}
    )
    ppo = PPOStep(reward=0.4, kl=0.02, behaviour_gap=0.01)
    counts.policy = PolicyProgress(4, 3, 0.7, 2, Counter({0: 20, 2: 12}), (1,), ppo)
    counts.trained_by_lag += counts.policy.samples_by_lag
    job.held_out.sampled = 10
    job.training.revivals["policy learner"] += 1
    await job.admission.new_reward_model(1)
    await job.admission.admit(("a", "b"))
    await job.admission.was_trained(("a",))
    await job.admission.was_trained(("a",))
    job.admission.dropped += 1
    stages = ("sample", "execute", "score", "mine", "train reward model", "train policy")
    taken_up = TakeUp("policy", 4, "generator 0", 1.0, pause_seconds=0.02, mismatch=1e-5)
    job.timeline.add(Drained([Span(stage, "actor", 0.0, 1.0, 48) for stage in stages], [taken_up]))


async def _at_once(worker: str) -> str:
    return worker
