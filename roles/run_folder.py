"""A run's folder: made anew or continued, never silently overwritten; and all checks before anything is started."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from roles import config as configuration
from roles import model_folder
from roles.config import Config, ConfigError
from roles.problems import suites
from roles.records import Problem
from roles.run_status import Facts, Noted
from roles.sampling.settings import check_model_folder
from roles.sandbox import jail
from roles.sandbox.judge import Judge
from roles.sequences import encode
from roles.tuning import sft

State = Literal["running", "complete", "broken off"]


@dataclasses.dataclass(frozen=True)
class Run:
    config: Config
    folder: Path
    attempt: int  # how often this run was started before

    @property
    def report(self) -> Path:
        return self.folder / "report.json"

    @property
    def timeline(self) -> Path:
        return self.folder / "timeline.json"

    @property
    def status(self) -> Path:
        return self.folder / "status.json"

    def note(self, facts: Facts) -> None:
        """Say what the run is doing; `driver.py status` shows it."""
        aside = self.status.with_suffix(".part")
        aside.write_text(Noted(time=time.time(), facts=facts).model_dump_json())
        os.replace(aside, self.status)

    @property
    def noted(self) -> Noted | None:
        """What the run last said; none before it said anything. Raises `ConfigError`."""
        if not self.status.exists():
            return None
        try:
            return Noted.model_validate_json(self.status.read_text())
        except ValidationError as error:
            raise ConfigError(f"{self.status}: not written by this version of the program: {error}") from error

    @property
    def control(self) -> Path:
        """A file that says by which socket the process that runs this is asked for something."""
        return self.folder / "control"

    @property
    def alive(self) -> bool:
        """Whether the process that last began this is still running on this machine."""
        pid = _begun(self.folder).get("pid")
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return False
        return pid != os.getpid() and state != "Z"

    def interrupt(self) -> None:
        """End the process that runs this, as Ctrl-C does. Raises `ConfigError` when there is none."""
        if not self.alive:
            raise ConfigError(f"{self.folder} is not running on this machine; see driver.py status")
        os.kill(_begun(self.folder)["pid"], signal.SIGINT)

    @property
    def complete(self) -> bool:
        return self.report.exists()

    @property
    def state(self) -> State:
        return "complete" if self.complete else "running" if self.alive else "broken off"


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Disjoint problems: to fine-tune on, to sample for training, held out, and of no use as a reward."""

    fine_tuning: list[Problem]
    training: list[Problem]
    held_out: list[Problem]
    weak: list[Problem]


def root() -> Path:
    """What a relative run folder lies under: a cluster's storage if `REWARDRANKER_ROOT` names it, else where we are."""
    return Path(os.environ.get("REWARDRANKER_ROOT", ""))


def prepare(config: Config) -> Run:
    """The run in `config.run_dir`: new, or to be continued. Raises `ConfigError` when the folder is another run's."""
    folder = (root() / (config.run_dir or Path("runs") / time.strftime("%Y%m%d-%H%M%S"))).absolute()
    stored = folder / "config.yaml"
    if stored.exists():
        before = configuration.load(stored)
        if differing := _differences(before, config):
            raise ConfigError(
                f"run_dir = {str(folder)!r}: holds a run with another configuration ({', '.join(differing)}); "
                "allowed are the same configuration, to continue it, or a new folder"
            )
    elif folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"run_dir = {str(folder)!r}: is not empty and holds no run; allowed is a new or empty folder")
    run = Run(config, folder, _begun(folder).get("attempts", 0))
    if run.alive:
        raise ConfigError(f"run_dir = {str(folder)!r}: another process is running it; see driver.py status")
    return run


def existing(folder: Path | None) -> Run:
    """A run that was begun before; by default the newest under runs/. Raises `ConfigError` when there is none."""
    if folder is None:
        stored = sorted((root() / "runs").glob("*/config.yaml"), key=lambda path: path.stat().st_mtime)
        if not stored:
            raise ConfigError(f"there is no run under {root() / 'runs'}/")
        folder = stored[-1].parent
    folder = root() / folder
    if not (folder / "config.yaml").exists():
        raise ConfigError(f"{folder} holds no run: it has no config.yaml")
    return Run(configuration.load(folder / "config.yaml"), folder.absolute(), _begun(folder).get("attempts", 0))


def check(config: Config) -> Inputs:
    """Everything that can be wrong before anything is started. Raises `ValueError`s that name field and value."""
    folder = str(config.model.folder)
    try:
        check_model_folder(config.model.folder)
        tokenizer = model_folder.tokenizer(folder)
    except ValueError as error:
        raise ConfigError(f"model.path = {config.model.path!r}: {error}") from error
    model_folder.check_adapters(folder, config.learning.lora)
    longest, positions = config.sampling.engine.max_model_len, model_folder.positions(folder)
    if positions is not None and longest > positions:
        raise ConfigError(
            f"sampling.engine.max_model_len = {longest}: the model in {folder!r} has {positions} positions; "
            "allowed are at most as many"
        )
    held_out = suites.load(config.suite, config.evaluation.split)
    training = suites.load(config.suite, "train")
    jail.require((*training, *held_out))
    rng = random.Random(config.seed)
    rng.shuffle(training)
    fine_tuning = [problem for problem in training if problem.references][: config.sft.problems]
    examples = sft.references(fine_tuning, config.sft.references)
    sequences = [encode(tokenizer, example.prompt, example.completion) for example in examples]
    model_folder.check_lengths(folder, sequences, f"the references of suite = {config.suite!r}")
    chosen = {problem.id for problem in fine_tuning}
    training = [problem for problem in training if problem.id not in chosen]
    weak = [problem for problem in training if problem.weak]
    training = [problem for problem in training if not problem.weak]
    for field, value, found in (
        ("sft.problems", config.sft.problems, len(fine_tuning)),
        ("evaluation.problems", config.evaluation.problems, len(held_out)),
        ("sampling.problems_per_batch", config.sampling.problems_per_batch, len(training)),
    ):
        if found < value:
            raise ConfigError(f"{field} = {value}: the suite {config.suite!r} has only {found} problems for it")
    Judge(config.executor.limits, minimum_tier=config.executor.minimum_tier).close()
    return Inputs(fine_tuning, training, rng.sample(held_out, config.evaluation.problems), weak)


def begin(run: Run) -> None:
    """Make the folder, keep the resolved configuration, count the attempt, and say which process it is."""
    run.folder.mkdir(parents=True, exist_ok=True)
    if not (run.folder / "config.yaml").exists():
        configuration.dump(run.config, run.folder / "config.yaml")
    aside = run.folder / "attempts.part"
    aside.write_text(json.dumps({"attempts": run.attempt + 1, "pid": os.getpid()}))
    os.replace(aside, run.folder / "attempts.json")


def _begun(folder: Path) -> dict[str, int]:
    """How often the run was begun, and by which process the last time."""
    path = folder / "attempts.json"
    begun: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    return begun


def _differences(before: Config, now: Config) -> list[str]:
    old, new = before.model_dump(exclude={"run_dir"}), now.model_dump(exclude={"run_dir"})
    return [name for name in old if old[name] != new[name]]
