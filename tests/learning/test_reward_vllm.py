"""Saved reward models are stock models: vLLM and transformers alone score them as we do, to 1e-4 in float32."""

import json
import os
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import multiprocessing
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from roles.reward import model as reward_model
from roles.reward.scoring import score
from roles.sequences import TokenSequence
from tests.tiny import tiny_model

pytestmark = pytest.mark.timeout(240)

TOLERANCE = 1e-4
EOS = 2


def sequences() -> list[TokenSequence]:
    """Several of a prompt, and of all lengths; every third has no end-of-sequence token."""
    rng = random.Random(0)
    prompts = [tuple(rng.randrange(20, 300) for _ in range(length)) for length in (1, 4, 30)]
    completions = [tuple(rng.randrange(20, 300) for _ in range(rng.randrange(1, 60))) for _ in range(18)]
    return [
        TokenSequence(prompts[index % 3], completion if index // 3 % 3 == 0 else (*completion, EOS))
        for index, completion in enumerate(completions)
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Saved reward models with weights that training might have left."""
    found = {}
    base = str(tiny_model(tmp_path_factory.mktemp("base")))
    for name, head, reference in (
        ("scalar", "scalar", False), ("likelihood", "likelihood", False), ("reference", "likelihood", True),
    ):  # fmt: skip
        torch.manual_seed(3)
        model, tokenizer = reward_model.create(head, base, reference=reference)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.03 * torch.randn_like(parameter))
        found[name] = tmp_path_factory.mktemp("saved") / name
        model.save(found[name], tokenizer)
    return found


@pytest.fixture(scope="module")
def ours(folders) -> dict[str, torch.Tensor]:
    found = {}
    for name, folder in folders.items():
        model, _ = reward_model.load(str(folder))
        found[name] = torch.tensor(score(model, sequences(), 512))
        assert found[name].std() > 100 * TOLERANCE
    return found


@pytest.fixture(scope="module")
def vllms(folders, tmp_path_factory) -> dict[str, torch.Tensor]:
    """What vLLM knows of the sequences in each folder, from a process of its own."""
    path = tmp_path_factory.mktemp("vllm") / "found.pt"
    multiprocessing.spawn(measure, (folders, path))
    return torch.load(path)


def measure(rank: int, folders: dict[str, Path], path: Path) -> None:
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "TORCHDYNAMO_DISABLE": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    torch.set_num_threads(1)
    from vllm import LLM, SamplingParams
    from vllm.config import PoolerConfig

    def engine(folder: Path, **settings) -> LLM:
        return LLM(
            str(folder), dtype="float32", enforce_eager=True, max_model_len=128, kv_cache_memory_bytes=32 << 20,
            seed=0, **settings,
        )  # fmt: skip

    prompts = [{"prompt_token_ids": [*s.prompt, *s.completion]} for s in sequences()]

    def log_probs(folder: Path) -> torch.Tensor:
        """(B,) mean log-probabilities of the completions."""
        wanted = SamplingParams(max_tokens=1, prompt_logprobs=0)
        outputs = engine(folder).generate(prompts, wanted, use_tqdm=False)
        return torch.tensor([
            sum(entry[token].logprob for entry, token in zip(found, s.completion, strict=True)) / len(s.completion)
            for s, output in zip(sequences(), outputs, strict=True)
            if (found := output.prompt_logprobs[len(s.prompt) :])
        ])

    classifier = engine(folders["scalar"], runner="pooling", pooler_config=PoolerConfig(use_activation=False))
    embedder = engine(
        folders["likelihood"], runner="pooling", convert="embed",
        pooler_config=PoolerConfig(pooling_type="LAST", use_activation=False),
    )  # fmt: skip
    found = {
        "scalar": torch.tensor([each.outputs.probs[0] for each in classifier.classify(prompts, use_tqdm=False)]),
        "last": torch.tensor([each.outputs.embedding for each in embedder.embed(prompts, use_tqdm=False)]),
        "log_probs": log_probs(folders["likelihood"]),
        "reference": log_probs(folders["reference"] / "reference"),
    }
    torch.save(found, path)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("more", [0, 7])
def test_transformers_scores_a_scalar_model_alike_whatever_the_padding(side, more, folders, ours):
    stock = AutoModelForSequenceClassification.from_pretrained(folders["scalar"]).eval()
    tokenizer = AutoTokenizer.from_pretrained(folders["scalar"], padding_side=side)
    rows = [[*s.prompt, *s.completion] for s in sequences()]
    longest = max(map(len, rows))
    batch = tokenizer.pad({"input_ids": rows}, padding="max_length", max_length=longest + more, return_tensors="pt")
    with torch.no_grad():
        close(stock(**batch).logits[:, 0], ours["scalar"])


def test_vllms_pooling_runner_scores_a_scalar_model_alike(vllms, ours):
    close(vllms["scalar"], ours["scalar"])


def head(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "head" / "head.safetensors")


def test_vllms_prompt_log_probabilities_and_last_states_give_the_rewards_of_a_likelihood_model(vllms, ours, folders):
    tensors = head(folders["likelihood"])
    scalar = vllms["last"] @ tensors["scalar"][0]
    assert scalar.std() > 100 * TOLERANCE
    close(tensors["scale"] * vllms["log_probs"] + scalar, ours["likelihood"])


def test_the_reference_beside_a_likelihood_model_is_one_that_vllm_reads(vllms, ours, folders):
    """The two models were made alike, but for the reference."""
    assert json.loads((folders["reference"] / "reward.json").read_text()) == {"head": "likelihood", "reference": True}
    tensors = head(folders["reference"])
    gain = vllms["log_probs"] - vllms["reference"]
    close(tensors["scale"] * gain + vllms["last"] @ tensors["scalar"][0], ours["reference"])


@pytest.mark.parametrize("special", ["padding is the end", "one special token"])
def test_a_tokenizer_without_a_pad_token_of_its_own_gives_a_classifier_that_reads_the_end(special, tmp_path):
    """A stock classifier whose padding is the end-of-sequence token would read the token before it."""
    base = tiny_model(tmp_path / "base")
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings["pad_token"] = settings["eos_token"]
    if special == "one special token":
        settings["bos_token"] = settings["eos_token"]
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    model, tokenizer = reward_model.create("scalar", str(base))
    model.save(tmp_path / "saved", tokenizer)
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "saved").eval()
    saved = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert stock.config.pad_token_id == saved.pad_token_id != EOS
    chosen = [s for s in sequences() if s.completion[-1] == EOS]
    batch = saved.pad({"input_ids": [[*s.prompt, *s.completion] for s in chosen]}, return_tensors="pt")
    with torch.no_grad():
        close(stock(**batch).logits[:, 0], torch.tensor(score(model, chosen, 512)))
