"""One warm jail and the jobs in it.

A job is a description and files; what comes back is data: what it wrote to its replies, to standard output and to
standard error, each bounded, and, over the server's own socket, how its process ended. Expected values are no part
of a job.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import secrets
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from roles import languages
from roles.languages import Executed, Language
from roles.sandbox import jail
from roles.sandbox.cgroup import MemoryGroup
from roles.sandbox.errors import SandboxFault
from roles.sandbox.inside import HEAD, NONCE_BYTES
from roles.sandbox.limits import MIB, Limits
from roles.sandbox.outcome import Ended, how_it_ended
from roles.sandbox.server import LIMIT_NAMES, READY, RESULT, START, STOP, UNLIMITED

_log = logging.getLogger(__name__)
_GRACE_SECONDS = 10.0  # the server itself ends a job at its wall limit; beyond this the server is lost
_START_SECONDS = 30.0
_SERVER_BYTES = 64 * MIB  # nsjail and the warm interpreter, beside the program
_STDERR_BYTES = 4096
_CHUNK = 1 << 16


@dataclasses.dataclass(frozen=True)
class Ran:
    """What came of a job. `replies` and `output` are what it wrote; they are a claim of the program, nothing more."""

    nonce: str
    replies: bytes
    output: bytes
    stderr: str
    ended: Ended
    status: int  # exit status or signal number
    cpu_seconds: float
    wall_seconds: float
    peak_memory_bytes: int


@dataclasses.dataclass(frozen=True)
class Confine:
    """How a language's runtime wants its limits set; see `languages.Executed`."""

    data_only: bool = False
    headroom_bytes: int = 0
    processes: int = 0

    @staticmethod
    def of(language: Language) -> Confine:
        if not isinstance(language, Executed):
            return Confine()
        return Confine(language.limits_data, language.headroom_bytes, language.processes)


