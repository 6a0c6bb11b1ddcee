import pytest

from actors.crew import gpus_of
from roles import config as configuration

ROLES = ("generator", "scorer", "policy learner", "reward learner", "executor", "miner")


@pytest.mark.parametrize(("device", "gpus"), [("cuda", [2, 1, 1, 1, 0, 0]), ("cpu", [0, 0, 0, 0, 0, 0])])
def test_an_engine_takes_a_gpu_for_each_of_its_parts_and_a_learner_one(device: str, gpus: list[int]) -> None:
    engine = {"tensor_parallel_size": 2}
    config = configuration.validate({"model": {"device": device}, "sampling": {"engine": engine}})
    assert [gpus_of(config, role) for role in ROLES] == gpus
