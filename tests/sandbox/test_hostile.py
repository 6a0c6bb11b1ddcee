"""Programs that try to pass, to break out, or to break the judge. None passes, none gets anywhere, none leaves a trace.

`hostile/` and `cheats/` hold the programs and what is expected of each; `test_protections.py` takes the protections
away and shows that the same programs then get through.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from roles.records import Candidate, Problem, Test, Verdict
from roles.sandbox.judge import Judge
from roles.sandbox.limits import MIB, Limits
from tests.sandbox import corpus, traces
from tests.sandbox.corpus import Program

FILES = ("processes", "memory_and_disk", "output_and_descriptors", "looking_around", "system_calls", "values", "time")
HOSTILE = corpus.read(*(f"hostile/{name}.txt" for name in FILES))
NEED_A_GROUP = {"eight processes take a part of the memory each"}
RIGHT = "def f(x):\n    return x + 1\n"


LIMITS = Limits(wall_seconds=20, cpu_seconds=8, memory_bytes=256 * MIB, output_bytes=65536)


@pytest.fixture(scope="module")
def pit() -> Iterator[Judge]:
    """A judge of its own, with patience enough that a busy machine makes no timeouts."""
    with Judge(LIMITS) as judge:
        yield judge


@pytest.fixture(scope="module")
def hasty() -> Iterator[Judge]:
    """For those that only a time limit ends."""
    with Judge(LIMITS.model_copy(update={"wall_seconds": 1.5, "cpu_seconds": 1})) as judge:
        yield judge


@pytest.fixture(scope="module")
def idle(pit: Judge, hasty: Judge) -> dict[Judge, dict[str, Any]]:
    """What there is of each before the first hostile program."""
    return {judge: traces.settled(judge) for judge in (pit, hasty)}


def problem(*tests: Test) -> Problem:
    return Problem("1", "own", "test", "python", "", "f", tests)


def judged(judge: Judge, problem: Problem, text: str) -> Verdict:
    return judge.judge(problem, [Candidate("c", problem.id, "g", text)])[0]


@pytest.mark.parametrize("program", HOSTILE, ids=lambda program: program.name)
def test_no_hostile_program_gets_anywhere(
    pit: Judge, hasty: Judge, idle: dict[Judge, dict[str, Any]], successor: Problem, program: Program
) -> None:
    if program.name in NEED_A_GROUP and pit.isolation.tier < 3:
        pytest.skip("this machine gives no memory group")
    if "timeout" in program.statuses:
        pit = hasty
    faults = pit.faults
    if program.statuses:
        verdict = judged(pit, successor, program.text)
        assert verdict.status in program.statuses, verdict
        assert verdict.pass_rate < 1
    else:
        verdict = judged(pit, problem(Test("attack()", program.check)), program.text)
        assert verdict.status == "passed", verdict
    assert len(verdict.stderr) < 5000
    assert judged(pit, problem(Test("f(1)", "result == 2")), f"{RIGHT}# after {program.name}").status == "passed"
    assert pit.faults == faults
    assert traces.until(lambda: traces.of(pit) == idle[pit]), (idle[pit], traces.of(pit))
    assert traces.held_bytes(pit) < 64 * MIB


def test_there_are_enough_of_them() -> None:
    assert len(HOSTILE) >= 60
    assert len({program.text for program in HOSTILE}) == len(HOSTILE)


def test_nothing_of_one_program_reaches_the_next(pit: Judge, successor: Problem) -> None:
    first = "open('/tmp/left', 'w').write('x')\nimport builtins, math, os\nbuiltins.len = math.sqrt = None\n" + RIGHT
    assert judged(pit, successor, first + "os.environ['LEFT'] = 'x'").status == "passed"
    second = "import os, math\ndef f(): return os.listdir('/tmp'), len('ab'), math.sqrt(4), 'LEFT' in os.environ"
    assert judged(pit, problem(Test("f()", "result == ([], 2, 2.0, False)")), second).status == "passed"


@pytest.mark.parametrize(
    "name", ["hoards System V shared memory", "hides memory in messages that nobody can read any more"]
)
def test_the_memory_of_one_program_is_back_before_the_next_starts(pit: Judge, name: str) -> None:
    (hoarder,) = (program for program in HOSTILE if program.name == name)
    for number in range(3):
        judged(pit, problem(Test("f(1)", "result == 2")), f"{hoarder.text}# {number}")
        honest = f"x = bytearray(200 << 20)\n{RIGHT}# {name} {number}"
        assert judged(pit, problem(Test("f(1)", "result == 2")), honest).status == "passed"


def test_closing_the_judge_leaves_nothing_at_all() -> None:
    with Judge(Limits(wall_seconds=2, cpu_seconds=1)) as judge:
        before_open = traces.settled(judge)
    before = traces.settled(judge)
    with Judge(Limits(wall_seconds=2, cpu_seconds=1)) as judge:
        assert traces.settled(judge)["processes"] == before_open["processes"]
        judged(judge, problem(Test("f(1)", "result == 2")), HOSTILE[0].text)
    assert traces.until(lambda: traces.of(judge) == before)


def test_an_honest_program_has_its_threads_and_processes(pit: Judge) -> None:
    text = (
        "import subprocess, sys\nfrom concurrent.futures import ThreadPoolExecutor\ndef f(x):\n"
        "    with ThreadPoolExecutor(20) as pool:\n        ones = sum(pool.map(lambda y: len(str(y)), range(10)))\n"
        "    told = subprocess.run([sys.executable, '-c', f'print({x} + {ones} - 9)'], capture_output=True)\n"
        "    return int(told.stdout)\n"
    )
    assert judged(pit, problem(Test("f(1)", "result == 2")), text).status == "passed"


def test_a_script_has_one_time_limit_for_all_of_its_calls(hasty: Judge) -> None:
    script = Test("", "def check(candidate):\n    for number in range(50):\n        candidate(number)\n", "script")
    slow = "import time\ndef f(x):\n    time.sleep(0.4)\n"
    verdict = judged(hasty, problem(script), slow)
    assert verdict.status == "timeout"
    assert verdict.wall_ms < 4000  # it says what the program took, however long the judge had to wait


BAD_INPUT = {
    "an empty program": ("", "failed"),
    "a comment": ("# f returns x + 1", "failed"),
    "blanks": (" \n\t\n\f\n", "failed"),
    "a lone surrogate in a comment": ("# \ud800\n" + RIGHT, "compile_error"),
    "a lone surrogate in a text": ("x = '\udfff'\n" + RIGHT, "compile_error"),
    "bytes that were no UTF-8": (b"x = '\xff\xfe'\n".decode("utf-8", "surrogateescape") + RIGHT, "compile_error"),
    "a null character": (RIGHT + "\0", "compile_error"),
    "control characters": ("\x1b[2J\x07\n" + RIGHT, "compile_error"),
    "a coding that does not exist": ("# -*- coding: nonesuch -*-\n1 +", "compile_error"),
    "ten megabytes": (RIGHT + "#" * (10 << 20), "compile_error"),
    "ten megabytes of code": ("x = 1\n" * (10 << 20 >> 2), "compile_error"),
    "brackets without end": ("(" * 10**6, "compile_error"),
    "signs without end": ("x = " + "-" * 500_000 + "1", "compile_error"),
    "a list in lists": ("x = " + "[" * 5000 + "]" * 5000, "compile_error"),
    "blocks in blocks": ("".join(" " * level + "if 1:\n" for level in range(200)) + " " * 200 + "1", "compile_error"),
    "attributes of attributes": ("x = 1\nx" + ".real" * 100_000, "compile_error"),
    "a number of a million digits": ("x = " + "7" * 10**6, "compile_error"),
    "half a program": ("def f(x):\n    return", "failed"),
    "half a text": ("def f(x):\n    return '''", "compile_error"),
}


@pytest.mark.parametrize(("text", "status"), BAD_INPUT.values(), ids=BAD_INPUT.keys())
def test_programs_that_are_none(pit: Judge, successor: Problem, text: str, status: str) -> None:
    verdict = judged(pit, successor, text)
    assert (verdict.status, pit.faults) == (status, 0), verdict


@pytest.mark.parametrize("kind", ["call", "script", "stdio", "program"])
@pytest.mark.parametrize("text", ["", "# only this", "\ud800", "\0", "#" * (10 << 20)])
def test_programs_that_are_none_pass_no_kind_of_test(pit: Judge, kind: str, text: str) -> None:
    verdict = judged(pit, PROBLEMS[kind], text)
    assert verdict.status in ("failed", "compile_error", "runtime_error"), verdict
    assert pit.faults == 0


CHECKS = (("f(1)", "result == 2"), ("f(41)", "result == 42"), ("f(-1)", "result == 0"))
SCRIPT = "def check(candidate):\n" + "".join(f"    assert candidate({x}) == {x + 1}\n" for x in (1, 41, -1))
TESTS = {
    "call": tuple(Test(call, check) for call, check in CHECKS),
    "script": (Test("", SCRIPT, "script"),),
    "stdio": tuple(Test(f"{x}\n", f"same_tokens(result, '{x + 1}')", "stdio") for x in (1, 41, -1)),
    "program": (Test("\nassert f(1) == 2\nassert f(41) == 42\nassert f(-1) == 0\n", "", "program"),),
}
PROBLEMS = {kind: Problem(kind, "own", "test", "python", "", "f", tests) for kind, tests in TESTS.items()}


def test_deep_inputs_are_handed_over_and_deep_values_are_not_read(pit: Judge) -> None:
    depth = "def f(x):\n    return 1 + f(x[0]) if x else 1\n"
    nested, too_deep = ("f(" + "[" * levels + "]" * levels + ")" for levels in (90, 1500))
    assert judged(pit, problem(Test(nested, "result == 90")), depth).status == "passed"
    verdict = judged(pit, problem(Test(too_deep, "result == 1500"), Test("f([])", "result == 1")), depth)
    assert verdict.tests == ("runtime_error", "passed")  # Python itself does not read so many brackets
    lines = problem(Test("[" * 100_000 + "\n", "same_tokens(result, '100000')", "stdio"))
    assert judged(pit, lines, "print(len(input()))").status == "passed"
    for levels in (101, 1001, 5000):
        nests = f"def f(x):\n    for _ in range({levels}): x = [x]\n    return x\n"
        assert judged(pit, problem(Test("f(0)", "result == 0")), nests).status == "output"


@pytest.mark.parametrize(
    ("value", "check", "status"),
    [
        ("float('nan')", "result == 2", "failed"),
        ("float('nan')", "abs(result - 2) < 1e9", "failed"),
        ("float('nan')", "close(result, 2.0)", "failed"),
        ("float('nan')", "close(result, float('nan'))", "passed"),
        ("float('inf')", "close(result, 1e308)", "failed"),
        ("float('inf')", "result == float('inf')", "passed"),
        ("float('-inf')", "close(result, float('inf'))", "failed"),
        ("-0.0", "same(result, 0.0)", "passed"),
        ("True", "same(result, 1)", "failed"),
        ("1", "same(result, True)", "failed"),
        ("(1,)", "same(result, [1])", "failed"),
        ("'\\ud800'", "result == '\\ud800'", "passed"),
        ("'\\ud800'", "result == '?'", "failed"),
        ("10 ** 400", "close(result, 1.0)", "failed"),
        ("10 ** 5000", "result == 10 ** 5000", "passed"),
    ],
)
def test_values_at_the_edge(pit: Judge, value: str, check: str, status: str) -> None:
    assert judged(pit, problem(Test("f()", check)), f"def f():\n    return {value}\n").status == status


def test_a_gigabyte_of_output_is_cut_off_early(pit: Judge) -> None:
    for kind in ("call", "script", "stdio", "program"):
        text = "import os\nfor _ in range(1024): os.write(1, bytes(1 << 20))\n" + RIGHT
        verdict = judged(pit, PROBLEMS[kind], text)
        assert verdict.status == "output", (kind, verdict)


FORGER = """
import os, sys
frame = sys._getframe()
while "nonce" not in frame.f_locals:
    frame = frame.f_back
