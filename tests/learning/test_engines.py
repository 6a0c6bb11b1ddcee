"""Adapters, recomputed layers and low precision change what is kept, not what is learnt."""

import random

import pytest
import torch
from learners import assert_close, causal, groups, log_probs, policy_trainer, reward_trainer, rollouts, sequence
from tiny import tiny_model
from torch import nn

from roles import engines, weights
from roles.engines import LearningSettings, LoRASettings, lora
from roles.optimisation import OptimiserSettings
from roles.tuning import sft
from roles.tuning.sft import Example, SFTSettings

LORA = LearningSettings(lora=LoRASettings(rank=4, alpha=8))
SEQUENCES = [sequence(random.Random(1), (5, 6, 7)) for _ in range(3)]


def flat(model) -> torch.Tensor:
    return torch.tensor([value for values in log_probs(model, SEQUENCES) for value in values])


def test_published_weights_of_adapters_are_those_of_a_plain_model_that_computes_the_same():
    trainer = policy_trainer(LORA)
    for seed in range(2):
        trainer.step(rollouts(seed))
    unmerged = flat(trainer.model)
    assert (unmerged - flat(causal())).abs().max() > 0.01
    plain = causal(seed=9)
    missing, unexpected = plain.load_state_dict(weights.unpack(weights.pack(trainer.weights())), strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])  # tied: the same memory as the embeddings
    torch.testing.assert_close(flat(plain), unmerged, atol=1e-5, rtol=0)
    engines.finish(trainer.model)
    torch.testing.assert_close(flat(trainer.model), unmerged, atol=1e-5, rtol=0)
    assert trainer.model.state_dict().keys() == causal().state_dict().keys()
    assert all(parameter.requires_grad for parameter in trainer.model.parameters())


def test_adapters_save_as_a_folder_that_transformers_loads(tmp_path):
    from transformers import AutoModelForCausalLM

    trainer = policy_trainer(LORA)
    trainer.step(rollouts())
    trainer.model.save_pretrained(tmp_path, state_dict=trainer.weights())
    assert not list(tmp_path.glob("*adapter*"))
    torch.testing.assert_close(
        flat(AutoModelForCausalLM.from_pretrained(tmp_path)), flat(trainer.model), atol=1e-5, rtol=0
    )


def test_only_adapters_and_heads_learn_and_the_reference_is_the_policy_without_them():
    trainer = policy_trainer(LORA)
    assert trainer.reference is None
    first = trainer.step(rollouts())
    assert first.kl == 0
    learnt = {name: tensor for name, tensor in trainer.weights().items()}
    before = causal().state_dict()
    changed = {name for name in before if not torch.equal(learnt[name], before[name])}
    assert changed == {name for name in before if name.endswith("_proj.weight")}
    assert trainer.step(rollouts()).kl != 0
    with lora.disabled(trainer.model):
        assert torch.equal(flat(trainer.model), flat(causal()))
    assert not torch.equal(flat(trainer.model), flat(causal()))


@pytest.mark.parametrize(
    ("head", "others"), [("scalar", {"trunk.score.weight"}), ("likelihood", {"scale", "scalar.weight"})]
)
def test_the_heads_of_a_reward_model_learn_beside_adapters(head, others):
    trainer = reward_trainer(LORA, head)
    before = reward_trainer(LearningSettings(), head).model.state_dict()
    trainer.step(groups())
    learnt = trainer.weights()
    assert learnt.keys() == before.keys()
    adapted = {name for name in before if name.endswith("_proj.weight")}
    assert {name for name in before if not torch.equal(learnt[name], before[name])} == adapted | others
    plain = reward_trainer(LearningSettings(), head, seed=9).model
    plain.load_weights(weights.unpack(weights.pack(learnt)))
    programs = groups()[0].programs
    torch.testing.assert_close(plain(programs)[0], trainer.model(programs)[0], atol=1e-5, rtol=0)


def test_a_target_that_is_no_layer_is_named():
    with pytest.raises(ValueError, match=r"learning\.lora\.targets = \['query'\].*down_proj, gate_proj"):
        policy_trainer(LearningSettings(lora=LoRASettings(targets=("query", "q_proj"))))


