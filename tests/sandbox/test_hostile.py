"""Programs that try to pass, to break out, or to break the judge. None may pass, none may look like our fault."""

from collections.abc import Callable
from pathlib import Path

import pytest

from roles.records import Candidate, Problem, Test, Verdict
from roles.sandbox.judge import Judge

VerdictOf = Callable[..., Verdict]
EQUAL = "    def __eq__(self, other): return True\n    __hash__ = None\n"
FAILED = {
    "prints the expected values": "print(2)\nprint(42)\nprint(0)\n",
    "prints them and answers nothing": "def f(x):\n    print(x + 1)\n",
    "exits with 0": "import sys\nsys.exit(0)\n",
    "exits with 0 at once": "import os\nos._exit(0)\n",
    "exits with 0 inside the call": "import os\ndef f(x):\n    os._exit(0)\n",
    "raises SystemExit inside the call": "def f(x):\n    raise SystemExit\n",
    "returns an object equal to all": f"class A:\n{EQUAL}def f(x):\n    return A()\n",
    "returns an int equal to all": f"class A(int):\n{EQUAL}def f(x):\n    return A(7)\n",
    "returns a list equal to all": f"class A(list):\n{EQUAL}def f(x):\n    return A()\n",
    "overwrites the equality of its own int": "import builtins\nclass int(int):\n"
    + EQUAL
    + "def f(x):\n    return int(5)\n",
    "patches the builtins": (
        "import builtins\n"
        "for name in ('len', 'str', 'isinstance', 'type', 'eval', 'exec', 'compile', 'dict', 'abs', 'open'):\n"
        "    setattr(builtins, name, lambda *a, **k: True)\n"
        "def f(x):\n    return None\n"
    ),
    "replaces a process": "import os, sys\nos.execv(sys.executable, ['python', '-c', ''])\n",
    "leaves in a thread": "import os, threading\nthreading.Thread(target=os._exit, args=(0,)).start()\n"
    "def f(x):\n    import time\n    time.sleep(1)\n",
    "writes frames of its own": (
        "import os, json, struct\n"
        "for fd in range(256):\n"
        "    for k in (-2, -1, 0, 1, 2):\n"
        "        b = json.dumps([k, 'val', ['i', '2']]).encode()\n"
        "        try: os.write(fd, bytes(16) + struct.pack('<I', len(b)) + b)\n"
        "        except OSError: pass\n"
        "os._exit(0)\n"
    ),
    "returns not-a-number": "def f(x):\n    return float('nan')\n",
    "returns True": "def f(x):\n    return True\n",
}


@pytest.mark.parametrize("text", FAILED.values(), ids=FAILED.keys())
def test_cheats_are_failed(verdict_of: VerdictOf, text: str) -> None:
    verdict = verdict_of(text)
    assert verdict.status == "failed", verdict


NOT_PASSED = {
    "closes all descriptors": "import os\nos.closerange(0, 256)\ndef f(x): return x + 1\n",
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass\n",
    "daemon that outlives it": "import os, time\nif os.fork() == 0:\n"
    "    os.setsid()\n    time.sleep(600)\nos._exit(1)\n",
    "kills its init": "import os, signal\nfor s in range(1, 32):\n"
    "    try: os.kill(1, s)\n    except OSError: pass\nos._exit(1)\n",
    "limits its init": "import resource\nresource.prlimit(1, resource.RLIMIT_CPU, (0, 0))\n"
    "resource.prlimit(1, resource.RLIMIT_AS, (1, 1))\n",
    "patches json": "import json\njson.dumps = None\njson.encoder.c_make_encoder = None\ndef f(x): return None\n",
    "keys with one hash": "def f(x):\n    return {i * (2 ** 61 - 1) for i in range(10 ** 4)}\n",
    "deep nesting": "def f(x):\n    y = []\n    for _ in range(10 ** 5): y = [y]\n    return y\n",
    "fills the disk": "with open('/tmp/x', 'wb') as f:\n    while True: f.write(bytes(1 << 20))\n",
    "many files": "for i in range(10 ** 6): open(f'/tmp/{i}', 'w').close()\n",
    "stops itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n",
    "raises its limits": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))\n",
}


