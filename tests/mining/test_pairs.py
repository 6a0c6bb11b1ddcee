"""Pairs: who may be chosen, who is rejected, and what makes a negative hard."""

import random

import pytest

from roles.mining.pairs import Judged, MiningSettings, false_favourites, mine
from roles.records import Candidate, Score, UntrustedVerdict, Verdict


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


def rated(passed: int, tests: int, reward: float = 0.0) -> Judged:
    """Named after the share of its tests that pass."""
    name = f"{passed}/{tests}"
    status = "passed" if passed == tests else "failed"
    statuses = ("passed",) * passed + ("failed",) * (tests - passed)
    verdict = Verdict(name, status, passed / tests, statuses)
    return Judged(Candidate(name, "p", "g", name), verdict, Score(name, reward, 3))


def names(samples: list[Judged], rule: str, strategy: str = "random", rejected: int = 9) -> set[tuple[str, str]]:
    chosen = MiningSettings(rule=rule, strategy=strategy, chosen_per_problem=9, rejected_per_problem=rejected)  # type: ignore[arg-type]
    return {(pair.chosen_id, pair.rejected_id) for pair in mine(samples, chosen, random.Random(0))}


def test_acecoder_wants_a_high_share_a_clear_lead_and_a_loser_that_passes_something():
    samples = [rated(20, 20), rated(17, 20), rated(16, 20), rated(11, 20), rated(8, 20), rated(1, 20), rated(0, 20)]
    assert names(samples, "acecoder") == {
        ("20/20", "11/20"), ("20/20", "8/20"), ("20/20", "1/20"), ("17/20", "8/20"), ("17/20", "1/20"),
    }  # fmt: skip


@pytest.mark.parametrize("tests", [5, 10, 15, 20, 35])
def test_acecoders_bounds_are_strict_whatever_their_binary_form(tests):
    samples = [rated(passed, tests) for passed in range(tests + 1)]
    expected = {
        (f"{high}/{tests}", f"{low}/{tests}")
        for high in range(tests + 1)
        for low in range(1, tests + 1)
        if 5 * high > 4 * tests and 5 * (high - low) > 2 * tests
    }
    everything = MiningSettings(rule="acecoder", chosen_per_problem=99, rejected_per_problem=99)
    pairs = mine(samples, everything, random.Random(0))
    assert {(pair.chosen_id, pair.rejected_id) for pair in pairs} == expected


def test_the_papers_rule_is_the_default_and_takes_whatever_fails():
    assert MiningSettings().rule == "passing"
    samples = [rated(20, 20), rated(19, 20), rated(0, 20)]
    assert names(samples, "passing") == {("20/20", "19/20"), ("20/20", "0/20")}
    assert names(samples, "acecoder") == set()


def test_hard_negatives_of_acecoder_are_chosen_among_those_that_it_may_reject():
    samples = [rated(10, 10), rated(7, 10, 9.0), rated(5, 10, 1.0), rated(2, 10), rated(0, 10, 5.0)]
    assert names(samples, "acecoder", "hard", rejected=1) == {("10/10", "5/10")}
    assert names(samples, "passing", "hard", rejected=1) == {("10/10", "7/10")}
    assert names(samples, "acecoder", "hybrid", rejected=2) == {("10/10", "5/10"), ("10/10", "2/10")}


@pytest.mark.parametrize("rule", ["passing", "acecoder"])
def test_what_says_nothing_about_a_program_is_refused(rule):
    broken = Verdict("a", "sandbox_fault", 0.5, ())
    weak = Verdict("a", "passed", 1.0, ("passed",), weak=True)
    for verdict in (broken, weak):
        with pytest.raises(UntrustedVerdict):
            names([rated(10, 10), Judged(Candidate("a", "p", "g", "a"), verdict, Score("a", 0.0, 3))], rule)
