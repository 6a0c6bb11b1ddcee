"""What the ledger of a run holds: batches as they were when they were mined, to be learnt from again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ray

from actors.miner import receipt
from actors.streams import Batch
from roles.mining import ledger
from roles.mining.pairs import judged
from roles.records import Candidate, Pair, Problem, Score, Verdict, to_batch


class Past:
    def __init__(self, folder: Path, problems: Sequence[Problem]) -> None:
        self._folder = folder
        self._problems = {problem.id: problem for problem in problems}

    def recall(self, number: int) -> Batch | None:
        """Batch `number` with all its records, or None when it never got into the ledger.

        Raises `LedgerError` naming a file that cannot be read.
        """
        for kind in ("policy", "reward"):
            name = f"{number:06}-{kind}"
            if (self._folder / name).is_dir():
                return self._read(number, name, kind == "policy")
        return None

    def _read(self, number: int, name: str, for_policy: bool) -> Batch:
        candidates, verdicts, scores, pairs = (
            ledger.read_batch(self._folder, name, Candidate), ledger.read_batch(self._folder, name, Verdict),
            ledger.read_batch(self._folder, name, Score), ledger.read_batch(self._folder, name, Pair),
        )  # fmt: skip
        groups = judged(candidates, verdicts, scores)
        problems = [self._problems[samples[0].candidate.problem_id] for samples in groups.values()]
        tables = (
            to_batch(Problem, problems), to_batch(Candidate, candidates), to_batch(Verdict, verdicts),
            to_batch(Score, scores), to_batch(Pair, pairs),
        )  # fmt: skip
        size = sum(table.nbytes for table in tables)
        mined = receipt(groups, pairs, tables[-1].nbytes)
        of_problems, of_candidates, of_verdicts, of_scores, of_pairs = map(ray.put, tables)
        return Batch(
            number, tuple(groups), for_policy, of_problems, of_candidates, of_verdicts, of_scores, of_pairs, mined, size
        )