def test_fine_tuning_with_adapters_leaves_a_plain_model(tmp_path):
    model, tokenizer = sft.pretrained(str(tiny_model(tmp_path)))
    names = model.state_dict().keys()
    examples = [Example("def f(a, b):\n", f"    return a + {i}\n") for i in range(8)]
    settings = SFTSettings(epochs=6, learning_rate=1e-2, tokens_per_step=256)
    history = sft.train(model, tokenizer, examples, settings, learning=LORA)
    assert history[-1].loss < 0.5 * history[0].loss
    assert model.state_dict().keys() == names


def test_layers_computed_again_give_the_same_updates():
    steps, learnt, passes = [], [], []
    for again in (False, True):
        trainer = policy_trainer(LearningSettings(gradient_checkpointing=again))
        passes.append(0)

        def count(*_):
            passes[-1] += 1

        trainer.model.model.layers[0].mlp.register_forward_pre_hook(count)
        steps.append(trainer.step(rollouts()))
        learnt.append(trainer.weights())
    assert_close(steps[1], steps[0], 1e-6)
    assert_close(learnt[1], learnt[0], 1e-6)
    parts = passes[1] - passes[0]  # each is computed with a gradient once
    assert parts > 0
    assert passes[0] == 2 * parts


@pytest.mark.long
def test_compiled_layers_give_the_same_updates():
    steps, learnt = [], []
    for settings in ({}, {"compile": True}, {"compile": True, "gradient_checkpointing": True}):
        trainer = policy_trainer(LearningSettings(**settings))
        steps.append([trainer.step(rollouts(seed)) for seed in range(2)])
        learnt.append(trainer.weights())
    for found, trained in zip(steps[1:], learnt[1:], strict=True):
        for ours, plain in zip(found, steps[0], strict=True):
            assert_close(ours, plain, 1e-4)
        assert_close(trained, learnt[0], 1e-4)  # AdamW's first steps magnify differences
    assert trainer.model.model.layers[0]._compiled_call_impl is not None
    trainer.close()
    assert trainer.model.model.layers[0]._compiled_call_impl is None


def test_low_precision_keeps_weights_and_states_in_float32():
    trainer = policy_trainer(LearningSettings(dtype="bfloat16"))
    assert trainer.engine.compute(lambda: trainer.model(torch.tensor([[3, 4]])).logits.dtype) == torch.bfloat16
    before = {name: tensor.clone() for name, tensor in trainer.weights().items()}
    step = trainer.step(rollouts())
    assert_close(step, policy_trainer(LearningSettings()).step(rollouts()), 0.1)
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())
    state = trainer.engine.state_dict()["optimiser"]["state"]
    assert all(moment["exp_avg_sq"].dtype == torch.float32 for moment in state.values())
    assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in trainer.weights().values())
    assert any(not torch.equal(tensor, before[name]) for name, tensor in trainer.weights().items())


def test_updates_too_small_for_low_precision_add_up():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    learning = LearningSettings(dtype="bfloat16")
    engine = engines.start({"layer": layer}, OptimiserSettings(learning_rate=1e-4, betas=(0.0, 0.0)), learning)
    for _ in range(20):
        engine.update([(1.0, True)], lambda x: (layer(torch.tensor([[x]])).float().sum(), torch.zeros(0)), None)
    assert abs(layer.weight.item() - (1 - 20e-4)) < 1e-5  # neighbours of 1 are 0.0039 away in bfloat16


def test_the_loss_of_an_update_is_that_of_all_items_and_fillers_do_not_count():
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    engine = engines.start({"layer": layer}, OptimiserSettings(learning_rate=1e-4), LearningSettings())
    assert engine.share([1.0, 2.0]) == [(1.0, True), (2.0, True)]
    found = engine.update(
        [(1.0, True), (2.0, True), (4.0, False)],
        lambda x: (layer(torch.tensor([[x]])).sum(), torch.tensor([x, 1.0])),
        None,
    )
    assert (found.loss, found.gradient_norm, found.measures.tolist()) == (3.0, 3.0, [3.0, 2.0])
