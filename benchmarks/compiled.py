"""Short programs in C++ and Java, with calls and what they return, for measuring how fast programs are judged."""

from __future__ import annotations

import subprocess
from pathlib import Path

from roles import languages
from roles.languages import Executed
from roles.records import Problem, Test
from roles.sandbox.limits import Limits

_CPP = "#include <bits/stdc++.h>\nusing namespace std;\n\n"
_JAVA = "import java.util.*;\nimport java.util.stream.*;\n\nclass Problem {{\n{}\n}}\n"
# the body of a function in each language, and calls with their results, written the same way in both
_BODIES: dict[str, tuple[tuple[str, tuple[tuple[str, int], ...]], ...]] = {
    "cpp": (
        ("long f(long n) { long s = 0; for (long i = 1; i <= n; i++) if (n % i == 0) s += i; return s; }",
         (("f(1)", 1), ("f(28)", 56), ("f(97)", 98))),
        ("long f(string s) { map<char, int> c; for (char x : s) c[x]++; long n = 0; for (auto& [k, v] : c) n += v > 1; "
         "return n; }", (('f("aabbc")', 2), ('f("")', 0), ('f("xyz")', 0))),
        ("long f(vector<long> v) { sort(v.begin(), v.end()); return v[v.size() / 2]; }",
         (("f({3, 1, 2})", 2), ("f({5})", 5), ("f({9, 7, 8, 1, 2})", 7))),
        ("long f(long n) { vector<long> d(n + 1); for (long i = 0; i <= n; i++) d[i] = i < 2 ? i : d[i-1] + d[i-2]; "
         "return d[n]; }", (("f(1)", 1), ("f(10)", 55), ("f(50)", 12586269025))),
    ),
    "java": (
        ("static long f(long n) { long s = 0; for (long i = 1; i <= n; i++) if (n % i == 0) s += i; return s; }",
         (("Problem.f(1)", 1), ("Problem.f(28)", 56), ("Problem.f(97)", 98))),
        ("static long f(String s) { Map<Character, Integer> c = new HashMap<>(); "
         "for (char x : s.toCharArray()) c.put(x, c.getOrDefault(x, 0) + 1); long n = 0; "
         "for (int v : c.values()) if (v > 1) n++; return n; }",
         (('Problem.f("aabbc")', 2), ('Problem.f("")', 0), ('Problem.f("xyz")', 0))),
        ("static long f(List<Long> v) { List<Long> s = new ArrayList<>(v); Collections.sort(s); "
         "return s.get(s.size() / 2); }",
         (("Problem.f(List.of(3L, 1L, 2L))", 2), ("Problem.f(List.of(5L))", 5),
          ("Problem.f(List.of(9L, 7L, 8L, 1L, 2L))", 7))),
        ("static long f(long n) { return LongStream.rangeClosed(1, n).filter(i -> n % i == 0).count(); }",
         (("Problem.f(1)", 1), ("Problem.f(12)", 6), ("Problem.f(97)", 2))),
    ),
}  # fmt: skip


def problems(language: str) -> list[Problem]:
    """Problems in `language`, each with one reference."""
    found = []
    for number, (body, pairs) in enumerate(_BODIES[language]):
        text = _CPP + body + "\n" if language == "cpp" else _JAVA.format(body)
        tests = tuple(Test(call, f"result == {value}") for call, value in pairs)
        name = f"{language}/{number}"
        found.append(Problem(name, "bench", "test", language, "", "f", tests, references=(text,)))
    return found


def installed(language: str) -> bool:
    try:
        languages.get(language).runtime(True)
    except languages.MissingRuntime:
        return False
    return True


def bare(problem: Problem, text: str, folder: Path, timeout: float) -> bool:
    """Compiles and runs `text` with its tests as a main program, as one would without a jail: does it pass?

    The commands have the judge's own options, but none of what it prepares once per machine.
    """
    language = languages.get(problem.language)
    assert isinstance(language, Executed)
    wrong = " || ".join(f"{test.call} != {test.check.removeprefix('result == ')}L" for test in problem.tests)
    if problem.language == "cpp":
        source, main = "program.cpp", f"int main() {{ return {wrong}; }}\n"
    else:
        body = f"public static void main(String[] a) {{ if ({wrong}) System.exit(1); }}"
        source, main = "Main.java", f"class Main {{ {body} }}\n"
    folder.joinpath(source).write_text(text + main, encoding="utf-8")
    for command in _commands(problem.language, source, Limits()):
        done = subprocess.run(
            command, cwd=folder, env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=timeout, check=False,
        )  # fmt: skip
        if done.returncode:
            return False
    return True


def _commands(language: str, source: str, limits: Limits) -> list[list[str]]:
    if language == "cpp":
        return [["g++", "-std=gnu++17", "-O1", "-w", "-pipe", source, "-o", "program"], ["./program"]]
    options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    compiler = ["javac", *(f"-J{option}" for option in options), "-nowarn", "-proc:none", source]
    return [compiler, ["java", *options, "-Xss64m", "Main"]]
