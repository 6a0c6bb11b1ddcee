from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from roles import delta, languages, parity, weights
from roles.parity import Probe
from roles.records import Candidate, Problem
from roles.sampling import engine as engine_module
from roles.sampling.engine import EngineDied, EngineSettings, Sampler, SamplingError
from roles.sequences import TokenSequence
from tests.tiny import tiny_model

pytestmark = pytest.mark.timeout(240)

SETTINGS = EngineSettings(dtype="float32", max_model_len=256, max_num_seqs=32, kv_cache_bytes=32 << 20)
PROBLEM = Problem("p/1", "tiny", "test", "python", '"""Return the sum of a and 3."""\ndef f(a, b):\n', "f", ())
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def sampler(folder: Path, run: Run) -> Iterator[Sampler]:
    sampler = Sampler(folder, SETTINGS)
    run(sampler.start(0))
    yield sampler
    run(sampler.close())


def changed(folder: Path, seed: int) -> torch.nn.Module:
    """The folder's model with other random weights."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def log_probs(model: torch.nn.Module, candidate: Candidate, temperature: float) -> torch.Tensor:
    ids = torch.tensor([candidate.prompt_token_ids + candidate.token_ids])
    with torch.no_grad():
        logits = model(ids).logits[0, len(candidate.prompt_token_ids) - 1 : -1]
    every = torch.log_softmax(logits / temperature, dim=-1)
    return every.gather(1, torch.tensor(candidate.token_ids)[:, None])[:, 0]


def weight_files() -> list[str]:
    """Those that any process holds open or has mapped."""
    gc.collect()  # an error that was raised has hold of what was mapped where it was
    found = []
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            found += [mapped.path for mapped in process.memory_maps(grouped=False)]
        for path in Path(f"/proc/{process.pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                found.append(os.readlink(path))
    return [path for path in found if "memfd:weights" in path]


def error(model: torch.nn.Module, candidate: Candidate, temperature: float = 0.8) -> torch.Tensor:
    return (log_probs(model, candidate, temperature) - torch.tensor(candidate.log_probs)).abs()


def test_log_probs_are_those_of_the_sampling_distribution_before_and_after_an_update(
    sampler: Sampler, folder: Path, run: Run
) -> None:
    old = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    for candidate in run(sampler.sample(PROBLEM, n=4, temperature=0.8, max_tokens=40)):
        assert error(old, candidate).max() < 1e-4
        assert set(candidate.policy_versions) == {sampler.version}

    new, version = changed(folder, 1), sampler.version + 1
    run(sampler.update(version, weights.pack(new.state_dict())))
    for candidate in run(sampler.sample(PROBLEM, n=4, temperature=0.8, max_tokens=40)):
        assert error(new, candidate).max() < 1e-4
        assert error(old, candidate).max() > 0.1
        assert set(candidate.policy_versions) == {version}


def test_tokens_before_an_update_in_flight_are_the_old_versions_and_those_after_it_the_new(
    sampler: Sampler, folder: Path, run: Run
) -> None:
    old, new = changed(folder, 2), changed(folder, 3)
    first, second = sampler.version + 1, sampler.version + 2

    async def update_while_sampling() -> list[Candidate]:
        await sampler.update(first, weights.pack(old.state_dict()))
        packed = weights.pack(new.state_dict())
        running = asyncio.create_task(sampler.sample(PROBLEM, n=8, temperature=0.8, max_tokens=220))
        await asyncio.sleep(0.15)
        await sampler.update(second, packed)
        return await running

    split = [c for c in run(update_while_sampling()) if set(c.policy_versions) == {first, second}]
    assert split
    for candidate in split:
        assert list(candidate.policy_versions) == sorted(candidate.policy_versions)
        is_old = torch.tensor(candidate.policy_versions) == first
        assert error(old, candidate)[is_old].max() < 1e-4
        assert error(new, candidate)[~is_old].max() < 1e-4
        assert error(old, candidate)[~is_old].max() > 0.1


@pytest.mark.parametrize("at_once", [1, 10_000])  # a tensor, and so few that layers are in two parts
def test_weights_prepared_in_small_parts_are_the_same(
    sampler: Sampler, folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(engine_module, "_PREPARED_AT_ONCE", at_once)
    model = changed(folder, at_once)
    run(sampler.update(sampler.version + 1, weights.pack(model.state_dict())))
    for candidate in run(sampler.sample(PROBLEM, n=2, temperature=0.8, max_tokens=40)):
        assert error(model, candidate).max() < 1e-4


def test_weights_that_cannot_be_prepared_are_loaded_while_the_engine_is_paused(
    sampler: Sampler, folder: Path, run: Run, tmp_path: Path
) -> None:
    model, version = changed(folder, 7), sampler.version
    weights.pack(model.state_dict()).tofile(tmp_path / "weights")

    async def load() -> None:
        engine = sampler._engine
        assert engine is not None
        await engine.pause_generation(mode="keep", clear_cache=True)
        await engine.collective_rpc("take_up_weights", args=(str(tmp_path / "weights"),))
        await engine.resume_generation()

    run(load())
    for candidate in run(sampler.sample(PROBLEM, n=2, temperature=0.8, max_tokens=40)):
        assert error(model, candidate).max() < 1e-4
    again = changed(folder, 8)
    run(sampler.update(version + 1, weights.pack(again.state_dict())))
    for candidate in run(sampler.sample(PROBLEM, n=2, temperature=0.8, max_tokens=40)):
        assert error(again, candidate).max() < 1e-4


def low_rank(model: torch.nn.Module) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    return {
        name: (torch.randn(weight.shape[0], 2), 0.1 * torch.randn(2, weight.shape[1]))
        for name, weight in model.named_parameters()
        if name.endswith("_proj.weight")
    }


def test_a_delta_is_taken_up_on_its_base_and_on_no_other(sampler: Sampler, folder: Path, run: Run) -> None:
    model, version = changed(folder, 9), sampler.version
    base = weights.pack(model.state_dict(), {delta.VERSION: "40"})
    products = low_rank(model)
    small = delta.pack(products, 40, {delta.VERSION: "41"})
    assert small.nbytes < base.nbytes / 3
    for wrong in (weights.pack(model.state_dict(), {delta.VERSION: "39"}), weights.pack(model.state_dict())):
        with pytest.raises(weights.WeightsError, match=r"a delta on version 40 cannot be added to version (39|None)"):
            run(sampler.update(41, small, wrong))
    assert sampler.version == version
    run(sampler.update(41, small, base))
    with torch.no_grad():
        for name, (left, right) in products.items():
            model.get_parameter(name).add_(left @ right)
    for candidate in run(sampler.sample(PROBLEM, n=2, temperature=0.8, max_tokens=40)):
        assert error(model, candidate).max() < 1e-4
        assert set(candidate.policy_versions) == {41}
    assert not weight_files()


def probe(model: torch.nn.Module) -> Probe:
    """Longer than the engine's sequences, and with the model's own log-probabilities."""
    rows = [[(7 * i + shift) % 300 + 3 for i in range(300)] for shift in range(3)]
    with torch.no_grad():
        every = torch.log_softmax(model(torch.tensor(rows)).logits[:, :-1], dim=-1)
    found = every.gather(2, torch.tensor(rows)[:, 1:, None])[..., 0]
    return Probe.of([TokenSequence(tuple(row[:1]), tuple(row[1:])) for row in rows], found.tolist())


def test_the_probe_of_a_version_shows_whether_its_weights_arrived(sampler: Sampler, folder: Path, run: Run) -> None:
    model = changed(folder, 10)
    noted = probe(model).metadata()
    true = run(sampler.update(sampler.version + 1, weights.pack(model.state_dict(), noted)))
    assert true.mismatch < 1e-4
    assert true.pause_seconds > 0
    for name in ("model.norm.weight", "model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.k_proj.weight"):
        state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        state[name] *= 1.5
        wrong = run(sampler.update(sampler.version + 1, weights.pack(state, noted)))
        assert wrong.mismatch > 0.1
        with pytest.raises(parity.ParityError, match=r"policy v7: .* by [0-9.]+ nats .*sampling\.parity_limit = 0\.1$"):
            parity.check(7, wrong.mismatch, 0.1)
    state["model.norm.weight"] = torch.full((64,), float("nan"))
    with pytest.raises(parity.ParityError):
        parity.check(7, run(sampler.update(sampler.version + 1, weights.pack(state, noted))).mismatch, 0.1)
    assert run(sampler.update(sampler.version + 1, weights.pack(model.state_dict()))).mismatch is None


def test_a_candidate_is_the_program_that_its_tokens_spell(sampler: Sampler, folder: Path, run: Run) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    candidates = run(sampler.sample(PROBLEM, n=3, temperature=1.0, max_tokens=8, group_id="run/7"))
    assert [c.id for c in candidates] == ["run/7/0", "run/7/1", "run/7/2"]
    for candidate in candidates:
        assert (candidate.group_id, candidate.problem_id) == ("run/7", PROBLEM.id)
        assert candidate.finish_reason in ("stop", "length")
        assert list(candidate.prompt_token_ids) == tokenizer(PROBLEM.prompt, add_special_tokens=False)["input_ids"]
        completion = tokenizer.decode(candidate.token_ids, skip_special_tokens=True)
        for stop in languages.get("python").stop:
            completion = completion.split(stop)[0]
        half_a_character = "\ufffd"  # at the very end the engine leaves it out
        assert candidate.text.rstrip(half_a_character) == (PROBLEM.prompt + completion).rstrip(half_a_character)


def test_a_seed_makes_sampling_repeatable(sampler: Sampler, run: Run) -> None:
    def tokens(seed: int) -> list[tuple[int, ...]]:
        return [c.token_ids for c in run(sampler.sample(PROBLEM, n=3, temperature=0.8, max_tokens=12, seed=seed))]

    assert tokens(5) == tokens(5) != tokens(6)


def test_the_log_prob_of_a_greedy_token_is_that_of_the_plain_distribution(sampler: Sampler, run: Run) -> None:
    (first,) = run(sampler.sample(PROBLEM, n=1, temperature=0.0, max_tokens=12))
    (second,) = run(sampler.sample(PROBLEM, n=1, temperature=0.0, max_tokens=12))
    assert first.token_ids == second.token_ids
    assert all(value < 0 for value in first.log_probs)


def test_a_prompt_that_leaves_no_room_is_refused_by_name(sampler: Sampler, run: Run) -> None:
    long = Problem("p/long", "tiny", "test", "python", "x = 1\n" * 300, "f", ())
    with pytest.raises(SamplingError, match=r"p/long.*allowed are 1 to 255"):
        run(sampler.sample(long, n=1, temperature=1.0, max_tokens=4))


def test_weights_of_another_model_are_refused_and_the_engine_goes_on(sampler: Sampler, run: Run) -> None:
    version = sampler.version
    with pytest.raises(SamplingError, match=r"model\.embed_tokens\.weight"):
        run(sampler.update(99, weights.pack({"model.embed_tokens.weight": torch.zeros(3, 64)})))
    assert sampler.version == version
    (candidate,) = run(sampler.sample(PROBLEM, n=1, temperature=1.0, max_tokens=4))
    assert set(candidate.policy_versions) == {version}


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.long)])
def test_qwen2_with_another_tokenizer_samples_and_leaves_nothing_behind(
    tmp_path: Path, run: Run, dtype: Any
) -> None:
    folder = tiny_model(tmp_path, "qwen2", seed=4, tied=False)
    sampler = Sampler(folder, SETTINGS.model_copy(update={"dtype": dtype}))
    mine = set(psutil.Process().children(recursive=True))

    async def life() -> list[Candidate]:
        await sampler.start(5)
        await sampler.update(6, weights.pack(model.state_dict()))
        candidates = await sampler.sample(PROBLEM, n=4, temperature=0.8, max_tokens=16)
        await sampler.close()
        return candidates

    model = changed(folder, 5)
    for candidate in run(life()):
        assert error(model, candidate).max() < (1e-4 if dtype == "float32" else 0.5)
        assert set(candidate.policy_versions) == {6}
    left = set(psutil.Process().children(recursive=True)) - mine
    _, alive = psutil.wait_procs(left, timeout=20)
    assert not [p for p in alive if "resource_tracker" not in " ".join(p.cmdline())]
    assert not weight_files()


def test_the_death_of_the_engine_is_an_error_of_its_own_type(sampler: Sampler, run: Run) -> None:
    """Last in the file: it ends the module's engine."""

    packed = weights.pack(AutoModelForCausalLM.from_pretrained(sampler.model_dir).state_dict())

    async def kill_while_sampling() -> None:
        await sampler.check_health()
        running = asyncio.create_task(sampler.sample(PROBLEM, n=16, temperature=1.0, max_tokens=220))
        await asyncio.sleep(0.1)
        for process in psutil.Process().children(recursive=True):
            if "EngineCore" in process.name() or "EngineCore" in " ".join(process.cmdline()):
                process.send_signal(signal.SIGKILL)
        with pytest.raises(EngineDied):
            await running
        with pytest.raises(EngineDied):
            await sampler.check_health()
        with pytest.raises(EngineDied):
            await sampler.update(100, packed)

    run(kill_while_sampling())
    assert not weight_files()
