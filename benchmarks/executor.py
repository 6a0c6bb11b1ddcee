"""Programs per second: in bare processes, in a fresh jail each, in warm workers; and C++ and Java, compiled and run.

    python -m benchmarks.executor [--suite SPEC] [--programs N] [--rounds N] [--cores N] [--compiled N]

Blocks of programs are run by each way in turn, and every ratio is that of two blocks of one round; printed are the
medians. No text is run twice by the same way, so that no cache answers. Jails wait for the kernel between programs, so
there are twice as many as cores; bare processes are run both as many at a time as cores and twice as many, and what
counts is the better. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import random
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import compiled
from benchmarks.mutating import mutants
from benchmarks.plain_harness import asserts_of
from roles import languages
from roles.problems import suites
from roles.records import Candidate, Problem
from roles.sandbox import jail, seccomp
from roles.sandbox.judge import Judge
from roles.sandbox.limits import MIB, Limits

LIMITS = Limits(wall_seconds=20, cpu_seconds=1, memory_bytes=512 * MIB)
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
_COMPILED_SECONDS = 120.0
_ENDLESS = "\nwhile True: pass\n"
_ENDLESS_SHARE = 0.01


@dataclasses.dataclass(frozen=True)
class Piece:
    """One program, its problem, and what a bare harness runs behind it."""

    problem: Problem
    text: str
    asserts: str = ""

    def fresh(self, number: int) -> Piece:
        """The same with another text."""
        comment = "#" if self.problem.language == "python" else "//"
        return dataclasses.replace(self, text=f"{self.text}\n{comment} {number}\n")


Way = Callable[[Sequence[Piece]], int]  # runs a block, returns how many passed


def references(spec: str, rng: random.Random) -> list[Piece]:
    """The first reference of each problem of a suite, in random order."""
    asserts = {name: text for name, text in asserts_of(spec).items() if "from roles." not in text}
    pieces = [
        Piece(problem, problem.references[0], asserts[problem.id]) for problem in suites.load(spec)
        if problem.references and problem.language == "python" and problem.id in asserts
    ]  # fmt: skip
    rng.shuffle(pieces)
    return pieces


def mix(pieces: Sequence[Piece], rng: random.Random) -> list[Piece]:
    """References, as many broken neighbours of them, and a few programs that never end."""
    found = []
    for piece in pieces:
        texts = [piece.text, *mutants(piece.text, rng, 1)]
        found += [dataclasses.replace(piece, text=text) for text in texts]
    rng.shuffle(found)
    step = round(1 / _ENDLESS_SHARE)
    return [
        dataclasses.replace(piece, text=piece.text + _ENDLESS) if index % step == step // 2 else piece
        for index, piece in enumerate(found)
    ]


class Bare:
    """`python3 file.py` without a jail, some at a time."""

    def __init__(self, workers: int, *flags: str) -> None:
        self._command = [languages.get("python").runtime(jail.foreign_user()).executable, *flags]
        self._pool = concurrent.futures.ThreadPoolExecutor(workers)

    def __call__(self, pieces: Sequence[Piece]) -> int:
        with tempfile.TemporaryDirectory() as folder:
            self._folder = Path(folder)
            return sum(self._pool.map(self._passes, range(len(pieces)), pieces))

    def _passes(self, number: int, piece: Piece) -> bool:
        path = self._folder / f"{number}.py"
        path.write_text(f"{piece.text}\n{piece.asserts}\n", encoding="utf-8")
        return _ends_well([*self._command, str(path)], subprocess.DEVNULL, cpu_seconds=LIMITS.cpu_seconds)


class Fresh:
    """A jail for each program, with the namespaces, mounts, limits and filter that programs have in warm workers."""

    def __init__(self, workers: int) -> None:
        self._log = os.memfd_create("log")
        arguments = jail.command(LIMITS, languages.get("python"), 0, 0, self._log)
        self._start = arguments[: arguments.index("--")]
        interpreter = arguments[arguments.index("--") + 1]
        for option in ("--cap", "--cap", "--pass_fd", "--pass_fd", "--rlimit_as", "--rlimit_cpu", "-m"):
            index = self._start.index(option)
            del self._start[index : index + 2]
        self._start += ["-m", f"none:/tmp:tmpfs:size={LIMITS.disk_bytes},nr_inodes=2048,mode=1777"]
        self._start += ["--rlimit_as", str(LIMITS.memory_bytes // MIB), "--rlimit_cpu", str(LIMITS.cpu_seconds)]
        self._start += ["--seccomp_string", _policy(), "--", interpreter, "-s", "-B", "-"]
        self._pool = concurrent.futures.ThreadPoolExecutor(workers)
        held = "\n".join(
            f"assert '{name}:\\t{value}' in open('/proc/self/status').read()"
            for name, value in (("Seccomp", 2), ("CapEff", "0" * 16), ("NoNewPrivs", 1))
        )
        if not self._passes(Piece(Problem("", "", "", "python", "", "", ()), held)):
            raise RuntimeError("a jail of its own does not confine: " + os.pread(self._log, 1000, 0).decode())

    def __call__(self, pieces: Sequence[Piece]) -> int:
        return sum(self._pool.map(self._passes, pieces))

    def _passes(self, piece: Piece) -> bool:
        source = os.memfd_create("program")
        try:
            os.write(source, f"{piece.text}\n{piece.asserts}\n".encode())
            os.lseek(source, 0, os.SEEK_SET)
            return _ends_well(self._start, source, pass_fds=(self._log,))
        finally:
            os.close(source)


def _policy() -> str:
    """The judge's filter in the language of nsjail."""

    def calls(numbers: Sequence[int]) -> str:
        return ", ".join(f"SYSCALL[{number}]" for number in numbers)

    rules = [
        f"ERRNO(1) {{ {calls(seccomp.NOT_PERMITTED)}, clone(flags) {{ (flags & 0x7e028000) != 0 }} }}",
        f"ERRNO(38) {{ {calls(seccomp.NOT_THERE)} }}",
        "ERRNO(97) { socket(domain) { domain != 1 } }",
    ]
    return "POLICY judge { " + ", ".join(rules) + " } USE judge DEFAULT ALLOW"


