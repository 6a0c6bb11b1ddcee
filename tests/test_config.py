"""A wrong configuration is one clear message before anything starts."""

from pathlib import Path

import pytest

from roles import config
from roles.config import ConfigError

POCKET = Path(__file__).parent.parent / "configs" / "pocket.yaml"


def test_overrides_reach_nested_fields_and_numbers_in_scientific_notation():
    loaded = config.load(POCKET, ["policy.learning_rate=1e-5", "workers.executors=3"])
    assert (loaded.policy.learning_rate, loaded.workers.executors) == (1e-5, 3)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("policy.lr=1", ["policy.lr = 1", "there is no such field", "learning_rate"]),
        ("sampling.n=0", ["sampling.n = 0", "greater than or equal to 2"]),
        ("reward.head=vector", ["reward.head = 'vector'", "'scalar' or 'likelihood'"]),
        ("sampling.parity_limit=0", ["sampling.parity_limit = 0", "greater than 0"]),
        ("sampling.engine.dtype=int4", ["sampling.engine.dtype = 'int4'", "'float32'"]),
        ("policy.groups_per_step=30", ["policy.groups_per_step = 30", "multiple of", "problems_per_batch = 8"]),
        ("policy.learning_rate=fast", ["policy.learning_rate = 'fast'", "number"]),
        ("policy.reward={tests: 0, reward_model: 0}", ["policy.reward", "nothing would be rewarded"]),
        ("policy.advantages=ppo", ["policy.advantages = 'ppo'", "'gae', 'grpo', 'rloo', 'reinforce++' or 'passing'"]),
        ("policy.kl={place: loss, estimator: k1}", ["policy.kl", "mean gradient is zero", "k2 and k3"]),
        ("reward={head: scalar, reference: true}", ["reference = true", "scalar head", "or head to likelihood"]),
        ("mining.rule=paper", ["mining.rule = 'paper'", "'passing' or 'acecoder'"]),
        ("iterations", ["expected key.subkey=value"]),
        ("suite.name=x", ["suite is not a section"]),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(override, parts):
    with pytest.raises(ConfigError) as caught:
        config.load(POCKET, [override])
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "limit"),
    [
        ([], 0.001), (["learning.dtype=bfloat16"], 0.1), (["sampling.engine.dtype=auto"], 0.1),
        (["learning.dtype=bfloat16", "sampling.parity_limit=0.02"], 0.02),
    ],
)  # fmt: skip
def test_the_parity_limit_is_that_of_the_lower_precision_unless_it_is_said(overrides, limit):
    assert config.load(POCKET, overrides).parity_limit == limit


def test_a_missing_or_malformed_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        config.load(tmp_path / "nowhere.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="expected a mapping"):
        config.load(tmp_path / "list.yaml")


def test_the_resolved_configuration_reads_back_the_same(tmp_path):
    loaded = config.load(POCKET)
    config.dump(loaded, tmp_path / "config.yaml")
    assert config.load(tmp_path / "config.yaml") == loaded
