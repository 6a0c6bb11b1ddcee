"""Which commands are the cluster's to carry out, and what comes back of them; a real cluster is in system/."""

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from actors import submission
from roles.config import ConfigError

CLUSTER = {"cluster_name": "ours", "provider": {"type": "local", "head_ip": "127.0.0.1", "worker_ips": []}}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project and a cluster file, and a machine on which `ray up` was never typed."""
    folder, temporary = tmp_path / "project", tmp_path / "tmp"
    folder.mkdir()
    temporary.mkdir()
    (folder / "driver.py").touch()
    (folder / "cluster.yaml").write_text(yaml.safe_dump(CLUSTER))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    return folder


def brought_up(name: str = "ours", provider: str = "local") -> None:
    """What `ray up` leaves."""
    resolved = {**CLUSTER, "cluster_name": name, "provider": {"type": provider}}
    Path(tempfile.gettempdir(), "ray-config-0").write_text(json.dumps({"_version": 1, "config": resolved}))


def nobody_is_asked(*_: object) -> None:
    raise AssertionError("a cluster was asked")


@pytest.mark.parametrize("record", [(), ("others", "local"), ("ours", "aws")])
def test_a_cluster_that_was_not_brought_up_from_here_is_not_asked(here, monkeypatch, capsys, record):
    if record:
        brought_up(*record)
    monkeypatch.setattr(submission, "_connected", nobody_is_asked)
    submission.submit(starts=True)
    assert "names no cluster that is up: running on this machine" in capsys.readouterr().err
    submission.submit()
    assert capsys.readouterr().err == ""


def test_a_job_another_address_and_a_run_that_is_here_are_this_machines(here, monkeypatch, capsys):
    brought_up()
    monkeypatch.setattr(submission, "_connected", nobody_is_asked)
    with pytest.raises(AssertionError, match="was asked"):
        submission.submit(starts=True)
    submission.submit("local", starts=True)
    (here / "run").mkdir()
    (here / "run" / "config.yaml").touch()
    submission.submit(run_dir=Path("run"))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    submission.submit(starts=True)
    (here / "driver.py").unlink()
    monkeypatch.delenv("RAY_ADDRESS")
    submission.submit(starts=True)
    assert capsys.readouterr().err == ""


def test_a_cluster_that_was_taken_down_is_asked_and_the_command_is_this_machines(here, capsys):
    brought_up()
    submission.submit(starts=True)
    assert "names no cluster that is up" in capsys.readouterr().err
    assert "RAY_AUTH_MODE" not in os.environ


@pytest.mark.parametrize("content", ["cluster_name: ours", "- a", "a: [", ""])
def test_a_file_that_names_no_cluster_is_an_error(here, content):
    (here / "cluster.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"cluster\.yaml: does not name a cluster"):
        submission.submit()


class Interrupted:
    """Ray's client, whose connection breaks after so many characters of the log."""

    def __init__(self, log: str, *breaks: int) -> None:
        self.log, self.breaks = log, list(breaks)

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        end = self.breaks.pop(0) if self.breaks else len(self.log)
        for begin in range(0, end, 7):
            yield self.log[begin : min(begin + 7, end)]
        if end < len(self.log):
            raise RuntimeError("the connection broke")


def test_every_line_of_a_job_is_shown_once_however_often_the_connection_breaks(capsys):
    client = Interrupted("Ray: set up\nRunning job x: command\none\ntwo\nthree\n", 5, 40, 40, 45)
    log = submission._Log("Running job x: command\n")
    for _ in range(4):
        with pytest.raises(RuntimeError):
            asyncio.run(log.follow(client, "x"))
    asyncio.run(log.follow(client, "x"))
    assert capsys.readouterr().out == "one\ntwo\nthree\n"