class Worker:
    """One jail, for programs of one language. `run` may be called from any thread, one at a time.

    Raises `SandboxFault` when the jail is broken, `SandboxUnavailable` when nsjail or a toolchain is missing.
    """

    def __init__(self, limits: Limits, language: Language | None = None) -> None:
        self.limits = limits
        self.language = language or languages.get("python")
        self.jobs = 0
        self.broken = False  # the jail died of its program's memory; the outcome stands, the jail is of no more use
        self._lock = threading.Lock()
        self._log_file = os.memfd_create("nsjail-log")
        self._control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._jobs, jobs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._group = MemoryGroup.create()
        code = _memory_file(jail.server_code())
        try:
            with control, jobs:
                command = jail.command(limits, self.language, control.fileno(), jobs.fileno(), self._log_file)
                self._process = subprocess.Popen(
                    self._group.wrap(command) if self._group else command,
                    stdin=code, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    pass_fds=(control.fileno(), jobs.fileno(), self._log_file), start_new_session=True,
                )  # fmt: skip
        except BaseException as error:
            self._release()
            if isinstance(error, OSError):
                raise SandboxFault(f"nsjail did not start: {error}") from error
            raise
        finally:
            os.close(code)

    @property
    def pid(self) -> int:
        """Process id of nsjail itself."""
        return self._process.pid

    @property
    def bounds_memory(self) -> bool:
        """Whether `memory_bytes` bounds all processes of a program together, not only each one."""
        return self._group is not None

    def run(
        self,
        job: Mapping[str, Any],
        files: Mapping[str, bytes] | None = None,
        given: bytes = b"",
        limits: Limits | None = None,
    ) -> Ran:
        """Runs `job` (see `inside`) in a fresh process, with `files` in its folder and `given` on standard input."""
        try:
            return self._run(job, files or {}, given, limits or self.limits)
        except OSError as error:  # no descriptors, no memory, a group that is gone: ours, never the program's
            raise self._fault(f"the host failed: {error}") from error

    def _run(self, job: Mapping[str, Any], contents: Mapping[str, bytes], given: bytes, limits: Limits) -> Ran:
        confine = Confine.of(self.language) if job["kind"] != "python" else Confine()
        nonce = secrets.token_bytes(NONCE_BYTES)
        if job.get("nonce_argument"):
            job = {**job, "command": [*job["command"], nonce.hex()]}
        description = {**job, "files": [(name, len(content)) for name, content in contents.items()]}
        body = json.dumps(description).encode("ascii")
        with self._lock, contextlib.ExitStack() as stack:
            self.jobs += 1
            kills = 0
            if self._group:
                self._group.settle(_SERVER_BYTES)
                self._group.limit(limits.memory_bytes + confine.headroom_bytes + limits.disk_bytes + _SERVER_BYTES)
                kills = self._group.kills()
            text = _memory_file(HEAD.pack(nonce, len(body)), body, *contents.values())
            stack.callback(os.close, text)
            source = os.open(os.devnull, os.O_RDONLY) if not given else _memory_file(given)
            stack.callback(os.close, source)
            replies = os.memfd_create("replies")
            stack.callback(os.close, replies)
            readers, writers = [], []
            for _ in range(2):
                reader, writer = os.pipe()
                stack.callback(os.close, reader)
                stack.callback(os.close, writer)
                os.set_blocking(reader, False)
                os.fchmod(writer, 0o622)  # so that the jail's user may open it by name, as /dev/stdout
                readers.append(reader)
                writers.append(writer)
            if self.jobs == 1:
                self._await_ready()
            start = time.monotonic()
            try:
                message = START.pack(*_numbers(limits, confine), limits.disk_bytes)
                socket.send_fds(self._jobs, [message], [text, source, replies, *writers])
            except OSError as error:
                raise self._fault("the jail is gone") from error
            streams = _Streams(readers, limits)
            overrun = False
            try:
                overrun, status, cpu, rss = self._drain(streams, start, limits)
            except SandboxFault:
                if self._group is None or self._group.kills() == kills:
                    raise
                self.broken, status, cpu, rss = True, signal.SIGKILL, 0.0, limits.memory_bytes
            wall = time.monotonic() - start
            streams.replied(replies)
            out_of_memory = self._group is not None and self._group.kills() > kills
        exceeded: Ended | None = "memory" if out_of_memory else streams.exceeded or ("wall" if overrun else None)
        ended, code = how_it_ended(status, exceeded)
        return Ran(nonce.hex(), streams.replies, bytes(streams.output), streams.text(), ended, code, cpu, wall, rss)

    def _await_ready(self) -> None:
        self._control.settimeout(_START_SECONDS)
        try:
            message = self._control.recv(_CHUNK)
        except OSError as error:
            raise self._fault("the jail does not start") from error
        if message != READY:
            raise self._fault(message[1:].decode("utf-8", "replace") or "the jail did not start")

    def _drain(self, streams: _Streams, start: float, limits: Limits) -> tuple[bool, int, float, int]:
        """Reads what the program writes until the server reports its end; ends it at a limit. True if at the wall's."""
        deadline = start + limits.wall_seconds
        poll = select.poll()
        for descriptor in (self._control.fileno(), *streams.open):
            poll.register(descriptor, select.POLLIN)
        stopped = overrun = False
        while True:
            left = deadline - time.monotonic()
            if left <= 0 and stopped:
                raise self._fault("the jail does not answer")
            for descriptor, _ in poll.poll(max(0.0, left) * 1000):
                if descriptor != self._control.fileno():
                    if not streams.read(descriptor):
                        poll.unregister(descriptor)
                    continue
                try:
                    message = self._control.recv(_CHUNK)
                except OSError as error:
                    raise self._fault("the jail is gone") from error
                if len(message) != RESULT.size or message[:1] != b"R":
                    raise self._fault(message[1:].decode("utf-8", "replace") or "the jail ended")
                streams.finish()
                _, _, status, cpu, rss = RESULT.unpack(message)
                return overrun, status, cpu, rss
            late = time.monotonic() >= deadline
            if (streams.exceeded or late) and not stopped:
                stopped, overrun = True, late and not streams.exceeded
                deadline = time.monotonic() + _GRACE_SECONDS
                with contextlib.suppress(OSError):
                    self._control.send(STOP.pack(b"K", self.jobs & 0xFFFFFFFF))

    def _fault(self, what: str) -> SandboxFault:
        log = os.pread(self._log_file, 2000, 0).decode("utf-8", "replace").strip()
        return SandboxFault(f"{what}; nsjail says: {log}" if log else what)

    def close(self) -> None:
        """Ends the jail and all processes in it; a `run` in another thread raises `SandboxFault`."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # the server ends, the kernel ends the rest
            self._jobs.shutdown(socket.SHUT_RDWR)
        for number in (0, signal.SIGTERM, signal.SIGKILL):
            self._process.send_signal(number)
            try:
                self._process.wait(2.0)
                break
            except subprocess.TimeoutExpired:
                _log.warning("jail %d does not end", self._process.pid)
        with self._lock:
            self._release()

    def _release(self) -> None:
        if self._control.fileno() < 0:
            return
        self._control.close()
        self._jobs.close()
        os.close(self._log_file)
        if self._group:
            self._group.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Streams:
    """What a program writes: its replies, standard output and standard error."""

    def __init__(self, descriptors: Sequence[int], limits: Limits) -> None:
        self.open = list(descriptors)
        self.replies, self.output = b"", bytearray()
        self.exceeded: Ended | None = None
        self._out, self._err = descriptors
        self._limits = limits
        self._written = 0
        self._start, self._end = b"", b""  # of standard error

    def read(self, descriptor: int) -> bool:
        """False when there is nothing to read."""
        try:
            data = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            return False
        self._written += len(data)
        if self._written > self._limits.output_bytes:
            self.exceeded = self.exceeded or "output"
        elif descriptor == self._out:
            self.output += data
        if descriptor == self._err:
            room = _STDERR_BYTES // 2 - len(self._start)
            self._start += data[:room]
            self._end = (self._end + data[room:])[-_STDERR_BYTES // 2 :]
        return True

    def finish(self) -> None:
        """Reads the rest; nobody writes any more."""
        for descriptor in self.open:
            while self.read(descriptor):
                pass

    def replied(self, descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if size > self._limits.reply_bytes:
            self.exceeded = self.exceeded or "reply"
        elif size:
            self.replies = os.pread(descriptor, size, 0)

    def text(self) -> str:
        return (self._start + self._end).decode("utf-8", "replace")


def _memory_file(*parts: bytes) -> int:
    descriptor = os.memfd_create("job")
    try:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _numbers(limits: Limits, confine: Confine) -> tuple[int, ...]:
    memory = limits.memory_bytes + confine.headroom_bytes
    values = {
        "AS": UNLIMITED if confine.data_only else memory, "DATA": memory if confine.data_only else UNLIMITED,
        "CPU": limits.cpu_seconds, "NPROC": limits.processes + confine.processes + 2, "NOFILE": limits.open_files,
        "FSIZE": limits.file_bytes, "CORE": 0,
    }  # fmt: skip
    return tuple(values[name] for name in LIMIT_NAMES)
