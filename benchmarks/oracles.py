"""Programs that know the answers of a MultiPL-E test program, for a suite that has no reference solutions.

Each is the problem's prompt and a body that returns the expected value of the first test to the first call, and so on
(in Bash, where each call runs in a shell of its own, that of the test with the same arguments). They pass by
construction, whatever type the value has. Shifted by one test they are wrong and of the right types.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Sequence

from roles.problems.formats.dialects.scanning import Unparsed, end_of_group, split

Cases = list[tuple[str, str]]  # the arguments and the expected value, as source text


def cases(language: str, tests: str) -> Cases:
    """What the test program calls and expects. Raises `Unparsed` where it does something else."""
    found = _READERS[language](tests)
    if not found:
        raise Unparsed("no cases")
    return found


def body(language: str, name: str, known: Cases) -> str:
    """The rest of the program behind the prompt, cut where a completion is cut."""
    expected = [value for _, value in known]
    return _BODIES[language](name, expected) if language != "bash" else _bash(known)


def shifted(known: Cases) -> Cases | None:
    """Each call with the answer of the next one; None where all answers are the same text."""
    values = [value for _, value in known]
    if len(set(values)) == 1:
        return None
    return [(arguments, value) for (arguments, _), value in zip(known, values[1:] + values[:1], strict=True)]


def _asserted(opening: str, first: int = 0) -> Callable[[str], Cases]:
    """Reads `opening` + two arguments + `)`; `first` is the place of the call."""

    def read(tests: str) -> Cases:
        found: Cases = []
        for match in re.finditer(opening, tests):
            parts = split(tests[match.end() : end_of_group(tests, match.end() - 1) - 1])
            if len(parts) != 2:
                raise Unparsed(f"not two values: {parts}")
            found.append((parts[first], parts[1 - first]))
        return found

    return read


def _compared(opening: str) -> Callable[[str], Cases]:
    """Reads `opening` + call + ` == (value)` or `.equals(value)`."""

    def read(tests: str) -> Cases:
        found: Cases = []
        for match in re.finditer(opening, tests):
            whole = tests[match.end() : end_of_group(tests, match.end() - 1) - 1]
            end = end_of_group(whole, whole.index("("))
            value = re.fullmatch(r"\s*(?:==\s*|\.[eE]quals)(.*)", whole[end:], re.DOTALL)
            if not value:
                raise Unparsed(f"not a comparison: {whole}")
            found.append((whole[:end], value[1]))
        return found

    return read


def _php_cases(tests: str) -> Cases:
    return re.findall(r"if \(candidate(\(.*\)) !== (.*)\) \{ throw", tests)


def _bash_cases(tests: str) -> Cases:
    quoted = r'"(?:[^"\\$`]|\\.)*"'
    return re.findall(rf"\[\[ \$\(candidate((?: {quoted})*)\) = ({quoted}) \]\]", tests)


def _go_cases(tests: str) -> Cases:
    return re.findall(r"actual: candidate(\(.*\)), expected: (.*) \},", tests)


def _perl_cases(tests: str) -> Cases:
    """Also those of MBXP, whose calls a program that counts them need not know."""
    if "Compare(" in tests:
        return [("", value) for value in re.findall(r"my \$v\d+ = (.*);", tests)]
    return _asserted(r"if\(eq_deeply\(")(tests)


def _python_cases(tests: str) -> Cases:
    return [
        (ast.unparse(node.test.left), ast.unparse(node.test.comparators[0]))
        for node in ast.walk(ast.parse(tests))
        if isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare)
    ]


_READERS: dict[str, Callable[[str], Cases]] = {
    "bash": _bash_cases, "cpp": _compared(r"assert\("), "csharp": _compared(r"Debug\.Assert\("), "go": _go_cases,
    "java": _compared(r"assert\("), "javascript": _asserted(r"assert\.deepEqual\("),
    "lua": _asserted(r"lu\.assertEquals\("), "perl": _perl_cases, "php": _php_cases,
    "python": _python_cases, "ruby": _asserted(r"assert_equal\(", 1), "rust": _asserted(r"assert_eq!\("),
    "typescript": _asserted(r"assert\.deepEqual\("),
}  # fmt: skip


def _choice(expected: Sequence[str], form: str) -> str:
    return " ".join(form.format(index=index, value=value) for index, value in enumerate(expected))


def _bash(known: Cases) -> str:
    lines = ['  local k=$(printf "%s|" "$@")']
    for arguments, value in known:
        lines.append(f'  [[ $k = "$(printf "%s|" {arguments})" ]] && printf "%s\\n" {value} && return')
    return "\n".join(lines)


def _cpp(name: str, expected: Sequence[str]) -> str:
    return f"  static int n = 0;\n  switch (n++) {{ {_choice(expected, 'case {index}: return {value};')} }}\n  throw n;"


def _csharp(name: str, expected: Sequence[str]) -> str:
    domain = "AppDomain.CurrentDomain"
    return (
        f'        int turn__ = (int)({domain}.GetData("n") ?? 0); {domain}.SetData("n", turn__ + 1);\n'
        f"        {_choice(expected, 'if (turn__ == {index}) return {value};')}\n        throw new Exception();"
    )


def _java(name: str, expected: Sequence[str]) -> str:
    return (
        '        int turn__ = Integer.getInteger("n", 0); System.setProperty("n", "" + (turn__ + 1));\n'
        f"        {_choice(expected, 'if (turn__ == {index}) return {value};')}\n        throw new RuntimeException();"
    )


def _rust(name: str, expected: Sequence[str]) -> str:
    atomic = "std::sync::atomic::"
    arms = _choice(expected, "{index} => {value},")
    return (
        f"    static N: {atomic}AtomicUsize = {atomic}AtomicUsize::new(0);\n"
        f"    match N.fetch_add(1, {atomic}Ordering::SeqCst) {{ {arms} _ => panic!() }}"
    )


def _go(name: str, expected: Sequence[str]) -> str:
    arms = _choice(expected, "case {index}: return {value};")
    return f"    calls__++\n    switch calls__ {{ {arms} }}\n    panic(calls__)\n}}\n\nvar calls__ = -1\n"


def _lua(name: str, expected: Sequence[str]) -> str:
    answers = ", ".join(f"function() return {value} end" for value in expected)
    return f"  calls__ = (calls__ or 0) + 1\n  return ({{{answers}}})[calls__]()\nend\n"


def _perl(name: str, expected: Sequence[str]) -> str:
    answers = ", ".join(f"sub {{ return {value} }}" for value in expected)
    return f"    return (({answers})[$main::calls++])->();\n}}\n"


def _php(name: str, expected: Sequence[str]) -> str:
    arms = _choice(expected, "case {index}: return {value};")
    return f"    static $n = -1; $n++;\n    switch ($n) {{ {arms} }}\n}}\n"


def _python(name: str, expected: Sequence[str]) -> str:
    answers = ", ".join(f"lambda: {value}" for value in expected)
    return f'    {name}.n = getattr({name}, "n", -1) + 1\n    return [{answers}][{name}.n]()\n'


def _ruby(name: str, expected: Sequence[str]) -> str:
    answers = ", ".join(f"-> {{ {value} }}" for value in expected)
    return f"  $calls = ($calls || -1) + 1\n  [{answers}][$calls].call\nend\n"


def _script(name: str, expected: Sequence[str], cast: str = "") -> str:
    function = f"({name}{cast})"
    answers = ", ".join(f"() => ({value})" for value in expected)
    return f"  {function}.n = ({function}.n ?? -1) + 1;\n  return [{answers}][{function}.n]();\n}}\n"


def _typescript(name: str, expected: Sequence[str]) -> str:
    return _script(name, expected, " as any")


_BODIES: dict[str, Callable[[str, Sequence[str]], str]] = {
    "cpp": _cpp, "csharp": _csharp, "go": _go, "java": _java, "javascript": _script, "lua": _lua, "perl": _perl,
    "php": _php, "python": _python, "ruby": _ruby, "rust": _rust, "typescript": _typescript,
}  # fmt: skip
