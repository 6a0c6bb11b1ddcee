"""What this machine offers to a run, and what it lacks."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

from roles import languages
from roles.languages import MissingRuntime
from roles.sandbox import isolation, jail
from roles.sandbox.errors import SandboxError
from roles.sandbox.limits import Limits
from roles.sandbox.worker import Worker


@dataclasses.dataclass(frozen=True)
class Report:
    """Facts about the machine. A tier of -1 means that no program can be run at all."""

    isolation_tier: int
    isolation_missing: tuple[str, ...]
    nsjail: str  # path, empty when there is none
    languages: dict[str, str]  # version, or empty
    language_missing: tuple[str, ...]
    gpus: tuple[str, ...]
    gpu_missing: str
    memory_bytes: int
    memory_available_bytes: int
    shm_bytes: int
    shm_free_bytes: int
    cores: int

    @property
    def missing(self) -> tuple[str, ...]:
        """One line for each thing that is not there or is weaker than it could be."""
        return (*self.isolation_missing, *self.language_missing, *filter(None, [self.gpu_missing]))


def examine() -> Report:
    """Looks at the machine; starts one jail for the isolation test and ends it. Raises nothing."""
    path, tier, missing = _isolation()
    versions, absent = _languages()
    gpus, gpu_missing = _gpus()
    memory = _memory()
    shm = shutil.disk_usage("/dev/shm") if os.path.isdir("/dev/shm") else None
    return Report(
        isolation_tier=tier,
        isolation_missing=missing,
        nsjail=path,
        languages=versions,
        language_missing=absent,
        gpus=gpus,
        gpu_missing=gpu_missing,
        memory_bytes=memory.get("MemTotal", 0),
        memory_available_bytes=memory.get("MemAvailable", 0),
        shm_bytes=shm.total if shm else 0,
        shm_free_bytes=shm.free if shm else 0,
        cores=len(os.sched_getaffinity(0)),
    )


def _isolation() -> tuple[str, int, tuple[str, ...]]:
    path = ""
    try:
        path = jail.find_nsjail()
        with Worker(Limits()) as worker:
            found = isolation.probe(worker)
    except SandboxError as error:
        return path, -1, (str(error),)
    return path, found.tier, found.missing


def _languages() -> tuple[dict[str, str], tuple[str, ...]]:
    versions: dict[str, str] = {}
    missing = []
    for name in languages.names():
        try:
            versions[name] = languages.get(name).runtime(jail.foreign_user()).version
        except MissingRuntime as error:
            versions[name] = ""
            missing.append(str(error))
    return versions, tuple(missing)


def _gpus() -> tuple[tuple[str, ...], str]:
    try:
        import torch
    except ImportError as error:
        return (), f"GPU: torch cannot be imported ({error})"
    if not torch.cuda.is_available():
        return (), "GPU: none that torch can use; learning and sampling run on the CPU"
    names = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return tuple(f"{device.name}, {device.total_memory >> 30} GiB" for device in names), ""


def _memory() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
