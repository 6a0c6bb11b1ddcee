"""The judge: programs in, verdicts out, over a few warm jails.

Only calls enter a jail; the checks, and with them every expected value, are evaluated here on what came back. A jail
that breaks is replaced and its program judged again; it never turns into a verdict.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from roles.records import Candidate, Problem, Status, Test, Verdict
from roles.sandbox import classify, isolation, tester
from roles.sandbox.errors import SandboxFault, SandboxUnavailable
from roles.sandbox.limits import Limits
from roles.sandbox.outcome import Outcome, Raised, Reply
from roles.sandbox.worker import Worker

_log = logging.getLogger(__name__)
_ATTEMPTS = 3
_JOBS_PER_JAIL = 1000
T = TypeVar("T")


class Judge:
    """Judges on `workers` jails at a time; thread-safe.

    `isolation` is what was proved at the start, `faults` counts the jails that broke. Raises `SandboxUnavailable`
    when there is no nsjail or interpreter, or when the isolation is below `minimum_tier`.
    """

    def __init__(self, limits: Limits | None = None, workers: int = 1, minimum_tier: int = 2) -> None:
        self.limits = limits or Limits()
        self.workers = workers
        self.faults = 0
        self._lock = threading.Lock()
        self._closed = False
        self._all: set[Worker] = set()
        self._idle: queue.SimpleQueue[Worker | None] = queue.SimpleQueue()
        for _ in range(workers):
            self._idle.put(None)  # a place; its jail starts with its first program
        self._threads = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="judge")
        try:
            self.isolation = self._with_worker(isolation.probe)
            if self.isolation.tier < minimum_tier:
                raise SandboxUnavailable(
                    f"isolation: tier {self.isolation.tier} of the demanded {minimum_tier} was obtained: "
                    + "; ".join(self.isolation.missing)
                )
        except BaseException:
            self.close()
            raise

    def judge(self, problem: Problem, candidates: Sequence[Candidate]) -> list[Verdict]:
        """One verdict for each candidate, in order; equal texts are run once. Raises `SandboxFault`, `BadTest`."""
        return list(self.judge_all((problem, candidate) for candidate in candidates))

    def judge_all(self, work: Iterable[tuple[Problem, Candidate]]) -> Iterator[Verdict]:
        """The verdicts on `work`, in its order, as they come; a text is run once for each problem."""
        pairs = list(work)
        pending: dict[tuple[str, str, str], concurrent.futures.Future[Verdict]] = {}
        try:
            for problem, candidate in pairs:
                key = (problem.suite, problem.id, candidate.text)
                if key not in pending:
                    pending[key] = self._threads.submit(self._judge_text, problem, candidate.text)
            for problem, candidate in pairs:
                verdict = pending[problem.suite, problem.id, candidate.text].result()
                yield dataclasses.replace(verdict, candidate_id=candidate.id)
        finally:
            for future in pending.values():
                future.cancel()

    def close(self) -> None:
        """Ends all jails; no process is left. A program that is being judged becomes a `SandboxFault`."""
        self._closed = True
        with self._lock:
            workers = list(self._all)
        for worker in workers:
            self._discard(worker)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _with_worker(self, action: Callable[[Worker], T]) -> T:
        """Runs `action` on a jail, on a fresh one after each fault."""
        worker = self._idle.get()
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    if worker is None or worker.broken or worker.jobs >= _JOBS_PER_JAIL:
                        worker = self._replace(worker)
                    return action(worker)
                except SandboxFault as fault:
                    with self._lock:
                        self.faults += 1
                    self._discard(worker)
                    worker = None
                    if attempt == _ATTEMPTS or self._closed:
                        raise
                    _log.warning("sandbox fault, trying again on a new jail: %s", fault)
            raise AssertionError("unreachable")
        finally:
            self._idle.put(worker)

    def _replace(self, old: Worker | None) -> Worker:
        self._discard(old)
        worker = Worker(self.limits)
        with self._lock:
            self._all.add(worker)
        if self._closed:
            self._discard(worker)
            raise SandboxFault("the judge is closed")
        return worker

    def _discard(self, worker: Worker | None) -> None:
        if worker is None:
            return
        with self._lock:
            self._all.discard(worker)
        worker.close()

    def _judge_text(self, problem: Problem, text: str) -> Verdict:
        if not problem.tests:
            raise tester.BadTest(f"problem {problem.id}: it has no tests")
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > self.limits.source_bytes:
            why = f"the program has {size} bytes, the limit is {self.limits.source_bytes}"
            return self._verdict(["compile_error"] * len(problem.tests), [], why)
        return self._with_worker(lambda worker: self._run(worker, problem, text))

    def _run(self, worker: Worker, problem: Problem, text: str) -> Verdict:
        outcomes: list[Outcome] = []

        def execute(calls: list[str]) -> Outcome:
            outcomes.append(worker.run(text, problem.setup, calls))
            return outcomes[-1]

        plain = [test for test in problem.tests if test.kind == "call"]
        answered: Iterator[Status] = iter(())
        if plain:
            answered = iter(classify.statuses(execute([test.call for test in plain]), plain, self.limits))
        statuses = [next(answered) if test.kind == "call" else self._scripted(worker, problem, test, execute)
                    for test in problem.tests]  # fmt: skip
        return self._verdict(statuses, outcomes, outcomes[0].stderr)

    def _scripted(
        self, worker: Worker, problem: Problem, test: Test, execute: Callable[[list[str]], Outcome]
    ) -> Status:
        results: list[Reply] = []
        while len(results) < tester.MAX_CALLS:
            outcome = worker.run(tester.program(test.check, problem.entry_point, results), "", [tester.CALL])
            try:
                kind, call = tester.wanted(outcome, problem.entry_point)
            except tester.BadTest as error:
                raise tester.BadTest(f"problem {problem.id}: {error}") from error
            if kind == "passed":
                return "passed"
            if kind != "call":
                last = results[-1] if results else None
                return classify.of_exception(last) if kind == "raised" and isinstance(last, Raised) else "failed"
            reply = execute([call])
            if not reply.replies or reply.ended in ("output", "reply"):
                return classify.of_silence(reply, self.limits)
            results.append(reply.replies[0])
        return "timeout"

    def _verdict(self, statuses: list[Status], outcomes: list[Outcome], stderr: str) -> Verdict:
        return Verdict(
            candidate_id="",
            status=classify.overall(statuses),
            pass_rate=statuses.count("passed") / len(statuses),
            tests=tuple(statuses),
            wall_ms=1000 * sum(outcome.wall_seconds for outcome in outcomes),
            cpu_ms=1000 * sum(outcome.cpu_seconds for outcome in outcomes),
            peak_memory_bytes=max((outcome.peak_memory_bytes for outcome in outcomes), default=0),
            stderr=stderr,
            isolation_tier=self.isolation.tier,
        )
