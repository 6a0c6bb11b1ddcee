"""From judged and scored samples of one problem to Bradley-Terry pairs.

A chosen program passes every test; a rejected one fails some (the paper's rule). *Hard* negatives are failing programs
that the current reward model scores highest; the paper's hard-negatives-only row is below no iteration at all, so the
default mixes both.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from roles.records import Candidate, Pair, PairKind, Score, Verdict

Strategy = Literal["random", "hard", "hybrid"]


class MiningSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: Strategy = "hybrid"
    chosen_per_problem: int = Field(default=4, ge=1)
    rejected_per_problem: int = Field(default=4, ge=1)


@dataclasses.dataclass(frozen=True)
class Judged:
    """A candidate with what is known of it."""

    candidate: Candidate
    verdict: Verdict
    score: Score


def mine(samples: Sequence[Judged], settings: MiningSettings, rng: random.Random) -> list[Pair]:
    """All pairs of the programs picked from one problem's samples; empty unless some pass and some fail.

    Programs with the same text count once. Each pair has the kind of its rejected program. Raises `UntrustedVerdict`.
    """
    for sample in samples:
        sample.verdict.demand_truth()
    distinct = list({sample.candidate.text: sample for sample in samples}.values())
    passed = [sample for sample in distinct if sample.verdict.status == "passed"]
    failed = [sample for sample in distinct if sample.verdict.status != "passed"]
    if not passed or not failed:
        return []
    chosen = rng.sample(passed, min(settings.chosen_per_problem, len(passed)))
    rejected = _negatives(failed, settings, rng)
    return [_pair(winner, loser, kind) for winner in chosen for loser, kind in rejected]


def false_favourites(samples: Sequence[Judged]) -> int:
    """How many distinct failing programs the reward model scores above a passing one of the same problem."""
    passed = [sample.score.reward for sample in samples if sample.verdict.status == "passed"]
    failed = {sample.candidate.text: sample for sample in samples if sample.verdict.status != "passed"}
    return sum(sample.score.reward > min(passed) for sample in failed.values()) if passed else 0


def _negatives(
    failed: list[Judged], settings: MiningSettings, rng: random.Random
) -> list[tuple[Judged, PairKind]]:
    wanted = min(settings.rejected_per_problem, len(failed))
    hard = {"random": 0, "hard": wanted, "hybrid": (wanted + 1) // 2}[settings.strategy]
    by_score = sorted(failed, key=lambda sample: sample.score.reward, reverse=True)
    others = rng.sample(by_score[hard:], wanted - hard)
    return [(sample, "hard") for sample in by_score[:hard]] + [(sample, "random") for sample in others]


def _pair(chosen: Judged, rejected: Judged, kind: PairKind) -> Pair:
    return Pair(
        problem_id=chosen.candidate.problem_id,
        chosen_id=chosen.candidate.id,
        rejected_id=rejected.candidate.id,
        kind=kind,
        margin_pass_rate=chosen.verdict.pass_rate - rejected.verdict.pass_rate,
        margin_reward=chosen.score.reward - rejected.score.reward,
        reward_version=chosen.score.reward_version,
    )
