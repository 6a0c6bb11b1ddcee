"""RewardRanker as a system of actors: what a person types, and the wiring of the whole loop.

    problems -> generators -> candidates -> executors -> verdicts -> scorers -> scored -> miner -> pairs -> reward learner
                     ^                                                 |  ^                                   |
                     |                                                 v  +----------- reward model vM -------+
                     +----- policy vN <----- policy learner <----- rollouts
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from roles import config as configuration
from roles import run_folder
from roles.run_folder import Inputs, Run

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()
POCKET = Path(__file__).parent / "configs" / "pocket.yaml"


async def train(run: Run, inputs: Inputs) -> None:
    """The whole loop: build the actors, connect them by streams, wait, and print what came out."""
    import ray

    from actors import results, stages
    from actors.admission import Admission
    from actors.crew import Crew, connect
    from actors.evaluation import HeldOut
    from actors.streams import Batch, Pool, Stream
    from actors.telemetry import Timeline
    from actors.training import Checkpoints, Training
    from actors.view import View
    from actors.weights import Versions, follow

    config, timeline, counts = run.config, Timeline(), stages.Counts()
    dashboard = connect(config)
    crew = Crew.hire(config, run.folder, run.id)
    generators = Pool(crew.generators, config.sampling.batches_in_flight)
    executors, scorers = Pool(crew.executors), Pool(crew.scorers)
    candidates, verdicts, scored, pairs = (
        Stream[Batch](name, config.stream_capacity) for name in ("candidates", "verdicts", "scored", "pairs")
    )
    admission = Admission(config)
    rollouts = Stream[Batch]("rollouts", admission.limit // config.sampling.problems_per_batch)
    policy, reward = Versions("policy"), Versions("reward")
    held_out = HeldOut(inputs.held_out, crew.evaluator, executors, scorers, config, run.folder / "evaluation")
    view = View(
        console, counts, (candidates, verdicts, scored, rollouts, pairs),
        {"generators": generators, "executors": executors, "scorers": scorers},
        (policy, reward), held_out, timeline, run.folder / "tensorboard",
    )  # fmt: skip
    try:
        async with asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(work)
                for work in (view.show(), crew.collect(timeline, every_seconds=2.0), held_out.run())
            ]
            view.doing = "starting the engines and fine-tuning"
            training = Training(crew, policy, reward, held_out, admission, Checkpoints(run.folder), config)
            steps_done = await training.begin(inputs.fine_tuning)
            problems = stages.shuffled_forever(inputs.training, config.sampling.problems_per_batch, config.seed + run.attempt)
            background += [
                tasks.create_task(work)
                for work in (
                    stages.generate(problems, run.id, generators, config.sampling, admission, candidates, counts),
                    stages.execute(candidates, executors, verdicts, counts),
                    stages.score(verdicts, scorers, scored, rollouts, counts),
                    stages.mine(scored, crew.miner, pairs, counts),
                    training.learn_rewards(pairs, counts),
                    follow(policy, crew.generators, have=policy.newest),
                    follow(reward, crew.scorers, have=reward.newest),
                )
            ]
            view.doing = "sampling, executing, scoring, mining and training at once"
            await training.align(rollouts, counts, steps_done)
            view.doing = "evaluating what is left"
            evaluated = await held_out.complete(policies=2 + config.iterations, rankers=2 * config.iterations)
            for task in background:
                task.cancel()
    finally:
        await crew.close(timeline)
        ray.shutdown()
        timeline.write(run.timeline)
    report = results.write_report(run, evaluated, timeline, admission, counts, view.peak_memory_bytes)
    results.show(run, report, dashboard, console)


@app.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """Self-training code models by reinforced re-ranking. Without a command: run configs/pocket.yaml."""
    if context.invoked_subcommand is None:
        run(POCKET, [])


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="a YAML file; see configs/")],
    overrides: Annotated[list[str], typer.Option("--set", help="key.subkey=value, any number of times")] = [],  # noqa: B006
) -> None:
    """Run the whole loop, or continue a run that was broken off."""
    prepared = run_folder.prepare(configuration.load(config, overrides))
    if prepared.complete:
        console.print(f"{prepared.folder} is complete; its report is {prepared.report}")
        return
    inputs = run_folder.check(prepared.config)
    run_folder.begin(prepared)
    asyncio.run(train(prepared, inputs))


def main() -> None:
    """Exit status 2 for what the user can mend, with one message; 130 after Ctrl-C."""
    try:
        app()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