@pytest.mark.parametrize("text", NOT_PASSED.values(), ids=NOT_PASSED.keys())
def test_vandals_do_not_pass_and_break_nothing(judge: Judge, verdict_of: VerdictOf, text: str) -> None:
    faults = judge.faults
    assert verdict_of(text).status not in ("passed", "sandbox_fault")
    assert verdict_of("def f(x): return x + 1").status == "passed"
    assert judge.faults == faults


def test_processes_together_stay_below_the_memory_limit(judge: Judge, verdict_of: VerdictOf) -> None:
    if judge.isolation.tier < 3:
        pytest.skip("this machine gives no memory group")
    text = (
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n"
        "        x = bytearray(80 << 20)\n        time.sleep(9)\nos.wait()\nos._exit(1)"
    )
    assert verdict_of(text).status == "memory"
    assert verdict_of("def f(x): return x + 1").status == "passed"


def answers(judge: Judge, text: str, call: str, check: str) -> bool:
    problem = Problem("1", "own", "test", "python", "", "f", (Test(call, check),))
    return judge.judge(problem, [Candidate("c", "1", "g", text)])[0].status == "passed"


def test_no_file_of_the_host_can_be_read_or_written(judge: Judge, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("42")
    opens = (
        "def f(path, mode='r'):\n    try: open(path, mode).close()\n    except OSError: return False\n    return True"
    )
    for path in (str(secret), str(Path(__file__).resolve()), "/etc/passwd", "/root", "/proc/1/environ", "/proc/1/mem"):
        assert answers(judge, opens, f"f({path!r})", "result is False"), path
    for path in ("/x", "/usr/lib/x", "/dev/x", "/proc/sys/kernel/hostname", "/proc/self/oom_score_adj"):
        assert answers(judge, opens, f"f({path!r}, 'w')", "result is False"), path
    assert answers(judge, opens, "f('/tmp/x', 'w')", "result is True")
    assert answers(judge, "import os\ndef f(): return os.listdir('/tmp')", "f()", "result == []")


def test_system_calls_that_lead_outside_are_refused(judge: Judge) -> None:
    refused = (
        "def f(action):\n    try: action()\n    except OSError as error: return error.errno\n"
        "    return 0\nimport os, socket, ctypes\n"
    )
    libc = "ctypes.CDLL(None, use_errno=True)"
    call = f"def c(name, *a):\n    l = {libc}\n    return ctypes.get_errno() if getattr(l, name)(*a) < 0 else 0\n"
    for family in ("AF_INET", "AF_INET6", "AF_NETLINK"):
        assert answers(judge, refused, f"f(lambda: socket.socket(socket.{family}))", "result == 97")
    for attempt in (
        "'unshare', 0x10000000",
        "'mount', b'x', b'/tmp', b'tmpfs', 0, None",
        "'ptrace', 16, 1, 0, 0",
        "'setns', 0, 0",
        "'chroot', b'/tmp'",
        "'syscall', 321, 0, 0, 0",
    ):
        assert answers(judge, refused + call, f"c({attempt})", "result == 1"), attempt
    assert answers(judge, refused + call, "c('syscall', 435, 0, 0)", "result == 38")


def test_nothing_of_one_program_reaches_the_next(judge: Judge) -> None:
    first = (
        "open('/tmp/left', 'w').write('x')\nimport builtins, math\nbuiltins.len = math.sqrt = None\ndef f(): return 1"
    )
    assert answers(judge, first, "f()", "result == 1")
    second = "import os, math\ndef f(): return os.listdir('/tmp'), len('ab'), math.sqrt(4), os.getpid()"
    assert answers(judge, second, "f()", "result == ([], 2, 2.0, 2)")
