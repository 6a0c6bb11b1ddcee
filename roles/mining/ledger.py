"""The ledger: everything a run produced, as Parquet, a folder for each batch with a file for each kind of record.

A batch is there whole or not at all, is never written again, and is written by one process at a time: a second writer
waits until the first is gone, so that what a run reads at its start is what stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from roles.records import SCHEMAS, Candidate, Pair, Problem, R, Score, Verdict, from_batch, to_batch

FILES: dict[type, str] = {
    Problem: "problems", Candidate: "candidates", Verdict: "verdicts", Score: "scores", Pair: "pairs",
}
_ASIDE = ".part"
_PATIENCE = 60.0  # seconds; a writer that was killed is gone sooner


class LedgerError(RuntimeError):
    """A ledger cannot be read, or is written by somebody else."""


class Ledger:
    """The one writer of a folder, for as long as it lives."""

    def __init__(self, folder: Path, patience: float = _PATIENCE) -> None:
        """Raises `LedgerError` when another process still writes after `patience` seconds."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / "lock").open("w")
        until = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError as error:
                if time.monotonic() > until:
                    raise LedgerError(f"{folder}: another process writes to this ledger") from error
            time.sleep(0.05)

    def close(self) -> None:
        self._lock.close()

    def append(self, batch: str, records: Mapping[type, Sequence[Any]]) -> None:
        """Write the records of `batch` durably, unless it is there already."""
        path, aside = self.folder / batch, self.folder / f"{batch}{_ASIDE}"
        if path.exists():
            return
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(aside)
        aside.mkdir()
        for kind, of_kind in records.items():
            with (aside / f"{FILES[kind]}.parquet").open("wb") as file:
                pq.write_table(pa.Table.from_batches([to_batch(kind, of_kind)]), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
        aside.rename(path)
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def batches(folder: Path) -> list[str]:
    """Names of the batches that are there, in the order of their names."""
    return sorted(path.name for path in folder.glob("*") if path.is_dir() and path.suffix != _ASIDE)


def read(folder: Path, kind: type[R]) -> list[R]:
    """All records of a kind, batch after batch. Raises `LedgerError` naming a file that cannot be read."""
    return [record for batch in batches(folder) for record in read_batch(folder, batch, kind)]


def read_batch(folder: Path, batch: str, kind: type[R]) -> list[R]:
    """The records of a kind in one batch; none if it has no such file. Raises `LedgerError`."""
    path = folder / batch / f"{FILES[kind]}.parquet"
    if not path.exists():
        return []
    try:
        table = pq.read_table(path, schema=SCHEMAS[kind])
    except (OSError, pa.ArrowInvalid) as error:
        raise LedgerError(f"{path}: {error}") from error
    return from_batch(kind, table.replace_schema_metadata(None))
