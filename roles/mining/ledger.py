"""The ledger: everything a run produced, as append-only Parquet, one folder for each record.

Files are written aside and renamed, so a reader never sees a part of one, and no file is ever written again. Their
schema carries the run id and the sequence number of the append.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from roles.records import SCHEMAS, Candidate, Pair, Problem, R, Score, Verdict, from_batch, to_batch

FOLDERS: dict[type, str] = {
    Problem: "problems", Candidate: "candidates", Verdict: "verdicts", Score: "scores", Pair: "pairs",
}
_NAME = re.compile(r"(?P<run>.+)-(?P<number>\d{6})\.parquet")


class LedgerError(RuntimeError):
    """A ledger file cannot be read, or would be overwritten."""


class Ledger:
    """Appends of one writer. Several ledgers may share a folder if their run ids differ."""

    def __init__(self, folder: Path, run_id: str) -> None:
        self.folder = folder
        self.run_id = run_id
        self._next: dict[type, int] = {}
        for kind, name in FOLDERS.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            numbers = [
                int(match["number"])
                for path in (folder / name).glob("*.parquet")
                if (match := _NAME.fullmatch(path.name)) and match["run"] == run_id
            ]
            self._next[kind] = max(numbers, default=-1) + 1

    def append(self, kind: type[R], records: Sequence[R]) -> None:
        """Write `records` durably. Empty appends leave no file."""
        if not records:
            return
        number = self._next[kind]
        metadata = {"run_id": self.run_id, "sequence": str(number)}
        table = pa.Table.from_batches([to_batch(kind, records)]).replace_schema_metadata(metadata)
        path = self.folder / FOLDERS[kind] / f"{self.run_id}-{number:06}.parquet"
        if path.exists():
            raise LedgerError(f"{path} exists already; a ledger is never overwritten")
        aside = path.with_suffix(".part")
        with aside.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)
        self._next[kind] = number + 1


def read(folder: Path, kind: type[R]) -> list[R]:
    """All records of a kind in the order they were appended. Raises `LedgerError` naming a file that cannot be read."""
    records: list[R] = []
    for path in sorted((folder / FOLDERS[kind]).glob("*.parquet")):
        try:
            table = pq.read_table(path, schema=SCHEMAS[kind])
        except (OSError, pa.ArrowInvalid) as error:
            raise LedgerError(f"{path}: {error}") from error
        records += from_batch(kind, table.replace_schema_metadata(None))
    return records