mark = frame.f_locals["nonce"].hex().encode() + b" "
def f(body):
    os.write(3, mark + body + b"\\n")
    os._exit(0)
"""
FORGED = {
    "an index that is a truth value, a number to Python": (b'[false,"val",["i","2"]]', "passed"),
    "an index that is a fraction": (b'[0.0,"val",["i","2"]]', "failed"),
    "the index of another call": (b'[1,"val",["i","2"]]', "failed"),
    "a word that is none": (b'[0,"passed",true]', "failed"),
    "an object": (b'{"0":"val"}', "failed"),
    "no JSON": (b"[0,", "failed"),
    "bytes that are no text": (b'[0,"val","\xff\xfe"]', "failed"),
    "brackets without end": (b"[" * 1_000_000, "failed"),
    "brackets that end": (b'[0,"val",' + b"[" * 100_000 + b"]" * 100_000 + b"]", "failed"),
    "levels beyond those of a value": (b'[0,"val",' + b'["l",' * 900 + b"null" + b"]" * 901, "output"),
    "a number of a million digits": (b'[0,"val",' + b"7" * 10**6 + b"]", "failed"),
    "a decimal of a million digits": (b'[0,"val",["j","' + b"7" * 10**6 + b'"]]', "output"),
    "a power of two beyond all": (b'[0,"val",["f","0x1p999999999"]]', "output"),
    "an infinity that is JSON to Python": (b'[0,"val",Infinity]', "output"),
    "a float that is none": (b'[0,"val",["e","2 "]]', "passed"),
    "an unknown tag": (b'[0,"val",["q","2"]]', "output"),
    "a key that has no hash": (b'[0,"val",["d",[["l"],null]]]', "output"),
    "a set of lists": (b'[0,"val",["s",["l",["l"]]]]', "output"),
    "a list of a million nulls": (b'[0,"val",["l"' + b",null" * 700_000 + b"]]", "failed"),
    "an error whose name is a megabyte": (b'[0,"err","' + b"x" * 10**6 + b'",1]', "runtime_error"),
    "an error with a status beyond all": (b'[0,"err","SystemExit",' + b"9" * 4000 + b"]", "runtime_error"),
    "an error that pretends": (b'[0,"err","SystemExit",0]', "failed"),
    "the right value, which it has to know": (b'[0,"val",["i","2"]]', "passed"),
}


@pytest.mark.parametrize(("body", "status"), FORGED.values(), ids=FORGED.keys())
def test_what_a_stolen_nonce_is_good_for(pit: Judge, body: bytes, status: str) -> None:
    """Whoever has the nonce may claim any value, and needs the right one."""
    verdict = judged(pit, problem(Test(f"f({body!r})", "result == 2")), FORGER)
    assert (verdict.status, pit.faults) == (status, 0), verdict
