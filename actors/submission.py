"""Submission: a command typed on the machine that ran `ray up` is carried out on the cluster, as a Ray job.

`cluster.yaml` of the current folder names the cluster. That it was brought up from here is read off the record that
`ray up` leaves (no record: nobody is asked, nothing is waited for); that it still is, its provider says. The folder
travels with the job, and the same command line runs on the head. Paths in it are therefore the cluster's: relative ones
lie in this folder, absolute ones on the cluster's storage, and what a run writes under `REWARDRANKER_ROOT` there.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from roles.config import ConfigError

FILE = Path("cluster.yaml")
_CONNECT_SECONDS = 60.0
_ATTEMPTS = 5  # to follow a job, in a row and without a line of its log
_DASHBOARD_PORT = 8265  # Ray's default
_ROOT = '"${REWARDRANKER_ROOT:-$HOME/rewardranker}"'  # where `file_mounts` of cluster.yaml puts the project
_SAID = Console(stderr=True, highlight=False, soft_wrap=True)


class _Down(Exception):
    """The cluster's provider knows of no head."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    name: str
    dashboard_port: int  # on the head, where Ray Jobs listens as well
    excluded: tuple[str, ...]  # files that do not travel


def submit(address: str = "auto", run_dir: Path | None = None, *, starts: bool = False) -> None:
    """Leave with the job's status if this command is the cluster's to carry out; return if it is this machine's.

    It is this machine's where no cluster is up, in a job on the cluster itself (or wherever `RAY_ADDRESS` names a Ray),
    with another `cluster.address` than auto, and for a run whose folder is here. A command that `starts` something says
    where, and Ctrl-C leaves its job running.
    Raises `ConfigError` when the cluster is up and does not answer, or its provider does not say whether it is up.
    """
    here = address != "auto" or (run_dir is not None and (run_dir / "config.yaml").exists())
    if "RAY_ADDRESS" in os.environ or here or not (FILE.exists() and Path("driver.py").exists()):
        return
    if cluster := _named():
        with contextlib.suppress(_Down):
            raise SystemExit(_carry_out(cluster, sys.argv[1:], starts))
    if starts:
        _SAID.print(f"{FILE} names no cluster that is up: running on this machine")


def _named() -> Cluster | None:
    """The cluster that `cluster.yaml` names, if it was brought up from here. Raises `ConfigError`."""
    try:
        described = yaml.safe_load(FILE.read_text())
        name, provider = str(described["cluster_name"]), str(described["provider"]["type"])
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ConfigError(f"{FILE}: does not name a cluster: {error!r}") from error
    if (name, provider) not in _brought_up():
        return None
    port = re.search(r"--dashboard-port[= ](\d+)", " ".join(described.get("head_start_ray_commands", ())))
    return Cluster(name, int(port[1]) if port else _DASHBOARD_PORT, tuple(described.get("rsync_exclude", ())))


