"""The ledger holds whole batches, is readable at any moment, is never written again, and has one writer."""

import multiprocessing
import os
import signal

import pytest

from roles.mining import ledger as ledgers
from roles.mining.ledger import Ledger, LedgerError, read, read_batch
from roles.records import Candidate, Pair, Score


def scores(start: int, count: int = 3) -> list[Score]:
    return [Score(f"c{i}", float(i), 1) for i in range(start, start + count)]


def test_batches_come_back_in_the_order_of_their_names(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append("000001", {Score: scores(3)})
    ledger.append("000000", {Score: scores(0), Pair: []})
    assert ledgers.batches(tmp_path) == ["000000", "000001"]
    assert read(tmp_path, Score) == scores(0, 6)
    assert read_batch(tmp_path, "000001", Score) == scores(3)
    assert read_batch(tmp_path, "000001", Candidate) == read(tmp_path, Pair) == []


def test_a_batch_that_is_there_is_not_written_again(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append("000000", {Score: scores(0)})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    ledger.append("000000", {Score: scores(7)})
    assert read(tmp_path, Score) == scores(0)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before


def test_a_batch_that_broke_off_is_not_seen_and_can_be_written(tmp_path):
    half = tmp_path / "000000.part"
    half.mkdir()
    (half / "scores.parquet").write_bytes(b"PAR1 half a file")
    (half / "pairs.parquet").write_bytes(b"PAR1 half a file")
    assert read(tmp_path, Score) == []
    Ledger(tmp_path).append("000000", {Score: scores(0)})
    assert read(tmp_path, Score) == scores(0)
    assert read(tmp_path, Pair) == []


def test_a_damaged_file_is_named(tmp_path):
    Ledger(tmp_path).append("000000", {Score: scores(0)})
    [path] = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(LedgerError, match=r"000000/scores\.parquet"):
        read(tmp_path, Score)


def hold(folder, ready) -> None:
    ledger = Ledger(folder)
    ready.set()
    signal.pause()
    ledger.close()


def test_a_second_writer_waits_until_the_first_is_dead(tmp_path):
    spawning = multiprocessing.get_context("fork")
    ready = spawning.Event()
    writer = spawning.Process(target=hold, args=(tmp_path, ready))
    writer.start()
    assert ready.wait(30)
    with pytest.raises(LedgerError, match="another process writes"):
        Ledger(tmp_path, patience=0.1)
    os.kill(writer.pid, signal.SIGKILL)
    Ledger(tmp_path, patience=30).append("000000", {Score: scores(0)})
    writer.join()
    assert read(tmp_path, Score) == scores(0)
