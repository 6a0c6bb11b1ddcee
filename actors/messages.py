"""What actors and driver tell each other beside records: small, and without a heavy import."""

from __future__ import annotations

import dataclasses
from collections import Counter

from roles.sandbox.judge import Load


@dataclasses.dataclass(frozen=True)
class Request:
    """How the problems of one batch are sampled. `groups` are the ids of their groups, in the order of the problems."""

    groups: tuple[str, ...]
    n: int
    temperature: float
    max_tokens: int
    stage: str = "sample"
    seed: int | None = None  # of the whole batch: the same samples whenever it is sampled under the same weights


@dataclasses.dataclass(frozen=True)
class Sampled:
    tokens: int
    bytes: int  # of the record batch


@dataclasses.dataclass(frozen=True)
class Executed:
    """How many programs of a batch have which status, and the load of the executor since its start."""

    executor: str
    statuses: Counter[str]
    load: Load
    bytes: int


@dataclasses.dataclass(frozen=True)
class Scored:
    mean_reward: float
    bytes: int


@dataclasses.dataclass(frozen=True)
class Mined:
    groups: int  # that gave pairs
    reward_version: int  # the newest that scored them
    pairs: int
    hard: int  # pairs whose rejected program was chosen because the reward model likes it
    false_favourites: int  # failing programs scored above a passing one of their problem
    bytes: int
