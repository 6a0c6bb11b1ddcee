import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoTokenizer

from roles.problems.pocket import load
from roles.problems.pocket.base_model import BASE, CONTEXT
from roles.sequences import encode
from roles.tuning.sft import pretrained


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(BASE)


def test_the_folder_is_small_and_holds_bfloat16_safetensors():
    assert sum(file.stat().st_size for file in BASE.iterdir()) <= 10_000_000
    with safe_open(BASE / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.bfloat16}  # noqa: SIM118


def test_the_model_is_a_stock_llama_whose_heads_vllm_serves():
    config = json.loads((BASE / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["hidden_size"] // config["num_attention_heads"] in (32, 64)


def test_the_tokenizer_adds_nothing_to_a_prompt_and_gives_every_text_back(tokenizer):
    for problem in load("test"):
        for text in problem.references:
            ids = tokenizer(text)["input_ids"]
            assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
            assert tokenizer.decode(ids) == text
    assert tokenizer.decode(tokenizer("x = 'é漢\t'")["input_ids"]) == "x = 'é漢\t'"


def test_digits_are_single_and_a_line_break_with_its_indent_is_one_token(tokenizer):
    assert tokenizer.tokenize("1234") == ["1", "2", "3", "4"]
    assert len(tokenizer.tokenize("\n    ")) == len(tokenizer.tokenize("\n        ")) == 1


def test_padding_and_end_are_different_tokens(tokenizer):
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3


def test_every_problem_and_its_references_fit_the_context_twice_over(tokenizer):
    for problem in load():
        text = max(problem.references, key=len)
        assert len(encode(tokenizer, problem.prompt, text[len(problem.prompt) :])) <= CONTEXT // 2


def test_the_model_has_read_the_grammar():
    model, tokenizer = pretrained(str(BASE))
    losses = []
    for problem in load("validation")[:40]:
        sequence = encode(tokenizer, problem.prompt, problem.references[0][len(problem.prompt) :])
        ids = torch.tensor([sequence.prompt + sequence.completion])
        with torch.no_grad():
            log_probs = model(ids).logits[0, :-1].log_softmax(-1)
        chosen = log_probs.gather(1, ids[0, 1:, None])[len(sequence.prompt) - 1 :]
        losses.append(-chosen.mean().item())
    assert sum(losses) / len(losses) < 1.0  # nats per token; random weights give about 7
