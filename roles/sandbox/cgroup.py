"""A memory limit over all processes of a jail together, where the machine lets us set one.

Address-space limits bound each process; only a memory group bounds their sum and the pages of tmpfs and memfd, and
only its counter of kills tells a memory limit from any other SIGKILL. Version 1 of the kernel's control groups is for
root; in version 2 it takes a group of ours that hands memory on to its children (delegation).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import socket
import time
from pathlib import Path

_PREFIX = "judge"
_numbers = itertools.count()


@dataclasses.dataclass(frozen=True)
class Hierarchy:
    """Where groups are made, and what their files are called. The first limit may never be above the second."""

    folder: Path
    limits: tuple[str, ...]
    events: str
    usage: str
    held: tuple[str, ...]  # of memory.stat: memory and files in memory, without what is only a cache

    @staticmethod
    def find(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Hierarchy | None:
        first = root / "memory"
        if (first / "memory.limit_in_bytes").exists():
            limits = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
            return Hierarchy(first, limits, "memory.oom_control", "memory.usage_in_bytes", ("rss", "shmem"))
        lines = own.read_text().splitlines() if own.exists() else []
        ours = next((line[3:] for line in lines if line.startswith("0::")), None)
        if ours is None or not (root / "cgroup.controllers").exists():
            return None
        # the group that this process is in, or one above that hands memory on: a leaf cannot
        for folder in (root / ours.lstrip("/"), *(root / ours.lstrip("/")).parents):
            with contextlib.suppress(OSError):
                if "memory" not in (folder / "cgroup.subtree_control").read_text().split():
                    (folder / "cgroup.subtree_control").write_text("+memory")
                return Hierarchy(folder, ("memory.max",), "memory.events", "memory.current", ("anon", "shmem"))
            if folder == root:
                break
        return None


class MemoryGroup:
    """One group, for one jail. `wrap` puts a command into it; `kills` counts what the kernel ended in it."""

    def __init__(self, path: Path, hierarchy: Hierarchy) -> None:
        self.path = path
        self._hierarchy = hierarchy
        self._limit = 1 << 62  # none
        self._files: dict[str, int] = {}  # open ones: opening a file of the hierarchy costs more than ten reads

    @staticmethod
    def create() -> MemoryGroup | None:
        """A new group, or None where none can be made."""
        hierarchy = Hierarchy.find()
        if hierarchy is None:
            return None
        _remove_abandoned(hierarchy.folder)
        group = MemoryGroup(hierarchy.folder / f"{_PREFIX}-{os.getpid()}-{next(_numbers)}", hierarchy)
        try:
            group.path.mkdir()
            group.limit(1 << 40)  # a group that cannot be limited is none
            if (group.path / "memory.swap.max").exists():
                (group.path / "memory.swap.max").write_text("0")
        except OSError:
            _remove(group.path)
            return None
        return group

    def limit(self, limit_bytes: int) -> None:
        """Bounds the group from now on. Raises `OSError` when the processes in it hold more than that."""
        if limit_bytes == self._limit:
            return
        files = [self.path / name for name in self._hierarchy.limits]
        if limit_bytes > self._limit:
            files.reverse()
        for file in files:
            if file.exists():
                file.write_text(str(limit_bytes))
        self._limit = limit_bytes

    def wrap(self, command: list[str]) -> list[str]:
        script = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        return ["/bin/sh", "-c", script, str(self.path), *command]

    def kills(self) -> int:
        lines = self._read(self._hierarchy.events).splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

    def settle(self, least_bytes: int) -> None:
        """Waits until an ended program holds nothing more: what lay in unread messages is freed late.

        Gives up after a second. `least_bytes` may stay, and so may pages that are only a cache of files.
        """
        for _ in range(200):
            if int(self._read(self._hierarchy.usage)) <= least_bytes or self._held() <= least_bytes:
                return
            for end in socket.socketpair():  # closing one makes the kernel look for messages that nobody can read
                end.close()
            time.sleep(0.005)

    def _held(self) -> int:
        """Bytes of memory and of files in memory."""
        lines = map(str.split, (self.path / "memory.stat").read_text().splitlines())
        return sum(int(value) for name, value in lines if name in self._hierarchy.held)

    def _read(self, name: str) -> str:
        if name not in self._files:
            self._files[name] = os.open(self.path / name, os.O_RDONLY)
        return os.pread(self._files[name], 1 << 14, 0).decode()

    def close(self) -> None:
        """Removes the group; its processes have ended."""
        while self._files:
            os.close(self._files.popitem()[1])
        for _ in range(50):
            if _remove(self.path):
                return
            time.sleep(0.02)  # the last process may still be on its way out


def _remove(path: Path) -> bool:
    with contextlib.suppress(OSError):
        path.rmdir()
    return not path.exists()


def _remove_abandoned(folder: Path) -> None:
    """Groups of processes that were killed before they could clean up."""
    for path in folder.glob(f"{_PREFIX}-*-*"):
        owner = path.name.split("-")[1]
        if owner.isdigit() and not Path("/proc", owner).exists():
            _remove(path)
