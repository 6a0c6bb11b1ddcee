"""The records are what actors, ledger and files agree on: a changed schema must be a decision."""

import dataclasses

import pyarrow as pa
import pytest

from roles.records import (
    SCHEMAS,
    Candidate,
    Pair,
    Problem,
    RecordError,
    Score,
    Test,
    Verdict,
    from_batch,
    to_batch,
)

EXAMPLES = [
    Problem("p", "s", "train", "python", "def f():\n", "f", (Test("f(1)", "result == 2"),), references=("x",)),
    Candidate("c", "p", "g", "text", (1, 2), (3,), (-0.5,), (7,), "stop"),
    Verdict("c", "failed", 0.5, ("passed", "failed"), 1.0, 2.0, 3, "err", 2),
    Score("c", 0.25, 3),
    Pair("p", "c", "d", "hard", 1.0, -0.5, 3),
]

EXPECTED = {
    Problem: "id suite split language prompt entry_point tests tests_source setup references",
    Candidate: "id problem_id group_id text prompt_token_ids token_ids log_probs policy_versions finish_reason",
    Verdict: "candidate_id status pass_rate tests wall_ms cpu_ms peak_memory_bytes stderr isolation_tier weak",
    Score: "candidate_id reward reward_version",
    Pair: "problem_id chosen_id rejected_id kind margin_pass_rate margin_reward reward_version",
}


@pytest.mark.parametrize("record", EXAMPLES, ids=lambda record: type(record).__name__)
def test_a_record_survives_its_arrow_batch(record):
    assert from_batch(type(record), to_batch(type(record), [record, record])) == [record, record]


@pytest.mark.parametrize("kind", SCHEMAS, ids=lambda kind: kind.__name__)
def test_schema_and_dataclass_have_the_documented_fields(kind):
    assert SCHEMAS[kind].names == EXPECTED[kind].split()
    assert [field.name for field in dataclasses.fields(kind)] == EXPECTED[kind].split()


def test_every_token_carries_log_probability_and_version():
    schema = SCHEMAS[Candidate]
    assert schema.field("policy_versions").type == pa.list_(pa.int32())
    assert schema.field("log_probs").type == pa.list_(pa.float32())
    assert not any(field.nullable for kind in SCHEMAS.values() for field in kind)


def test_a_batch_of_another_schema_is_refused():
    batch = to_batch(Score, [EXAMPLES[3]]).rename_columns(["candidate_id", "reward", "version"])
    with pytest.raises(RecordError, match="reward_version"):
        from_batch(Score, batch)


def test_a_value_of_the_wrong_type_is_refused():
    with pytest.raises(RecordError, match="Score"):
        to_batch(Score, [Score("c", "high", 1)])  # type: ignore[arg-type]
