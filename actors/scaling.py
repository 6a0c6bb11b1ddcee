"""Scaling from another process: what a person asks for, told to the control of the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from actors.crew import NAMESPACE, WorkerRole, control_name
from roles.config import ConfigError
from roles.run_folder import Run

_ATTEMPTS = 3
ROLES = tuple(f"{role}s" for role in get_args(WorkerRole))


def parse(changes: Sequence[str]) -> dict[str, int]:
    """Wanted workers by role, of `generators=4` and the like. Raises `ConfigError`."""
    wanted = {}
    for change in changes:
        name, _, number = change.partition("=")
        if name not in ROLES or not number.isdigit() or int(number) < 1:
            raise ConfigError(f"scale {change!r}: allowed are {', '.join(f'{role}=N' for role in ROLES)} with N >= 1")
        wanted[name.removesuffix("s")] = int(number)
    return wanted


def ask(run: Run, wanted: dict[str, int]) -> dict[str, int]:
    """Tell the run. Returns what is wanted of all roles now. Raises `ConfigError` when it is not running."""
    import ray

    if not run.alive or run.ray_address is None:
        raise ConfigError(f"{run.folder} is not running on this machine; see driver.py status")
    for attempt in range(_ATTEMPTS):
        try:
            ray.init(address=run.ray_address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
            break
        except ConnectionError as error:  # a busy machine may answer too late
            if attempt + 1 == _ATTEMPTS:
                why = error.__cause__ or error
                raise ConfigError(f"{run.folder}: its Ray at {run.ray_address} does not answer ({why})") from error
    try:
        control = ray.get_actor(control_name(run.folder))
        answer: dict[str, int] = ray.get(control.ask.remote(wanted))
        return answer
    finally:
        ray.shutdown()
