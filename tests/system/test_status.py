"""`driver.py status`, as another process sees a run: in words, as JSON, and until it ends."""

import asyncio
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

import driver
from actors.messages import Executed
from actors.streams import Pool
from roles import config, run_folder
from roles.config import ConfigError
from roles.run_status import Facts
from roles.sandbox.judge import Load
from tests import jobs

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def run(tmp_path) -> run_folder.Run:
    """A run of which this process is the driver: to itself it is none that is running."""
    run = run_folder.prepare(config.load(jobs.POCKET, [f"run_dir={tmp_path / 'run'}"]))
    run_folder.begin(run)
    return run


def facts(run: run_folder.Run) -> Facts:
    job = jobs.sources(run.folder)
    asyncio.run(jobs.work(job))
    return job.facts("working", 2.5, 1 << 30, 2 << 30)


def status(run: run_folder.Run, *options: str) -> str:
    done = CliRunner().invoke(driver.app, ["status", str(run.folder), *options], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_the_jails_of_an_executor_that_died_are_gone_and_what_they_judged_is_not(tmp_path):
    job = jobs.sources(tmp_path)
    for name, jails in (("executor 0", 2), ("executor 1", 3), ("executor 0", 4)):  # and 1 has died since
        load = Load(jails, busy=jails, waiting=1, judged=10, repeated=1, retried=1, faults=1)
        job.counts.executed(Executed(name, Counter(passed=10), load, 100))
    sandbox = job.facts("working", 2.5, 1, 1).sandbox
    assert (sandbox.jails, sandbox.busy, sandbox.waiting) == (4, 4, 1)
    assert (sandbox.judged, sandbox.repeated, sandbox.retried, sandbox.faults) == (20, 2, 2, 2)
    job.pools["executor"] = Pool()
    assert job.facts("working", 2.5, 1, 1).sandbox.jails == 0


def test_status_in_words(run):
    assert status(run).replace("\n", "") == f"{run.folder}: broken off; run it again to continue"
    run.note(facts(run))
    told = status(run)
    assert told.replace("\n", "").startswith(f"{run.folder}: broken off")
    for part in ("48 (2/s), 10 held-out", "62% of 48", "candidates 1/4", "loss 0.600", "KL 0.020", "2.0 GiB"):
        assert part in told, told
    assert "temperature -" in told  # it is not defined


def test_status_as_json_has_the_documented_fields(run):
    assert json.loads(status(run, "--json")) == {
        "run": str(run.folder), "state": "broken off", "time": None, "facts": None,
    }  # fmt: skip
    noted = facts(run)
    run.note(noted)
    told = json.loads(status(run, "--json"))
    assert told["facts"] == noted.model_dump(mode="json")
    assert (told["facts"]["verdicts"], told["facts"]["trained_by_lag"]) == (
        {"passed": 30, "failed": 17, "timeout": 1}, {"0": 20, "2": 12},
    )  # fmt: skip
    assert told["facts"]["reward_model"]["complete"]["temperature"] is None
    page = (ROOT / "docs" / "formats.md").read_text().split("## The status of a run")[1].split("\n## ")[0]
    top, inner = page.split("| field of `facts` |")
    assert set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (.*?) \|", top, re.MULTILINE)))) == set(told)
    assert set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (.*?) \|", inner, re.MULTILINE)))) == set(told["facts"])
    words = set(re.findall(r"\w+", inner))
    for name in ("streams", "workers", "stages"):
        assert set(next(iter(told["facts"][name].values()))) <= words
    for name in ("sandbox", "reward_model", "policy"):
        assert set(told["facts"][name]) <= words


def test_watching_begins_and_ends_with_the_run(run):
    watching = subprocess.Popen(
        [sys.executable, str(ROOT / "driver.py"), "status", str(run.folder), "--watch", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert watching.stdout is not None
    try:
        first = json.loads(watching.stdout.readline())
        run.note(facts(run))
        second = json.loads(watching.stdout.readline())
        run.report.write_text("{}")
        rest, _ = watching.communicate(timeout=240)
    finally:
        watching.kill()
    assert (first["state"], first["facts"]) == ("running", None)  # it has not said anything yet
    assert (second["state"], second["facts"]["samples"]) == ("running", 48)
    assert [json.loads(line)["state"] for line in rest.splitlines()] == ["complete"]
    assert watching.returncode == 0


def test_a_status_of_another_version_is_named(run):
    run.status.write_text('{"time": 0, "facts": {"samples": "48 (2/s)"}}')
    with pytest.raises(ConfigError, match=r"status\.json: not written by this version"):
        status(run)
