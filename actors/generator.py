"""Generator workers: problems in, candidates out, new weights in flight."""

from __future__ import annotations

import asyncio
import dataclasses

import pyarrow as pa
import ray

from actors.telemetry import Drained, Recorder
from roles.records import Candidate, Problem, from_batch, to_batch
from roles.sampling.engine import Sampler
from roles.sampling.settings import EngineSettings
from roles.weights import Packed


@dataclasses.dataclass(frozen=True)
class Request:
    """How the problems of one batch are sampled. `groups` are the ids of their groups, in the order of the problems."""

    groups: tuple[str, ...]
    n: int
    temperature: float
    max_tokens: int
    stage: str = "sample"


class Generator:
    """One vLLM engine."""

    def __init__(self, name: str, model_dir: str, settings: EngineSettings) -> None:
        self._recorder = Recorder(name)
        self._sampler = Sampler(model_dir, settings)

    async def start(self, version: int) -> None:
        """Load the model folder under the number `version`."""
        with self._recorder.span("start", 1):
            await self._sampler.start(version)
        self._recorder.took_up("policy", version)

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    async def sample(self, problems: pa.RecordBatch, request: Request) -> tuple[int, pa.RecordBatch]:
        """Number of tokens sampled, and the candidates."""
        with self._recorder.span(request.stage, request.n * problems.num_rows):
            groups = await asyncio.gather(*(
                self._sampler.sample(
                    problem, n=request.n, temperature=request.temperature, max_tokens=request.max_tokens, group_id=group
                )
                for problem, group in zip(from_batch(Problem, problems), request.groups, strict=True)
            ))
        candidates = [candidate for group in groups for candidate in group]
        return sum(len(candidate.token_ids) for candidate in candidates), to_batch(Candidate, candidates)

    async def update(self, version: int, weights: Packed) -> None:
        """Take up a version; running requests go on under it."""
        await self._sampler.update(version, weights)
        self._recorder.took_up("policy", version)

    async def drain(self) -> Drained:
        return self._recorder.drain()

    async def close(self) -> None:
        await self._sampler.close()
