"""Each learner by itself, as a person calls it: tune, reward and policy on files and ledgers, and wrong inputs."""

import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from driver import app
from roles.config import ConfigError
from roles.mining.ledger import Ledger
from roles.model_folder import ModelError
from roles.problems.files import SuiteError
from roles.records import Candidate, Score, Verdict
from roles.reward import model as reward_model
from roles.tuning import sft
from tests.tiny import tiny_model

ROOT = Path(__file__).parent.parent.parent
POCKET = str(ROOT / "configs" / "pocket.yaml")
RANDOM, UNSCORED = "mining.strategy=random", "policy.reward.reward_model=0"


def driver(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "driver.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=ROOT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, 12 problems, right and wrong programs for them with their verdicts, and the same as a ledger."""
    path = tmp_path_factory.mktemp("alone")
    tiny_model(path / "model")
    problems, candidates, verdicts, scores = [], [], [], []
    rng = random.Random(0)
    for i in range(12):
        prompt = f'"""Return the sum of a and {i}."""\ndef f(a):\n'
        problems.append({
            "id": f"p{i}", "suite": "sums", "split": "train", "language": "python", "prompt": prompt,
            "entry_point": "f", "tests": [{"call": "f(1)", "check": f"result == {1 + i}"}],
            "references": [f"{prompt}    return a + {i}\n"],
        })  # fmt: skip
        for n, text in enumerate((f"    return a + {i}\n", f"    return a - {i + 1}\n", f"    return {i} + a\n")):
            name, passed = f"p{i}-{n}", n != 1
            completion = tuple(rng.randrange(3, 200) for _ in range(6))
            candidates.append(Candidate(
                name, f"p{i}", f"g{i}", prompt + text, prompt_token_ids=(5, 6, 7 + i), token_ids=completion,
                log_probs=(-math.log(200),) * 6, policy_versions=(1,) * 6, finish_reason="stop",
            ))  # fmt: skip
            status = "passed" if passed else "failed"
            verdicts.append(Verdict(name, status, float(passed), (status,)))
            scores.append(Score(name, rng.random(), 1))
    rows = {
        "problems": problems, "verdicts": [vars(verdict) for verdict in verdicts],
        "candidates": [{"id": c.id, "problem_id": c.problem_id, "text": c.text} for c in candidates],
    }  # fmt: skip
    for name, values in rows.items():
        (path / f"{name}.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))
    Ledger(path / "run" / "ledger").append("000000", {Candidate: candidates, Verdict: verdicts, Score: scores})
    return path


def base(folder: Path) -> tuple[str, ...]:
    return "--set", f"model.path={folder / 'model'}", "--set", f"suite={folder / 'problems.jsonl'}"


def files(folder: Path) -> tuple[object, ...]:
    return "--candidates", folder / "candidates.jsonl", "--verdicts", folder / "verdicts.jsonl"


def changed(before: Path, after: Path) -> bool:
    models = [sft.pretrained(str(path))[0].state_dict() for path in (before, after)]
    return any(not torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_tune_learns_a_file_of_examples(folder, tmp_path):
    data, out = tmp_path / "data.jsonl", tmp_path / "out"
    rows = [{"prompt": f"def f{i}():\n", "completion": "    return 1\n"} for i in range(20)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = driver("tune", POCKET, *base(folder), "--data", data, "--out", out, "--set", "sft.validation=0.2")
    assert done.returncode == 0, done.stdout + done.stderr
    training = json.loads((out / "training.json").read_text())
    losses = [step["validation_loss"] for step in training["steps"] if step["validation_loss"] is not None]
    assert training["examples"] == 20
    assert losses[-1] < losses[0]
    assert changed(folder / "model", out)


def test_reward_learns_from_judged_files_and_measures_on_other_problems(folder, tmp_path):
    out = tmp_path / "out"
    done = driver(
        "reward", POCKET, *base(folder), *files(folder), "--out", out, "--held-out", 0.4, "--epochs", 3,
        "--set", RANDOM, "--set", "reward.groups_per_step=4",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    training = json.loads((out / "training.json").read_text())
    assert training["groups"] == 8
    assert len(training["steps"]) == 6
    assert training["after"]["problems"] == 2
    assert reward_model.load(str(out))[0].head == "likelihood"


def test_policy_learns_from_a_ledger_and_from_files(folder, tmp_path):
    small = ("--set", "policy.groups_per_step=8", "--set", "sampling.problems_per_batch=4")
    done = driver("policy", POCKET, *base(folder), "--ledger", folder / "run", "--out", tmp_path / "a", *small)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = json.loads((tmp_path / "a" / "training.json").read_text())["steps"]
    assert [step["sequences"] for step in steps] == [24, 12]
    assert steps[0]["behaviour_gap"] > 0.1  # the ledger's log-probabilities are not this model's
    assert changed(folder / "model", tmp_path / "a")
    done = driver("policy", POCKET, *base(folder), *files(folder), "--out", tmp_path / "b", "--set", UNSCORED, *small)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = json.loads((tmp_path / "b" / "training.json").read_text())["steps"]
    assert steps[0]["behaviour_gap"] < 1e-4  # taken to be this model's own
    assert steps[0]["reward"] == pytest.approx(0.5 * 16 / 24)


def test_wrong_input_is_one_message_before_weights_are_loaded(folder, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"prompt": "x", "completion": "y " * 2000}) + "\n")
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in (folder / "model").iterdir():
        text = path.read_bytes()
        (broken / path.name).write_bytes(text.replace(b'"eos_token"', b'"no_token"') if "token" in path.name else text)
    (broken / "model.safetensors").write_bytes(b"not weights")
    out = ("--out", tmp_path / "out")
    cases = [
        (["reward", *files(folder), *out], ["mining.strategy = hybrid", "needs scores", "set it to random"]),
        (["policy", *files(folder), *out], ["policy.reward.reward_model > 0", "set it to 0, or name --reward"]),
        (["reward", *out], ["name either --ledger, or --candidates and --verdicts"]),
        (["tune", "--out", tmp_path / "full"], ["is not empty"]),
        (["tune", "--data", long, *out], ["the longest is", "has 1024 positions"]),
        (["tune", *out, "--set", f"model.path={broken}"], ["eos_token = None", "set it to the token"]),
        (["reward", "--ledger", tmp_path, *out], ["holds no ledger"]),
        (["tune", *out, "--set", "learning.lora={targets: [query]}"], ["learning.lora.targets = ['query']", "q_proj"]),
    ]
    for arguments, parts in cases:
        with pytest.raises((ConfigError, SuiteError, ModelError)) as raised:
            app([str(word) for word in (arguments[0], POCKET, *base(folder), *arguments[1:])], standalone_mode=False)
        for part in parts:
            assert part in str(raised.value)
    assert not (tmp_path / "out").exists()
