"""Control: how another process of this machine speaks to a running job, by a line of JSON each way over a socket.

The socket is a file that only its owner can open. It lies in a folder of its own because the path of a socket must be
short; the run's folder says where.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from roles.config import Config, ConfigError
from roles.run_folder import Run

SCALABLE = ("generator", "executor", "scorer", "learner")
T = TypeVar("T")
_SECONDS = 60.0  # for an answer; a busy machine may take some


class Control:
    """What is asked of a running job. Whoever serves it waits in `after` and for `stopping`."""

    def __init__(self, wanted: dict[str, int]) -> None:
        self.wanted = dict(wanted)  # workers by role
        self.stopping = asyncio.Event()
        self._number = 0  # of requests so far
        self._changed = asyncio.Condition()

    async def scale(self, changes: dict[str, int]) -> None:
        async with self._changed:
            self.wanted |= changes
            self._number += 1
            self._changed.notify_all()

    async def after(self, number: int) -> int:
        """Number of the newest change of `wanted`, once there is one beyond `number`."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._number > number)
            return self._number

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What `work` returns, or None when a stop is asked for before that; it is cancelled then."""
        working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            working.cancel()
            stopping.cancel()

    @asynccontextmanager
    async def served(self, run: Run) -> AsyncIterator[None]:
        """Answer whoever asks, while the context lasts."""
        folder = Path(tempfile.mkdtemp(prefix="rewardranker-"))
        server = await asyncio.start_unix_server(self._answer, folder / "control")
        run.control.write_text(str(folder / "control"))
        try:
            yield
        finally:
            server.close()
            run.control.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            request: dict[str, Any] = json.loads(await reader.readline())
            if request.get("stop"):
                self.stopping.set()
            await self.scale(request.get("scale", {}))
            writer.write(json.dumps({"wanted": self.wanted}).encode() + b"\n")
            await writer.drain()


def parse(changes: Sequence[str]) -> dict[str, int]:
    """Wanted workers by role, of `generators=4` and the like. Raises `ConfigError`."""
    wanted: dict[str, int] = {}
    for change in changes:
        name, _, number = change.partition("=")
        role = name.removesuffix("s")
        if role not in SCALABLE or role == name or not number.isdigit() or int(number) < 1:
            allowed = ", ".join(f"{role}s=N" for role in SCALABLE)
            raise ConfigError(f"scale {change!r}: allowed are {allowed} with N >= 1")
        wanted[role] = int(number)
    return wanted


def check(config: Config, wanted: dict[str, int]) -> None:
    """Raises `ConfigError` for what a run of `config` cannot be scaled to."""
    stage = config.learning.zero_stage
    if stage and wanted.get("learner", config.workers.learners) != config.workers.learners:
        raise ConfigError(
            f"scale learners={wanted['learner']}: with learning.zero_stage = {stage} the state of a learner is divided "
            f"among its processes; allowed is workers.learners = {config.workers.learners}, with which the run began"
        )


def ask(run: Run, request: dict[str, Any]) -> dict[str, int]:
    """Tell the process that runs `run`. Returns how many workers of each role are wanted now.

    Raises `ConfigError` when nobody runs it on this machine.
    """
    if not run.alive or not run.control.exists():
        raise ConfigError(f"{run.folder} is not running on this machine; see driver.py status")
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_SECONDS)
            client.connect(run.control.read_text())
            client.sendall(json.dumps(request).encode() + b"\n")
            with client.makefile() as answer:
                wanted: dict[str, int] = json.loads(answer.readline())["wanted"]
                return wanted
    except (OSError, ValueError) as error:
        raise ConfigError(f"{run.folder}: the process that runs it does not answer ({error})") from error
