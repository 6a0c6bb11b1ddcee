"""Each protection taken away, one at a time: what it stops then happens. With all of them in place, nothing does."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from roles.records import Candidate, Problem, Test
from roles.sandbox import classify, jail, seccomp
from roles.sandbox.cgroup import MemoryGroup
from roles.sandbox.judge import Judge
from roles.sandbox.limits import MIB, Limits
from tests.sandbox import corpus, traces

LIMITS = Limits(wall_seconds=20, cpu_seconds=8, memory_bytes=256 * MIB, output_bytes=65536)
HOSTILE = {
    program.name: program
    for name in ("processes", "memory_and_disk", "output_and_descriptors", "looking_around", "system_calls")
    for program in corpus.read(f"hostile/{name}.txt")
}
CHEATS = {program.name: program for program in corpus.read("cheats/python.txt")}
RIGHT = "def f(x):\n    return x + 1\n"
ANSWERS = (Test("f(1)", "result == 2"), Test("f(41)", "result == 42"), Test("f(-1)", "result == 0"))
Weakened = Callable[..., Judge]
server_code = jail.server_code


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    """With all protections."""
    with Judge(LIMITS) as judge:
        yield judge


@pytest.fixture
def weakened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Weakened]:
    """Makes a judge whose server has some of its code replaced, or that lacks its filter or its memory group."""
    judges: list[Judge] = []

    def make(
        *replaced: tuple[str, str], limits: Limits = LIMITS, filtered: bool = True, group: bool = True
    ) -> Judge:
        if not filtered:
            monkeypatch.setattr(seccomp, "program", lambda: b"")
        if not group:
            monkeypatch.setattr(MemoryGroup, "create", lambda: None)
        server_code.cache_clear()
        code = server_code().decode()
        for old, new in replaced:
            assert old in code, f"the server has no {old!r} any more"
            code = code.replace(old, new)
        monkeypatch.setattr(jail, "server_code", lambda: code.encode())
        judges.append(Judge(limits, minimum_tier=0))
        return judges[-1]

    yield make
    for judge in judges:
        judge.close()
    monkeypatch.undo()
    server_code.cache_clear()


def status(judge: Judge, text: str, *tests: Test) -> str:
    problem = Problem("1", "own", "test", "python", "", "f", tests or ANSWERS)
    return judge.judge(problem, [Candidate("c", "1", "g", text)])[0].status


def stopped(judge: Judge, name: str) -> bool:
    """Whether the attack of that name says itself that it won nothing."""
    return status(judge, HOSTILE[name].text, Test("attack()", HOSTILE[name].check)) == "passed"


@pytest.mark.parametrize(
    "name",
    [
        "looks at other processes and writes into them",
        "makes or enters namespaces",
        "speaks to the network",
        "speaks to the network through pairs of sockets",
        "goes through io_uring",
        "uses what kernels were broken by",
        "takes its filter off",
        "limits its init",
        "takes more CPU by a better place in the queue",
    ],
)
def test_without_the_filter_system_calls_get_through(judge: Judge, weakened: Weakened, name: str) -> None:
    assert stopped(judge, name)
    assert not stopped(weakened(filtered=False), name)


def test_without_the_filter_the_32_bit_door_is_open(judge: Judge, weakened: Weakened) -> None:
    text = HOSTILE["enters the kernel by the 32-bit door"].text
    assert status(judge, text) == "runtime_error"
    assert status(weakened(filtered=False), text) == "failed"


def test_without_filter_and_dropped_capabilities_a_program_mounts(weakened: Weakened) -> None:
    kept = weakened(("_libc.capset(", "(lambda *_: 0)("), filtered=False)
    assert not stopped(kept, "mounts")


def test_without_dropped_capabilities_alone_the_filter_still_holds(weakened: Weakened) -> None:
    assert stopped(weakened(("_libc.capset(", "(lambda *_: 0)(")), "mounts")


def test_without_a_pid_namespace_programs_see_and_outlive(judge: Judge, weakened: Weakened) -> None:
    name = "sees other processes"
    daemon = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    os.closerange(0, 1024)\n    time.sleep(60)\n"
    daemon += RIGHT
    before = traces.settled(judge)
    assert stopped(judge, name)
    assert status(judge, daemon) == "passed"
    assert traces.until(lambda: traces.of(judge) == before)
    shared = weakened(("_libc.unshare(_NEWPID)", "0"), ("_libc.setns(home, _NEWPID)", "0"))
    before = traces.settled(shared)
    assert not stopped(shared, name)
    assert status(shared, daemon) == "passed"
    assert traces.settled(shared)["processes of the jails"] == before["processes of the jails"] + 1


def test_even_without_a_pid_namespace_the_server_outlives_a_program_that_kills_all(weakened: Weakened) -> None:
    shared = weakened(("_libc.unshare(_NEWPID)", "0"), ("_libc.setns(home, _NEWPID)", "0"))
    kills = "import os, signal\nfor pid in (os.getppid(), -1): os.kill(pid, signal.SIGKILL)\n"
    assert status(shared, kills + RIGHT) == "passed"
    assert status(shared, RIGHT) == "passed"
    assert shared.faults == 0


def test_an_init_that_can_be_looked_at_gives_away_what_it_holds(judge: Judge, weakened: Weakened) -> None:
    name = "reads what its init holds"
    assert stopped(judge, name)
    assert not stopped(weakened(("_libc.prctl(_SET_DUMPABLE, 0,", "(lambda *_: 0)(0, 0,")), name)


def test_without_a_fresh_folder_programs_leave_files_to_each_other(judge: Judge, weakened: Weakened) -> None:
    leaves = "open('/tmp/left', 'w').write('x')\n" + RIGHT
    finds = "import os\ndef attack():\n    return os.listdir('/tmp')\n"
    empty = Test("attack()", "result == []")
    no_mount = ('_libc.mount(b"none", b"/tmp"', '(lambda *_: 0)(b"", b""')
    for shared, expected in ((judge, "passed"), (weakened(no_mount), "failed")):
        assert status(shared, leaves) == "passed"
        assert status(shared, finds, empty) == expected


def test_memory_is_bounded_by_two_limits_and_free_without_them(weakened: Weakened) -> None:
    takes = "x = bytearray(400 << 20)\n" + RIGHT
    no_rlimits = ("if value == UNLIMITED:", "if True:")
    assert status(weakened(group=False), takes) == "memory"
    assert status(weakened(no_rlimits, group=False), takes) == "passed"


def test_only_the_group_bounds_a_program_that_has_no_limits_of_its_own(judge: Judge, weakened: Weakened) -> None:
    if judge.isolation.tier < 3:
        pytest.skip("this machine gives no memory group")
    assert status(weakened(("if value == UNLIMITED:", "if True:")), "x = bytearray(600 << 20)\n" + RIGHT) == "memory"


SHARES = """
import os, signal
signal.signal(signal.SIGCHLD, lambda *_: os._exit(1))
taken, take = os.pipe()
gate, key = os.pipe()
for _ in range(4):
    if os.fork() == 0:
        os.close(key)
        x = bytearray(100 << 20)
        os.write(take, b"x")
        os.read(gate, 1)
        os._exit(0)
