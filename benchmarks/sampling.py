"""Completions of pocket problems by the pocket base model, a handful of problems at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from roles import languages
from roles.problems.pocket import base_model
from roles.records import Problem

_PROBLEMS = 16
_TOKENS = 120


def samples(problems: Sequence[Problem], count: int, seed: int) -> dict[str, list[str]]:
    """`count` programs for each of `problems`, by their ids, sampled at temperature 1."""
    tokenizer = AutoTokenizer.from_pretrained(base_model.BASE, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(base_model.BASE).eval()
    torch.manual_seed(seed)
    found: dict[str, list[str]] = {}
    for start in range(0, len(problems), _PROBLEMS):
        chosen = problems[start : start + _PROBLEMS]
        inputs = tokenizer([problem.prompt for problem in chosen], return_tensors="pt", padding=True)
        length = inputs["input_ids"].shape[1]
        tokens = model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], do_sample=True, top_k=0,
            num_return_sequences=count, max_new_tokens=_TOKENS, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        texts = tokenizer.batch_decode(tokens[:, length:], skip_special_tokens=True)
        for index, problem in enumerate(chosen):
            own = texts[index * count : (index + 1) * count]
            found[problem.id] = [_program(problem, text) for text in own]
    return found


def _program(problem: Problem, completion: str) -> str:
    language = languages.get(problem.language)
    end = min((at for at in (completion.find(stop) for stop in language.stop) if at >= 0), default=len(completion))
    return language.assemble(problem, completion[:end])
