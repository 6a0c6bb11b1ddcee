"""Many programs at once: nothing is lost, nothing is done twice, whatever happens to the jails."""

import errno
import os
import random
import signal
import threading
import time

import pytest

from roles.records import Candidate, Problem, Test, Verdict
from roles.sandbox import jail, seccomp
from roles.sandbox.cgroup import MemoryGroup
from roles.sandbox.errors import SandboxFault
from roles.sandbox.judge import Judge
from roles.sandbox.limits import MIB, Limits
from roles.sandbox.quiet import Quiet

LIMITS = Limits(wall_seconds=5, cpu_seconds=1, memory_bytes=128 * MIB)
TESTS = (Test("f(1)", "result == 2"), Test("f(2)", "result == 3"))
KINDS = {
    "passed": "def f(x):\n    return x + 1\n",
    "failed": "def f(x):\n    return 2\n",
    "compile_error": "def f(x:\n",
    "runtime_error": "def f(x):\n    return x.y\n",
    "memory": "def f(x):\n    return bytearray(1 << 30)\n",
    "output": "def f(x):\n    while True: print('x' * 1000)\n",
}


def problems(count: int) -> list[tuple[Problem, Candidate]]:
    """`count` programs, no two alike, one kind after the other."""
    work = []
    for number in range(count):
        kind = list(KINDS)[number % len(KINDS)]
        problem = Problem(str(number % 7), "own", "test", "python", "", "f", TESTS)
        work.append((problem, Candidate(f"{number} {kind}", problem.id, "g", f"{KINDS[kind]}# {number}")))
    return work


def facts(verdicts: list[Verdict]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(verdict.candidate_id, verdict.status, verdict.tests) for verdict in verdicts]


def test_a_thousand_verdicts_while_jails_are_killed_are_those_of_an_undisturbed_run() -> None:
    work = problems(1000)
    with Judge(LIMITS, workers=3) as judge:
        undisturbed = facts(list(judge.judge_all(work)))
    assert [status for _, status, _ in undisturbed] == [candidate.id.split()[1] for _, candidate in work]
    rng, done, killed = random.Random(0), threading.Event(), []

    def kill() -> None:
        while not done.wait(rng.uniform(0.05, 0.3)):
            with judge._lock:
                victims = [worker.pid for worker in judge._all if worker.jobs > 5]
            if victims:  # at work: three deaths in a row over one program would rightly end the judging
                os.kill(rng.choice(victims), signal.SIGTERM)
                killed.append(1)

    with Judge(LIMITS, workers=3) as judge:
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            disturbed = facts(list(judge.judge_all(work)))
        finally:
            done.set()
            killer.join()
        load = judge.load
    assert disturbed == undisturbed
    assert len(killed) > 3 and load.faults > 0
    assert (load.judged, load.waiting, load.busy) == (1000, 0, 0)


def test_what_was_judged_once_is_not_run_again() -> None:
    work = problems(12)
    with Judge(LIMITS, workers=2) as judge:
        first = facts(list(judge.judge_all(work + work)))
        jobs = sum(worker.jobs for worker in judge._all)
        assert first[:12] == first[12:] and judge.load.repeated == 12
        assert facts(list(judge.judge_all(work))) == first[:12]
        assert sum(worker.jobs for worker in judge._all) == jobs and judge.load.repeated == 24


def test_a_program_that_meets_the_wall_limit_is_run_again_alone() -> None:
    """Its second run is what counts: the first here is as slow as on a machine that is busy with something else."""
    slow_once = "import time\ntime.sleep(60)\ndef f(x): return x + 1\n"
    problem = Problem("1", "own", "test", "python", "", "f", TESTS)
    with Judge(Limits(wall_seconds=1, cpu_seconds=1), workers=2) as judge:
        run, texts = judge._try, []

        def attempt(problem: Problem, text: str) -> tuple[Verdict, bool]:
            texts.append(text)
            return run(problem, text if len(texts) == 1 else KINDS["passed"])

        judge._try = attempt  # type: ignore[method-assign]
        assert judge.judge(problem, [Candidate("c", "1", "g", slow_once)])[0].status == "passed"
        assert len(texts) == 2 and judge.load.retried == 1


def test_a_fault_is_never_kept_as_a_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    work = problems(1)
    with Judge(LIMITS) as judge:
        monkeypatch.setattr("roles.sandbox.jail.find_nsjail", lambda: "/bin/false")
        for worker in list(judge._all):
            os.kill(worker.pid, signal.SIGTERM)
        with pytest.raises(SandboxFault):
            list(judge.judge_all(work))
        monkeypatch.undo()
        assert next(iter(judge.judge_all(work))).status == "passed"


def test_a_failing_host_is_a_fault_and_the_program_is_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with Judge(LIMITS) as judge:
        works, failed = os.memfd_create, []

        def fail_once(*arguments: str) -> int:
            if not failed:
                failed.append(1)
                raise OSError(errno.EMFILE, "Too many open files")
            return works(*arguments)

        monkeypatch.setattr(os, "memfd_create", fail_once)
        assert next(judge.judge_all(problems(1))).status == "passed"
        assert judge.load.faults == 1


def test_a_jail_weaker_than_the_first_judges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with Judge(LIMITS) as judge:
        monkeypatch.setattr(MemoryGroup, "create", lambda: None)
        monkeypatch.setattr(seccomp, "ARCHITECTURE", "another")
        jail.server_code.cache_clear()
        try:
            for worker in list(judge._all):
                os.kill(worker.pid, signal.SIGTERM)
            with pytest.raises(SandboxFault, match="weaker than the first: no system-call filter"):
                list(judge.judge_all(problems(1)))
        finally:
            jail.server_code.cache_clear()


def test_who_is_alone_waits_for_the_busy_and_holds_the_next_off() -> None:
    quiet, log = Quiet(), []

    def work(name: str) -> None:
        with quiet.alone() if name == "alone" else quiet.busy():
            log.append(f"{name} begins")
            time.sleep(0.2)
            log.append(f"{name} ends")


    threads = [threading.Thread(target=work, args=(name,)) for name in ("first", "alone", "next")]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert log == [f"{name} {what}" for name in ("first", "alone", "next") for what in ("begins", "ends")]
