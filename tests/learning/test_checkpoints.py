"""Checkpoints: whole or not there, the one before as a refuge, and training that goes on as if never broken off."""

import logging

import pytest
import torch
from learners import policy_trainer, rollouts
from torch import nn

from roles import checkpoints, engines
from roles.checkpoints import CheckpointError
from roles.engines import LearningSettings, LoRASettings
from roles.optimisation import OptimiserSettings


def saved_twice(tmp_path):
    path = tmp_path / "policy.pt"
    for step in (1, 2):
        checkpoints.save({"step": step, "weights": torch.full((1000,), float(step))}, path)
    return path


def test_the_newest_checkpoint_is_loaded_and_nothing_else_is_left(tmp_path):
    path = saved_twice(tmp_path)
    assert checkpoints.load(path)["step"] == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["policy.before.pt", "policy.pt"]


def flip(path):
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((1000,), 2.0).numpy().tobytes()) + 100] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize("damage", [flip, cut, lambda path: path.unlink()], ids=["one bit", "cut off", "lost"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(damage, tmp_path, caplog):
    path = saved_twice(tmp_path)
    damage(path)
    with caplog.at_level(logging.WARNING):
        state = checkpoints.load(path)
    assert state["step"] == 1
    assert torch.equal(state["weights"], torch.ones(1000))
    assert f"checkpoint {path} cannot be read" in caplog.text


def test_two_damaged_checkpoints_are_both_named(tmp_path):
    path = saved_twice(tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match=r"policy\.pt cannot be read.*policy\.before\.pt cannot be read"):
        checkpoints.load(path)


def test_a_write_that_is_broken_off_leaves_what_was_there(tmp_path):
    path = saved_twice(tmp_path)
    with pytest.raises(AttributeError):
        checkpoints.save({"step": lambda: None}, path)
    assert checkpoints.load(path)["step"] == 2
    folder = tmp_path / "model"
    with checkpoints.replacing(folder) as aside:
        (aside / "weights").write_text("1")
    with pytest.raises(KeyboardInterrupt), checkpoints.replacing(folder) as aside:
        (aside / "other").write_text("2")
        raise KeyboardInterrupt
    assert [file.name for file in folder.iterdir()] == ["weights"]
    with checkpoints.replacing(folder) as aside:
        (aside / "weights").write_text("3")
    assert [file.read_text() for file in folder.iterdir()] == ["3"]


ENGINES = {
    "torch": LearningSettings(),
    "adapters": LearningSettings(lora=LoRASettings(rank=4)),
    "low precision": LearningSettings(dtype="bfloat16"),
    "stage 0": LearningSettings(engine="deepspeed"),
    "stage 2": LearningSettings(engine="deepspeed", zero_stage=2),
    "stage 3": LearningSettings(engine="deepspeed", zero_stage=3),
    "stage 3, adapters": LearningSettings(engine="deepspeed", zero_stage=3, lora=LoRASettings(rank=4)),
}


@pytest.mark.parametrize("learning", ENGINES.values(), ids=ENGINES.keys())
def test_a_restored_trainer_continues_as_if_never_broken_off(learning, tmp_path, monkeypatch):
    monkeypatch.setattr("roles.engines.deepspeed.KEPT_WHOLE", 0)
    trainer = policy_trainer(learning)
    trainer.step(rollouts(0))
    checkpoints.save(trainer.state_dict(), tmp_path / "policy.pt")
    expected = trainer.step(rollouts(1))
    learnt = {name: tensor.clone() for name, tensor in trainer.weights().items()}
    other = policy_trainer(learning, seed=9)
    other.load_state_dict(checkpoints.load(tmp_path / "policy.pt"))
    assert other.step(rollouts(1)) == expected
    found = other.weights()
    assert all(torch.equal(found[name], learnt[name]) for name in learnt)


def test_what_is_drawn_at_random_continues_too(tmp_path):
    def engine():
        layer = nn.Sequential(nn.Linear(50, 50), nn.Dropout(0.5))
        return layer, engines.start({"layer": layer}, OptimiserSettings(learning_rate=1e-2), LearningSettings())

    def losses(layer, engine):
        def loss(x):
            return layer(x).square().sum(), torch.zeros(0)

        return [engine.update([(torch.ones(50), True)], loss, None).loss for _ in range(3)]

    layer, first = engine()
    losses(layer, first)
    checkpoints.save(first.state_dict(), tmp_path / "state.pt")
    expected = losses(layer, first)
    torch.manual_seed(1)
    layer, second = engine()
    second.load_state_dict(checkpoints.load(tmp_path / "state.pt"))
    assert losses(layer, second) == expected
