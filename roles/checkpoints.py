"""What a role continues from: files and folders that are whole or not there, and the one before.

A crash while writing leaves what was there. A file that is damaged all the same is named in the log, and the one
before it is used.
"""

from __future__ import annotations

import logging
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

_log = logging.getLogger(__name__)


class CheckpointError(RuntimeError):
    """Neither a checkpoint nor the one before it can be read."""


def save(state: dict[str, Any], path: Path) -> None:
    """Write `state`; what was in `path` becomes the one before."""
    aside = path.with_suffix(".part")
    with aside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        second_name = path.with_suffix(".second")  # so that `path` is there at every moment
        second_name.unlink(missing_ok=True)
        os.link(path, second_name)
        os.replace(second_name, before(path))
    os.replace(aside, path)


def load(path: Path, position: int | None = None) -> dict[str, Any]:
    """The state in `path`, or the one before if it is damaged or not of that `position`. Raises `CheckpointError`."""
    found = []
    for candidate in (path, before(path)):
        try:
            state = _read(candidate)
            if position not in (None, state.get("position")):
                raise CheckpointError(f"checkpoint {candidate} is of another position than {position}")
        except CheckpointError as error:
            _log.warning("%s", error)
            found.append(str(error))
        else:
            return state
    raise CheckpointError("; ".join(found))


def before(path: Path) -> Path:
    return path.with_suffix(".before.pt")


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """An empty folder to write into, which takes the place of `folder` once the block has ended well."""
    aside, old = folder.with_name(f"{folder.name}.part"), folder.with_name(f"{folder.name}.old")
    for leftover in (aside, old):
        shutil.rmtree(leftover, ignore_errors=True)
    aside.mkdir(parents=True)
    yield aside
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch's format, which it reads without comparing checksums
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=False)
    except (OSError, zipfile.BadZipFile, RuntimeError, EOFError) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
    return state
