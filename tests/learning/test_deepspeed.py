"""DeepSpeed, for real, over gloo: every stage learns what the torch engine learns, in one process and in two. As does
the torch engine in two.

Sums are taken in another order there, and AdamW's first steps magnify it: tolerance 1e-4, on numbers of order one.
"""

import dataclasses
import math
from pathlib import Path

import learners
import pytest
import torch
from learners import PPO, assert_close, policy_trainer, rollouts
from torch import distributed, multiprocessing

from roles.engines import LearningSettings, LoRASettings
from roles.optimisation import GradientTooLarge, NonFiniteLoss

TOLERANCE = 1e-4


def learning(stage: int, **settings) -> LearningSettings:
    return LearningSettings(engine="deepspeed", zero_stage=stage, **settings)


@pytest.fixture
def shared_out(monkeypatch):
    """Stage 3 shares out weights of any size, also those of a model that is small."""
    monkeypatch.setattr("roles.engines.deepspeed.KEPT_WHOLE", 0)


def steps(chosen: LearningSettings, count: int = 2):
    trainer = policy_trainer(chosen)
    return [trainer.step(rollouts(seed)) for seed in range(count)], trainer


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_one_process_learns_what_the_torch_engine_learns(stage, shared_out):
    expected, plain = steps(LearningSettings())
    found, trainer = steps(learning(stage))
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, TOLERANCE)
    assert_close(trainer.weights(), plain.weights(), TOLERANCE)
    trainer.engine.close()
    assert_close(trainer.model.state_dict(), plain.weights(), TOLERANCE)
    assert trainer.model.lm_head.weight is trainer.model.model.embed_tokens.weight


@pytest.mark.parametrize("stage", [2, 3])
def test_adapters_and_recomputed_layers_work_with_what_is_shared_out(stage, shared_out):
    settings = {"lora": LoRASettings(rank=4), "gradient_checkpointing": True}
    expected, plain = steps(LearningSettings(**settings), 1)
    found, trainer = steps(learning(stage, **settings), 1)
    assert_close(found[0], expected[0], TOLERANCE)
    assert_close(trainer.weights(), plain.weights(), TOLERANCE)


def test_low_precision_is_that_of_the_torch_engine():
    (expected,), _ = steps(LearningSettings(dtype="bfloat16"), 1)
    (found,), trainer = steps(learning(2, dtype="bfloat16"), 1)
    assert_close(found, expected, 0.02)
    assert all(weight.dtype == torch.float32 for weight in trainer.weights().values())


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_what_diverges_changes_nothing_and_training_goes_on(stage):
    once = PPO.model_copy(update={"updates_per_step": 1})
    trainer = policy_trainer(learning(stage), once.model_copy(update={"gradient_norm_limit": 1e-9}))
    before = {name: tensor.clone() for name, tensor in trainer.weights().items()}
    with pytest.raises(GradientTooLarge, match="gradient_norm_limit = 1e-09"):
        trainer.step(rollouts())
    assert_close(trainer.weights(), before, 0)
    skipping = policy_trainer(learning(stage), once.model_copy(update={"on_divergence": "skip"}))
    broken = [learners.with_reward(rollout, math.nan) for rollout in rollouts()]
    skipping.step(broken)
    assert (skipping.engine.skipped, skipping.engine.steps) == (1, 0)
    assert_close(skipping.weights(), before, 0)
    expected = policy_trainer(LearningSettings(), once)
    expected._rng.setstate(skipping._rng.getstate())
    step = skipping.step(rollouts())
    assert step.skipped == 1
    assert_close(dataclasses.replace(step, skipped=0), expected.step(rollouts()), TOLERANCE)
    with pytest.raises(NonFiniteLoss):
        trainer.step(broken)


OF_SEVERAL = {"torch": LearningSettings(), **{f"stage {stage}": learning(stage) for stage in (0, 2, 3)}}


def process(rank: int, folder: Path) -> None:
    """One of two: everything that is compared, with every engine."""
    import roles.engines.deepspeed as engines
    import roles.engines.torch
    from roles import trunk

    torch.set_num_threads(1)
    engines.KEPT_WHOLE = 0
    roles.engines.torch.BUCKET = 1000  # so few that there are several
    trunk.LOGITS_AT_ONCE = 10 * learners.VOCABULARY  # so few that the processes would make different numbers of pieces
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found = {engine: learners.everything(chosen) for engine, chosen in OF_SEVERAL.items()}
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def of_two_processes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    multiprocessing.spawn(process, (folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


@pytest.fixture(scope="module")
def of_one_process():
    return learners.everything(LearningSettings())


@pytest.mark.parametrize("learner", learners.LEARNERS)
@pytest.mark.parametrize("engine", OF_SEVERAL)
def test_two_processes_learn_what_one_learns(engine, learner, of_two_processes, of_one_process):
    history, weights = of_one_process[learner]
    for found in of_two_processes:
        found_history, found_weights = found[engine][learner]
        for ours, theirs in zip(found_history, history, strict=True):
            assert_close(ours, theirs, TOLERANCE)
        assert_close(found_weights, weights, TOLERANCE)
