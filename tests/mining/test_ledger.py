"""The ledger is append-only, readable at any moment, and never overwritten."""

import pytest

from roles.mining.ledger import Ledger, LedgerError, read
from roles.records import Score


def scores(start: int, count: int = 3) -> list[Score]:
    return [Score(f"c{i}", float(i), 1) for i in range(start, start + count)]


def test_appends_come_back_in_order(tmp_path):
    ledger = Ledger(tmp_path, "run-0")
    ledger.append(Score, scores(0))
    ledger.append(Score, scores(3))
    assert read(tmp_path, Score) == scores(0, 6)


def test_a_later_attempt_adds_and_changes_nothing(tmp_path):
    Ledger(tmp_path, "run-0").append(Score, scores(0))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    Ledger(tmp_path, "run-0").append(Score, scores(3))
    Ledger(tmp_path, "run-1").append(Score, scores(6))
    assert read(tmp_path, Score) == scores(0, 9)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_an_existing_file_is_not_overwritten(tmp_path):
    ledger, other = Ledger(tmp_path, "run-0"), Ledger(tmp_path, "run-0")
    ledger.append(Score, scores(0))
    with pytest.raises(LedgerError, match="never overwritten"):
        other.append(Score, scores(3))


def test_a_write_that_broke_off_is_not_seen(tmp_path):
    Ledger(tmp_path, "run-0").append(Score, scores(0))
    (tmp_path / "scores" / "run-0-000001.part").write_bytes(b"PAR1 half a file")
    assert read(tmp_path, Score) == scores(0)


def test_a_damaged_file_is_named(tmp_path):
    Ledger(tmp_path, "run-0").append(Score, scores(0))
    [path] = (tmp_path / "scores").glob("*.parquet")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(LedgerError, match=path.name):
        read(tmp_path, Score)


def test_each_file_names_its_run(tmp_path):
    import pyarrow.parquet as pq

    Ledger(tmp_path, "run-0").append(Score, scores(0))
    [path] = (tmp_path / "scores").glob("*.parquet")
    assert pq.read_schema(path).metadata == {b"run_id": b"run-0", b"sequence": b"0"}
