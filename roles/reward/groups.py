"""From mined records to what the reward model is trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from roles.records import Candidate, Pair, Problem
from roles.reward.trainer import PairGroup
from roles.sequences import encode_candidate


@dataclasses.dataclass(frozen=True)
class MinedGroup:
    pairs: PairGroup
    reward_version: int  # that scored its programs when they were mined


def mined_groups(
    tokenizer: Any, problems: Sequence[Problem], candidates: Sequence[Candidate], pairs: Sequence[Pair]
) -> list[MinedGroup]:
    """`pairs` by the request that their programs were sampled in, each program encoded once.

    Raises `KeyError` when `problems` or `candidates` lack what a pair names.
    """
    by_id = {problem.id: problem for problem in problems}
    programs = {candidate.id: candidate for candidate in candidates}
    requests: dict[str, list[Pair]] = {}
    for pair in pairs:
        requests.setdefault(programs[pair.chosen_id].group_id, []).append(pair)
    return [_group(tokenizer, by_id[members[0].problem_id], programs, members) for members in requests.values()]


def _group(tokenizer: Any, problem: Problem, programs: dict[str, Candidate], members: list[Pair]) -> MinedGroup:
    ids = list(dict.fromkeys(i for pair in members for i in (pair.chosen_id, pair.rejected_id)))
    place = {candidate_id: index for index, candidate_id in enumerate(ids)}
    group = PairGroup(
        problem.id,
        tuple(encode_candidate(tokenizer, problem, programs[candidate_id]) for candidate_id in ids),
        tuple((place[pair.chosen_id], place[pair.rejected_id]) for pair in members),
        tuple(pair.margin_pass_rate for pair in members),
    )
    return MinedGroup(group, members[0].reward_version)
