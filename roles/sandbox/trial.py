"""One program against all tests of its problem, in one jail.

Only calls, standard input and, for weak tests, test programs enter a jail; the checks, and with them every expected
value, are evaluated here on what came back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from roles.languages import Build, Executed
from roles.records import Problem, Status, Test, Verdict
from roles.sandbox import classify, jobs, tester
from roles.sandbox.jobs import Compiled
from roles.sandbox.limits import Limits
from roles.sandbox.outcome import Outcome, Raised, Reply
from roles.sandbox.worker import Worker

Compile = Callable[[Worker, Build], Compiled]


class Trial:
    """`run` gives the verdict; `hurried` tells whether the wall limit ended anything, which a busy machine may do."""

    def __init__(self, worker: Worker, problem: Problem, text: str, compile_build: Compile) -> None:
        self.hurried = False
        self._worker = worker
        self._language = worker.language
        self._limits: Limits = worker.limits
        self._problem = problem
        self._text = text
        self._compile = compile_build
        self._outcomes: list[Outcome] = []
        self._signs: Sequence[str] = worker.language.memory_signs if isinstance(worker.language, Executed) else ()

    def run(self, isolation_tier: int) -> Verdict:
        """Raises `SandboxFault` when the jail breaks, `BadTest` when a test cannot be run."""
        tests = self._problem.tests
        plain = [test for test in tests if test.kind == "call"]
        answered = iter(self._called(plain) if plain else [])
        statuses = [next(answered) if test.kind == "call" else self._other(test) for test in tests]
        outcomes = self._outcomes
        return Verdict(
            candidate_id="",
            status=classify.overall(statuses),
            pass_rate=statuses.count("passed") / len(statuses),
            tests=tuple(statuses),
            wall_ms=1000 * sum(outcome.wall_seconds for outcome in outcomes),
            cpu_ms=1000 * sum(outcome.cpu_seconds for outcome in outcomes),
            peak_memory_bytes=max((outcome.peak_memory_bytes for outcome in outcomes), default=0),
            stderr=next((outcome.stderr for outcome in outcomes if outcome.stderr), ""),
            isolation_tier=isolation_tier,
            weak=self._problem.weak,
        )

    def _kept(self, outcome: Outcome) -> Outcome:
        self.hurried |= outcome.ended == "wall"
        self._outcomes.append(outcome)
        return outcome

    def _called(self, tests: Sequence[Test]) -> list[Status]:
        calls = [test.call for test in tests]
        if not isinstance(self._language, Executed):
            return classify.statuses(self._answer(calls), tests, self._limits)
        build = self._language.calls(self._text, self._problem.setup, calls, self._limits)
        files = self._compiled(build)
        if isinstance(files, Outcome):
            return [classify.of_compiler(files, self._language.compile_limits)] * len(tests)
        outcome = self._kept(jobs.execute(self._worker, build, files, len(calls)))
        if not self._loads(build, outcome):
            return ["compile_error"] * len(tests)
        return classify.statuses(outcome, tests, self._limits, self._signs)

    def _answer(self, calls: list[str]) -> Outcome:
        return self._kept(jobs.answer(self._worker, self._text, self._problem.setup, calls))

    def _other(self, test: Test) -> Status:
        if test.kind == "script":
            return self._scripted(test)
        text = self._text if test.kind == "stdio" else f"{self._text}\n{test.call}"
        given = test.call.encode("utf-8", "surrogateescape") if test.kind == "stdio" else b""
        if not isinstance(self._language, Executed):
            outcome = self._kept(jobs.answer(self._worker, text, self._problem.setup, given=given))
        else:
            build = self._language.program(text, self._limits)
            files = self._compiled(build)
            if isinstance(files, Outcome):
                return classify.of_compiler(files, self._language.compile_limits)
            outcome = self._kept(jobs.execute(self._worker, build, files, None, given))
            if not classify.ran_to_its_end(outcome) and not self._parses(build, outcome):
                return "compile_error"
        if test.kind == "stdio":
            return classify.of_output(outcome, test.check, self._limits, self._signs)
        return classify.of_test_program(outcome, self._limits, self._signs)

    def _compiled(self, build: Build) -> jobs.Files | Outcome:
        compiled = self._compile(self._worker, build)
        if compiled.files:
            return compiled.files
        assert compiled.ran is not None
        return self._kept(jobs.failed_to_compile(compiled.ran))

    def _loads(self, build: Build, outcome: Outcome) -> bool:
        """False when the program did not load because its text is no program."""
        return outcome.loaded or self._parses(build, outcome)

    def _parses(self, build: Build, outcome: Outcome) -> bool:
        if not build.syntax_check or outcome.ended not in ("exit", "signal"):
            return True
        return jobs.parses(self._worker, build)

    def _scripted(self, test: Test) -> Status:
        problem = self._problem
        results: list[Reply] = []
        left = self._limits.wall_seconds  # for all of its calls together
        while len(results) < tester.MAX_CALLS:
            script = tester.program(test.check, problem.entry_point, results)
            if len(script) - len(test.check) > self._limits.reply_bytes:
                return "output"
            outcome = jobs.answer(self._worker, script, "", [tester.CALL])
            self.hurried |= outcome.ended == "wall"
            try:
                kind, call = tester.wanted(outcome, problem.entry_point, len(results))
            except tester.BadTest as error:
                raise tester.BadTest(f"problem {problem.id}: {error}") from error
            if kind == "passed":
                return "passed"
            if kind != "call":
                last = results[-1] if results else None
                return classify.of_exception(last) if kind == "raised" and isinstance(last, Raised) else "failed"
            reply = self._answer([call])
            if not reply.replies or reply.ended in ("output", "reply"):
                return classify.of_silence(reply, self._limits)
            results.append(reply.replies[0])
            left -= reply.wall_seconds
            if left < 0:
                self.hurried = True
                return "timeout"
        return "timeout"
