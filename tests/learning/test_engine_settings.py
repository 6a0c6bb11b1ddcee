"""A setting that a learner cannot have is one clear message before any weights are loaded."""

from pathlib import Path

import pytest

from roles import config
from roles.config import ConfigError
from roles.engines import LearningSettings, LoRASettings

POCKET = Path(__file__).parent.parent.parent / "configs" / "pocket.yaml"


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("learning.lora.rank=0", ["learning.lora.rank = 0", "greater than or equal to 1"]),
        ("learning.lora.r=8", ["learning.lora.r = 8", "there is no such field", "rank, alpha, dropout, targets"]),
        ("learning.dtype=float16", ["learning.dtype = 'float16'", "'float32' or 'bfloat16'"]),
        ("learning.engine=fsdp", ["learning.engine = 'fsdp'", "'torch' or 'deepspeed'"]),
        ("learning.zero_stage=2", ["zero_stage = 2", "torch shares out nothing", "engine to deepspeed"]),
        ("learning={engine: deepspeed, zero_stage: 4}", ["learning.zero_stage = 4", "less than or equal to 3"]),
        ("learning={engine: deepspeed, offload: true}", ["offload = true", "zero_stage to 1, 2 or 3"]),
        (
            "learning={engine: deepspeed, zero_stage: 3, offload: true}",
            ["learning.offload = true", "model.device = cpu", "model.device to cuda"],
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(override, parts):
    with pytest.raises(ConfigError) as caught:
        config.load(POCKET, [override])
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=0", LearningSettings()),
        ("learning.lora={rank: 8}", LearningSettings(lora=LoRASettings(rank=8))),
        (
            "learning={engine: deepspeed, zero_stage: 3, dtype: bfloat16}",
            LearningSettings(engine="deepspeed", zero_stage=3, dtype="bfloat16"),
        ),
    ],
)
def test_one_value_chooses_what_learners_compute_with(override, expected):
    assert config.load(POCKET, [override]).learning == expected


def test_offloading_needs_only_a_device_to_offload_from():
    chosen = config.load(POCKET, ["learning={engine: deepspeed, zero_stage: 2, offload: true}", "model.device=cuda"])
    assert chosen.learning.offload


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"learning\.lora: peft is not installed here; pip install peft"):
        config.load(POCKET, ["learning.lora={rank: 8}"])


def test_compiling_for_a_cpu_needs_a_compiler(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match=r"learning\.compile = true: needs a C\+\+ compiler"):
        config.load(POCKET, ["learning.compile=true"])
