import asyncio
import json
from types import SimpleNamespace

import pytest
import ray

from actors.crew import Crew
from actors.streams import is_death
from actors.telemetry import Drained, Span, TakeUp, Timeline


def test_the_trace_on_disk_says_how_long_each_stage_was_busy_and_who_took_up_what(tmp_path):
    path = tmp_path / "timeline.json"
    timeline = Timeline(path)
    at = timeline.start
    taken = TakeUp("policy", 4, "generator 0", at + 1, pause_seconds=0.5)
    timeline.add(
        Drained([Span("sample", "generator 0", at + 1, at + 3, 2), Span("sample", "generator 0", at, at + 2, 3)], [])
    )
    timeline.add(
        Drained([Span("sample", "generator 1", at + 5, at + 6, 4), Span("mine", "miner 0", at, at, 1)], [taken])
    )
    timeline.close()
    stages = timeline.stages()
    assert {stage: row["items"] for stage, row in stages.items()} == {"mine": 1, "sample": 9}
    assert abs(stages["sample"]["busy_seconds"] - 4) < 1e-6
    (told,) = timeline.taken_up()
    assert TakeUp(**told) == taken
    events = json.loads(path.read_text())
    spans = [event for event in events if event["ph"] == "X"]
    lanes = {(event["pid"], event["tid"]) for event in spans}
    assert len(lanes) == 4, "what overlaps is on different tracks"
    names = {event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert names == {"generator 0", "generator 1", "miner 0"}
    last = max(event["ts"] + event["dur"] for event in spans)
    assert abs(last - 6e6) < 1


def test_a_run_that_is_killed_leaves_a_trace_that_needs_only_its_end(tmp_path):
    path = tmp_path / "timeline.json"
    timeline = Timeline(path)
    for number in range(1000):
        timeline.add(Drained([Span("sample", "generator 0", number, number + 1, 1)], []))
    written = path.read_text()
    assert len(written) > 50_000, "it is on the disk, not in memory"
    whole = written[: written.rindex(",\n")] + "]"
    assert len(json.loads(whole)) > 500
    timeline.close()


def test_whoever_lost_its_records_with_its_node_is_dead(tmp_path):
    """Ray may say so of the records before it says so of the actor."""

    async def drain():
        raise ray.exceptions.ObjectReconstructionFailedError("00", None, "")

    actor = SimpleNamespace(drain=SimpleNamespace(remote=drain))
    crew = SimpleNamespace(_timeline=Timeline(tmp_path / "timeline.json"))
    with pytest.raises(ray.exceptions.RayActorError, match="its node died") as raised:
        asyncio.run(Crew.collect(crew, actor))
    assert is_death(raised.value)
