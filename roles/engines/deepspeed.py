"""The engine of many processes: DeepSpeed with ZeRO (arXiv 1910.02054) over gloo on CPUs and NCCL on GPUs.

Started by a launcher (torchrun, deepspeed) a process joins the others; else it is alone.
Weights stay float32 in every stage, as in the torch engine, so that both compute the same.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from roles.engines import processes
from roles.engines.base import Engine
from roles.engines.processes import BUCKET
from roles.engines.settings import LearningSettings
from roles.trunk import agreed_pieces

T = TypeVar("T")
_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what a launcher sets; libraries set some of them too
KEPT_WHOLE = 100_000  # numbers of a weight up to which stage 3 does not share it out


class DeepSpeedEngine(Engine):
    def _start(self, parameters: list[nn.Parameter], learning: LearningSettings) -> None:
        device = self._module.device
        deepspeed = _joined(device)
        self.rank, self.processes = processes.rank(), processes.count()
        self._stage = learning.zero_stage
        self.divided = self._stage > 0 and self.processes > 1
        self._norm = 0.0
        self._adam = _Adam(
            parameters,
            self.settings.learning_rate,
            betas=self.settings.betas,
            weight_decay=self.settings.weight_decay,
            fused=True,
        )
        memory = {"device": "cpu", "pin_memory": True}
        zero: dict[str, Any] = {
            "stage": self._stage,
            "reduce_bucket_size": min(BUCKET, sum(parameter.numel() for parameter in parameters)),
        }
        if self._stage == 3:
            zero["stage3_param_persistence_threshold"] = KEPT_WHOLE
        if learning.offload:
            zero["offload_optimizer"] = memory
            if self._stage == 3:
                zero["offload_param"] = memory
        self._engine, *_ = deepspeed.initialize(
            model=self._module,
            optimizer=self._adam,
            config={
                "train_micro_batch_size_per_gpu": 1,
                "gradient_clipping": self.settings.max_gradient_norm if self._stage else 0.0,
                "bf16": {"enabled": False},  # left out, it would be on
                "zero_optimization": zero,
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
            },
        )

    def compute(self, function: Callable[[], T]) -> T:
        before = agreed_pieces.set(self._agree)
        try:
            result: T = self._engine(function)
        finally:
            agreed_pieces.reset(before)
        return result

    def _agree(self, pieces: int) -> int:
        return max(self.gather(pieces)) if self._stage == 3 else pieces

    def close(self) -> None:
        with self._whole():
            weights = {name: parameter.detach() for name, parameter in self._module.named_parameters()}
        self._engine.destroy()
        if self._stage == 3:
            _replace_parameters(self._module, weights)

    def _backward(self, loss: Tensor, last: bool) -> None:
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss * self.processes, scale_wrt_gas=False)  # it averages over processes

    def _apply(self, rate: float, sane: Callable[[float], bool]) -> float:
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.allowed = lambda: sane(self._measured_norm())
        if self._stage == 0:
            parameters = [parameter for group in self._adam.param_groups for parameter in group["params"]]
            self._norm = float(nn.utils.clip_grad_norm_(parameters, self.settings.max_gradient_norm))
        self._engine.step()
        return self._measured_norm()

    def _measured_norm(self) -> float:
        """Of the gradient of this update: known once ZeRO is about to let AdamW work, or has found it not finite."""
        if self._stage == 0:
            return self._norm
        optimiser = self._engine.optimizer
        return float("inf") if optimiser.overflow else float(optimiser._global_grad_norm)

    def _optimiser_state(self) -> Any:
        return self._engine.optimizer.state_dict()

    def _load_optimiser(self, state: Any) -> None:
        optimiser = self._engine.optimizer
        if self._stage == 0:
            optimiser.load_state_dict(state)
            return
        states = [state] * self.processes  # of which it reads its own place
        optimiser.load_state_dict(states, load_optimizer_states=True, load_from_fp32_weights=True)
        if self._stage == 3:
            optimiser.checkpoint_event_epilogue()

    @contextmanager
    def _whole(self, written: bool = False) -> Iterator[None]:
        if self._stage < 3:
            yield
            return
        import deepspeed

        parameters = list(self._module.parameters())
        with deepspeed.zero.GatheredParameters(parameters, modifier_rank=0 if written else None):
            yield


class _Adam(torch.optim.AdamW):
    """AdamW that asks before it updates: DeepSpeed finds the norm, clips and updates in one go."""

    allowed: Callable[[], bool] = staticmethod(lambda: False)

    def step(self, closure: Any = None) -> Any:
        return super().step(closure) if self.allowed() else None


def _joined(device: torch.device) -> Any:
    """DeepSpeed, within a process group. Raises `ValueError` when it works on another kind of device."""
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    os.environ.setdefault("LOCAL_RANK", "0")
    import deepspeed
    from deepspeed.accelerator import get_accelerator

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    if (found := get_accelerator().device_name()) != device.type:
        raise ValueError(f"model.device = {device.type}, but DeepSpeed uses {found}: set DS_ACCELERATOR={device.type}")
    backend = processes.backend(device.type)
    if not distributed.is_initialized():
        alone = not all(name in os.environ for name in _LAUNCHED)
        place: dict[str, Any] = {"store": distributed.HashStore(), "rank": 0, "world_size": 1} if alone else {}  # type: ignore[attr-defined]
        distributed.init_process_group(backend, **place)
    # An operation for inference that it would compile for a minute, with a buffer that it would leave behind.
    sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None  # type: ignore[attr-defined]
    deepspeed.init_distributed(backend, auto_mpi_discovery=False, verbose=False)
    return deepspeed


def _replace_parameters(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give `module` plain parameters in place of those that were shared out; tied ones stay tied."""
    plain = {
        id(parameter): nn.Parameter(weights[name], requires_grad=parameter.requires_grad)
        for name, parameter in module.named_parameters()
    }
    for part in module.modules():
        part._parameters = {
            name: None if parameter is None else plain[id(parameter)] for name, parameter in part._parameters.items()
        }