for _ in range(4):
    os.read(taken, 1)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
os.close(key)
"""


def test_without_a_group_processes_take_more_memory_together(judge: Judge, weakened: Weakened) -> None:
    if judge.isolation.tier < 3:
        pytest.skip("this machine gives no memory group")
    assert status(judge, SHARES + RIGHT) == "memory"
    assert status(weakened(group=False), SHARES + RIGHT) == "passed"


def test_memory_that_comes_back_late_is_waited_for(judge: Judge, weakened: Weakened) -> None:
    if judge.isolation.tier < 3:
        pytest.skip("this machine gives no memory group")
    late = weakened(filtered=False)  # with its filter there is none of this kind
    for number in range(2):
        status(late, f"{HOSTILE['hoards System V shared memory'].text}# {number}")
        assert status(late, f"x = bytearray(200 << 20)\n{RIGHT}# {number}") == "passed"


def test_a_group_settles_when_its_memory_is_free_and_not_before(judge: Judge) -> None:
    if judge.isolation.tier < 3:
        pytest.skip("this machine gives no memory group")
    holds = "import sys; x = bytearray(100 << 20); print(flush=True); sys.stdin.read()"
    group = MemoryGroup.create()
    assert group is not None
    command = group.wrap([sys.executable, "-c", holds])
    try:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin and process.stdout and process.stdout.readline()
            group.settle(50 * MIB)  # gives up
            assert group._held() > 50 * MIB
            threading.Timer(0.1, process.stdin.close).start()
            assert traces.until(lambda: group.settle(50 * MIB) or group._held() <= 50 * MIB)
    finally:
        group.close()


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("forks until it is refused", {"processes": 200}),
        ("starts threads until it is refused", {"processes": 200}),
        ("fills the disk", {"disk_bytes": 128 * MIB}),
        ("stretches a file to a terabyte", {"file_bytes": 2 << 40}),
    ],
)
def test_a_limit_is_what_stops(judge: Judge, weakened: Weakened, name: str, more: dict[str, int]) -> None:
    assert stopped(judge, name)
    assert not stopped(weakened(limits=LIMITS.model_copy(update=more)), name)


def test_without_a_cap_output_is_taken_without_end(judge: Judge, weakened: Weakened) -> None:
    floods = "import os\nfor _ in range(20): os.write(1, bytes(1 << 20))\n" + RIGHT
    assert status(judge, floods) == "output"
    assert status(weakened(limits=LIMITS.model_copy(update={"output_bytes": 1 << 30})), floods) == "passed"


@pytest.mark.parametrize(
    "name",
    ["returns an object equal to all", "returns an int equal to all", "returns a text equal to all",
     "lies about its class", "takes the expected value from the constants of its caller"],
)  # fmt: skip
def test_a_comparison_beside_the_program_can_be_cheated(judge: Judge, name: str) -> None:
    beside = tuple(Test(f"f({x}) == {x + 1}", "result is True") for x in (1, 41, -1))
    assert status(judge, CHEATS[name].text) in CHEATS[name].statuses
    assert status(judge, CHEATS[name].text, *beside) == "passed"


@pytest.mark.parametrize(
    "name",
    ["leaves while loading", "leaves at once in the call", "leaves in a thread", "becomes a program that ends well",
     "prints the expected values and leaves", "leaves when an object is collected"],
)  # fmt: skip
def test_an_exit_status_is_no_evidence(judge: Judge, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert status(judge, CHEATS[name].text) == "failed"
    monkeypatch.setattr(
        classify, "statuses", lambda outcome, tests, *_: ["passed" if outcome.status == 0 else "failed"] * len(tests)
    )
    assert status(judge, f"{CHEATS[name].text}# again") == "passed"


def test_an_expected_value_inside_is_found(judge: Judge) -> None:
    searches = "import re\nfound = re.findall(r'EXPECTED = (\\d+)', open('/proc/self/cmdline').read())\n"
    searches += "import gc\ndef f(x):\n    for item in gc.get_objects():\n"
    searches += "        if isinstance(item, dict) and 'EXPECTED' in item: return item['EXPECTED']\n"
    problem = Problem("1", "own", "test", "python", "", "f", (Test("f(1)", "result == 73914655021"),))
    inside = Problem("2", "own", "test", "python", "", "f", problem.tests, setup="EXPECTED = 73914655021")
    assert judge.judge(problem, [Candidate("c", "1", "g", searches)])[0].status == "failed"
    assert judge.judge(inside, [Candidate("c", "2", "g", searches)])[0].status == "passed"
