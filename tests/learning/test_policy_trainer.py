"""The PPO trainer on a tiny random model."""

import dataclasses
import random

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from roles.optimisation import GradientTooLarge, NonFiniteLoss
from roles.policy.kl import KLSettings
from roles.policy.rewards import RewardMix, RewardShaper
from roles.policy.trainer import KLTooFar, PolicyTrainer, PPOSettings, Rollout
from roles.records import Score, Verdict
from roles.sequences import TokenSequence
from tests.learning.padded import pad, token_log_probs

VOCABULARY, GOOD = 16, range(8, 16)
PROMPT = (1, 2)


def tiny(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1,
        tie_word_embeddings=True, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@torch.no_grad()
def sample(model: LlamaForCausalLM, count: int, length: int = 4) -> list[Rollout]:
    """Sequences of the model; the reward is the share of GOOD tokens, and more than half of them pass."""
    ids = torch.tensor([PROMPT] * count)
    for _ in range(length):
        distribution = torch.softmax(model(input_ids=ids).logits[:, -1].float(), dim=-1)
        ids = torch.cat([ids, torch.multinomial(distribution, 1)], dim=1)
    sequences = [TokenSequence(PROMPT, tuple(row[len(PROMPT) :].tolist())) for row in ids]
    batch = pad(sequences, 0)
    log_probs = token_log_probs(model(input_ids=batch.input_ids).logits, batch.input_ids)
    sampled = [tuple(log_probs[row][batch.completion_mask[row]].tolist()) for row in range(count)]
    shares = [sum(token in GOOD for token in sequence.completion) / length for sequence in sequences]
    return [Rollout(*row, row[2] > 0.5) for row in zip(sequences, sampled, shares, strict=True)]


VARIANTS = {
    "gae": {},
    "gae, critic's own trunk": {"critic": "trunk"},
    "grpo": {"advantages": "grpo"},
    "rloo": {"advantages": "rloo"},
    "reinforce++": {"advantages": "reinforce++"},
    "passing": {"advantages": "passing"},
    "decoupled": {"objective": "decoupled", "importance_cap": 2.0},
    "every clip": {"dual_clip": 3.0, "clip_high": 0.28, "value_clip": 0.2, "aggregation": "sequence", "entropy": 1e-3},
}


def reached(settings: PPOSettings, sign: int = 1) -> tuple[float, float]:
    """Share of GOOD tokens before and after training on rewards of a sign."""
    torch.manual_seed(3)
    model = tiny()
    trainer = PolicyTrainer(model, settings, temperature=1.0)
    shares = []
    for _ in range(20):
        rollouts = sample(model, 64)
        shares.append(sum(rollout.reward for rollout in rollouts) / len(rollouts))
        trainer.step(
            [
                dataclasses.replace(r, reward=sign * r.reward, passed=r.passed if sign > 0 else r.reward < 0.5)
                for r in rollouts
            ]
        )
    return shares[0], shares[-1]


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS.keys())
def test_training_reaches_the_optimum_and_with_the_sign_turned_round_the_other_end(settings):
    chosen = PPOSettings(learning_rate=1e-2, kl=KLSettings(place="none"), **settings)
    first, last = reached(chosen)
    assert 0.4 < first < 0.6
    assert last > 0.95
    assert reached(chosen, sign=-1)[1] < 0.05


@pytest.mark.parametrize("kind", ["head", "trunk"])
def test_the_critic_learns_what_a_prompt_is_worth(kind):
    torch.manual_seed(3)
    model = tiny()
    trainer = PolicyTrainer(
        model, PPOSettings(learning_rate=3e-3, critic=kind, value_coefficient=1.0), temperature=1.0
    )
    worth = {(3, 2): 1.0, (4, 2): -1.0}
    for _ in range(40):
        step = trainer.step(
            [
                dataclasses.replace(r, sequence=TokenSequence(prompt, r.sequence.completion), reward=reward)
                for prompt, reward in worth.items()
                for r in sample(model, 8)
            ]
        )
    assert step.value_loss < 0.2  # 0.5 for a critic that does not tell them apart


def test_a_strong_penalty_holds_the_policy_at_the_reference():
    torch.manual_seed(3)
    steps = {}
    for kl in (0.0, 5.0):
        model = tiny()
        settings = PPOSettings(learning_rate=1e-2, kl=KLSettings(coefficient=kl))
        trainer = PolicyTrainer(model, settings, temperature=1.0)
        for _ in range(10):
            steps[kl] = trainer.step(sample(model, 64))
    assert steps[5.0].kl < 0.3 * steps[0.0].kl


def test_a_penalty_in_the_loss_holds_the_policy_too():
    torch.manual_seed(3)
    steps = {}
    for coefficient in (0.0, 1.0):
        model = tiny()
        kl = KLSettings(place="loss", estimator="k2", coefficient=coefficient)
        trainer = PolicyTrainer(model, PPOSettings(learning_rate=1e-2, kl=kl), temperature=1.0)
        for _ in range(10):
            steps[coefficient] = trainer.step(sample(model, 64))
    assert steps[1.0].kl < 0.5 * steps[0.0].kl


