"""No stage waits for a learner that takes its time, but for the bounds."""

from scenarios import GROUPS, audit, batches, drive, job, until


def test_sampling_goes_to_its_bound_while_the_policy_is_trained(wires, ray_address, tmp_path):
    run = job(tmp_path / "run", ray_address, stream_capacity=8)
    wires.lay("policy learner.lease", "hold")

    async def hold(parts):
        await until(lambda: wires.tripped("policy learner.lease"))
        mined = lambda: sum(name.endswith("-policy") for name in batches(run))  # noqa: E731
        bound = (run.config.policy.max_staleness + 1) * GROUPS
        await until(lambda: mined() * run.config.sampling.problems_per_batch == bound)
        assert parts.admission.trained == 0
        wires.release("policy learner.lease")

    drive(run, hold)
    audit(run)


def test_all_else_goes_on_while_the_reward_model_is_trained(wires, ray_address, tmp_path):
    run = job(tmp_path / "run", ray_address, stream_capacity=8)

    async def hold(parts):
        await until(lambda: parts.admission and parts.admission.reward_version)
        wires.lay("reward learner.lease", "hold")
        await until(lambda: wires.tripped("reward learner.lease"))
        submitted, trained = parts.admission.submitted, parts.admission.trained
        await until(lambda: parts.admission.submitted > submitted and parts.admission.trained > trained)
        wires.release("reward learner.lease")

    drive(run, hold)
    audit(run)
