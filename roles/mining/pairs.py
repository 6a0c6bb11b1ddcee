"""From judged and scored samples of one problem to Bradley-Terry pairs.

By the paper's rule (`passing`; RewardRanker, arXiv 2504.09643) a chosen program passes every test and a rejected one
fails some. By AceCoder's (`acecoder`; arXiv 2502.01718, eq. 3) the chosen passes more than 0.8 of the tests, leads by
more than 0.4, and the rejected passes some: what passes nothing is often an accident of form. The bounds are strict, as
in the paper (its published code includes them), and a pass rate is a share of all tests of the problem.

*Hard* negatives are the programs among those that may be rejected which the current reward model scores highest; the
paper's hard-negatives-only row is below no iteration at all, so the default mixes both.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from roles.records import Candidate, Pair, PairKind, Score, Verdict

Rule = Literal["passing", "acecoder"]
Strategy = Literal["random", "hard", "hybrid"]
CHOSEN_ABOVE = 0.8  # of acecoder
LEAD_ABOVE = 0.4
_ROUNDING = 1e-9  # of shares that are equal but for their binary form


class MiningSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Rule = "passing"
    strategy: Strategy = "hybrid"
    chosen_per_problem: int = Field(default=4, ge=1)
    rejected_per_problem: int = Field(default=4, ge=1)


@dataclasses.dataclass(frozen=True)
class Judged:
    """A candidate with what is known of it."""

    candidate: Candidate
    verdict: Verdict
    score: Score


def judged(
    candidates: Sequence[Candidate], verdicts: Sequence[Verdict], scores: Sequence[Score]
) -> dict[str, list[Judged]]:
    """Samples by group, of records in the same order."""
    groups: dict[str, list[Judged]] = {}
    for parts in zip(candidates, verdicts, scores, strict=True):
        groups.setdefault(parts[0].group_id, []).append(Judged(*parts))
    return groups


def mine(samples: Sequence[Judged], settings: MiningSettings, rng: random.Random) -> list[Pair]:
    """All pairs, by the rule, of the programs picked from one problem's samples.

    Programs with the same text count once. Each pair has the kind of its rejected program. Raises `UntrustedVerdict`.
    """
    beats = _RULES[settings.rule]
    for sample in samples:
        sample.verdict.demand_truth()
    distinct = list({sample.candidate.text: sample for sample in samples}.values())
    winners = [sample for sample in distinct if any(beats(sample.verdict, other.verdict) for other in distinct)]
    chosen = rng.sample(winners, min(settings.chosen_per_problem, len(winners)))
    losers = [sample for sample in distinct if any(beats(winner.verdict, sample.verdict) for winner in chosen)]
    rejected = _negatives(losers, settings, rng)
    return [
        _pair(winner, loser, kind)
        for winner in chosen
        for loser, kind in rejected
        if beats(winner.verdict, loser.verdict)
    ]


def false_favourites(samples: Sequence[Judged]) -> int:
    """How many distinct failing programs the reward model scores above a passing one of the same problem."""
    passed = [sample.score.reward for sample in samples if sample.verdict.status == "passed"]
    failed = {sample.candidate.text: sample for sample in samples if sample.verdict.status != "passed"}
    return sum(sample.score.reward > min(passed) for sample in failed.values()) if passed else 0


def _passing(chosen: Verdict, rejected: Verdict) -> bool:
    return chosen.status == "passed" != rejected.status


def _acecoder(chosen: Verdict, rejected: Verdict) -> bool:
    lead = chosen.pass_rate - rejected.pass_rate
    return chosen.pass_rate > CHOSEN_ABOVE + _ROUNDING and lead > LEAD_ABOVE + _ROUNDING and rejected.pass_rate > 0


_RULES: dict[Rule, Callable[[Verdict, Verdict], bool]] = {"passing": _passing, "acecoder": _acecoder}


def _negatives(
    losers: list[Judged], settings: MiningSettings, rng: random.Random
) -> list[tuple[Judged, PairKind]]:
    wanted = min(settings.rejected_per_problem, len(losers))
    hard = {"random": 0, "hard": wanted, "hybrid": (wanted + 1) // 2}[settings.strategy]
    by_score = sorted(losers, key=lambda sample: sample.score.reward, reverse=True)
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
