"""Proves what isolation a jail really gives, by a probe program that runs the way every program runs.

Tier 0: a namespace is shared, or a capability or the memory limit is not what it should be. Tier 1: own namespaces,
no capabilities, rlimits. Tier 2: and a system-call filter. Tier 3: and a memory limit over all processes together.
"""

from __future__ import annotations

import dataclasses
import os
import re
from typing import Any

from roles.sandbox import jobs
from roles.sandbox.limits import MIB, Limits
from roles.sandbox.outcome import Outcome, Returned
from roles.sandbox.worker import Worker

_NAMESPACES = ("user", "pid", "net", "mnt", "ipc", "uts", "cgroup")
_PROBE = """
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def link(name): return os.readlink("/proc/self/ns/" + name)
def status(name): return [l.split(":")[1].strip() for l in open("/proc/self/status") if l.startswith(name + ":")][0]
def interfaces(): return sorted(l.split(":")[0].strip() for l in open("/proc/net/dev") if ":" in l)
def opens_network():
    try: socket.socket().close()
    except OSError: return False
    return True
def unshares(): return libc.unshare(0x10000000) == 0
def pids(): return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
def writes(path):
    try: open(path, "w").close()
    except OSError: return False
    os.unlink(path)
    return True
def allocates(count):
    try: bytearray(count)
    except MemoryError: return False
    return True
"""


@dataclasses.dataclass(frozen=True)
class Isolation:
    """The tier obtained, and for each thing that failed one line; `missing` is empty at tier 3 only."""

    tier: int
    missing: tuple[str, ...]


def probe(worker: Worker) -> Isolation:
    """Runs the probe in `worker`. Raises `SandboxFault` when the jail does not work at all."""
    facts = _facts(worker)
    base: list[str] = []
    for name in _NAMESPACES:
        if facts.get(f"link({name!r})") in (None, os.readlink(f"/proc/self/ns/{name}")):
            base.append(f"the {name} namespace is shared with the host")
    if facts.get("pids()") != [1, 2]:
        base.append("other processes are visible")
    if facts.get("interfaces()") not in ([], ["lo"]):
        base.append("network interfaces are visible")
    for name in ("CapEff", "CapBnd"):
        if re.fullmatch("0+", str(facts.get(f"status({name!r})"))) is None:
            base.append(f"capabilities are left ({name})")
    if facts.get("status('NoNewPrivs')") != "1":
        base.append("no_new_privs is not set")
    if facts.get("writes('/usr/lib/x')") is not False or facts.get("writes('/tmp/x')") is not True:
        base.append("the file system is not read-only outside /tmp")
    if facts.get(f"allocates({_too_much(worker.limits)})") is not False:
        base.append("the memory limit of one process does not hold")
    if base:
        return Isolation(0, tuple(base))
    unfiltered = []
    if facts.get("status('Seccomp')") != "2":
        unfiltered.append("no system-call filter (it is written for x86-64)")
    if facts.get("opens_network()") is not False or facts.get("unshares()") is not False:
        unfiltered.append("the system-call filter does not hold")
    if unfiltered:
        return Isolation(1, tuple(unfiltered))
    if not worker.bounds_memory:
        return Isolation(2, ("no memory limit over all processes together (needs root and a version 1 memory cgroup)",))
    return Isolation(3, ())


def _facts(worker: Worker) -> dict[str, Any]:
    calls = [f"link({name!r})" for name in _NAMESPACES] + ["pids()", "interfaces()"]
    calls += [f"status({name!r})" for name in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")]
    calls += ["writes('/usr/lib/x')", "writes('/tmp/x')", "opens_network()", "unshares()"]
    calls += [f"allocates({_too_much(worker.limits)})"]
    outcome: Outcome = jobs.answer(worker, _PROBE, "", calls)
    return {
        call: reply.value for call, reply in zip(calls, outcome.replies, strict=False) if isinstance(reply, Returned)
    }


def _too_much(limits: Limits) -> int:
    return limits.memory_bytes + 100 * MIB