def test_limits_stop_training_with_the_batch():
    model = tiny()
    far = PPOSettings(learning_rate=1e-1, kl=KLSettings(place="none", limit=0.01))
    trainer = PolicyTrainer(model, far, temperature=1.0)
    trainer.step(sample(model, 16))
    rollouts = sample(model, 16)
    with pytest.raises(KLTooFar, match=r"kl\.limit = 0\.01") as caught:
        trainer.step(rollouts)
    assert caught.value.batch == rollouts
    steep = PPOSettings(gradient_norm_limit=1e-9)
    with pytest.raises(GradientTooLarge, match="gradient_norm_limit = 1e-09"):
        PolicyTrainer(tiny(), steep, temperature=1.0).step(rollouts)


def test_a_batch_too_far_from_the_reference_may_be_skipped_and_counted():
    model = tiny()
    far = PPOSettings(learning_rate=1e-1, kl=KLSettings(place="none", limit=0.01), on_divergence="skip")
    trainer = PolicyTrainer(model, far, temperature=1.0)
    trainer.step(sample(model, 16))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    step = trainer.step(sample(model, 16))
    assert (step.sequences, step.skipped) == (0, 1)
    assert step.kl > 0.01
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_batch_that_is_to_be_skipped_changes_nothing_and_is_counted():
    model = tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settings = PPOSettings(gradient_norm_limit=1e-9, on_divergence="skip", updates_per_step=1)
    trainer = PolicyTrainer(model, settings, temperature=1.0)
    assert trainer.step(sample(model, 16)).skipped == 1
    assert (trainer.engine.skipped, trainer.engine.steps) == (1, 0)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_logits_in_pieces_give_the_same_losses_and_gradients(monkeypatch):
    found = []
    for pieces in (1 << 26, 5 * VOCABULARY):
        monkeypatch.setattr("roles.trunk.LOGITS_AT_ONCE", pieces)
        torch.manual_seed(3)
        model = tiny()
        step = PolicyTrainer(model, PPOSettings(entropy=0.1, updates_per_step=1), temperature=0.7).step(
            sample(model, 16)
        )
        found.append((step, model.get_output_embeddings().weight.clone()))
    assert abs(found[0][0].policy_loss - found[1][0].policy_loss) < 1e-6
    assert abs(found[0][0].gradient_norm - found[1][0].gradient_norm) < 1e-5
    torch.testing.assert_close(found[0][1], found[1][1], atol=1e-6, rtol=0)


def test_the_ratio_of_fresh_samples_is_one():
    model = tiny()
    step = PolicyTrainer(model, PPOSettings(updates_per_step=1), temperature=1.0).step(sample(model, 16))
    assert step.behaviour_gap < 1e-5
    assert step.kl == 0
    assert step.clip_fraction == 0


def test_a_reward_that_is_not_a_number_stops_training_with_the_batch():
    model = tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rollouts = [dataclasses.replace(rollout, reward=float("nan")) for rollout in sample(model, 4)]
    with pytest.raises(NonFiniteLoss) as caught:
        PolicyTrainer(model, PPOSettings(), temperature=1.0).step(rollouts)
    assert caught.value.batch == rollouts
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_restored_trainer_continues_exactly():
    random.seed(0)
    torch.manual_seed(5)
    model = tiny()
    settings = PPOSettings(updates_per_step=1)
    trainer = PolicyTrainer(model, settings, temperature=1.0)
    trainer.step(sample(model, 8))
    state = {name: value for name, value in torch.load(_saved(trainer), weights_only=False).items()}
    rollouts = sample(model, 8)
    expected = trainer.step(rollouts)
    other = PolicyTrainer(tiny(seed=9), settings, temperature=1.0)
    other.load_state_dict(state)
    assert other.step(rollouts) == expected


def _saved(trainer: PolicyTrainer):
    import io

    file = io.BytesIO()
    torch.save(trainer.state_dict(), file)
    file.seek(0)
    return file


def verdict(status: str) -> Verdict:
    return Verdict("c", status, float(status == "passed"), ())  # type: ignore[arg-type]


def test_rewards_mix_tests_and_standardised_scores():
    shaper = RewardShaper(RewardMix(tests=1.0, reward_model=0.5))
    passed, failed, broken = shaper.rewards(
        [verdict("passed"), verdict("failed"), verdict("compile_error")],
        [Score("a", 101.0, 1), Score("b", 99.0, 1), Score("c", 100.0, 1)],
    )
    assert 1.25 < passed < 1.5
    assert 0 < failed < 0.25
    assert broken == -0.5


def test_scores_of_two_reward_versions_are_never_compared():
    shaper = RewardShaper(RewardMix(tests=0.0, reward_model=1.0))
    shaper.rewards([verdict("failed")] * 2, [Score("a", 1.0, 1), Score("b", -1.0, 1)])
    shifted = shaper.rewards([verdict("failed")] * 2, [Score("a", 51.0, 2), Score("b", 49.0, 2)])
    assert shifted[0] > 0.5 > shifted[1]
