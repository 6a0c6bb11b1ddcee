"""What a toolchain needs to be made only once on a machine: precompiled headers, archives of classes, drivers."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

_log = logging.getLogger(__name__)
_BASES = ("/var/tmp", tempfile.gettempdir())
_LIST = "files.json"  # names and sizes: systems clean such folders by the age of each file


def folder(language: str, key: str, build: Callable[[Path], None]) -> Path | None:
    """The folder that `build` has filled for `key`, which names all that it depends on: versions, flags, sources.

    Every user may read it, so that a jail can mount it; nobody else may write it. It appears under its name when it
    is complete, and is made again when a file is gone. None, and a warning, when it cannot be made: `build` raised
    `OSError` or `subprocess.SubprocessError`.
    """
    name = f"{language}-{hashlib.sha256(f'{_LIST} {key}'.encode()).hexdigest()[:16]}"
    for base in _BASES:
        try:
            own = _own(Path(base, f"rewardranker-{os.geteuid()}"))
        except OSError as error:
            _log.warning("no cache of toolchains in %s: %s", base, error)
            continue
        wanted = own / name
        if not _is_complete(wanted):
            try:
                shutil.rmtree(wanted, ignore_errors=True)
                _make(wanted, build)
            except (OSError, subprocess.SubprocessError) as error:
                _log.warning("%s: nothing is precompiled: %s", language, error)
                return None
        return wanted
    return None


def _own(path: Path) -> Path:
    """`path` as a folder that only this user can write. Raises `OSError` when somebody else has taken the name."""
    if not path.exists():
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"{path} is not a folder of this user alone")
    return path


def _is_complete(path: Path) -> bool:
    try:
        sizes: dict[str, int] = json.loads((path / _LIST).read_text())
        return all((path / name).stat().st_size == size for name, size in sizes.items())
    except OSError:
        return False


def _make(wanted: Path, build: Callable[[Path], None]) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f".{wanted.name}-", dir=wanted.parent))
    try:
        build(unfinished)
        sizes = {str(path.relative_to(unfinished)): path.stat().st_size for path in _files(unfinished)}
        (unfinished / _LIST).write_text(json.dumps(sizes))
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        try:
            unfinished.rename(wanted)
        except OSError:
            if not _is_complete(wanted):  # somebody else was faster
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _files(path: Path) -> list[Path]:
    return sorted(each for each in path.rglob("*") if each.is_file())
