"""The final table: every ranker on the same samples of every policy, and the paired differences between them."""

from __future__ import annotations

import dataclasses

import numpy as np

from roles.ranking.statistics import Bootstrap, Floats, Interval, Pool, gap_closed

ONE_SAMPLE = "one sample"
RANDOM = "random"
LOG_PROBABILITY = "log-probability"
ORACLE = "oracle"
REWARD_MODEL = "reward model"
CONTROL = "positives only"  # log-probability of the base fine-tuned on the passing samples that the pairs came from


def reward_model(version: int) -> str:
    return f"{REWARD_MODEL} v{version}"


@dataclasses.dataclass(frozen=True)
class EvaluatedPolicy:
    """n samples of each of P held-out problems by one policy. All arrays are (P, n)."""

    policy: str
    policy_version: int
    passed: Floats
    pass_rates: Floats
    lengths: Floats  # in tokens
    scores: dict[str, Floats]
    temperatures: dict[str, float]  # of the reward models among them that were calibrated, on other problems


@dataclasses.dataclass(frozen=True)
class Row:
    policy: str
    policy_version: int
    ranker: str
    n: int
    pass_at_1: float
    best_of_n: float
    oracle: float
    gap_closed: float
    low: float  # 95% interval of gap_closed
    high: float


@dataclasses.dataclass(frozen=True)
class Difference:
    """A paired difference with its 95% interval: `a` minus `b`, on the samples of `policy`."""

    what: str  # gap_closed | pass_at_1
    policy: str
    a: str
    b: str
    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "no difference shown"


def rows(policies: list[EvaluatedPolicy], bootstrap: Bootstrap, seed: int) -> list[Row]:
    """One row for each policy and ranker."""
    return [
        _row(evaluated, ranker, scores, bootstrap)
        for evaluated in policies
        for ranker, scores in _with_bounds(evaluated, seed).items()
    ]


def differences(policies: list[EvaluatedPolicy], bootstrap: Bootstrap) -> list[Difference]:
    """Each reward model against log-probability, control and predecessor; each policy against the SFT policy."""
    found = []
    for evaluated in policies:
        pool = Pool(evaluated.passed)
        for a, b in _comparisons(list(evaluated.scores)):
            interval = bootstrap.gap_difference(pool, evaluated.scores[a], evaluated.scores[b])
            found.append(_difference("gap_closed", evaluated.policy, a, b, interval))
    by_name = {evaluated.policy: evaluated for evaluated in policies}
    if "sft" in by_name:
        start = Pool(by_name["sft"].passed).mean
        for name, evaluated in by_name.items():
            if name != "sft":
                interval = bootstrap.mean(Pool(evaluated.passed).mean - start)
                found.append(_difference("pass_at_1", name, name, "sft", interval))
    return found


def _comparisons(rankers: list[str]) -> list[tuple[str, str]]:
    versions = [v for v in range(1, len(rankers) + 1) if reward_model(v) in rankers]
    pairs = [(REWARD_MODEL, LOG_PROBABILITY)] if REWARD_MODEL in rankers else []
    for version in versions:
        for baseline in (LOG_PROBABILITY, CONTROL, reward_model(version - 1)):
            if baseline in rankers:
                pairs.append((reward_model(version), baseline))
    return pairs


def _with_bounds(evaluated: EvaluatedPolicy, seed: int) -> dict[str, Floats]:
    shape = evaluated.passed.shape
    rng = np.random.default_rng(seed)
    return {
        ONE_SAMPLE: np.zeros(shape),  # every sample ties, so the best is the mean
        RANDOM: rng.random(shape),
        **evaluated.scores,
        ORACLE: evaluated.passed,
    }


def _row(evaluated: EvaluatedPolicy, ranker: str, scores: Floats, bootstrap: Bootstrap) -> Row:
    pool = Pool(evaluated.passed)
    interval = bootstrap.gap_closed(pool, scores)
    return Row(
        policy=evaluated.policy,
        policy_version=evaluated.policy_version,
        ranker=ranker,
        n=evaluated.passed.shape[1],
        pass_at_1=float(pool.mean.mean()),
        best_of_n=float(pool.best(scores).mean()),
        oracle=float(pool.oracle.mean()),
        gap_closed=gap_closed(pool.best(scores), pool.mean, pool.oracle),
        low=interval.low,
        high=interval.high,
    )


def _difference(what: str, policy: str, a: str, b: str, interval: Interval) -> Difference:
    return Difference(what, policy, a, b, interval.value, interval.low, interval.high)
