"""Reading and writing of JSONL, plain or gzip, and reading of Parquet, with errors that name file, line and field."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

T = TypeVar("T")
_MISSING = object()


class SuiteError(ValueError):
    """A file of problems, candidates or verdicts cannot be used; the message names file, line and field."""


class Row:
    """One JSON object of a file, which knows where it stands."""

    def __init__(self, path: Path, line: int, values: dict[str, Any]) -> None:
        self.path, self.line, self.values = path, line, values

    def error(self, field: str, message: str) -> SuiteError:
        return SuiteError(f"{self.path}, line {self.line}, field {field!r}: {message}")

    def get(self, field: str, kind: type[T], default: Any = _MISSING) -> T:
        """The value of `field`. Raises `SuiteError` when it is missing without a default, or no `kind`."""
        value = self.values.get(field, default)
        if value is _MISSING:
            raise self.error(field, "is missing")
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(field, f"expected {kind.__name__}, got {_short(value)}")
        return value

    def strings(self, field: str, default: Any = _MISSING) -> list[str]:
        items = self.get(field, list, default)
        for item in items:
            if not isinstance(item, str):
                raise self.error(field, f"expected a list of strings, got the item {_short(item)}")
        return items

    def known(self, fields: Iterable[str]) -> None:
        """Raises `SuiteError` for a field that is none of `fields`."""
        allowed = list(fields)
        for field in self.values:
            if field not in allowed:
                raise self.error(field, f"is not known; allowed: {', '.join(allowed)}")


def read_rows(path: Path) -> Iterator[Row]:
    """The JSON objects of `path`, one a line; blank lines are skipped. Raises `SuiteError`.

    A name that ends in .parquet is read as Parquet; its rows count as lines.
    """
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _row(path, number, line)
    except (OSError, EOFError, zlib.error) as error:
        raise SuiteError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _parquet_rows(path: Path) -> Iterator[Row]:
    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=64):
            for values in batch.to_pylist():
                number += 1
                yield Row(path, number, values)
    except (OSError, pa.ArrowException) as error:
        raise SuiteError(f"{path}: cannot be read: {error}") from error


def _row(path: Path, number: int, line: bytes) -> Row:
    try:
        values = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise SuiteError(f"{path}, line {number}: not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise SuiteError(f"{path}, line {number}: not JSON: {error}") from error
    if not isinstance(values, dict):
        raise SuiteError(f"{path}, line {number}: expected an object, got {_short(values)}")
    return Row(path, number, values)


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Writes one JSON object a line, aside first, then under its name, so that nobody reads a half file."""
    aside = path.with_name(path.name + ".part")
    try:
        with gzip.open(aside, "wt") if path.suffix == ".gz" else open(aside, "w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
        os.replace(aside, path)
    except OSError as error:
        raise SuiteError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
