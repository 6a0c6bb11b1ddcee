"""Do right programs pass and wrong ones not, in every language of a suite?

    python -m benchmarks.languages mbxp:PATH [SPEC ...] [--languages ruby cpp] [--limit N] [--published N]

Judges the references of each suite, and the same with the function's result changed (`breaking.py`). `--published N`
also runs N of each against the test programs as published and lists where the verdict differs. The last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.breaking import broken
from roles.problems import suites
from roles.problems.formats import dialects
from roles.records import Candidate, Problem, Verdict
from roles.sandbox.judge import Judge
from roles.sandbox.limits import Limits

_EXAMPLES = 3


def work_of(problems: Sequence[Problem], texts: dict[str, str]) -> list[tuple[Problem, Candidate]]:
    """Each problem with its text, where it has one."""
    return [
        (problem, Candidate(problem.id, problem.id, "", texts[problem.id]))
        for problem in problems
        if problem.id in texts
    ]


def published(spec: str) -> dict[str, Problem]:
    """The problems of `spec` with the test programs as they are."""

    def unread(language: str) -> Any:
        raise dialects.Unparsed(language)

    known, dialects.of = dialects.of, unread
    try:
        problems = suites.load(spec)
    finally:
        dialects.of = known
    return {problem.id: _called(problem) for problem in problems}


def _called(problem: Problem) -> Problem:
    """In Python the published text defines `check` and leaves it to the harness to call it."""
    text = problem.tests[0].call
    if problem.language != "python" or "def check(" not in text or "\ntest_check()" in text:
        return problem
    test = dataclasses.replace(problem.tests[0], call=f"{text}\ncheck({problem.entry_point})")
    return dataclasses.replace(problem, tests=(test,))


def reason(verdict: Verdict) -> str:
    lines = [line.strip() for line in verdict.stderr.splitlines() if line.strip()]
    telling = [line for line in lines if "rror" in line or "xception" in line] or lines[-1:]
    return f"{'/'.join(verdict.tests)[:60]} {telling[0][:150] if telling else ''}"


def examples(verdicts: Sequence[Verdict], most: int) -> dict[str, dict[str, Any]]:
    """How many have which status, with the first `most` of each."""
    groups: dict[str, list[Verdict]] = collections.defaultdict(list)
    for verdict in verdicts:
        groups[verdict.status].append(verdict)
    return {
        status: {"count": len(group), "examples": {each.candidate_id: reason(each) for each in group[:most]}}
        for status, group in sorted(groups.items())
    }


def references(problems: Sequence[Problem]) -> dict[str, str]:
    return {problem.id: problem.references[0] for problem in problems if problem.references}


def broken_references(problems: Sequence[Problem]) -> dict[str, str]:
    changed = {
        problem.id: broken(problem.language, problem.references[0], problem.entry_point)
        for problem in problems
        if problem.references
    }
    return {name: text for name, text in changed.items() if text}


def measure(judge: Judge, problems: Sequence[Problem], as_published: Sequence[Problem], most: int) -> dict[str, Any]:
    """One row of the table; `as_published` are some of `problems` with their test programs."""
    right = references(problems)
    wrong = broken_references(problems)
    start = time.monotonic()
    verdicts = list(judge.judge_all(work_of(problems, right)))
    seconds = time.monotonic() - start
    of_wrong = list(judge.judge_all(work_of(problems, wrong)))
    passed = sum(verdict.status == "passed" for verdict in verdicts)
    row: dict[str, Any] = {
        "rows": len(problems),
        "weak_share": round(sum(problem.weak for problem in problems) / len(problems), 4),
        "references": len(right),
        "passed": passed,
        "pass_rate": round(passed / len(right), 4) if right else None,
        "programs_per_second": round(len(right) / seconds, 1) if right else None,
        "others": examples([verdict for verdict in verdicts if verdict.status != "passed"], most),
        "broken": len(of_wrong),
        "broken_passed": [verdict.candidate_id for verdict in of_wrong if verdict.status == "passed"],
        "broken_statuses": dict(collections.Counter(verdict.status for verdict in of_wrong)),
    }
    if as_published:
        row["published"] = {"compared": 0, "disagreements": []}
        for name, texts, ours in (("reference", references, verdicts), ("broken", broken_references, of_wrong)):
            theirs = list(judge.judge_all(work_of(as_published, texts(as_published))))
            row["published"]["compared"] += len(theirs)
            row["published"]["disagreements"] += [f"{name} {line}" for line in disagreements(ours, theirs)]
    return row


def disagreements(ours: Sequence[Verdict], theirs: Sequence[Verdict]) -> list[str]:
    """Where a program passes by one and not by the other."""
    known = {verdict.candidate_id: verdict for verdict in ours}
    return [
        f"{verdict.candidate_id}: {reason(known[verdict.candidate_id])}; as published: {reason(verdict)}"
        for verdict in theirs
        if (verdict.status == "passed") != (known[verdict.candidate_id].status == "passed")
    ]


def show(name: str, row: dict[str, Any]) -> None:
    print(f"{name}: {row['rows']} rows, {row['weak_share']:.1%} weak")
    if row["references"]:
        print(
            f"  {row['passed']} of {row['references']} references pass, {row['programs_per_second']} per second; "
            f"{len(row['broken_passed'])} of {row['broken']} broken ones: {' '.join(row['broken_passed'])}"
        )
    for status, group in row["others"].items():
        print(f"  {status}: {group['count']}")
        for identity, why in group["examples"].items():
            print(f"    {identity}: {why}")
    if "published" in row:
        print(f"  as published: {row['published']['compared']} verdicts compared")
        for line in row["published"]["disagreements"]:
            print(f"    {line}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="+", metavar="SPEC")
    parser.add_argument("--languages", nargs="+")
    parser.add_argument("--limit", type=int, help="rows with a reference, evenly spread, of each language")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--published", type=int, default=0, metavar="N")
    parser.add_argument("--examples", type=int, default=_EXAMPLES)
    arguments = parser.parse_args()
    rows: dict[str, Any] = {}
    with Judge(Limits(), arguments.workers) as judge:
        for spec in arguments.suites:
            unread = published(spec) if arguments.published else {}
            by_language: dict[str, list[Problem]] = collections.defaultdict(list)
            for problem in suites.load(spec):
                by_language[problem.language].append(problem)
            for language, problems in by_language.items():
                if arguments.languages and language not in arguments.languages:
                    continue
                judged = spread([problem for problem in problems if problem.references], arguments.limit)
                skipped = {problem.id for problem in problems if problem.references} - {each.id for each in judged}
                problems = [
                    dataclasses.replace(problem, references=()) if problem.id in skipped else problem
                    for problem in problems
                ]
                sample = [unread[each.id] for each in spread(judged, arguments.published)] if unread else []
                name = f"{problems[0].suite} {language}"
                rows[name] = measure(judge, problems, sample, arguments.examples)
                show(name, rows[name])
    for row in rows.values():
        row["others"] = {status: group["count"] for status, group in row["others"].items()}
    print(json.dumps(rows))


def spread(problems: list[Problem], most: int | None) -> list[Problem]:
    """`most` of the problems, at even distances."""
    if not most or most >= len(problems):
        return problems
    return [problems[index * len(problems) // most] for index in range(most)]


if __name__ == "__main__":
    main()
