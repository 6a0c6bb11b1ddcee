import pytest

from actors import control
from roles import config
from roles.config import POCKET_BASE, Config, ConfigError


def settings(stage: int) -> Config:
    return config.validate({
        "model": {"path": str(POCKET_BASE)}, "workers": {"learners": 2},
        "learning": {"engine": "deepspeed", "zero_stage": stage},
    })  # fmt: skip


def test_what_is_wanted_is_parsed_role_by_role():
    assert control.parse(["generators=4", "learners=2"]) == {"generator": 4, "learner": 2}
    assert settings(0).wanted == {"generator": 1, "executor": 1, "scorer": 1, "learner": 2, "miner": 1}


@pytest.mark.parametrize("change", ["miners=2", "learners", "learner=2", "executors=0", "executors=-1", "executors=x"])
def test_what_cannot_be_wanted_is_named_with_what_can(change):
    with pytest.raises(ConfigError, match=r"generators=N, executors=N, scorers=N, learners=N with N >= 1") as refused:
        control.parse([change])
    assert change in str(refused.value)


def test_a_learner_with_a_divided_state_keeps_its_number_of_processes():
    control.check(settings(0), {"learner": 4})
    control.check(settings(2), {"learner": 2, "executor": 4})
    with pytest.raises(ConfigError, match=r"learners=4: with learning.zero_stage = 2 .* allowed is .*learners = 2"):
        control.check(settings(2), {"learner": 4})
