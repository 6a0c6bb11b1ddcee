"""Continuous batching with vLLM: n completions of a prompt, and new weights while requests are running.

Invariants: every sampled token carries the version of the weights that sampled it, and its log-probability under
exactly the distribution it was drawn from (temperature included, nothing cut off), which is what PPO's ratio needs.
What a new version takes time for happens while tokens are generated (`twin`); they pause for an exchange.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from roles import delta, languages, parity, sequences, weights
from roles.records import Candidate, Problem
from roles.sampling.died import EngineDied
from roles.sampling.settings import ENGINE_ENV, EngineSettings, SamplingError, check_model_folder

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM


logger = logging.getLogger(__name__)

__all__ = ["ENGINE_ENV", "EngineDied", "EngineSettings", "Sampler", "SamplingError", "Update"]

_PREPARED_AT_ONCE = 64 << 20  # bytes: the engine makes no token meanwhile, for about as long as a step takes


@dataclasses.dataclass(frozen=True)
class Update:
    """How a version was taken up."""

    pause_seconds: float  # from when the engine stood still, its last step done, until it was told to go on
    mismatch: float | None  # of the version's probe, in nats, where it has one (`parity`)


class Sampler:
    """One vLLM engine in a process of its own. All calls belong to one event loop; any number may run at once."""

    def __init__(self, model_dir: str | Path, settings: EngineSettings) -> None:
        """Checks the folder at once, without vLLM. Raises `SamplingError`."""
        self.model_dir = Path(model_dir)
        self.settings = settings
        self.version = -1
        self._config = check_model_folder(self.model_dir)
        self._shapes = _checkpoint_shapes(self.model_dir, bool(self._config.get("tie_word_embeddings")))
        self._engine: AsyncLLM | None = None
        self._update = asyncio.Lock()

    async def start(self, version: int) -> None:
        """Load the folder's weights under the number `version` and wait until the engine answers.

        Raises `EngineDied` when the engine's process ends before that; it has then said why on stderr.
        """
        for name, value in ENGINE_ENV.items():
            os.environ.setdefault(name, value)
        if self.settings.enforce_eager:
            os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        chosen = {
            "kv_cache_memory_bytes": self.settings.kv_cache_bytes,
            "gpu_memory_utilization": self.settings.gpu_memory_utilization,
        }
        args = AsyncEngineArgs(
            model=str(self.model_dir),
            dtype=self.settings.dtype,
            max_model_len=self.settings.max_model_len,
            max_num_seqs=self.settings.max_num_seqs,
            tensor_parallel_size=self.settings.tensor_parallel_size,
            enforce_eager=self.settings.enforce_eager,
            enable_prefix_caching=self.settings.prefix_caching,
            seed=self.settings.seed,
            logprobs_mode="processed_logprobs",
            disable_log_stats=True,
            worker_extension_cls="roles.sampling.worker.WeightLoader",
            **{name: value for name, value in chosen.items() if value is not None},
        )
        try:
            self._engine = AsyncLLM.from_engine_args(args)
        except RuntimeError as error:
            raise EngineDied(f"the engine for {self.model_dir} did not start: {error}") from error
        self._tokenizer = self._engine.get_tokenizer()
        async with self._alive() as engine:
            await engine.update_weight_version(str(version))
        self.version = version

    async def sample(
        self,
        problem: Problem,
        *,
        n: int,
        temperature: float,
        max_tokens: int,
        group_id: str | None = None,
        seed: int | None = None,
    ) -> list[Candidate]:
        """`n` candidates for `problem`, with the ids `group_id/0` to `group_id/(n-1)`.

        `group_id` defaults to the problem's id. Raises `SamplingError` when the prompt leaves no room for a token,
        `EngineDied` when the engine is gone.
        """
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        group = group_id if group_id is not None else problem.id
        language = languages.get(problem.language)
        prompt: list[int] = self._tokenizer(problem.prompt, add_special_tokens=False)["input_ids"]
        if not 0 < len(prompt) < self.settings.max_model_len:
            raise SamplingError(
                f"problem {problem.id}: a prompt of {len(prompt)} tokens; allowed are 1 to "
                f"{self.settings.max_model_len - 1} (max_model_len {self.settings.max_model_len})"
            )
        params = SamplingParams(
            n=n,
            temperature=temperature,
            max_tokens=max_tokens,
            seed=seed,
            stop=list(language.stop),
            logprobs=0,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        async with self._alive() as engine:
            completions: list[Any] = []
            async for output in engine.generate({"prompt_token_ids": prompt}, params, group):
                completions.extend(output.outputs)
        return [
            Candidate(
                id=f"{group}/{completion.index}",
                problem_id=problem.id,
                group_id=group,
                text=language.assemble(problem, completion.text),
                prompt_token_ids=tuple(prompt),
                token_ids=tuple(completion.token_ids),
                log_probs=_log_probs(completion),
                policy_versions=_versions(completion),
                finish_reason=completion.finish_reason,
            )
            for completion in sorted(completions, key=lambda completion: completion.index)
        ]

    async def update(self, version: int, packed: weights.Packed, base: weights.Packed | None = None) -> Update:
        """Take up `packed` (`roles.weights.pack`) as `version`; running requests go on under it, keeping their tokens.

        Args:
            base: what `packed` is a delta on (`roles.delta`); none where it is a whole version.

        Raises `SamplingError` or `WeightsError` before anything is touched when the tensors are not those of the model
        or `base` is not the base, and `EngineDied` when loading broke off half-way.
        """
        self._check_shapes(version, weights.shapes(packed if base is None else base))
        # A caller that is cancelled half-way must not leave the engine paused or its tokens under a wrong number.
        return await asyncio.shield(asyncio.ensure_future(self._take_up(version, packed, base)))

    async def _take_up(self, version: int, packed: weights.Packed, base: weights.Packed | None) -> Update:
        async with self._update, self._alive() as engine:
            with _weight_file() as path:
                await asyncio.to_thread(_write, path, packed, base)
                parts = _parts(packed if base is None else base)
                for number, names in enumerate(parts, start=1):
                    await self._call(engine, "prepare_weights", path, names, number == len(parts))
                # As `pause_generation` does, which then idles for 20 ms to have outputs in order.
                await engine.engine_core.pause_scheduler_async(mode="keep", clear_cache=True)
                start = time.perf_counter()
                await self._call(engine, "take_up_weights", path)
                await engine.update_weight_version(str(version))
                await engine.resume_generation()
                paused = time.perf_counter() - start
                await self._call(engine, "drop_weights")
            self.version = version
            probe = parity.probe_of(weights.metadata(packed))
            return Update(paused, None if probe is None else await self._mismatch(engine, version, probe))

    async def _mismatch(self, engine: AsyncLLM, version: int, probe: parity.Probe) -> float:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        params = SamplingParams(
            temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY
        )

        async def log_probs(place: int, tokens: list[int]) -> list[float]:
            found: list[float] = []
            async for output in engine.generate({"prompt_token_ids": tokens}, params, f"parity/{version}/{place}"):
                entries = output.prompt_logprobs[1:]
                found = [entry[token].logprob for entry, token in zip(entries, tokens[1:], strict=True)]
            return found

        cut = [list(tokens[: self.settings.max_model_len - 1]) for tokens in probe.tokens]
        return probe.mismatch(await asyncio.gather(*(log_probs(*numbered) for numbered in enumerate(cut))))

    async def check_health(self) -> None:
        """Raises `EngineDied` when the engine's process is gone."""
        async with self._alive() as engine:
            await engine.check_health()

    async def close(self) -> None:
        """End the engine's process. Running `sample` calls raise `EngineDied`."""
        engine, self._engine = self._engine, None
        if engine is not None:
            # Its own end is an error to the engine's output loop, and its destructor would end it once more.
            logging.getLogger("vllm.v1.engine.async_llm").setLevel(logging.CRITICAL)
            await asyncio.to_thread(engine.shutdown)
            vars(engine)["shutdown"] = lambda: None

    async def _call(self, engine: AsyncLLM, name: str, *arguments: Any) -> None:
        """Call `WeightLoader` in the engine's process."""
        try:
            await engine.collective_rpc(name, args=arguments)
        except Exception as error:
            await self.close()
            raise EngineDied(f"the engine broke off while it loaded new weights: {error}") from error

    @asynccontextmanager
    async def _alive(self) -> AsyncIterator[AsyncLLM]:
        from vllm.v1.engine.exceptions import EngineDeadError

        if self._engine is None:
            raise EngineDied("the engine is not running")
        try:
            yield self._engine
        except EngineDeadError as error:
            raise EngineDied("the engine's process is gone") from error

    def _check_shapes(self, version: int, got: dict[str, tuple[int, ...]]) -> None:
        differing = [name for name, shape in self._shapes.items() if got.get(name) != shape]
        if differing:
            name = differing[0]
            raise SamplingError(
                f"weights of version {version}: {name} has shape {got.get(name, 'missing')}; the model in "
                f"{self.model_dir} has {self._shapes[name]} ({len(differing)} tensors differ)"
            )


