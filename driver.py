"""RewardRanker as a system of actors: what a person types, and the wiring of the whole loop.

problems -> generators -> candidates -> executors -> verdicts -> scorers -> scored -> miner -> pairs -> reward learner
                 ^                                                   ^                  |                     |
                 |                                                   +----------- reward model vM ------------+
                 +-------------- policy vN <- policy learner <------ rollouts <---------+
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from roles import config as configuration
from roles import run_folder, watching
from roles.config import ConfigError
from roles.model_folder import ModelError
from roles.problems.files import SuiteError
from roles.records import UntrustedVerdict
from roles.run_folder import Inputs, Run
from roles.sampling.settings import SamplingError
from roles.sandbox.errors import SandboxError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(width=None if sys.stdout.isatty() else 140)
Overrides = Annotated[list[str], typer.Option("--set", help="key.subkey=value, any number of times")]
Settings = Annotated[Path, typer.Argument(help="a YAML file; of its sections the model's and the learner's count")]
Out = Annotated[Path, typer.Option(help="a new folder for the model and training.json")]
Ledger = Annotated[Path | None, typer.Option(help="samples: the folder of a run, or its ledger")]
Candidates = Annotated[Path | None, typer.Option(help="samples: JSONL as `judge` reads it")]
Verdicts = Annotated[Path | None, typer.Option(help="JSONL that `judge` wrote of them")]
Ranker = Annotated[Path | None, typer.Option("--reward", help="a reward model that scores the samples")]
POCKET = Path(__file__).parent / "configs" / "pocket.yaml"


async def train(run: Run, inputs: Inputs) -> bool:
    """The whole loop: build the actors, connect them by streams, wait, and print what came out.

    Returns False when it was stopped before its end.
    """
    import ray

    from actors import results
    from actors.admission import Admission
    from actors.balance import Balance, exchangeable
    from actors.control import Control
    from actors.crew import Crew, connect
    from actors.evaluation import HeldOut
    from actors.facts import Sources
    from actors.past import Past
    from actors.policy_learner import BASE_VERSION, SFT_VERSION
    from actors.stages import Counts, Order, Stages
    from actors.streams import Batch, Stream
    from actors.supervisor import Supervisor
    from actors.telemetry import Timeline
    from actors.training import Checkpoints, Training
    from actors.view import View
    from actors.weights import Followers, Versions

    config, timeline, counts = run.config, Timeline(run.timeline), Counts()
    dashboard = connect(config)
    control = Control(config.wanted)
    crew = Crew(config, run.folder, control, timeline)
    pools = crew.pools()
    generators, executors, scorers, miners = pools.values()
    admission = Admission(config)
    candidates, verdicts, scored, pairs, rollouts = (
        Stream[Batch](name, capacity, config.stream_bytes)
        for name, capacity in (
            *dict.fromkeys(("candidates", "verdicts", "scored", "pairs"), config.stream_capacity).items(),
            ("rollouts", admission.limit // config.sampling.problems_per_batch),
        )
    )
    policy, reward = Versions("policy", SFT_VERSION if config.adapters else None), Versions("reward")
    followers = (Followers(policy, BASE_VERSION), Followers(reward))
    past = Past(run.folder / "ledger", inputs.training)
    held_out = HeldOut(inputs.held_out, followers[0], generators, executors, scorers, config, run.folder / "evaluation")
    supervisor = Supervisor(crew, control, pools, {"generator": followers[0], "scorer": followers[1]})
    order = Order(inputs.training, config.sampling.problems_per_batch, config.seed)
    stages = Stages(
        config, run.folder, order, past, admission, generators, executors, scorers, miners,
        candidates, verdicts, scored, pairs, rollouts, counts,
    )  # fmt: skip
    try:
        async with asyncio.TaskGroup() as tasks, control.served(run):
            training = Training(
                tasks, crew, policy, reward, followers, held_out, admission, Checkpoints(run.folder), past,
                scorers, inputs.fine_tuning, config,
            )  # fmt: skip
            sources = Sources(
                counts, (candidates, verdicts, scored, pairs, rollouts), pools, (policy, reward), held_out, admission,
                control, supervisor, training, timeline,
            )  # fmt: skip
            view = View(console, sources, run)
            background = [
                tasks.create_task(work)
                for work in (view.show(), crew.collect_from_learners(), supervisor.run(), held_out.run())
            ]
            view.doing = "starting the engines and fine-tuning"
            frontier = await training.begin()
            background += [
                tasks.create_task(work)
                for work in (
                    training.watch_versions(), stages.run(frontier), training.learn_rewards(pairs, counts)
                )
            ]  # fmt: skip
            if config.autobalance:
                movable = {role: pools[role] for role in exchangeable(config)}
                background.append(tasks.create_task(Balance(control, movable, counts, console.print).run()))
            view.doing = "sampling, executing, scoring, mining and training at once"
            evaluated = None
            if await training.align(rollouts, counts, control):
                view.doing = "evaluating what is left"
                evaluated = await held_out.complete(policies=2 + config.iterations, rankers=config.iterations + 1)
            else:
                view.doing = "finishing what runs"
                background.append(tasks.create_task(rollouts.discard()))
                await admission.stop()
                await training.leave()
            for task in background:
                task.cancel()
    finally:
        await crew.close()
        ray.shutdown()
        held_out.close()
        timeline.close()
    if evaluated is None:
        return False
    report = results.write_report(
        run, evaluated, timeline, admission, counts, supervisor, training, view.peak_memory_bytes
    )
    results.show(run, report, dashboard, console)
    return True


@app.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """Self-training code models by reinforced re-ranking. Without a command: run configs/pocket.yaml."""
    if context.invoked_subcommand is None:
        run(POCKET, [])


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="a YAML file; see configs/")],
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Run the whole loop, or continue a run that was broken off; on the cluster of cluster.yaml if that is up."""
    from actors import submission

    hear_interrupts()
    settings = configuration.load(config, overrides)
    submission.submit(settings.cluster.address, settings.run_dir, starts=True)
    prepared = run_folder.prepare(settings)
    if prepared.complete:
        console.print(f"{prepared.folder} is complete; its report is {prepared.report}")
        return
    inputs = run_folder.check(prepared.config)
    if inputs.weak:
        console.print(f"{len(inputs.weak)} training problems give no reward: a program could fool their tests")
    try:
        run_folder.begin(prepared)
        if not asyncio.run(train(prepared, inputs)):
            console.print(f"{prepared.folder} was stopped; the same command continues it")
    except (ExceptionGroup, OSError) as error:
        with contextlib.suppress(OSError):  # the disk may be full, which is what the message says
            (prepared.folder / "error.log").write_text("".join(traceback.format_exception(error)))
        for cause in root_causes(error) if isinstance(error, ExceptionGroup) else [error]:
            console.print(f"{type(cause).__name__}: {cause}", style="red", markup=False, soft_wrap=True)
        console.print(f"the run broke off; the same command continues it; details in {prepared.folder / 'error.log'}")
        raise SystemExit(1) from None


