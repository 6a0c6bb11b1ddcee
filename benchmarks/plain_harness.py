"""Do the judge's verdicts agree with a plain harness: a bare process that runs a program and asserts behind it?

    python -m benchmarks.plain_harness [SPEC ...] [--mutants N] [--samples N] [--problems N] [--seed N]

Judges the first reference of each problem, broken neighbours of it and samples of the pocket model both ways: by
`Judge`, and by the exit status of `python program.py` with the tests as asserts (MBPP's own lines where the suite is
`mbpp:PATH`). Every disagreement on what passes is listed. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.mutating import mutants
from roles.problems import suites
from roles.problems.files import read_rows
from roles.records import Candidate, Problem, Verdict
from roles.sandbox.judge import Judge
from roles.sandbox.limits import MIB, Limits

LIMITS = Limits(wall_seconds=10, cpu_seconds=1, memory_bytes=512 * MIB)
_CHUNK = 500
_PATIENCE_SECONDS = 60  # of the plain harness, which does not run a program again that a busy machine held up
_ENDS = {"AssertionError": "failed", "MemoryError": "memory", "SyntaxError": "compile_error"}
_SUBCLASSES = ("IndentationError", "TabError")


@dataclasses.dataclass(frozen=True)
class Case:
    """A program, its problem, and the asserts of the plain harness."""

    problem: Problem
    candidate: Candidate
    asserts: str


@dataclasses.dataclass(frozen=True)
class Plain:
    """What the plain harness says, and the last line of standard error."""

    status: str
    said: str


def asserts_of(spec: str) -> dict[str, str]:
    """For each problem of `spec` what the plain harness runs behind a program. Problems on standard input have none."""
    found = {problem.id: _asserts(problem) for problem in suites.load(spec)}
    name, _, path = spec.partition(":")
    if name == "mbpp":
        for row in read_rows(Path(path)):
            setup = row.values.get("test_setup_code") or "\n".join(row.values.get("test_imports", []))
            found[str(row.values["task_id"])] = "\n".join([setup, *row.strings("test_list")])
    return {problem: text for problem, text in found.items() if text}


def _asserts(problem: Problem) -> str:
    lines = ["from roles.sandbox.equality import *", problem.setup] if "same" in str(problem.tests) else [problem.setup]
    for test in problem.tests:
        if test.kind == "call":
            lines.append(f"result = {test.call}\nassert {test.check}")
        elif test.kind == "script":
            lines.append(f"{test.check}\ncheck({problem.entry_point})")
        else:
            return ""
    return "\n".join(lines)


def cases_of(spec: str, count: int, own: int, limit: int, rng: random.Random) -> list[Case]:
    """A reference, `count` mutants and, in the pocket suite, `own` samples of its base model, for `limit` problems."""
    asserts = asserts_of(spec)
    problems = [
        problem for problem in suites.load(spec)
        if problem.language == "python" and problem.references and problem.id in asserts
    ]  # fmt: skip
    chosen = rng.sample(problems, limit) if limit < len(problems) else problems
    sampled: dict[str, list[str]] = {}
    if own and spec == "pocket":
        from benchmarks.sampling import samples  # torch takes seconds to import

        sampled = samples(chosen, own, rng.randrange(1 << 30))
    cases = []
    for problem in chosen:
        right = problem.references[0]
        for number, text in enumerate([right, *mutants(right, rng, count), *sampled.get(problem.id, [])]):
            candidate = Candidate(f"{problem.id} {number or 'reference'}", problem.id, "", text)
            cases.append(Case(problem, candidate, asserts[problem.id]))
    return cases


def plain(case: Case) -> Plain:
    """Runs the program and the asserts in a bare process, under the same limits of CPU time and memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "program.py")
        path.write_text(f"{case.candidate.text}\n{case.asserts}\n", encoding="utf-8")
        environment = {"PATH": "/usr/bin:/bin", "PYTHONHASHSEED": "0", "LANG": "C.UTF-8"}
        if "from roles." in case.asserts:
            environment["PYTHONPATH"] = str(Path(__file__).parents[1])
        limits = f"ulimit -c 0 && ulimit -t {LIMITS.cpu_seconds} && ulimit -v {LIMITS.memory_bytes // 1024}"
        command = ["/bin/sh", "-c", f"{limits} && exec {sys.executable} -s -P -B program.py"]
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, timeout=_PATIENCE_SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Plain("timeout", "")
    said = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
    if done.returncode == 0:
        return Plain("passed", said)
    if done.returncode < 0:
        return Plain("timeout" if done.returncode in (-24, -9) else "runtime_error", f"signal {-done.returncode}")
    error = said.partition(":")[0]
    return Plain(_ENDS.get("SyntaxError" if error in _SUBCLASSES else error, "runtime_error"), said)


