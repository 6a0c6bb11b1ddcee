"""The configuration: one typed tree, read from YAML, validated whole before anything is started."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from roles.engines import LearningSettings
from roles.mining.pairs import MiningSettings
from roles.optimisation import OptimiserSettings
from roles.policy.rewards import RewardMix
from roles.policy.trainer import PPOSettings
from roles.reward.losses import RewardObjective
from roles.sampling.settings import EngineSettings
from roles.sandbox.limits import Limits
from roles.simulation import Simulation
from roles.tuning.sft import SFTSettings

_COMPILERS = ("g++", "clang++")
POCKET_BASE = Path(__file__).parent / "problems" / "pocket" / "base"


class ConfigError(ValueError):
    """A wrong configuration; the message names field, value and what is allowed."""


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelSettings(Section):
    path: str = "pocket"  # a transformers folder, or `pocket`, the embedded base model
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def folder(self) -> Path:
        return POCKET_BASE if self.path == "pocket" else Path(self.path)


class SamplingSettings(Section):
    temperature: float = Field(default=1.0, gt=0, le=2)
    n: int = Field(default=8, ge=2)  # samples of one problem
    max_tokens: int = Field(default=96, ge=1)
    problems_per_batch: int = Field(default=8, ge=1)
    batches_in_flight: int = Field(default=2, ge=1)  # of each generator
    # The largest mean difference in nats of log-probabilities of engine and trainer at an update, beyond which the run
    # stops; none: 0.001 where both compute in float32, else 0.1.
    parity_limit: float | None = Field(default=None, gt=0)
    engine: EngineSettings = EngineSettings()


class SFTStage(SFTSettings):
    problems: int = Field(default=300, ge=1)  # training problems with references
    references: int = Field(default=2, ge=1)  # of each problem, at most


class RewardStage(OptimiserSettings):
    learning_rate: float = Field(default=5e-4, gt=0, lt=1)
    head: Literal["scalar", "likelihood"] = "likelihood"
    reference: bool = False  # the likelihood head counts what is likelier than in the first weights
    initial: Literal["sft", "base"] = "sft"  # the first weights
    start: Literal["warm", "fresh"] = "warm"  # an iteration begins from the last version, or anew from the first
    objective: RewardObjective = RewardObjective()
    groups_per_step: int = Field(default=16, ge=1)  # problems with pairs
    groups_per_iteration: int = Field(default=300, ge=1)  # newly mined problems that make a new version
    rehearsal: float = Field(default=1.0, ge=0)  # earlier groups trained on beside each new one
    tokens_per_batch: int = Field(default=4096, ge=1)

    @model_validator(mode="after")
    def _head_has_objective(self) -> RewardStage:
        if self.objective.language_model and self.head == "scalar":
            raise ValueError("objective.language_model: a scalar head has no output layer; allowed: head likelihood")
        if self.reference and self.head == "scalar":
            raise ValueError(
                "reference = true: a scalar head has no log-probability to compare; set it to false, "
                "or head to likelihood"
            )
        return self


class PolicyStage(PPOSettings):
    groups_per_step: int = Field(default=32, ge=1)
    steps_per_iteration: int = Field(default=12, ge=1)
    max_staleness: int = Field(default=1, ge=0)  # steps that a sampled token may lie behind, at most
    checkpoint_every: int = Field(default=4, ge=1)  # steps; those after the last checkpoint are learnt again
    rescore: bool = False  # by the newest reward model before training, where it moved on since the sample was scored
    reward: RewardMix = RewardMix()


class ExecutorSettings(Section):
    limits: Limits = Limits()
    jails: int = Field(default=4, ge=1)  # programs that one executor runs at once
    minimum_tier: int = Field(default=1, ge=0, le=3)


class WorkerSettings(Section):
    generators: int = Field(default=1, ge=1)
    executors: int = Field(default=1, ge=1)
    scorers: int = Field(default=1, ge=1)
    learners: int = Field(default=1, ge=1)  # processes of each of the two


class EvaluationSettings(Section):
    split: str = "test"
    problems: int = Field(default=150, ge=2)
    n: int = Field(default=10, ge=2)
    temperature: float = Field(default=0.8, gt=0, le=2)
    bootstrap_draws: int = Field(default=2000, ge=100)
    control: SFTSettings = SFTSettings(learning_rate=1e-3, epochs=2)


class ClusterSettings(Section):
    address: str = "auto"  # host:port; auto: the cluster that runs on this machine, else `local`: a Ray of our own
    object_store_bytes: int = Field(default=256 << 20, ge=100 << 20)  # of a Ray of our own
    heartbeat_seconds: float = Field(default=60.0, gt=0)  # an actor that does not answer for so long is replaced
    lease_seconds: float = Field(default=1800.0, gt=0)  # a worker that keeps a batch for so long is replaced
    dashboard: bool = True  # of a Ray of our own


class Config(Section):
    seed: int = 0
    run_dir: Path | None = None  # none: a new folder under runs/
    suite: str = "pocket"
    iterations: int = Field(default=2, ge=1)  # published reward-model versions
    schedule: Literal["continuous", "phased"] = "continuous"  # phased: a step's batches pass each stage together
    autobalance: bool = False  # move workers to the stage that starves the others
    deterministic: bool = False  # the same weights from every run of the same configuration, broken off or not
    stream_capacity: int = Field(default=4, ge=1)  # batches that wait between two stages
    stream_bytes: int = Field(default=64 << 20, ge=1 << 10)  # and their size
    simulate: Simulation | None = None
    model: ModelSettings = ModelSettings()
    sampling: SamplingSettings = SamplingSettings()
    sft: SFTStage = SFTStage()
    reward: RewardStage = RewardStage()
    learning: LearningSettings = LearningSettings()
    mining: MiningSettings = MiningSettings()
    policy: PolicyStage = PolicyStage()
    executor: ExecutorSettings = ExecutorSettings()
    workers: WorkerSettings = WorkerSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    cluster: ClusterSettings = ClusterSettings()

    @model_validator(mode="after")
    def _batches_divide_steps(self) -> Config:
        if self.policy.groups_per_step % self.sampling.problems_per_batch:
            raise ValueError(
                f"policy.groups_per_step = {self.policy.groups_per_step}: must be a multiple of "
                f"sampling.problems_per_batch = {self.sampling.problems_per_batch}"
            )
        return self

    @model_validator(mode="after")
    def _determinism_has_its_price(self) -> Config:
        if self.deterministic and self.schedule != "phased":
            raise ValueError(
                f"deterministic = true: with schedule = {self.schedule} what is sampled depends on when; "
                "allowed is schedule phased"
            )
        if self.deterministic and self.policy.rescore:
            raise ValueError(
                "deterministic = true: a policy learner that is replaced learns again from the scores in the ledger; "
                "allowed is policy.rescore false"
            )
        if self.deterministic and self.model.device != "cpu":
            raise ValueError("deterministic = true: a GPU does not add in a fixed order; allowed is model.device cpu")
        return self

    @property
    def wanted(self) -> dict[str, int]:
        """Workers of each role that a run begins with; of the learners the processes of each."""
        workers = self.workers
        return {
            "generator": workers.generators, "executor": workers.executors, "scorer": workers.scorers,
            "learner": workers.learners, "miner": 1,
        }  # fmt: skip

    @property
    def engine(self) -> EngineSettings:
        """Of the generators. Logits depend on what else is in the batch, and on what is cached."""
        alone = {"max_num_seqs": 1, "prefix_caching": False} if self.deterministic else {}
        return self.sampling.engine.model_copy(update=alone)

    @property
    def adapters(self) -> bool:
        """Whether versions of the policy are what adapters add to the first one."""
        return self.learning.lora is not None and self.simulate is None

    @property
    def parity_limit(self) -> float:
        if self.sampling.parity_limit is not None:
            return self.sampling.parity_limit
        return 0.001 if self.sampling.engine.dtype == self.learning.dtype == "float32" else 0.1

    @model_validator(mode="after")
    def _engine_is_there(self) -> Config:
        learning = self.learning
        if learning.offload and self.model.device == "cpu":
            raise ValueError(
                "learning.offload = true: with model.device = cpu there is no other memory to offload from; "
                "set it to false, or model.device to cuda"
            )
        for field, package, needed in (
            ("engine = deepspeed", "deepspeed", learning.engine == "deepspeed"),
            ("lora", "peft", learning.lora is not None),
        ):
            if needed and importlib.util.find_spec(package) is None:
                raise ValueError(f"learning.{field}: {package} is not installed here; pip install {package}")
        if learning.compile and self.model.device == "cpu" and not any(map(shutil.which, _COMPILERS)):
            raise ValueError(f"learning.compile = true: needs a C++ compiler, one of {', '.join(_COMPILERS)}")
        return self


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration in `path` with `key.subkey=value` overrides applied. Raises `ConfigError`."""
    try:
        tree = yaml.safe_load(path.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a mapping of fields, got {type(tree).__name__}")
    for override in overrides:
        _apply(tree, override)
    return validate(tree)


def validate(tree: dict[str, Any]) -> Config:
    """Raises `ConfigError` with one line for each wrong field."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(dict(entry)) for entry in error.errors())) from error


def dump(config: Config, path: Path) -> None:
    """Write the resolved configuration as YAML, aside and renamed."""
    aside = path.with_suffix(".part")
    aside.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    os.replace(aside, path)


def _apply(tree: dict[str, Any], override: str) -> None:
    name, separator, text = override.partition("=")
    if not separator or not name:
        raise ConfigError(f"--set {override!r}: expected key.subkey=value")
    *parents, last = name.split(".")
    node = tree
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override!r}: {parent} is not a section")
        node = child
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not YAML: {error}") from error
    node[last] = _number(value)


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-5 as a text; a user means a number."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _explain(entry: dict[str, Any]) -> str:
    field = ".".join(map(str, entry["loc"])) or "config"
    if entry["type"] == "extra_forbidden":
        return f"{field} = {entry['input']!r}: there is no such field; allowed are {_fields(entry['loc'][:-1])}"
    if not entry["loc"]:
        return str(entry["msg"]).removeprefix("Value error, ")
    return f"{field} = {entry['input']!r}: {entry['msg'].removeprefix('Value error, ')}"


def _fields(location: tuple[Any, ...]) -> str:
    model: type[BaseModel] = Config
    for name in location:
        annotation = model.model_fields[str(name)].annotation
        annotation = next(iter(get_args(annotation)), annotation)  # of a section that may be none, the section
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return "none"
        model = annotation
    return ", ".join(model.model_fields)
