"""How a learner computes: the engine, its precision, what is kept in memory, and which weights are trained."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class LoRASettings(BaseModel):
    """Low-rank adapters (arXiv 2106.09685) on linear layers; all else but the heads is frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)  # the product of the adapter's matrices is scaled by alpha / rank
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] = ()  # last parts of layer names, as q_proj; none: every linear layer of the trunk


class LearningSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Literal["torch", "deepspeed"] = "torch"
    zero_stage: int = Field(default=0, ge=0, le=3)  # what DeepSpeed's processes share out (arXiv 1910.02054)
    offload: bool = False  # the optimiser's states, and from stage 3 on idle weights, lie in main memory
    dtype: Literal["float32", "bfloat16"] = "float32"  # of matrix products; weights and states stay float32
    gradient_checkpointing: bool = False  # layers are computed again for the gradient instead of being kept
    compile: bool = False  # layers, at their first use: a minute that long training on a GPU earns back
    lora: LoRASettings | None = None  # none: all weights are trained

    @model_validator(mode="after")
    def _engine_has_it(self) -> LearningSettings:
        if self.engine == "torch" and self.zero_stage:
            raise ValueError(
                f"zero_stage = {self.zero_stage}: torch shares out nothing; set it to 0, or engine to deepspeed"
            )
        if self.offload and self.zero_stage == 0:
            raise ValueError(
                "offload = true: only ZeRO offloads; set engine to deepspeed and zero_stage to 1, 2 or 3"
            )
        return self
