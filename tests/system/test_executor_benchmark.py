"""The executor's benchmark runs, and all of its ways agree on what passes."""

import json
import sys

import pytest

from benchmarks import compiled, executor


@pytest.mark.long
def test_every_way_of_running_programs_passes_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["--programs", "10", "--rounds", "1", "--compiled", "1"]
    monkeypatch.setattr(sys, "argv", ["executor", *sizes])
    executor.main()
    total = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {row["passed"] for row in total["references"].values()} == {10}
    assert len({row["passed"] for row in total["mix"].values()}) == 1
    for language in ("cpp", "java"):
        if compiled.installed(language):
            assert {row["passed"] for row in total[language].values()} == {1}
    assert total["warm_over_subprocess"] > 0 and total["worker_megabytes"] > 0
