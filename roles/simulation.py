"""What `simulate` in a configuration means. Imports nothing heavy: simulated workers are many."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Simulation(BaseModel):
    """In place of models and programs: the seconds that each kind of work takes. Everything else is real."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sample_seconds: tuple[Annotated[float, Field(ge=0)], ...] = Field(default=(0.1,), min_length=1)  # batch by batch
    execute_seconds: float = Field(default=0.1, ge=0)  # of a batch
    score_seconds: float = Field(default=0.02, ge=0)
    policy_step_seconds: float = Field(default=0.1, ge=0)
    reward_batch_seconds: float = Field(default=0.02, ge=0)
    weight_bytes: int = Field(default=1 << 16, ge=64)  # of a version
    workers_per_process: int = Field(default=1, ge=1)  # of one role