def _brought_up() -> Iterator[tuple[str, str]]:
    """Name and provider of each cluster whose resolved configuration `ray up` of this user left behind."""
    for path in Path(tempfile.gettempdir()).glob("ray-config-*"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            if path.stat().st_uid == os.getuid():
                config = json.loads(path.read_text())["config"]
                yield config["cluster_name"], config["provider"]["type"]


@contextlib.contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    """A client of the cluster's Ray Jobs, through Ray's ssh tunnel to the head. Raises `_Down` and `ConfigError`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tunnel = [sys.executable, "-m", "ray.scripts.scripts", "dashboard", str(FILE)]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*tunnel, "--port", str(port), "--remote-port", str(cluster.dashboard_port)],
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + _CONNECT_SECONDS
            while (client := _client(port)) is None:
                if process.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    why = said.read().strip()
                    if "Head node of cluster" in why and "not found" in why:
                        raise _Down
                    raise ConfigError(
                        f"{FILE}: {cluster.name!r} was brought up from here and cannot be reached: "
                        f"{why.rpartition(chr(10))[2]}; `ray up {FILE}` mends it, "
                        "`--set cluster.address=local` runs on this machine"
                    )
                time.sleep(0.1)
            yield client
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _client(port: int) -> Any | None:
    """None as long as nothing answers."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return None
    logging.disable(logging.INFO)  # what Ray says of its packages and connections
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # else Ray's client sends none, and `ray start` wants one
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(f"http://127.0.0.1:{port}")
    except ConnectionError:
        return None
    except AuthenticationError as error:
        raise ConfigError(f"{FILE}: the token in ~/.ray/auth_token is not the cluster's: {error}") from error


def _carry_out(cluster: Cluster, arguments: Sequence[str], starts: bool) -> int:
    """Exit status of the command line on the cluster, after its output went to ours. Raises as `_connected` does."""
    entrypoint = f"REWARDRANKER_ROOT={_ROOT} {shlex.join(['python', 'driver.py', *arguments])}"
    job = ""
    try:
        with _connected(cluster) as client:
            try:
                job = client.submit_job(
                    entrypoint=entrypoint, runtime_env={"working_dir": ".", "excludes": list(cluster.excluded)}
                )
            except (RuntimeError, ValueError) as error:  # such as a folder that is too large
                raise ConfigError(f"the cluster {cluster.name!r} did not take the job: {error}") from error
            if starts:
                _SAID.print(f"job {job} on the cluster {cluster.name}")
            log = _Log(f"Running entrypoint for job {job}: {entrypoint}\n")
            status = _follow(client, job, log, starts)
        silent = 0
        while status is None:
            time.sleep(1)
            shown = log.length
            try:
                with _connected(cluster) as client:
                    status = _follow(client, job, log, starts)
            except _Down:
                raise ConfigError(f"the cluster {cluster.name!r} was taken down, and job {job} with it") from None
            silent = silent + 1 if log.length == shown else 0
            if status is None and silent == _ATTEMPTS:
                raise ConfigError(f"job {job} of the cluster {cluster.name!r} cannot be followed; it may go on")
    except KeyboardInterrupt:
        if starts and job:
            _SAID.print(
                f"the run goes on as job {job} of the cluster {cluster.name}: "
                "`python driver.py status` shows it, `python driver.py stop` ends it"
            )
        return 130
    return status


def _follow(client: Any, job: str, log: _Log, starts: bool) -> int | None:
    """The job's exit status when it has ended, None if the connection was lost before."""
    import aiohttp

    try:
        asyncio.run(log.follow(client, job))
        return _exit_status(client, job)
    except (OSError, RuntimeError, aiohttp.ClientError):
        return None
    except KeyboardInterrupt:
        if not starts:  # it would watch for ever
            client.stop_job(job)
        raise


def _exit_status(client: Any, job: str) -> int:
    while not (details := client.get_job_info(job)).status.is_terminal():
        time.sleep(0.2)
    if details.driver_exit_code is None:  # it never ran, or was killed
        _SAID.print(f"job {job} {str(details.status).lower()}: {details.message}", markup=False)
        return 1
    return int(details.driver_exit_code)


@dataclasses.dataclass
class _Log:
    """What a job prints, on our standard output once, however often the connection is lost; without Ray's own lines."""

    header: str = ""  # Ray's last line before the first of the program's
    length: int = 0  # characters received so far
    _waiting: str | None = ""  # what came before the header; none after it

    async def follow(self, client: Any, job: str) -> None:
        """To the end of the job. Raises `RuntimeError`, `OSError`, or aiohttp's error when the connection is lost."""
        at = 0  # each connection begins at the first character
        async for text in client.tail_job_logs(job):
            new = text[max(0, self.length - at) :]
            at += len(text)
            self.length = max(self.length, at)
            if self._waiting is not None:
                self._waiting += new
                _, header, new = self._waiting.partition(self.header)
                if header:
                    self._waiting = None
            sys.stdout.write(new)
            sys.stdout.flush()
