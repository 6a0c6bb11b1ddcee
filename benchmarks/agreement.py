"""Do our verdicts on MultiPL-E agree with its test programs run as published?

    python -m benchmarks.agreement multipl_e:PATH [--languages java lua] [--every 4]

The suite has no reference solutions, so the programs know the answers (`oracles.py`): a right one for each problem and
one that gives the answers of other tests. Both are judged by calls and, as published, by the exit status of program
and tests in one text. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import time
from typing import Any

from benchmarks import oracles
from benchmarks.breaking import broken
from benchmarks.languages import published, reason
from roles import languages
from roles.problems import suites
from roles.problems.formats.dialects import Unparsed
from roles.records import Candidate, Problem, Verdict
from roles.sandbox.judge import Judge
from roles.sandbox.limits import Limits

_CAN_BE_WRAPPED = ("bash", "javascript", "lua", "perl", "php", "python", "ruby", "typescript")
Work = list[tuple[Problem, Candidate]]


def programs(problem: Problem, tests: str) -> dict[str, str]:
    """What stands behind the prompt in each of the programs; none for tests that are more than calls."""
    try:
        known = oracles.cases(problem.language, tests)
    except Unparsed:
        return {}
    bodies = {"right": oracles.body(problem.language, problem.entry_point, known)}
    others = oracles.shifted(known)
    if others:
        bodies["shifted"] = oracles.body(problem.language, problem.entry_point, others)
    return bodies


def compare(judge: Judge, ours: list[Problem], unread: dict[str, Problem]) -> dict[str, Any]:
    by_calls: Work = []
    as_published: Work = []
    language = ours[0].language
    for problem in ours:
        original = unread[problem.id]
        for variant, body in programs(problem, original.tests[0].call).items():
            name = f"{variant} {problem.id}"
            text = languages.get(language).assemble(problem, body)
            by_calls.append((problem, Candidate(name, problem.id, "", text)))
            as_published.append((original, Candidate(name, problem.id, "", problem.prompt + body)))
            changed = broken(language, text, problem.entry_point) if variant == "right" else None
            if changed and language in _CAN_BE_WRAPPED:
                by_calls.append((problem, Candidate(f"broken {problem.id}", problem.id, "", changed)))
                as_published.append((original, by_calls[-1][1]))
    start = time.monotonic()
    mine = list(judge.judge_all(by_calls))
    seconds = time.monotonic() - start
    theirs = list(judge.judge_all(as_published))
    table = collections.Counter(
        (one.candidate_id.split()[0], one.status == "passed", other.status == "passed")
        for one, other in zip(mine, theirs, strict=True)
    )
    differ = [line(one, other) for one, other in zip(mine, theirs, strict=True) if passed(one) != passed(other)]
    return {
        "problems": len(ours),
        "weak": sum(problem.weak for problem in ours),
        "programs": len(mine),
        "per_second": round(len(mine) / seconds, 1),
        "both": {f"{kind}: ours {one}, published {other}": n for (kind, one, other), n in sorted(table.items())},
        "right_refused": [line(one, other) for one, other in zip(mine, theirs, strict=True) if refused(one, other)],
        "disagreements": differ,
    }


def passed(verdict: Verdict) -> bool:
    return verdict.status == "passed"


def refused(ours: Verdict, theirs: Verdict) -> bool:
    """A program that gives the expected values and passes neither way: no program can."""
    return ours.candidate_id.startswith("right") and not passed(ours) and not passed(theirs)


def line(ours: Verdict, theirs: Verdict) -> str:
    return f"{ours.candidate_id}: {reason(ours)}; as published: {reason(theirs)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", metavar="SPEC")
    parser.add_argument("--languages", nargs="+")
    parser.add_argument("--every", type=int, default=1, help="one problem in so many")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    unread = published(arguments.suite)
    by_language: dict[str, list[Problem]] = collections.defaultdict(list)
    for problem in suites.load(arguments.suite):
        by_language[problem.language].append(problem)
    rows: dict[str, Any] = {}
    with Judge(Limits(), arguments.workers) as judge:
        for language, problems in by_language.items():
            if arguments.languages and language not in arguments.languages:
                continue
            row = rows[language] = compare(judge, problems[:: arguments.every], unread)
            print(f"{language}: {row['programs']} programs, {len(row['disagreements'])} disagreements, {row['both']}")
            for name in ("disagreements", "right_refused"):
                for difference in row[name]:
                    print(f"  {name}: {difference}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
