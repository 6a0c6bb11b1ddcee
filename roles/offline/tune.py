"""Supervised fine-tuning alone: references of a suite, a file of examples, or passing samples."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from roles import model_folder
from roles.config import Config
from roles.offline import samples
from roles.offline.samples import Group
from roles.problems import suites
from roles.problems.files import SuiteError, read_rows
from roles.records import Problem
from roles.sequences import encode
from roles.tuning import sft
from roles.tuning.sft import Example, SFTStep


@dataclasses.dataclass(frozen=True)
class Tuned:
    steps: list[SFTStep]
    examples: int


def examples(config: Config, data: Path | None, ledger: Path | None) -> list[Example]:
    """JSONL of `prompt` and `completion` in `data`, else the passing samples of `ledger`, else the references of
    `sft.problems` training problems. Raises `SuiteError`."""
    if data is not None and ledger is not None:
        raise SuiteError("--data and --ledger: allowed is one of them")
    if data is not None:
        return _read(data)
    if ledger is not None:
        return _passing(samples.load(config, ledger, None, None, None))
    return sft.references(_with_references(config), config.sft.references)


def _with_references(config: Config) -> list[Problem]:
    problems = [problem for problem in suites.load(config.suite, "train") if problem.references]
    if not problems:
        raise SuiteError(f"suite = {config.suite}: no training problem has a reference; name --data or --ledger")
    return random.Random(config.seed).sample(problems, min(config.sft.problems, len(problems)))


def _passing(groups: Sequence[Group]) -> list[Example]:
    """Distinct samples that passed all tests. Raises `UntrustedVerdict`."""
    found: dict[Example, None] = {}
    for group in groups:
        for sample in group.samples:
            sample.verdict.demand_truth()
            if sample.verdict.status == "passed":
                text = sample.candidate.text.removeprefix(group.problem.prompt)
                found[Example(group.problem.prompt, text)] = None
    if not found:
        raise SuiteError("no sample passed its tests: there is nothing to learn from")
    return list(found)


def _read(path: Path) -> list[Example]:
    found = []
    for row in read_rows(path):
        row.known(("prompt", "completion"))
        found.append(Example(row.get("prompt", str), row.get("completion", str)))
    if not found:
        raise SuiteError(f"{path}: no examples")
    return found


def tune(
    config: Config, examples: Sequence[Example], out: Path, on_step: Callable[[SFTStep], None] = lambda step: None
) -> Tuned:
    """Train `config.model` on `examples` and write a transformers folder. Raises `ModelError` before weights are
    loaded, `Diverged` later."""
    folder = str(config.model.folder)
    model_folder.check_device(config.model.device)
    model_folder.check_adapters(folder, config.learning.lora)
    tokenizer = model_folder.tokenizer(folder)
    sequences = [encode(tokenizer, example.prompt, example.completion) for example in examples]
    model_folder.check_lengths(folder, sequences, f"{len(examples)} examples")
    model, tokenizer = sft.pretrained(folder, config.model.device)
    history = sft.train_sequences(model, sequences, config.sft, config.seed, on_step, config.learning)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return Tuned(history, len(sequences))
