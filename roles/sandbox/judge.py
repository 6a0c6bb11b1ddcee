"""The judge: programs in, verdicts out, over a few warm jails.

A jail that breaks is replaced and its program judged again; it never turns into a verdict. What was judged once is
not judged again, and a program that met the wall limit is run again alone before that counts.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from roles import languages
from roles.languages import Build, Language
from roles.records import Candidate, Problem, Verdict
from roles.sandbox import isolation, jobs, tester
from roles.sandbox.cache import Cache, key
from roles.sandbox.errors import SandboxFault, SandboxUnavailable
from roles.sandbox.isolation import Isolation
from roles.sandbox.jobs import Compiled
from roles.sandbox.limits import MIB, Limits
from roles.sandbox.quiet import Quiet
from roles.sandbox.trial import Trial
from roles.sandbox.worker import Worker

_log = logging.getLogger(__name__)
_ATTEMPTS = 3
_JOBS_PER_JAIL = 1000
_VERDICTS = 1 << 16
_BINARY_BYTES = 256 * MIB
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Load:
    """What a judge has done and is doing. `busy` of its `jails` hold a program, `waiting` programs have none yet."""

    jails: int
    busy: int
    waiting: int
    judged: int
    repeated: int  # verdicts that were known already
    retried: int  # programs that met the wall limit and were run again alone
    faults: int  # jails that broke; their programs were judged again


class Judge:
    """Judges on `workers` jails at a time; thread-safe.

    Raises `SandboxUnavailable` when there is no nsjail or interpreter, or when the isolation is below `minimum_tier`.
    """

    def __init__(self, limits: Limits | None = None, workers: int = 1, minimum_tier: int = 2) -> None:
        self.limits = limits or Limits()
        self.workers = workers
        self.faults = 0
        self._counts: collections.Counter[str] = collections.Counter()
        self._quiet = Quiet()
        self._verdicts: Cache[Verdict] = Cache(_VERDICTS)
        self._binaries: Cache[Compiled] = Cache(_BINARY_BYTES, lambda compiled: compiled.bytes + 1000)
        self._lock = threading.Lock()
        self._closed = False
        self._all: set[Worker] = set()
        self._idle: queue.SimpleQueue[dict[str, Worker]] = queue.SimpleQueue()
        for _ in range(workers):
            self._idle.put({})  # a place; its jails start with the first program of their language
        self._isolation: Isolation | None = None
        self._threads = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="judge")
        try:
            self._with_worker(languages.get("python"), lambda worker: None)
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
                name = (problem.suite, problem.id, candidate.text)
                if name in pending:
                    self._count("repeated")
                    continue
                self._count("waiting")
                pending[name] = self._threads.submit(self._judge_text, problem, candidate.text)
                pending[name].add_done_callback(self._leave_queue)
            for problem, candidate in pairs:
                verdict = pending[problem.suite, problem.id, candidate.text].result()
                self._count("judged")
                yield dataclasses.replace(verdict, candidate_id=candidate.id)
        finally:
            for future in pending.values():
                future.cancel()

    @property
    def isolation(self) -> Isolation:
        """What was proved of the first jail; every later one is held to it."""
        assert self._isolation is not None
        return self._isolation

    @property
    def load(self) -> Load:
        with self._lock:
            counts = self._counts.copy()
        return Load(
            jails=self.workers, busy=self.workers - self._idle.qsize(), waiting=counts["waiting"],
            judged=counts["judged"], repeated=counts["repeated"] + self._verdicts.hits, retried=counts["retried"],
            faults=self.faults,
        )  # fmt: skip

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

    def _with_worker(self, language: Language, action: Callable[[Worker], T]) -> T:
        """Runs `action` on a jail for `language`, on a fresh one after each fault."""
        place = self._idle.get()
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    worker = place.get(language.name)
                    if worker is None or worker.broken or worker.jobs >= _JOBS_PER_JAIL:
                        self._discard(place.pop(language.name, None))
                        worker = place[language.name] = self._start(language)
                    return action(worker)
                except SandboxFault as fault:
                    with self._lock:
                        self.faults += 1
                    self._discard(place.pop(language.name, None))
                    if attempt == _ATTEMPTS or self._closed:
                        raise
                    _log.warning("sandbox fault, trying again on a new jail: %s", fault)
            raise AssertionError("unreachable")
        finally:
            self._idle.put(place)

    def _start(self, language: Language) -> Worker:
        worker = Worker(self.limits, language)
        with self._lock:
            self._all.add(worker)
        try:
            if self._closed:
                raise SandboxFault("the judge is closed")
            found = isolation.probe(worker)
            if self._isolation is None:
                self._isolation = found
            elif found.tier < self._isolation.tier:
                raise SandboxFault(f"a new jail is weaker than the first: {'; '.join(found.missing)}")
        except BaseException:
            self._discard(worker)
            raise
        return worker

    def _discard(self, worker: Worker | None) -> None:
        if worker is None:
            return
        with self._lock:
            self._all.discard(worker)
        worker.close()

    def _count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self._counts[name] += by

    def _leave_queue(self, future: concurrent.futures.Future[Verdict]) -> None:
        if future.cancelled():
            self._count("waiting", -1)

    def _judge_text(self, problem: Problem, text: str) -> Verdict:
        self._count("waiting", -1)
        if not problem.tests:
            raise tester.BadTest(f"problem {problem.id}: it has no tests")
        size = len(text.encode("utf-8", "surrogatepass"))
        if size > self.limits.source_bytes:
            why = f"the program has {size} bytes, the limit is {self.limits.source_bytes}"
            tests = ("compile_error",) * len(problem.tests)
            return Verdict("", "compile_error", 0.0, tests, stderr=why, isolation_tier=self.isolation.tier)
        name = key(problem.language, problem.setup, problem.entry_point, problem.tests, text)
        verdict = self._verdicts.get(name)
        if verdict is None:
            with self._quiet.busy():
                verdict, hurried = self._try(problem, text)
            if hurried:  # the machine may have been busy with something else: only what it does alone counts
                self._count("retried")
                with self._quiet.alone():
                    verdict, _ = self._try(problem, text)
            self._verdicts.put(name, verdict)
        return verdict

    def _try(self, problem: Problem, text: str) -> tuple[Verdict, bool]:
        def act(worker: Worker) -> tuple[Verdict, bool]:
            trial = Trial(worker, problem, text, self._compile)
            return trial.run(self.isolation.tier), trial.hurried

        return self._with_worker(languages.get(problem.language), act)

    def _compile(self, worker: Worker, build: Build) -> Compiled:
        if not build.compile:
            return jobs.compile_build(worker, build)
        files = sorted(build.files.items())
        name = key(worker.language.name, files, build.compile, sorted(build.environment.items()))
        compiled = self._binaries.get(name)
        if compiled is None:
            compiled = jobs.compile_build(worker, build)
            if compiled.ran is None or compiled.ran.ended != "wall":
                self._binaries.put(name, compiled)
        return compiled
