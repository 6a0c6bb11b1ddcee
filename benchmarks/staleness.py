"""What samples of older policies do to PPO, with the plain objective and with the decoupled one.

    python -m benchmarks.staleness [--seeds N] [--steps N] [--staleness N] [--sweep]

A one-layer Llama learns which token belongs at each place after each of four prompts; the reward is the share of
places that are right, so the best policy earns 1 and the first one about 1/12. Each batch is sampled from the policy
that was the newest `staleness` versions before, and serves several minibatch updates. All arms see the same seeds, so
differences are paired; intervals are Student's over seeds, at 95%. With --sweep the same is done for other settings,
one changed at a time. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import math
import statistics
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from transformers import LlamaConfig, LlamaForCausalLM

from roles.policy.kl import KLSettings
from roles.policy.trainer import PolicyTrainer, PPOSettings, PPOStep, Rollout
from roles.ranking.statistics import Interval
from roles.sequences import TokenSequence

VOCABULARY, LENGTH = 12, 4
PROMPTS = tuple((1, token) for token in range(4, 8))
SAMPLES = 16  # of each prompt in a batch
POINTS = 8  # of a learning curve, behind its beginning
_JUDGED = 64  # samples of each prompt at such a point
SETTINGS = PPOSettings(
    learning_rate=1e-3, advantages="rloo", importance_cap=2.0, updates_per_step=4, kl=KLSettings(place="none")
)
SWEEP: dict[str, dict[str, Any]] = {
    "learning_rate 1e-4": {"learning_rate": 1e-4},
    "learning_rate 3e-4": {"learning_rate": 3e-4},
    "learning_rate 3e-3": {"learning_rate": 3e-3},
    "updates_per_step 1": {"updates_per_step": 1},
    "clip 0.1": {"clip": 0.1},
    "clip 0.5": {"clip": 0.5},
    "no importance_cap": {"importance_cap": None},
    "advantages gae": {"advantages": "gae"},
}


@dataclasses.dataclass(frozen=True)
class Training:
    curve: list[float]  # reward of the newest policy at the start and after each `steps / POINTS` steps
    clip_fraction: float  # mean over the steps
    behaviour_gap: float


def policy(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, tie_word_embeddings=False, pad_token_id=0, initializer_range=0.1,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def reward(sequence: TokenSequence) -> float:
    wanted = (3 + (sequence.prompt[1] + place) % (VOCABULARY - 3) for place in range(LENGTH))
    return sum(token == right for token, right in zip(sequence.completion, wanted, strict=True)) / LENGTH


@torch.no_grad()
def sample(model: Any, each: int, generator: torch.Generator) -> list[Rollout]:
    """`each` completions of every prompt."""
    prompts = [prompt for prompt in PROMPTS for _ in range(each)]
    latest, cache, tokens, log_probs = torch.tensor(prompts), None, [], []
    for _ in range(LENGTH):
        output = model(input_ids=latest, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        distribution = torch.log_softmax(output.logits[:, -1].float(), dim=-1)
        latest = torch.multinomial(distribution.exp(), 1, generator=generator)
        tokens.append(latest)
        log_probs.append(distribution.gather(1, latest))
    rows = zip(prompts, torch.cat(tokens, dim=1).tolist(), torch.cat(log_probs, dim=1).tolist(), strict=True)
    sequences = [(TokenSequence(prompt, tuple(row)), tuple(found)) for prompt, row, found in rows]
    return [Rollout(sequence, found, reward(sequence)) for sequence, found in sequences]


def train(settings: PPOSettings, staleness: int, seed: int, steps: int) -> Training:
    """PPO in which each batch comes from the policy of `staleness` versions before, or from the first."""
    model = policy(seed)
    trainer = PolicyTrainer(model, settings, temperature=1.0, seed=seed)
    sampler = copy.deepcopy(model)
    versions: deque[dict[str, torch.Tensor]] = deque(maxlen=staleness + 1)
    sampling, judging = (torch.Generator().manual_seed(2 * seed + offset) for offset in (0, 1))
    curve: list[float] = []
    taken: list[PPOStep] = []
    for number in range(steps + 1):
        if number % (steps // POINTS) == 0:
            curve.append(statistics.mean(rollout.reward for rollout in sample(model, _JUDGED, judging)))
        versions.append(copy.deepcopy(model.state_dict()))
        sampler.load_state_dict(versions[0])
        if number < steps:
            taken.append(trainer.step(sample(sampler, SAMPLES, sampling)))
    clipped = statistics.mean(step.clip_fraction for step in taken)
    return Training(curve, clipped, statistics.mean(step.behaviour_gap for step in taken))


def interval(values: Sequence[float]) -> Interval:
    """Mean of independent values, and Student's 95% interval of it."""
    half = _student(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.mean(values)
    return Interval(mean, mean - half, mean + half)


def _student(freedom: int) -> float:
    """The 97.5% quantile of Student's t, from its density."""
    t, width = np.linspace(0, 50, 1_000_001, retstep=True)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    mass = np.cumsum(scale * (1 + t**2 / freedom) ** (-(freedom + 1) / 2)) * width
    return float(t[np.searchsorted(mass, 0.475)])


Objective = Literal["plain", "decoupled"]
Arm = tuple[Objective, int]  # and its staleness


def compare(settings: PPOSettings, arms: Sequence[Arm], seeds: int, steps: int) -> dict[Arm, list[Training]]:
    return {
        (objective, staleness): [
            train(settings.model_copy(update={"objective": objective}), staleness, seed, steps)
            for seed in range(seeds)
        ]
        for objective, staleness in arms
    }


def report(found: dict[Arm, list[Training]], stale: int) -> dict[str, Any]:
    """Rewards of each arm, paired differences between arms, and what they say."""
    finals = {arm: [training.curve[-1] for training in trainings] for arm, trainings in found.items()}

    def difference(first: Sequence[float], second: Sequence[float]) -> Interval:
        return interval([a - b for a, b in zip(first, second, strict=True)])

    fresh, plain, decoupled = finals["plain", 0], finals["plain", stale], finals["decoupled", stale]
    start = [training.curve[0] for training in found["decoupled", stale]]
    whole = {arm: [statistics.mean(training.curve) for training in trainings] for arm, trainings in found.items()}
    differences = {
        "plain, fresh - stale": difference(fresh, plain),
        "stale, decoupled - plain": difference(decoupled, plain),
        "decoupled stale - plain fresh": difference(decoupled, fresh),
        "decoupled stale, learnt": difference(decoupled, start),
        "mean of the curve, stale, decoupled - plain": difference(whole["decoupled", stale], whole["plain", stale]),
    }
    return {
        "arms": {
            f"{objective}, staleness {staleness}": {
                "final": _rounded(interval(finals[objective, staleness])),
                "finals": [round(value, 3) for value in finals[objective, staleness]],
                "curve": [
                    _rounded(interval(point)) for point in zip(*(training.curve for training in trainings), strict=True)
                ],
                "clip_fraction": round(statistics.mean(training.clip_fraction for training in trainings), 3),
                "behaviour_gap": round(statistics.mean(training.behaviour_gap for training in trainings), 3),
            }
            for (objective, staleness), trainings in found.items()
        },
        "differences": {name: _rounded(value) for name, value in differences.items()},
        "verdict": verdict(differences, stale),
    }


def verdict(differences: dict[str, Interval], stale: int) -> str:
    plain = _side(differences["plain, fresh - stale"], "below", "above")
    learns = _side(differences["decoupled stale, learnt"], "above", "below")
    better = _side(differences["stale, decoupled - plain"], "above", "below")
    faster = _side(differences["mean of the curve, stale, decoupled - plain"], "above", "below")
    return (
        f"With staleness {stale} plain PPO ends {plain} where it ends with fresh samples; the decoupled objective ends "
        f"{learns} its beginning and {better} plain PPO, and is {faster} it in the mean of the curve."
    )


def _side(found: Interval, positive: str, negative: str) -> str:
    return positive if found.low > 0 else negative if found.high < 0 else "neither surely above nor below"


def _rounded(found: Interval) -> dict[str, float]:
    return {name: round(value, 3) for name, value in dataclasses.asdict(found).items()}


def show(console: Console, title: str, result: dict[str, Any]) -> None:
    console.print(title)
    for name, arm in result["arms"].items():
        curve = " ".join(f"{point['value']:.2f}" for point in arm["curve"])
        console.print(
            f"  {name:<26}{_shown(arm['final'])}   {curve}   clipped {arm['clip_fraction']:.3f}, "
            f"gap {arm['behaviour_gap']:.2f}"
        )
    for name, found in result["differences"].items():
        console.print(f"  {name:<46}{_shown(found)}")
    console.print(f"  {result['verdict']}")


def _shown(found: dict[str, float]) -> str:
    return f"{found['value']:6.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=64, help=f"a multiple of {POINTS}")
    parser.add_argument("--staleness", type=int, default=8, help="versions")
    parser.add_argument("--sweep", action="store_true", help="other settings too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console, stale = Console(width=160, highlight=False), arguments.staleness
    arms: list[Arm] = [("plain", 0), ("plain", stale), ("decoupled", stale), ("decoupled", 0)]
    results = {}
    for name in ["", *(SWEEP if arguments.sweep else ())]:
        settings = SETTINGS.model_copy(update=SWEEP.get(name))
        chosen = arms[: 3 if name else 4]
        results[name] = report(compare(settings, chosen, arguments.seeds, arguments.steps), stale)
        show(console, name or f"learning_rate {settings.learning_rate}, clip {settings.clip}, ...", results[name])
    head = {"seeds": arguments.seeds, "steps": arguments.steps, "staleness": stale}
    print(json.dumps(head | results.pop("") | ({"sweep": results} if results else {})))


if __name__ == "__main__":
    main()
