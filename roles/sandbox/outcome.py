"""What a job came to: how its process ended, and what each call claims to have returned."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from typing import Any, Literal

from roles.sandbox.limits import Limits
from roles.sandbox.values import BadValue, decode

Ended = Literal["exit", "signal", "wall", "output", "reply", "memory"]


@dataclasses.dataclass(frozen=True)
class Returned:
    """What a call claims to have returned."""

    value: Any


@dataclasses.dataclass(frozen=True)
class Raised:
    """The name of the exception that ended a step; `status` is the exit status where it was a SystemExit."""

    exception: str
    status: int = 1


@dataclasses.dataclass(frozen=True)
class Oversized:
    """The value had too many nodes, levels or bytes, or was no proper encoding."""


@dataclasses.dataclass(frozen=True)
class Undefined:
    """The call names something that the program does not define."""


Reply = Returned | Raised | Oversized | Undefined


@dataclasses.dataclass(frozen=True)
class Said:
    """What a program said of itself. `replies` are those of the first calls, in order."""

    compiled: bool
    loaded: bool
    refused: Raised | None  # what compiling or loading raised
    replies: tuple[Reply, ...]


@dataclasses.dataclass(frozen=True)
class Outcome(Said):
    """And how it ended; a program that ended early has fewer replies than it was asked calls."""

    ended: Ended
    status: int  # exit status or signal number
    cpu_seconds: float
    wall_seconds: float
    peak_memory_bytes: int
    output: bytes
    stderr: str


def how_it_ended(status: int, exceeded: Ended | None) -> tuple[Ended, int]:
    """The kind of end and its exit status or signal, from a wait status and the limit that was exceeded, if any."""
    if exceeded:
        return exceeded, 0
    if os.WIFSIGNALED(status):
        return "signal", os.WTERMSIG(status)
    return "exit", os.WEXITSTATUS(status)


def parse_replies(data: bytes, nonce: str, first: int, calls: int) -> Said:
    """What the lines of `data` say, up to the first that is out of order. `first` is the index of the first step: -2
    (the program compiled) or -1 (it loaded)."""
    said: list[Reply] = []
    refused = None
    expected = first
    for line in data.split(b"\n"):
        mark, _, body = line.partition(b" ")
        if expected >= calls or mark != nonce.encode("ascii"):
            break
        reply = _reply(body, expected)
        if reply is None:
            break
        if expected < 0 and isinstance(reply, Raised):
            refused = reply
            break
        said.append(reply)
        expected += 1
    return Said(expected > -2, expected > -1, refused, tuple(said[-first:]))


def _reply(body: bytes, expected: int) -> Reply | None:
    try:
        frame = json.loads(body)
    except (ValueError, RecursionError):
        return None
    match frame:
        case [int(index), "ok"] if index == expected < 0:
            return Returned(None)
        case [int(index), "err", str(name), int(status)] if index == expected:
            return Raised(name, status)
        case [int(index), "val", form] if index == expected >= 0:
            try:
                return Returned(decode(form))
            except BadValue:
                return Oversized()
        case [int(index), "big"] if index == expected >= 0:
            return Oversized()
        case [int(index), "undefined"] if index == expected >= 0:
            return Undefined()
    return None


def cpu_limit_reached(outcome: Outcome, limits: Limits) -> bool:
    """Whether the kernel ended the program for its CPU time. The reported time lags behind the kernel's own count."""
    if outcome.ended != "signal":
        return False
    at_limit = outcome.cpu_seconds >= 0.7 * limits.cpu_seconds
    return outcome.status == signal.SIGXCPU or (outcome.status == signal.SIGKILL and at_limit)
