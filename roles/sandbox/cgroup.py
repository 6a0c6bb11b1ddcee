"""A memory limit over all processes of a jail together, where the machine lets us set one (cgroup v1, as root).

Address-space limits bound each process; only a memory group bounds their sum and the pages of tmpfs and memfd, and
only its counter of kills tells a memory limit from any other SIGKILL.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from pathlib import Path

_HIERARCHY = Path("/sys/fs/cgroup/memory")
_PREFIX = "judge"
_numbers = itertools.count()


class MemoryGroup:
    """One group, for one jail. `wrap` puts a command into it; `kills` counts what the kernel ended in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._limit = 1 << 62  # none
        self._files: dict[str, int] = {}  # open ones: opening a file of the hierarchy costs more than ten reads

    @staticmethod
    def create() -> MemoryGroup | None:
        """A new group, or None where none can be made."""
        if not (_HIERARCHY / "memory.limit_in_bytes").exists() or os.geteuid() != 0:
            return None
        _remove_abandoned()
        path = _HIERARCHY / f"{_PREFIX}-{os.getpid()}-{next(_numbers)}"
        group = MemoryGroup(path)
        try:
            path.mkdir()
            group.limit(1 << 40)  # a group that cannot be limited is none
        except OSError:
            _remove(path)
            return None
        return group

    def limit(self, limit_bytes: int) -> None:
        """Bounds the group from now on. Raises `OSError` when the processes in it hold more than that."""
        if limit_bytes == self._limit:
            return
        files = [self.path / "memory.limit_in_bytes", self.path / "memory.memsw.limit_in_bytes"]
        if limit_bytes > self._limit:
            files.reverse()  # the second may never be below the first
        for file in files:
            if file.exists():
                file.write_text(str(limit_bytes))
        self._limit = limit_bytes

    def wrap(self, command: list[str]) -> list[str]:
        script = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        return ["/bin/sh", "-c", script, str(self.path), *command]

    def kills(self) -> int:
        lines = self._read("memory.oom_control").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

    def settle(self, least_bytes: int) -> None:
        """Waits until an ended program holds nothing more: what lay in unread messages is freed late.

        Gives up after a second. `least_bytes` may stay, and so may pages that are only a cache of files.
        """
        for _ in range(200):
            if int(self._read("memory.usage_in_bytes")) <= least_bytes or self._held() <= least_bytes:
                return
            time.sleep(0.005)

    def _held(self) -> int:
        """Bytes of memory and of files in memory."""
        lines = map(str.split, self._read("memory.stat").splitlines())
        return sum(int(value) for name, value in lines if name in ("rss", "shmem"))

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


def _remove_abandoned() -> None:
    """Groups of processes that were killed before they could clean up."""
    for path in _HIERARCHY.glob(f"{_PREFIX}-*-*"):
        owner = path.name.split("-")[1]
        if owner.isdigit() and not Path("/proc", owner).exists():
            _remove(path)
