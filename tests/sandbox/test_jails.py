"""Faults of the sandbox, and what is left of it: nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from roles.records import Candidate, Problem
from roles.sandbox import isolation, jail, jobs
from roles.sandbox.errors import SandboxFault, SandboxUnavailable
from roles.sandbox.judge import Judge
from roles.sandbox.limits import Limits
from roles.sandbox.outcome import Returned
from roles.sandbox.worker import Worker
from tests.sandbox.traces import descendants, descriptors

RIGHT = "def f(x):\n    return x + 1\n"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def until(fact: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while not fact() and time.monotonic() < end:
        time.sleep(0.02)
    return fact()


def traces() -> set[str]:
    """The memory groups of this process, all that its jails put into a file system."""
    return set(map(str, Path("/sys/fs/cgroup/memory").glob(f"judge-{os.getpid()}-*")))


def test_closing_leaves_no_process_no_group_and_no_descriptor(limits: Limits, successor: Problem) -> None:
    before = descendants(os.getpid()), traces(), descriptors()
    judge = Judge(limits, workers=2)
    candidates = [Candidate(str(i), "1", "g", RIGHT + f"# {i}") for i in range(4)]
    assert {verdict.status for verdict in judge.judge(successor, candidates)} == {"passed"}
    jails = descendants(os.getpid()) - before[0]
    assert jails
    judge.close()
    assert until(lambda: not any(map(alive, jails)))
    assert (descendants(os.getpid()), traces(), descriptors()) == before


def test_a_broken_jail_is_replaced_and_counted(limits: Limits, successor: Problem) -> None:
    with Judge(limits) as judge:
        (worker,) = judge._all
        os.kill(worker.pid, signal.SIGTERM)
        assert judge.judge(successor, [Candidate("c", "1", "g", RIGHT)])[0].status == "passed"
        assert judge.faults == 1


def test_a_jail_that_dies_under_a_program_is_no_verdict(limits: Limits, successor: Problem) -> None:
    with Judge(limits) as judge:
        (worker,) = judge._all
        threading.Timer(0.5, os.kill, (worker.pid, signal.SIGTERM)).start()
        verdict = judge.judge(successor, [Candidate("c", "1", "g", "import time\ntime.sleep(1)\n" + RIGHT)])[0]
        assert (verdict.status, judge.faults) == ("passed", 1)


def test_closing_ends_a_program_that_is_being_judged(limits: Limits, successor: Problem) -> None:
    judge = Judge(limits.model_copy(update={"wall_seconds": 300}))
    threading.Timer(0.5, judge.close).start()
    with pytest.raises(SandboxFault):
        judge.judge(successor, [Candidate("c", "1", "g", "import time\ntime.sleep(200)")])


@pytest.mark.parametrize(
    "argument", [["-R", "/no/such/source"], ["--no_such_option"], ["--seccomp_string", "BROKEN {"]]
)
def test_a_fault_that_persists_is_raised(
    limits: Limits, successor: Problem, monkeypatch: pytest.MonkeyPatch, argument: list[str]
) -> None:
    with Judge(limits) as judge:
        (worker,) = judge._all
        command = jail.command
        monkeypatch.setattr(jail, "command", lambda *a: [command(*a)[0], *argument, *command(*a)[1:]])
        os.kill(worker.pid, signal.SIGTERM)
        with pytest.raises(SandboxFault):
            judge.judge(successor, [Candidate("c", "1", "g", RIGHT)])
        assert judge.faults == 3
        monkeypatch.undo()
        assert judge.judge(successor, [Candidate("c", "1", "g", RIGHT)])[0].status == "passed"


def test_a_missing_nsjail_is_one_clear_error(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(jail.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SandboxUnavailable, match=r"nsjail: not found.*install"):
        Judge(limits)


def test_isolation_is_proved_not_assumed(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    with Worker(limits) as worker:
        assert isolation.probe(worker).tier >= 2
    command = jail.command
    monkeypatch.setattr(jail, "command", lambda *a: [command(*a)[0], "--disable_clone_newnet", *command(*a)[1:]])
    with Worker(limits) as worker:
        found = isolation.probe(worker)
    assert found.tier == 0 and "the net namespace is shared with the host" in found.missing
    with pytest.raises(SandboxUnavailable, match="tier 0 of the demanded 2"):
        Judge(limits)


def test_without_the_filter_the_tier_is_1(limits: Limits, monkeypatch: pytest.MonkeyPatch) -> None:
    start = b"\nserve(*[socket.socket(fileno=int(number)) for number in sys.argv[1:]], b'')"
    code = jail.server_code().rpartition(b"\n")[0] + start
    monkeypatch.setattr(jail, "server_code", lambda: code)
    with Worker(limits) as worker:
        assert isolation.probe(worker).tier == 1


PARENT = """
import os, sys, time
from roles.sandbox import jobs
from roles.sandbox.limits import Limits
from roles.sandbox.worker import Worker
import threading
worker = Worker(Limits(wall_seconds=60, cpu_seconds=60))
jobs.answer(worker, "", "", ["1"])
threading.Thread(target=jobs.answer, args=(worker, "import time\\nwhile True: time.sleep(1)",), daemon=True).start()
time.sleep(0.5)
print(worker.pid, flush=True)
time.sleep(60)
"""


def test_jails_die_with_a_parent_that_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    nsjail = int(parent.stdout.readline())
    family = {nsjail} | descendants(nsjail)
    assert len(family) >= 4  # nsjail, the server, the job's init, the program
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert until(lambda: not any(map(alive, family)))


def test_an_interrupt_at_the_terminal_does_not_reach_the_jails(limits: Limits) -> None:
    with Worker(limits) as worker:
        assert jobs.answer(worker, "", "", ["1"]).replies == (Returned(1),)
        assert os.getpgid(worker.pid) != os.getpgid(0) and os.getsid(worker.pid) != os.getsid(0)
        os.killpg(os.getpgid(worker.pid), 0)
