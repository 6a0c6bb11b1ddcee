"""Judged samples that a run, or somebody else, left behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from roles.config import Config
from roles.mining import ledger as ledgers
from roles.mining.ledger import LedgerError
from roles.mining.pairs import Judged
from roles.problems import suites
from roles.problems.files import SuiteError, read_rows
from roles.records import Candidate, Problem, Score, Verdict
from roles.reward import model as reward_model
from roles.reward.scoring import score
from roles.sandbox.judging import read_candidates
from roles.sequences import encode_candidate

_UNSCORED = -1  # in place of a reward version


@dataclasses.dataclass(frozen=True)
class Group:
    """The samples of one request, in the order in which they were sampled."""

    problem: Problem
    samples: tuple[Judged, ...]


def load(
    config: Config, ledger: Path | None, candidates: Path | None, verdicts: Path | None, reward: Path | None
) -> list[Group]:
    """Samples of training problems of `config.suite`: of a ledger, or of files; scored again by the model in `reward`.

    Raises `SuiteError`, and `ValueError` for a folder without a reward model.
    """
    files = candidates is not None and verdicts is not None
    if (ledger is not None) == files or (candidates is None) != (verdicts is None):
        raise SuiteError("samples: name either --ledger, or --candidates and --verdicts")
    problems = suites.load(config.suite, "train")
    if ledger is not None:
        groups = from_ledger(ledger, problems)
    else:
        assert candidates is not None and verdicts is not None
        groups = from_files(candidates, verdicts, problems)
    if reward is None:
        return groups
    return scored(groups, str(reward), config.reward.tokens_per_batch, config.model.device)


def from_ledger(folder: Path, problems: Sequence[Problem]) -> list[Group]:
    """All groups of a ledger, or of a run folder with one, in order. Raises `SuiteError`."""
    folder = folder / "ledger" if (folder / "ledger").is_dir() else folder
    try:
        candidates = ledgers.read(folder, Candidate)
        verdicts = {verdict.candidate_id: verdict for verdict in ledgers.read(folder, Verdict)}
        scores = {found.candidate_id: found for found in ledgers.read(folder, Score)}
    except LedgerError as error:
        raise SuiteError(str(error)) from error
    if not candidates:
        raise SuiteError(f"{folder}: holds no ledger; allowed are the folder of a run, or its ledger")
    return _groups(folder, problems, candidates, verdicts, scores)


def from_files(candidates: Path, verdicts: Path, problems: Sequence[Problem]) -> list[Group]:
    """Candidates and the verdicts on them as `driver.py judge` reads and writes them; a problem is a group.

    Raises `SuiteError`.
    """
    found: dict[str, Verdict] = {}
    for row in read_rows(verdicts):
        name = row.get("candidate_id", str)
        found[name] = Verdict(
            name, row.get("status", str), row.get("pass_rate", float), tuple(row.strings("tests")),  # type: ignore[arg-type]
            weak=row.get("weak", bool, False),
        )  # fmt: skip
    return _groups(verdicts, problems, read_candidates(candidates, problems), found, {})


def scored(groups: Sequence[Group], reward_dir: str, tokens_per_batch: int, device: str) -> list[Group]:
    """The same groups with scores by the reward model in `reward_dir`. Raises `ValueError`."""
    model, tokenizer = reward_model.load(reward_dir, torch.device(device))
    sequences = [
        encode_candidate(tokenizer, group.problem, sample.candidate) for group in groups for sample in group.samples
    ]
    rewards = iter(score(model, sequences, tokens_per_batch))
    return [
        dataclasses.replace(group, samples=tuple(
            dataclasses.replace(sample, score=Score(sample.candidate.id, next(rewards), 0))
            for sample in group.samples
        ))
        for group in groups
    ]  # fmt: skip


def demand_scores(groups: Sequence[Group], field: str, remedy: str) -> None:
    """Raises `SuiteError` unless all samples have scores, which `field` needs."""
    if any(sample.score.reward_version == _UNSCORED for group in groups for sample in group.samples):
        raise SuiteError(f"{field} needs scores of a reward model, and these samples have none; {remedy}")


def _groups(
    source: Path, problems: Sequence[Problem], candidates: list[Candidate], verdicts: dict[str, Verdict],
    scores: dict[str, Score],
) -> list[Group]:  # fmt: skip
    by_id = {problem.id: problem for problem in problems}
    groups: dict[str, list[Judged]] = {}
    for candidate in candidates:
        if candidate.problem_id not in by_id:
            raise SuiteError(
                f"{source}: problem {candidate.problem_id!r} is no training problem of the suite; set suite to its own"
            )
        if candidate.id not in verdicts:
            raise SuiteError(f"{source}: there is no verdict on the candidate {candidate.id!r}")
        unscored = Score(candidate.id, 0.0, _UNSCORED)
        groups.setdefault(candidate.group_id, []).append(
            Judged(candidate, verdicts[candidate.id], scores.get(candidate.id, unscored))
        )
    if not groups:
        raise SuiteError(f"{source}: no candidates")
    return [Group(by_id[members[0].candidate.problem_id], tuple(members)) for members in groups.values()]
