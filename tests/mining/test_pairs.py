"""Pairs: who may be chosen, who is rejected, and what makes a negative hard."""

import random

from roles.mining.pairs import Judged, MiningSettings, false_favourites, mine
from roles.records import Candidate, Score, Verdict


def judged(name: str, passed: bool, reward: float, text: str | None = None) -> Judged:
    return Judged(
        Candidate(name, "p", "g", text or name),
        Verdict(name, "passed" if passed else "failed", 1.0 if passed else 0.25, ()),
        Score(name, reward, 3),
    )


SAMPLES = [
    judged("right 1", True, 0.5), judged("right 2", True, 2.0),
    *(judged(f"wrong {i}", False, float(i)) for i in range(6)),
]  # fmt: skip


def settings(strategy: str, rejected: int = 2) -> MiningSettings:
    return MiningSettings(strategy=strategy, chosen_per_problem=4, rejected_per_problem=rejected)  # type: ignore[arg-type]


def test_every_pair_prefers_a_program_that_passes_to_one_that_fails():
    pairs = mine(SAMPLES, settings("hybrid", 4), random.Random(0))
    assert len(pairs) == 2 * 4
    assert all(pair.chosen_id.startswith("right") and pair.rejected_id.startswith("wrong") for pair in pairs)
    assert all(pair.margin_pass_rate == 0.75 and pair.reward_version == 3 for pair in pairs)


def test_hard_negatives_are_the_failures_the_reward_model_likes_most():
    pairs = mine(SAMPLES, settings("hard"), random.Random(0))
    assert {pair.rejected_id for pair in pairs} == {"wrong 5", "wrong 4"}
    assert {pair.kind for pair in pairs} == {"hard"}


def test_hybrid_takes_half_of_each():
    pairs = mine(SAMPLES, settings("hybrid", 4), random.Random(0))
    assert {pair.rejected_id for pair in pairs if pair.kind == "hard"} == {"wrong 5", "wrong 4"}
    assert len({pair.rejected_id for pair in pairs if pair.kind == "random"}) == 2


def test_random_negatives_do_not_follow_the_scores():
    drawn = {pair.rejected_id for seed in range(50) for pair in mine(SAMPLES, settings("random"), random.Random(seed))}
    assert drawn == {f"wrong {i}" for i in range(6)}


def test_one_verdict_for_all_gives_no_pair():
    assert mine([s for s in SAMPLES if s.verdict.status == "passed"], settings("hybrid"), random.Random(0)) == []
    assert mine([s for s in SAMPLES if s.verdict.status != "passed"], settings("hybrid"), random.Random(0)) == []


def test_the_same_text_counts_once():
    copies = [judged(f"wrong {i}", False, 1.0, text="same") for i in range(4)]
    assert len(mine([SAMPLES[0], *copies], settings("hybrid", 4), random.Random(0))) == 1


def test_false_favourites_are_failures_above_a_passing_program():
    assert false_favourites(SAMPLES) == 5
