"""Each status for real, and what a verdict says beside it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from roles.records import Candidate, Problem, Test, Verdict, from_batch, to_batch
from roles.sandbox.judge import Judge
from roles.sandbox.limits import Limits
from roles.sandbox.tester import BadTest

VerdictOf = Callable[..., Verdict]


def test_a_right_program_passes(verdict_of: VerdictOf) -> None:
    verdict = verdict_of("def f(x):\n    return x + 1\n")
    assert (verdict.status, verdict.pass_rate, verdict.tests) == ("passed", 1.0, ("passed",) * 3)
    assert verdict.candidate_id == "c"
    assert verdict.isolation_tier >= 2
    assert verdict.wall_ms > 0 and verdict.cpu_ms > 0 and verdict.peak_memory_bytes > 1 << 20


def test_a_wrong_answer_fails_and_the_others_still_count(verdict_of: VerdictOf) -> None:
    verdict = verdict_of("def f(x):\n    return abs(x) + 1\n")
    assert (verdict.status, verdict.tests) == ("failed", ("passed", "passed", "failed"))
    assert verdict.pass_rate == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("def f(x:\n    return x", "compile_error"),
        ("x = '\ud800'", "compile_error"),
        ("\0", "compile_error"),
        ("(" * 100_000, "compile_error"),
        ("-" * 100_000 + "1", "compile_error"),
        ("raise ValueError('no')", "runtime_error"),
        ("import nothing_of_this_name", "runtime_error"),
        ("def f(x):\n    return [][x]", "runtime_error"),
        ("def f(x):\n    return f(x)", "runtime_error"),
        ("def f(x):\n    import sys\n    sys.exit(3)", "runtime_error"),
        ("import os\nos.abort()", "runtime_error"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "runtime_error"),
        ("import ctypes\nctypes.string_at(0)", "runtime_error"),
        ("def f(x):\n    while True: pass", "timeout"),
        ("import time\ntime.sleep(60)", "timeout"),
        (
            "import signal, time\nfor s in range(1, 32):\n"
            "  try: signal.signal(s, signal.SIG_IGN)\n  except OSError: pass\n"
            "while True: time.sleep(1)",
            "timeout",
        ),
        ("def f(x):\n    return len(bytearray(1 << 40))", "memory"),
        ("x = []\nwhile True: x.append(bytes(1 << 20))", "memory"),
        ("while True: print('x' * 1000)", "output"),
        ("import os\nwhile True: os.write(2, b'x' * 1000)", "output"),
        ("def f(x):\n    return [0] * 300_000", "output"),
        ("def f(x):\n    y = []\n    y.append(y)\n    return y", "output"),
        ("def f(x):\n    return 'x' * (8 << 20)", "output"),
        ("", "failed"),
        ("def g(x):\n    return x + 1", "failed"),
        ("def f(x):\n    pass", "failed"),
    ],
)
def test_status_of(verdict_of: VerdictOf, text: str, status: str) -> None:
    verdict = verdict_of(text)
    assert verdict.status == status, verdict
    assert verdict.pass_rate == 0.0
    assert set(verdict.tests) == {status}


def test_a_program_above_the_size_limit_is_not_run(verdict_of: VerdictOf, limits: Limits) -> None:
    verdict = verdict_of("#" * (limits.source_bytes + 1))
    assert verdict.status == "compile_error"
    assert str(limits.source_bytes) in verdict.stderr


def test_answers_before_the_time_limit_count(verdict_of: VerdictOf) -> None:
    verdict = verdict_of("def f(x):\n    while x == 41: pass\n    return x + 1")
    assert verdict.tests == ("passed", "timeout", "timeout")
    assert (verdict.status, verdict.pass_rate) == ("timeout", pytest.approx(1 / 3))


def test_the_traceback_comes_back_trimmed(verdict_of: VerdictOf) -> None:
    verdict = verdict_of("import sys\nsys.stderr.write('a' * 30000)\ndef f(x):\n    return {}['the key']")
    assert verdict.status == "runtime_error"
    assert "KeyError: 'the key'" in verdict.stderr and "return {}['the key']" in verdict.stderr
    assert len(verdict.stderr) < 5000


def test_print_and_input_do_not_disturb(verdict_of: VerdictOf) -> None:
    text = "import sys\ndef f(x):\n    print(x, sys.stdin.read())\n    return x + 1\nprint('hello')"
    assert verdict_of(text).status == "passed"


def test_set_up_code_runs_after_the_program(verdict_of: VerdictOf) -> None:
    problem = Problem(
        "1",
        "own",
        "test",
        "python",
        "",
        "depth",
        (Test("depth(root)", "result == 2"),),
        setup="root = Node(Node(None))",
    )
    text = (
        "class Node:\n    def __init__(self, n): self.n = n\ndef depth(n):\n"
        "    return 0 if n is None else 1 + depth(n.n)"
    )
    assert verdict_of(text, problem).status == "passed"


def test_equal_texts_run_once_and_every_candidate_has_its_verdict(successor: Problem) -> None:
    text = "import os\ndef f(x):\n    return os.urandom(8)"
    with Judge(workers=2) as judge:
        verdicts = judge.judge(successor, [Candidate(str(i), "1", "g", text) for i in range(6)])
    assert [verdict.candidate_id for verdict in verdicts] == list("012345")
    assert len({verdict.wall_ms for verdict in verdicts}) == 1


def test_many_threads_share_one_judge(judge: Judge, successor: Problem) -> None:
    def judged(number: int) -> str:
        text = f"def f(x):\n    return x + {number}"
        return judge.judge(successor, [Candidate("c", "1", "g", text)])[0].status

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(judged, range(12)))
    assert [number for number, status in enumerate(found) if status == "passed"] == [1]


def test_verdicts_fit_their_record(judge: Judge, successor: Problem) -> None:
    texts = ("def f(x): return x + 1", "import sys\nsys.stderr.buffer.write(bytes(range(256)))\n1/0", "\ud800")
    verdicts = judge.judge(successor, [Candidate(str(i), "1", "g", text) for i, text in enumerate(texts)])
    assert from_batch(Verdict, to_batch(Verdict, verdicts)) == verdicts


def test_a_problem_without_tests_is_refused(judge: Judge) -> None:
    with pytest.raises(BadTest, match="no tests"):
        judge.judge(Problem("7", "own", "test", "python", "", "f", ()), [Candidate("c", "7", "g", "")])
