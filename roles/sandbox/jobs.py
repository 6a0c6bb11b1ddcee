"""The jobs a jail is given: a Python program with calls, a compiler, a command; and what each came to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from roles.languages import Build, Executed
from roles.sandbox.inside import ARTEFACT
from roles.sandbox.limits import Limits
from roles.sandbox.outcome import Outcome, parse_replies
from roles.sandbox.worker import Ran, Worker

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8"}
_COMPILED, _LOADED = -2, -1
Files = Mapping[str, bytes]


@dataclasses.dataclass(frozen=True)
class Compiled:
    """What a compiler left; without files, what it said instead."""

    files: Files
    ran: Ran | None = None

    @property
    def bytes(self) -> int:
        return sum(map(len, self.files.values()))


def answer(worker: Worker, program: str, setup: str = "", calls: Sequence[str] = (), given: bytes = b"") -> Outcome:
    """Runs a Python `program`, then `setup`, then evaluates each of `calls` in its globals, all in a fresh process."""
    job = {
        "kind": "python", "program": program, "setup": setup, "calls": list(calls),
        "largest_frame": worker.limits.reply_bytes,
    }  # fmt: skip
    return _outcome(worker.run(job, given=given), _COMPILED, len(calls))


def compile_build(worker: Worker, build: Build) -> Compiled:
    """The files that `build.run` needs. Its compiler runs in a jail too: it reads what a model wrote."""
    sources = {name: _bytes(text) for name, text in build.files.items()}
    if not build.compile:
        return Compiled(sources)
    assert isinstance(worker.language, Executed)
    job = {
        "kind": "compile", "command": list(build.compile), "artefacts": list(build.artefacts),
        "environment": {**_ENVIRONMENT, **build.environment},
    }  # fmt: skip
    ran = worker.run(job, sources, limits=worker.language.compile_limits)
    if ran.ended != "exit" or ran.status != 0:
        return Compiled({}, ran)
    return Compiled(_artefacts(ran.replies), ran)


def execute(
    worker: Worker, build: Build, files: Files, calls: int | None, given: bytes = b"", limits: Limits | None = None
) -> Outcome:
    """Runs `build.run` on `files`. With `calls` it is a driver that answers so many."""
    job = {
        "kind": "execute", "command": list(build.run), "nonce_argument": calls is not None,
        "environment": {**_ENVIRONMENT, **build.environment},
    }  # fmt: skip
    return _outcome(worker.run(job, files, given, limits), _LOADED, calls or 0)


def parses(worker: Worker, build: Build) -> bool:
    """Whether `build.syntax_check` finds nothing wrong with the text."""
    check = dataclasses.replace(build, run=build.syntax_check)
    files = {name: _bytes(text) for name, text in build.files.items()}
    outcome = execute(worker, check, files, None)
    return outcome.ended == "exit" and outcome.status == 0


def failed_to_compile(ran: Ran) -> Outcome:
    """The outcome of a program whose compiler ended as in `ran`."""
    return _outcome(dataclasses.replace(ran, replies=b"", stderr=ran.stderr or _text(ran.output)), _COMPILED, 0)


def _outcome(ran: Ran, first: int, calls: int) -> Outcome:
    said = parse_replies(ran.replies, ran.nonce, first, calls)
    return Outcome(
        said.compiled, said.loaded, said.refused, said.replies, ran.ended, ran.status, ran.cpu_seconds,
        ran.wall_seconds, ran.peak_memory_bytes, ran.output, ran.stderr,
    )  # fmt: skip


def _artefacts(data: bytes) -> Files:
    files: dict[str, bytes] = {}
    position = 0
    while position + ARTEFACT.size <= len(data):
        name_size, size = ARTEFACT.unpack_from(data, position)
        start = position + ARTEFACT.size
        position = start + name_size + size
        name = data[start : start + name_size].decode("utf-8", "surrogateescape")
        if name.startswith("/") or ".." in name.split("/"):
            continue
        files[name] = data[start + name_size : position]
    return files


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(output: bytes) -> str:
    return output[-4096:].decode("utf-8", "replace")
