"""Finding installed toolchains that a jail can use."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from roles.languages.base import MissingRuntime, Runtime

_SEARCHED = "/usr/bin:/usr/local/bin"


def find(
    language: str, names: Sequence[str], version: Sequence[str], mounts: Sequence[str], package: str
) -> Runtime:
    """The first executable of `names` in the system's folders, with the host's `mounts` that exist.

    `version` are arguments that make it print one. Raises `MissingRuntime` that names `package`.
    """
    return _find(language, tuple(names), tuple(version), tuple(mounts), package)


@functools.cache
def _find(
    language: str, names: tuple[str, ...], version: tuple[str, ...], mounts: tuple[str, ...], package: str
) -> Runtime:
    for name in names:
        path = shutil.which(name, path=_SEARCHED)
        printed = _printed([path, *version]) if path else None
        if path and printed:
            return Runtime(path, printed, tuple(mount for mount in (path, *mounts) if os.path.exists(mount)))
    looked_for = f"{language}: no {' or '.join(names)} in {_SEARCHED}"
    raise MissingRuntime(f"{looked_for}; `make languages` installs it ({package})")


def _printed(command: list[str]) -> str:
    """The version in what `command` prints, empty when it does not work."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={"PATH": _SEARCHED})
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found.group() if done.returncode == 0 and found else ""


def driver(name: str) -> str:
    """The text of `drivers/<name>`."""
    return Path(__file__).parent.joinpath("drivers", name).read_text(encoding="utf-8")
