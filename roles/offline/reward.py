"""The reward model alone: pairs of judged samples, and how well it ranks problems that it never saw."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from roles import model_folder
from roles.config import Config
from roles.mining.pairs import mine
from roles.offline.samples import Group, demand_scores
from roles.problems.files import SuiteError
from roles.reward import model as reward_model
from roles.reward.groups import mined_groups
from roles.reward.metrics import Judgement, RewardMetrics, measure
from roles.reward.scoring import score
from roles.reward.trainer import RewardStep, RewardTrainer
from roles.sequences import TokenSequence, encode_candidate


@dataclasses.dataclass(frozen=True)
class Learnt:
    steps: list[RewardStep]
    groups: int  # with pairs that were trained on
    before: RewardMetrics  # on held-out problems; the temperature is fitted on other held-out ones
    after: RewardMetrics


def learn(
    config: Config, groups: Sequence[Group], out: Path, held_out: float, epochs: int,
    on_step: Callable[[RewardStep], None] = lambda step: None,
) -> Learnt:  # fmt: skip
    """Train on the pairs of `groups`, less those of a share `held_out` of the problems, and write the reward model.

    Raises `SuiteError` and `ModelError` before weights are loaded, `UntrustedVerdict` for samples that may not train a
    model, `Diverged` later.
    """
    settings, folder, rng = config.reward, str(config.model.folder), random.Random(config.seed)
    if config.mining.strategy != "random":
        demand_scores(groups, f"mining.strategy = {config.mining.strategy}", "set it to random, or name --reward DIR")
    training, validation, test = _split(groups, held_out, rng)
    pairs = [pair for group in training for pair in mine(group.samples, config.mining, rng)]
    if not pairs:
        raise SuiteError("no problem to train on has both a program to choose and one to reject")
    model_folder.check_device(config.model.device)
    model_folder.check_adapters(folder, config.learning.lora)
    tokenizer = model_folder.tokenizer(folder)
    candidates = [sample.candidate for group in groups for sample in group.samples]
    problems = {group.problem.id: group.problem for group in groups}
    sequences = [encode_candidate(tokenizer, problems[c.problem_id], c) for c in candidates]
    model_folder.check_lengths(folder, sequences, f"{len(candidates)} candidates")
    encoded = dict(zip((candidate.id for candidate in candidates), sequences, strict=True))
    mined = [group.pairs for group in mined_groups(tokenizer, list(problems.values()), candidates, pairs)]

    model, tokenizer = reward_model.create(settings.head, folder, config.model.device, settings.reference)

    def metrics() -> RewardMetrics:
        rewards = score(model, sequences, settings.tokens_per_batch)
        by_id = {candidate.id: reward for candidate, reward in zip(candidates, rewards, strict=True)}
        temperature = measure([_judgement(group, by_id, encoded) for group in validation]).temperature
        return measure([_judgement(group, by_id, encoded) for group in test], temperature)

    before = metrics()
    trainer = RewardTrainer(model, settings, settings.tokens_per_batch, settings.objective, config.learning)
    steps = []
    for _ in range(epochs):
        order = rng.sample(mined, len(mined))
        for start in range(0, len(order), settings.groups_per_step):
            steps.append(trainer.step(order[start : start + settings.groups_per_step]))
            on_step(steps[-1])
    trainer.close()
    model.save(out, tokenizer)
    return Learnt(steps, len(mined), before, metrics())


def _split(
    groups: Sequence[Group], held_out: float, rng: random.Random
) -> tuple[list[Group], list[Group], list[Group]]:
    """To train on, to fit the temperature on, and to measure on: by problem."""
    names = list(dict.fromkeys(group.problem.id for group in groups))
    rng.shuffle(names)
    each = round(held_out * len(names) / 2)
    if not each or 2 * each >= len(names):
        raise SuiteError(f"held-out = {held_out}: of {len(names)} problems some must be trained on and two held out")
    validation, test = set(names[:each]), set(names[each : 2 * each])
    return (
        [group for group in groups if group.problem.id not in validation | test],
        [group for group in groups if group.problem.id in validation],
        [group for group in groups if group.problem.id in test],
    )


def _judgement(group: Group, rewards: dict[str, float], sequences: dict[str, TokenSequence]) -> Judgement:
    ids = [sample.candidate.id for sample in group.samples]
    return Judgement(
        [rewards[name] for name in ids],
        [sample.verdict.pass_rate for sample in group.samples],
        [len(sequences[name].completion) for name in ids],
    )