def _ends_well(command: Sequence[str], given: int, pass_fds: Sequence[int] = (), cpu_seconds: int = 0) -> bool:
    with subprocess.Popen(
        command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_ENVIRONMENT, pass_fds=pass_fds
    ) as process:
        if cpu_seconds:
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
        try:
            process.communicate(timeout=LIMITS.wall_seconds)
        except subprocess.TimeoutExpired:
            process.terminate()  # nsjail ends its jail; what is left of it after a kill would run on
        return process.wait() == 0


class Warm:
    """The judge."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def __call__(self, pieces: Sequence[Piece]) -> int:
        work = [
            (piece.problem, Candidate(str(number), piece.problem.id, "", piece.text))
            for number, piece in enumerate(pieces)
        ]
        return sum(verdict.status == "passed" for verdict in self._judge.judge_all(work))


class BareCompiled:
    """Compiler and runtime without a jail, some at a time."""

    def __init__(self, workers: int) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(workers)

    def __call__(self, pieces: Sequence[Piece]) -> int:
        return sum(self._pool.map(self._passes, pieces))

    def _passes(self, piece: Piece) -> bool:
        with tempfile.TemporaryDirectory() as folder:
            return compiled.bare(piece.problem, piece.text, Path(folder), _COMPILED_SECONDS)


def compare(ways: dict[str, Way], pieces: Sequence[Piece], block: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Programs per second of each way, over `rounds` blocks, relative to the first of `ways`."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    passed: dict[str, list[int]] = {name: [] for name in ways}
    for number in range(-1, rounds):  # the first warms up
        start = max(0, number) * block
        chosen = [pieces[(start + index) % len(pieces)].fresh(number) for index in range(block if number >= 0 else 4)]
        for name, way in ways.items():
            began = time.perf_counter()
            count = way(chosen)
            if number >= 0:
                speeds[name].append(len(chosen) / (time.perf_counter() - began))
                passed[name].append(count)
    first = next(iter(ways))
    return {
        name: {
            "per_second": round(statistics.median(speeds[name]), 1),
            "ratio": round(statistics.median(a / b for a, b in zip(speeds[name], speeds[first], strict=True)), 2),
            "lowest": round(min(a / b for a, b in zip(speeds[name], speeds[first], strict=True)), 2),
            "highest": round(max(a / b for a, b in zip(speeds[name], speeds[first], strict=True)), 2),
            "passed": sum(passed[name]),
            "programs": rounds * block,
        }
        for name in ways
    }


def worker_bytes(judge: Judge) -> float:
    """What a warm worker holds while it waits, shared pages divided among those who share them: mean over workers."""
    totals = []
    for worker in judge._all:
        found: dict[str, int] = {}
        for process in [worker.pid, *_descendants(worker.pid)]:
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{process}/smaps_rollup").read_text().partition("\n")[2]
                size = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
                found[text] = size * 1024  # a server and its init are one memory
        totals.append(sum(found.values()))
    return statistics.mean(totals)


def _descendants(parent: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return children + [below for child in children for below in _descendants(child)]


def show(console: Console, title: str, rows: dict[str, dict[str, Any]]) -> None:
    console.print(title)
    for name, row in rows.items():
        console.print(
            f"  {name:<32}{row['per_second']:>8} per second {row['ratio']:>6} x  [{row['lowest']} to {row['highest']}]"
            f"   {row['passed']} of {row['programs']} passed"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="pocket", help="as in a config: `pocket`, `mbpp:PATH`, ...")
    parser.add_argument("--programs", type=int, default=100, help="of Python, in a block")
    parser.add_argument("--compiled", type=int, default=8, help="programs of C++ and of Java in a block")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1, help="of this machine")
    arguments = parser.parse_args()
    rng, console = random.Random(0), Console(width=140)
    cores = arguments.cores
    total: dict[str, Any] = {"suite": arguments.suite, "cores": cores}
    with Judge(LIMITS, workers=2 * cores) as judge:
        ways: dict[str, Way] = {
            "python3 file.py": Bare(cores),
            f"python3 file.py, {2 * cores} at a time": Bare(2 * cores),
            "python3 -I -S file.py": Bare(cores, "-I", "-S"),
            "fresh jail each": Fresh(2 * cores),
            "warm worker": Warm(judge),
        }
        pieces = references(arguments.suite, rng)
        for title, chosen in ((f"references of {arguments.suite}", pieces), ("mix", mix(pieces, rng))):
            rows = compare(ways, chosen, arguments.programs, arguments.rounds)
            show(console, f"{title}, blocks of {arguments.programs}", rows)
            total["mix" if title == "mix" else "references"] = rows
        megabytes = worker_bytes(judge) / 1e6
        console.print(f"a warm worker holds {megabytes:.1f} MB")
        rows = total["references"]
        best = max(rows["python3 file.py"]["ratio"], rows[f"python3 file.py, {2 * cores} at a time"]["ratio"])
        total["warm_over_subprocess"] = round(rows["warm worker"]["ratio"] / best, 2)
        total["fresh_over_subprocess"] = round(rows["fresh jail each"]["ratio"] / best, 2)
        for language in ("cpp", "java"):
            total[f"{language}_over_bare"] = None
            if not arguments.compiled or not compiled.installed(language):
                console.print(f"{language}: left out")
                continue
            own = [Piece(problem, problem.references[0]) for problem in compiled.problems(language)]
            both: dict[str, Way] = {"compiler and program": BareCompiled(cores), "judge": Warm(judge)}
            rows = compare(both, own, arguments.compiled, arguments.rounds)
            show(console, f"{language}, blocks of {arguments.compiled}", rows)
            total[language] = rows
            total[f"{language}_over_bare"] = rows["judge"]["ratio"]
        total["worker_megabytes"] = round(megabytes, 1)
    print(json.dumps(total))


if __name__ == "__main__":
    main()
