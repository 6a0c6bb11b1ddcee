"""What jails leave on this side: processes, memory groups, mounts, files and descriptors."""

from __future__ import annotations

import os
import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from roles.sandbox.judge import Judge

_GROUPS = Path("/sys/fs/cgroup/memory")


def descendants(parent: int) -> set[int]:
    """All processes below `parent`."""
    found: set[int] = set()
    for task in Path(f"/proc/{parent}/task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except OSError:  # a thread that has just ended
            continue
        for child in map(int, children):
            found |= {child} | descendants(child)
    return found


def until(fact: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not fact() and time.monotonic() < end:
        time.sleep(0.02)
    return fact()


def settled(judge: Judge) -> dict[str, Any]:
    """What is there while `judge` is idle. A jail makes itself ready for the next program, which takes a moment."""
    seen, times = of(judge), 0
    while times < 10:
        time.sleep(0.05)
        again = of(judge)
        seen, times = again, times + 1 if again == seen else 0
    return seen


def of(judge: Judge) -> dict[str, Any]:
    """What is there now."""
    jails = sorted(worker.pid for worker in judge._all)
    until(lambda: all(map(_waits, jails)))
    servers = [int(Path(f"/proc/{jail}/task/{jail}/children").read_text()) for jail in jails]
    return {
        "processes": len(descendants(os.getpid())),
        "descriptors": descriptors(),
        "mounts": _lines("/proc/self/mountinfo"),
        "groups": len(list(_GROUPS.glob(f"judge-{os.getpid()}-*"))),
        "processes of the jails": sum(len(descendants(jail)) for jail in jails),
        "descriptors of the jails": [len(_names(f"/proc/{server}/fd")) for server in servers],
        "mounts of the jails": [_lines(f"/proc/{server}/mountinfo") for server in servers],
        "files of the jails": [_names(f"/proc/{server}/root/tmp") for server in servers],
    }


def held_bytes(judge: Judge) -> int:
    """What the memory groups of `judge` hold, without what is only a cache: with no program, the warm servers."""
    return sum(worker._group._held() for worker in judge._all if worker._group)


def descriptors() -> Counter[str]:
    """How many there are of each kind, without what the threads of Ray and gRPC come and go with in this process."""
    kinds: Counter[str] = Counter()
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            name = os.readlink(f"/proc/self/fd/{descriptor}")
            if name.startswith("socket:"):
                with socket.socket(fileno=os.dup(descriptor)) as copy:
                    name = f"{copy.family.name} {copy.type.name}"
        except OSError:  # the one that listed the folder, or one of another thread
            continue
        if not name.startswith(("anon_inode:", "AF_INET", "AF_UNIX SOCK_STREAM")):
            kinds[re.sub(r"\d+", "N", name)] += 1
    return kinds


def _waits(jail: int) -> bool:
    """Whether the server, and the init and the process of the next program, are there and asleep."""
    try:
        stats = [Path(f"/proc/{process}/stat").read_text() for process in descendants(jail)]
    except OSError:
        return False
    return len(stats) >= 3 and all(stat.rpartition(")")[2].split()[0] in "SZ" for stat in stats)


def _names(folder: str) -> list[str]:
    """Nothing where only root may look."""
    try:
        return os.listdir(folder)
    except PermissionError:
        return []


def _lines(path: str) -> int:
    return len(Path(path).read_text().splitlines())