def hear_interrupts() -> None:
    """Let Ctrl-C and `stop --now` break off what a shell's `&` started deaf to them, or Ray Jobs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the shell has it ignored
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # Ray Jobs have it blocked


def root_causes(errors: BaseExceptionGroup) -> list[BaseException]:
    """What went wrong, without the stages and actors that it went through."""
    causes: list[BaseException] = []
    for error in errors.exceptions:
        if isinstance(error, BaseExceptionGroup):
            causes += root_causes(error)
        else:
            causes.append(getattr(error, "cause", None) or error)
    return causes


@app.command()
def tune(
    config: Settings,
    out: Out,
    data: Annotated[Path | None, typer.Option(help="JSONL with prompt and completion")] = None,
    ledger: Ledger = None,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Fine-tune a model alone: on a file, on a ledger's passing samples, or on the references of the suite."""
    from roles.offline import tune

    settings = configuration.load(config, overrides)
    examples = tune.examples(settings, data, ledger)
    train_alone(out, lambda show: tune.tune(settings, examples, out, show))


@app.command()
def reward(
    config: Settings,
    out: Out,
    ledger: Ledger = None,
    candidates: Candidates = None,
    verdicts: Verdicts = None,
    ranker: Ranker = None,
    held_out: Annotated[float, typer.Option(min=0.0, max=0.9, help="share of the problems to measure on")] = 0.2,
    epochs: Annotated[int, typer.Option(min=1)] = 1,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Train a reward model alone on judged samples; say how well it ranks problems that it never saw."""
    from roles.offline import reward, samples

    settings = configuration.load(config, overrides)
    groups = samples.load(settings, ledger, candidates, verdicts, ranker)
    train_alone(out, lambda show: reward.learn(settings, groups, out, held_out, epochs, show))


@app.command()
def policy(
    config: Settings,
    out: Out,
    ledger: Ledger = None,
    candidates: Candidates = None,
    verdicts: Verdicts = None,
    ranker: Ranker = None,
    overrides: Overrides = [],  # noqa: B006
) -> None:
    """Align a policy alone with judged samples, each used once."""
    from roles.offline import policy, samples

    settings = configuration.load(config, overrides)
    groups = samples.load(settings, ledger, candidates, verdicts, ranker)
    train_alone(out, lambda show: policy.align(settings, groups, out, show))


def train_alone(out: Path, learn: Callable[[Callable[[Any], None]], Any]) -> None:
    """Have a model learnt into `out`, print every step, and leave them in training.json beside the model."""
    import torch
    from transformers.utils import logging

    from roles.offline import record
    from roles.optimisation import Diverged

    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"--out {out}: is not empty; allowed is a new or empty folder")
    logging.disable_progress_bar()
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")  # else saving warns of it

    def line(figures: dict[str, Any]) -> str:
        return "  ".join(f"{name} {value:.4g}" for name, value in figures.items() if value is not None)

    try:
        learnt = record(learn(lambda step: console.print(line(record(step)))))
    except Diverged as error:
        console.print(f"{type(error).__name__}: {error}", style="red", markup=False, soft_wrap=True)
        raise SystemExit(1) from None
    (out / "training.json").write_text(json.dumps(learnt, indent=1) + "\n")
    for name, value in learnt.items():
        if name != "steps":
            console.print(f"{name}: {line(value) if isinstance(value, dict) else value}", soft_wrap=True)
    console.print(f"see {out}")


@app.command()
def evaluate(
    policy: Annotated[Path, typer.Option(help="a transformers folder of a causal model")],
    reward: Annotated[Path, typer.Option(help="a folder with a reward model, or a stock classifier with one label")],
    suite: Annotated[str, typer.Option(help="pocket, a file of problems, or FORMAT:PATH")] = "pocket",
    split: Annotated[str | None, typer.Option(help="of the suite; by default all of it")] = None,
    n: Annotated[int, typer.Option("-n", min=2, help="samples of each problem")] = 10,
    problems: Annotated[int | None, typer.Option(min=2, help="only the first so many")] = None,
    temperature: Annotated[float, typer.Option(min=0.01, max=2.0)] = 0.8,
    max_tokens: Annotated[int, typer.Option(min=1, help="of a completion")] = 256,
    seed: int = 0,
    out: Annotated[Path | None, typer.Option(help="a JSON file for the table")] = None,
) -> None:
    """Sample from a policy, execute, rerank by a reward model, print the table."""
    from roles import evaluation
    from roles.problems import suites
    from roles.ranking import report as reports
    from roles.ranking import rewards, table
    from roles.ranking.statistics import Bootstrap
    from roles.sampling.settings import check_model_folder
    from roles.sandbox.judge import Judge

    chosen = suites.load(suite, split)[:problems]
    for folder in (policy, reward):
        check_model_folder(folder)
    sampling = evaluation.Sampling(n, temperature, max_tokens, seed)
    with Judge(workers=os.cpu_count() or 1) as judge, console.status("") as status:
        evaluated = evaluation.evaluate(str(policy), str(reward), chosen, sampling, judge, status.update)
    bootstrap = Bootstrap(len(chosen), seed=seed)
    rows, differences = reports.table_records(
        table.rows([evaluated], bootstrap, seed), table.differences([evaluated], bootstrap)
    )
    ranking = reports.ranking_records(rewards.rankings([evaluated]))
    reports.show(rows, differences, suite, len(chosen), seed, console)
    reports.show_ranking(ranking, console)
    if out is not None:
        facts: dict[str, Any] = {
            "policy": str(policy), "reward": str(reward), "suite": suite, "split": split, "problems": len(chosen),
            "temperature": temperature, "seed": seed, "table": rows, "differences": differences, "ranking": ranking,
            "versions": reports.package_versions(),
        }  # fmt: skip
        out.write_text(json.dumps(facts, indent=1) + "\n")


@app.command()
def judge(
    problems: Annotated[str, typer.Option(help="pocket, a file of problems, or FORMAT:PATH")],
    candidates: Annotated[Path, typer.Option(help="JSONL; see docs/formats.md")],
    out: Annotated[Path, typer.Option(help="JSONL with a verdict for each candidate")],
) -> None:
    """Run programs in the sandbox and write a verdict for each."""
    from rich.progress import Progress

    from roles.sandbox.judging import judge_files

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("judging")
        summary = judge_files(
            problems, candidates, out,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )  # fmt: skip
    counts = ", ".join(f"{status} {count}" for status, count in sorted(summary.statuses.items()))
    weak = f"; {summary.weak} of them weak (decided by a test program)" if summary.weak else ""
    console.print(f"{counts}{weak}; see {out}")
    console.print(f"isolation tier {summary.isolation_tier}, {summary.faults} sandbox faults")


@app.command()
def status(
    run_dir: Annotated[Path | None, typer.Argument(help="by default the newest run")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="go on until the run ends")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object, with --watch one a line")] = False,
) -> None:
    """Say what a run is doing."""
    from actors import submission

    submission.submit(run_dir=run_dir)
    watching.show(run_folder.existing(run_dir), console, watch, as_json)


@app.command()
def scale(
    changes: Annotated[list[str], typer.Argument(help="generators=N, executors=N, scorers=N, learners=N")],
    run_dir: Annotated[Path | None, typer.Option(help="by default the newest run")] = None,
) -> None:
    """Change how many workers a running job has, or how many processes each of its learners."""
    from actors import control, submission

    parsed = control.parse(changes)
    submission.submit(run_dir=run_dir)
    run = run_folder.existing(run_dir)
    control.check(run.config, parsed)
    wanted = control.ask(run, {"scale": parsed})
    console.print(", ".join(f"{wanted[role]} {role}s" for role in control.SCALABLE) + " are wanted now")


@app.command()
def stop(
    run_dir: Annotated[Path | None, typer.Argument(help="by default the newest run")] = None,
    now: Annotated[bool, typer.Option("--now", help="drop what runs; the ledger and the checkpoints stay")] = False,
) -> None:
    """Have a running job finish what runs, checkpoint and leave; the command that began it continues it."""
    from actors import control, submission

    submission.submit(run_dir=run_dir)
    run = run_folder.existing(run_dir)
    if now:
        run.interrupt()
    else:
        control.ask(run, {"stop": True})
    with console.status("waiting for it to leave"):
        while run.alive:
            time.sleep(0.2)
    console.print(f"{run.folder} was stopped")


@app.command()
def report(run_dir: Annotated[Path | None, typer.Argument(help="by default the newest run")] = None) -> None:
    """Print the table of a finished run again."""
    from actors import submission

    submission.submit(run_dir=run_dir)
    from actors import results  # and Ray, which has to find how `submit` says who it is
    from roles.ranking import report as reports

    run = run_folder.existing(run_dir)
    if not run.complete:
        raise ConfigError(f"{run.folder} has no report yet; see driver.py status")
    results.show(run, reports.read(run.report), "", console)


@app.command()
def doctor() -> None:
    """Say what this machine offers, and what is missing."""
    from roles.sandbox.doctor import examine

    found = examine()
    console.print(f"isolation   tier {found.isolation_tier} of 3 ({found.nsjail or 'no nsjail'})")
    for language, version in found.languages.items():
        console.print(f"{language:11} {version or 'missing'}")
    console.print(f"GPU         {', '.join(found.gpus) or 'none'}")
    sizes = (found.memory_bytes, found.memory_available_bytes, found.shm_bytes)
    console.print("memory      {:.1f} GiB, {:.1f} free; /dev/shm {:.1f}".format(*(size / 2**30 for size in sizes)))
    console.print(f"cores       {found.cores}")
    for line in found.missing:
        console.print(f"missing     {line}")


def main() -> None:
    """Exit status 2 with one message for what the user can mend, 1 for a run that failed, 130 after Ctrl-C."""
    try:
        app()
    except (ConfigError, SuiteError, ModelError, SamplingError, SandboxError, UntrustedVerdict) as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
