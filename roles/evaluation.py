"""Evaluation without the loop: sample from a policy, execute, rerank by a reward model. Any transformers folders do."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable

import numpy as np

from roles.ranking.statistics import Floats
from roles.ranking.table import LOG_PROBABILITY, REWARD_MODEL, EvaluatedPolicy
from roles.records import Candidate, Problem, Verdict
from roles.reward import model as reward_model
from roles.reward.scoring import score
from roles.sampling.engine import EngineSettings, Sampler
from roles.sandbox.judge import Judge
from roles.sequences import encode_candidate

_TOKENS_PER_BATCH = 8192


@dataclasses.dataclass(frozen=True)
class Sampling:
    n: int
    temperature: float
    max_tokens: int
    seed: int = 0


def evaluate(
    policy_dir: str, reward_dir: str, problems: list[Problem], sampling: Sampling, judge: Judge,
    progress: Callable[[str], None] = lambda doing: None,
) -> EvaluatedPolicy:
    """Samples of every problem with verdicts and scores. Raises `SamplingError` or `ValueError` for bad folders."""
    from transformers import AutoTokenizer

    ranker, tokenizer = reward_model.load(reward_dir)
    own = AutoTokenizer.from_pretrained(policy_dir)
    longest = max(len(own(problem.prompt, add_special_tokens=False)["input_ids"]) for problem in problems)
    settings = EngineSettings(max_model_len=longest + sampling.max_tokens, kv_cache_bytes=256 << 20, seed=sampling.seed)
    progress("sampling")
    groups = asyncio.run(_sample(policy_dir, settings, problems, sampling))
    progress("executing")
    verdicts = list(judge.judge_all((p, c) for p, group in zip(problems, groups, strict=True) for c in group))
    progress("scoring")
    sequences = [encode_candidate(tokenizer, p, c) for p, group in zip(problems, groups, strict=True) for c in group]
    rewards = score(ranker, sequences, _TOKENS_PER_BATCH)
    candidates = [candidate for group in groups for candidate in group]
    shape = (len(problems), sampling.n)
    return EvaluatedPolicy(
        policy=os.path.basename(os.path.normpath(policy_dir)),
        policy_version=0,
        passed=passed(verdicts).reshape(shape),
        pass_rates=pass_rates(verdicts).reshape(shape),
        lengths=lengths(candidates).reshape(shape),
        scores={
            LOG_PROBABILITY: mean_log_probs(candidates).reshape(shape),
            REWARD_MODEL: np.array(rewards).reshape(shape),
        },
        temperatures={},
    )


def passed(verdicts: list[Verdict]) -> Floats:
    """(N,) 1 for each verdict `passed`, else 0."""
    return np.array([float(verdict.status == "passed") for verdict in verdicts])


def pass_rates(verdicts: list[Verdict]) -> Floats:
    """(N,) share of the tests that passed."""
    return np.array([verdict.pass_rate for verdict in verdicts])


def lengths(candidates: list[Candidate]) -> Floats:
    """(N,) sampled tokens."""
    return np.array([float(len(candidate.token_ids)) for candidate in candidates])


def mean_log_probs(candidates: list[Candidate]) -> Floats:
    """(N,) mean log-probability of the sampled tokens under the policy that sampled them."""
    return np.array([float(np.mean(candidate.log_probs)) if candidate.log_probs else 0.0 for candidate in candidates])


async def _sample(
    policy_dir: str, settings: EngineSettings, problems: list[Problem], sampling: Sampling
) -> list[list[Candidate]]:
    sampler = Sampler(policy_dir, settings)
    await sampler.start(0)
    try:
        return await asyncio.gather(*(
            sampler.sample(p, n=sampling.n, temperature=sampling.temperature, max_tokens=sampling.max_tokens)
            for p in problems
        ))
    finally:
        await sampler.close()