def _log_probs(completion: Any) -> tuple[float, ...]:
    return tuple(
        step[token].logprob for step, token in zip(completion.logprobs, completion.token_ids, strict=True)
    )


def _versions(completion: Any) -> tuple[int, ...]:
    versions: Sequence[int] = [
        int(span.version) for span in completion.weight_versions or () for _ in range(span.start, span.end)
    ]
    if len(versions) != len(completion.token_ids):
        raise EngineDied(f"versions for {len(versions)} of {len(completion.token_ids)} tokens")
    return tuple(versions)


def _checkpoint_shapes(folder: Path, tied: bool) -> dict[str, tuple[int, ...]]:
    """Shapes by name from the safetensors headers; empty for a folder of another format."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    shapes[name] = tuple(file.get_slice(name).get_shape())
        except SafetensorError as error:
            raise SamplingError(
                f"model folder {folder}: {path.name} cannot be read ({error}); allowed are whole safetensors files"
            ) from error
    if tied:
        shapes.pop("lm_head.weight", None)
    return shapes


def _parts(packed: weights.Packed) -> list[list[str]]:
    """The names of the tensors, in their order, in parts of bounded size."""
    sizes = weights.sizes(packed)
    names = list(sizes)
    return [[names[i] for i in part] for part in sequences.fill(list(sizes.values()), _PREPARED_AT_ONCE)]


@contextmanager
def _weight_file() -> Iterator[str]:
    """The path of a file in memory that the engine's processes can open, and that is gone when this process is."""
    file = os.memfd_create("weights")
    try:
        yield f"/proc/{os.getpid()}/fd/{file}"
    finally:
        os.close(file)


def _write(path: str, packed: weights.Packed, base: weights.Packed | None) -> None:
    if base is None:
        packed.tofile(path)
    else:
        base.tofile(path)
        delta.add(np.memmap(path, np.uint8, "r+"), packed)