def run(cases: Sequence[Case], workers: int) -> None:
    """Judges `cases` both ways, a chunk at a time, and prints what came of it."""
    print(f"{len(cases)} programs of {len({(case.problem.suite, case.problem.id) for case in cases})} problems")
    kinds: collections.Counter[tuple[str, str]] = collections.Counter()
    seconds = [0.0, 0.0]
    apart = 0
    with Judge(LIMITS, workers) as judge, concurrent.futures.ThreadPoolExecutor(workers) as threads:
        for start in range(0, len(cases), _CHUNK):
            chunk = cases[start : start + _CHUNK]
            times = [time.monotonic()]
            ours = list(judge.judge_all((case.problem, case.candidate) for case in chunk))
            times.append(time.monotonic())
            theirs = list(threads.map(plain, chunk))
            times.append(time.monotonic())
            seconds = [total + end - begin for total, begin, end in zip(seconds, times, times[1:], strict=False)]
            for case, verdict, other in zip(chunk, ours, theirs, strict=True):
                kinds[verdict.status, other.status] += 1
                if (verdict.status == "passed") != (other.status == "passed"):
                    apart += 1
                    tell(case, verdict, other)
            print(f"{start + len(chunk)} programs, {apart} disagreements", file=sys.stderr, flush=True)
    for (here, there), number in kinds.most_common():
        print(f"{number:6}  judge {here:14} plain {there}")
    summary = {"programs": len(cases), "disagreements": apart, "judge_seconds": seconds[0], "plain_seconds": seconds[1]}
    print(json.dumps(summary))


def reason(case: Case, verdict: Verdict, other: Plain) -> str:
    """Why the two disagree, as far as it can be found out by running the program again."""
    if "timeout" in (verdict.status, other.status):
        return "close to the limit of time"
    if other.status == "passed":
        marked = dataclasses.replace(case, asserts=f"{case.asserts}\nraise RuntimeError('reached')")
        if plain(marked).status == "passed":
            return "the program leaves with status 0 before the last assert"
        return "the result is an object that is no plain data"
    return "unexplained"


def tell(case: Case, verdict: Verdict, other: Plain) -> None:
    print(f"{case.problem.suite} {case.candidate.id}: judge {verdict.status}, plain {other.status} {other.said}")
    print(f"    reason: {reason(case, verdict, other)}")
    print(f"    {verdict.tests} {verdict.stderr[-200:]}")
    print("    " + case.candidate.text.strip().replace("\n", "\n    "), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("specs", nargs="*", default=["pocket"], metavar="SPEC")
    parser.add_argument("--mutants", type=int, default=6, help="of each reference")
    parser.add_argument("--samples", type=int, default=2, help="of the pocket base model, for each pocket problem")
    parser.add_argument("--problems", type=int, default=800, help="of each suite, drawn at random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    counts = given.mutants, given.samples, given.problems
    run([case for spec in given.specs for case in cases_of(spec, *counts, rng)], given.workers)


if __name__ == "__main__":
    main()
