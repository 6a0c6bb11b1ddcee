"""Generator workers: problems in, candidates out, new weights in flight."""

from __future__ import annotations

import asyncio

import pyarrow as pa
import ray

from actors.messages import Request, Sampled
from actors.telemetry import Drained, Recorder
from roles import parity
from roles.records import Candidate, Problem, from_batch, to_batch
from roles.sampling.engine import Sampler
from roles.sampling.settings import EngineSettings
from roles.weights import Packed


class Generator:
    """One vLLM engine."""

    def __init__(self, name: str, model_dir: str, settings: EngineSettings, parity_limit: float) -> None:
        """`parity_limit`: the largest mean difference in nats of log-probabilities from the trainer's."""
        self._recorder = Recorder(name)
        self._parity_limit = parity_limit
        self._sampler = Sampler(model_dir, settings)

    async def start(self, version: int) -> None:
        """Load the model folder under the number `version`."""
        with self._recorder.span("start", 1):
            await self._sampler.start(version)
        self._recorder.took_up("policy", version)

    @ray.method(num_returns=2)  # type: ignore[untyped-decorator]
    async def sample(self, problems: pa.RecordBatch, request: Request) -> tuple[Sampled, pa.RecordBatch]:
        """A receipt, and the candidates."""
        with self._recorder.span(request.stage, request.n * problems.num_rows):
            groups = await asyncio.gather(*(
                self._sampler.sample(
                    problem, n=request.n, temperature=request.temperature, max_tokens=request.max_tokens,
                    group_id=group, seed=None if request.seed is None else request.seed + place * request.n,
                )
                for place, (problem, group) in enumerate(
                    zip(from_batch(Problem, problems), request.groups, strict=True)
                )
            ))
        candidates = [candidate for group in groups for candidate in group]
        table = to_batch(Candidate, candidates)
        return Sampled(sum(len(candidate.token_ids) for candidate in candidates), table.nbytes), table

    async def update(self, version: int, weights: Packed, base: Packed | None = None) -> None:
        """Take up a version, or the delta that makes it of `base`; running requests go on under it.

        Raises `ParityError` when the engine then computes other log-probabilities than the trainer did.
        """
        update = await self._sampler.update(version, weights, base)
        self._recorder.took_up("policy", version, update.pause_seconds, update.mismatch)
        if update.mismatch is not None:
            parity.check(version, update.mismatch, self._parity_limit)

    async def drain(self) -> Drained:
        return self._recorder.drain()

    async def close(self) -> None:
        await self._sampler.close()
