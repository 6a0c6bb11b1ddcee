"""What every engine is: the owner of what is trained, which turns losses into updates of it.

A learner gives the items of one update and a function that computes the loss of an item; how the items are spread
over processes, how precisely they are computed and where the optimiser's state lies is the engine's affair. Losses of
the items of all processes add up: whoever writes one divides by counts of the whole minibatch.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from roles.engines import lora, processes
from roles.engines.settings import LearningSettings
from roles.optimisation import Diverged, GradientTooLarge, NonFiniteLoss, OptimiserSettings, learning_rate

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Update:
    loss: float  # of all items together
    measures: Tensor  # what the loss function measured, added up over the items
    gradient_norm: float  # before clipping


class Trained(nn.Module):
    """All that is trained, as one module. Its forward pass is whatever it is asked to compute."""

    def __init__(self, modules: Mapping[str, nn.Module], dtype: str) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self._low_precision = dtype == "bfloat16"

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, compute: Callable[[], T]) -> T:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._low_precision):
            return compute()


class Engine(ABC):
    """Updates `modules` by AdamW. `total_steps` is where a schedule reaches zero."""

    divided = False  # each process keeps a part of the state

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        settings: OptimiserSettings,
        learning: LearningSettings,
        total_steps: int = 0,
    ) -> None:
        self.settings = settings
        self.steps = 0
        self.skipped = 0  # updates left out, with on_divergence = skip
        self._total = max(total_steps, settings.warmup_steps + 1)
        self._module = Trained(modules, learning.dtype)
        self.rank, self.processes = processes.rank(), processes.count()
        trainable = [parameter for parameter in self._module.parameters() if parameter.requires_grad]
        self._start(trainable, learning)

    @property
    def device(self) -> torch.device:
        return self._module.device

    def share(self, items: Sequence[T]) -> list[tuple[T, bool]]:
        """This process's items, as many as any other's; false marks one that fills up and must not count."""
        own = [(item, True) for item in items[self.rank :: self.processes]]
        return own + [(items[0], False)] * (math.ceil(len(items) / self.processes) - len(own))

    def update(self, share: Sequence[tuple[T, bool]], loss: Callable[[T], tuple[Tensor, Tensor]], batch: Any) -> Update:
        """One update by the gradient of the summed losses.

        Args:
            share: what `share` returned; every process has as many.
            loss: the loss of an item, a scalar, and a vector of measures on the CPU.
            batch: what a `Diverged` shall carry.

        Raises `NonFiniteLoss` or `GradientTooLarge`, unless such batches are to be skipped; no weight has changed then.
        """
        total, measures = 0.0, torch.zeros(())
        for number, (item, counts) in enumerate(share, start=1):
            part, measured = self.compute(functools.partial(loss, item))
            self._backward(part if counts else 0.0 * part, last=number == len(share))
            if counts:
                total += part.item()
                measures = measures + measured.detach()
        total = sum(self.gather(total))
        measures = functools.reduce(torch.add, self.gather(measures))  # a process of fillers has measured a plain zero
        norm = self._apply(learning_rate(self.settings, self.steps, self._total), lambda norm: self._sane(total, norm))
        if self._sane(total, norm):
            self.steps += 1
        elif self.settings.on_divergence == "stop":
            raise self._divergence(total, norm, batch)
        else:
            self.skipped += 1
        return Update(total, measures, norm)

    def compute(self, function: Callable[[], T]) -> T:
        """`function()` in the engine's precision, with the weights at hand. The way to every forward pass."""
        result: T = self._module(function)
        return result

    def gather(self, value: T) -> list[T]:
        """The values of all processes, which have to call this together."""
        if self.processes == 1:
            return [value]
        values: list[Any] = [None] * self.processes
        distributed.all_gather_object(values, value)
        return values

    def weights(self, name: str) -> dict[str, Tensor]:
        """All weights of a module as its plain class names them, adapters merged. All processes call this together."""
        with self._whole():
            return lora.merged(getattr(self._module, name))

    def base(self, name: str) -> dict[str, Tensor]:
        """As `weights`, without what the adapters add."""
        with self._whole():
            return lora.base(getattr(self._module, name))

    def products(self, name: str) -> dict[str, tuple[Tensor, Tensor]]:
        """What the adapters add, see `lora.products`. All processes call this together."""
        with self._whole():
            return lora.products(getattr(self._module, name))

    def state_dict(self) -> dict[str, Any]:
        """What an engine of the same settings continues from; exactly, with the same number of processes.

        One for each process if the engine is `divided`, else the same for all.
        """
        state = {"steps": self.steps, "skipped": self.skipped, "optimiser": self._optimiser_state()}
        state["parts"] = self._parts
        with self._whole():
            state["module"] = self._module.state_dict()
        state["rng"] = torch.get_rng_state()
        if self.device.type == "cuda":
            state["cuda_rng"] = torch.cuda.get_rng_state()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises `ValueError` when the state is divided among another number of processes."""
        if state["parts"] != self._parts:
            raise ValueError(
                f"a state in {state['parts']} parts cannot be continued from by {self.processes} processes: "
                "learning.zero_stage > 0 divides it among workers.learners"
            )
        self.steps, self.skipped = int(state["steps"]), int(state["skipped"])
        with self._whole(written=True):
            self._module.load_state_dict(state["module"])
        self._load_optimiser(state["optimiser"])
        torch.set_rng_state(state["rng"])
        if "cuda_rng" in state:
            torch.cuda.set_rng_state(state["cuda_rng"])

    @abstractmethod
    def close(self) -> None:
        """Leave the modules as plain ones. The engine is of no further use."""

    @abstractmethod
    def _start(self, parameters: list[nn.Parameter], learning: LearningSettings) -> None: ...

    @abstractmethod
    def _backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradient of `loss` to what is there; `last` of an update."""

    @abstractmethod
    def _apply(self, rate: float, sane: Callable[[float], bool]) -> float:
        """Clip the gradients, update if their norm is `sane`, clear them. Returns the norm before clipping."""

    @abstractmethod
    def _optimiser_state(self) -> Any: ...

    @abstractmethod
    def _load_optimiser(self, state: Any) -> None: ...

    @contextmanager
    def _whole(self, written: bool = False) -> Iterator[None]:
        """Within it the weights are all here, and may be `written`."""
        yield

    @property
    def _parts(self) -> int:
        return self.processes if self.divided else 1

    def _sane(self, loss: float, norm: float) -> bool:
        limit = self.settings.gradient_norm_limit
        return math.isfinite(loss) and math.isfinite(norm) and (limit is None or norm <= limit)

    def _divergence(self, loss: float, norm: float, batch: Any) -> Diverged:
        where = f"loss {loss}, gradient norm {norm} at step {self.steps}"
        if math.isfinite(loss) and math.isfinite(norm):
            return GradientTooLarge(f"{where}; gradient_norm_limit = {self.settings.gradient_norm_limit}", batch)
        return NonFiniteLoss(where, batch)
