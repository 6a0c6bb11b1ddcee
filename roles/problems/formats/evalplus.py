"""EvalPlus (Liu et al., 2023): MBPP+ and HumanEval+ in their structured form, a JSONL row of inputs for each task.

The published rows hold no expected outputs: those are what the reference returns. `python -m
roles.problems.formats.evalplus IN OUT` runs every reference in a jail, once, and writes the rows with one more field,
`expected`, so that nothing has to be run to read a suite. Outputs are compared as EvalPlus compares them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from roles.problems.files import Row, read_rows, write_rows
from roles.records import Problem, Test
from roles.sandbox import jobs
from roles.sandbox.limits import MIB, Limits
from roles.sandbox.outcome import Reply, Returned
from roles.sandbox.tester import literal
from roles.sandbox.values import BadValue, TooLarge, decode, encode
from roles.sandbox.worker import Worker

_RELATIVE = 1e-7  # beside the absolute tolerance
_FLOAT_TOLERANCE = 1e-6  # the absolute one where the task asks for none and floats are expected
_ANYTHING = frozenset(["are_equivalent"])  # whatever is returned passes
_NOT_NONE = frozenset(["check_str", "text_match_three", "text_starta_endb"])  # the reference returns a match object
_AS_SETS = frozenset([
    "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
    "intersection_array", "find_dissimilar", "Diff",
])  # fmt: skip
_LARGEST = 32_768  # characters of an encoded output: a hundred of them are within what a program may reply
# less than half of the time that a program has by default: a correct one may be slower than the reference
_LIMITS = Limits(wall_seconds=30, cpu_seconds=4, memory_bytes=512 * MIB, reply_bytes=64 * MIB)


def load(path: Path) -> list[Problem]:
    """All problems of `path`, in the split `test`; the base inputs come first. Raises `SuiteError`."""
    return [_problem(row) for row in read_rows(path)]


def add_expected(source: Path, target: Path, limits: Limits = _LIMITS) -> Iterator[tuple[str, int, int]]:
    """Writes the rows of `source` with their expected outputs to `target`, once all are known.

    Yields for each task its id, the number of its inputs, and how many of them its reference answered within `limits`
    with plain data of moderate size. Raises `SuiteError` for a malformed row, `SandboxError` without a sandbox.
    """
    rows: list[dict[str, Any]] = []
    for row in read_rows(source):
        name, inputs = row.get("entry_point", str), _inputs(row)
        replies = _answers(_reference(row), [_call(name, arguments) for arguments in inputs], limits)
        expected = [_form(name, reply) for reply in replies]
        rows.append({**row.values, "expected": expected})
        yield row.get("task_id", str), len(inputs), len(inputs) - expected.count(None)
    write_rows(target, rows)


def _problem(row: Row) -> Problem:
    name, inputs = row.get("entry_point", str), _inputs(row)
    if "expected" not in row.values:
        module = "roles.problems.formats.evalplus"
        raise row.error("expected", f"is missing; `python -m {module} {row.path} OUT` runs the references and adds it")
    expected = row.get("expected", list)
    if len(expected) != len(inputs):
        raise row.error("expected", f"has {len(expected)} items for {len(inputs)} inputs")
    tests = [
        Test(_call(name, arguments), _check(row, name, arguments, _value(row, form)))
        for arguments, form in zip(inputs, expected, strict=True)
        if form is not None
    ]
    if not tests:
        raise row.error("expected", "has no output")
    return Problem(
        id=row.get("task_id", str), suite="evalplus", split="test", language="python", prompt=row.get("prompt", str),
        entry_point=name, tests=tuple(tests), references=(_reference(row),),
    )  # fmt: skip


def _reference(row: Row) -> str:
    return row.get("prompt", str) + row.get("canonical_solution", str)


def _call(name: str, arguments: Sequence[Any]) -> str:
    return f"{name}({', '.join(map(literal, arguments))})"


def _form(name: str, reply: Reply | None) -> list[Any] | None:
    """A list of the encoded output, None where there is none."""
    if not isinstance(reply, Returned):
        return None
    value = reply.value is not None if name in _NOT_NONE else reply.value
    try:
        literal(value)
        form = encode(value)
    except (TypeError, TooLarge):
        return None
    return [form] if len(json.dumps(form)) <= _LARGEST else None


def _value(row: Row, form: Any) -> Any:
    if not isinstance(form, list) or len(form) != 1:
        raise row.error("expected", "each item must be null or a list of one encoded value")
    try:
        return decode(form[0])
    except BadValue as error:
        raise row.error("expected", f"not an encoded value: {error}") from error


def _answers(program: str, calls: list[str], limits: Limits) -> list[Reply | None]:
    """The reply to each call. A call that ends the program is left out, until one process answers all others."""
    asked = list(range(len(calls)))
    while True:
        with Worker(limits) as worker:
            replies = jobs.answer(worker, program, "", [calls[index] for index in asked]).replies
        if len(replies) == len(asked):
            answered: dict[int, Reply] = dict(zip(asked, replies, strict=True))
            return [answered.get(index) for index in range(len(calls))]
        del asked[len(replies)]


def _check(row: Row, name: str, arguments: Sequence[Any], value: Any) -> str:
    given = row.values.get("atol", 0)
    if not isinstance(given, int | float):
        raise row.error("atol", "expected a number")
    try:
        expected = literal(value)
    except TypeError as error:
        raise row.error("expected", f"not plain data: {error}") from error
    equal = f"result == {expected}"
    mbpp = row.get("task_id", str).startswith("Mbpp/")
    if mbpp and name in _ANYTHING:
        return "True"
    if mbpp and name in _NOT_NONE:
        return "result is not None and result is not False" if value else "result is None or result is False"
    if mbpp and name in _AS_SETS:
        return f"set(result) == set({expected})"
    if mbpp and name == "sum_div":
        return f"{equal} or result == 0"
    if mbpp and name == "surface_Area":
        return f"{equal} or abs(result - {_surface_of_pyramid(*arguments)}) <= {given!r}"
    if mbpp and name == "digit_distance_nums":
        return f"{equal} or result == {_digit_distance(*arguments)}"
    if not mbpp and name == "find_zero":
        terms = (f"{literal(factor)} * float(result) ** {power}" for power, factor in enumerate(arguments[0]))
        return f"abs(sum([{', '.join(terms)}])) <= {given!r}"
    tolerance = given or (_FLOAT_TOLERANCE if _is_floats(value) else 0)
    if not tolerance or not isinstance(value, int | float | complex | list | tuple):
        return equal
    near = f"close(result, {expected}, {tolerance!r}, {_RELATIVE})"
    if isinstance(value, list | tuple):
        return near
    return f"{equal} or isinstance(result, {type(value).__name__}) and {near}"


def _is_floats(value: Any) -> bool:
    items = value if isinstance(value, list | tuple) else [value]
    return bool(items) and all(isinstance(item, float) for item in items)


def _surface_of_pyramid(edge: float, height: float) -> int:
    """With `height` from the base to the apex; the task may be read either way."""
    return round(edge**2 + 2 * edge * math.hypot(edge / 2, height))


def _digit_distance(first: int, second: int) -> int:
    """With the shorter number filled up by zeros; the task may be read either way."""
    width = max(len(str(first)), len(str(second)))
    return sum(abs(int(a) - int(b)) for a, b in zip(str(first).zfill(width), str(second).zfill(width), strict=True))


def _inputs(row: Row) -> list[list[Any]]:
    """The arguments of each call, base inputs first."""
    inputs: list[list[Any]] = []
    for field in ("base_input", "plus_input"):
        items = row.values.get(field) or []  # one task has an empty object for an empty list
        if not isinstance(items, list) or not all(isinstance(item, list) for item in items):
            raise row.error(field, "expected a list of lists of arguments")
        inputs += items
    if not inputs:
        raise row.error("base_input", "is empty")
    dataset, _, number = row.get("task_id", str).partition("/")
    shape = _SHAPES.get(int(number)) if dataset == "Mbpp" and number.isdigit() else None
    try:
        return [shape(arguments) for arguments in inputs] if shape else inputs
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise row.error("base_input", f"not what task {number} takes: {error}") from error


def _tuples(items: Sequence[Any]) -> list[Any]:
    return [tuple(item) for item in items]


def _deep(value: Any) -> Any:
    return tuple(map(_deep, value)) if isinstance(value, list) else value


def _first(change: Callable[[Any], Any]) -> Callable[[list[Any]], list[Any]]:
    return lambda arguments: [change(arguments[0]), *arguments[1:]]


# JSON has neither tuples nor sets nor complex numbers; for these tasks of MBPP+ the arguments were such.
_TASKS: tuple[tuple[Callable[[list[Any]], list[Any]], str], ...] = (
    (_tuples, "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809"),
    (lambda arguments: [_tuples(item) for item in arguments],
     "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780"),
    (lambda arguments: [tuple(_tuples(item)) for item in arguments], "259 401 445"),
    (lambda arguments: [_deep(item) for item in arguments], "580 615 791"),
    (_first(tuple), "250 307 405 446 617 720 763 808"),
    (_first(_tuples), "75 413 444 753"),
    (_first(lambda items: tuple(tuple(item) if isinstance(item, list) else item for item in items)), "278"),
    (_first(lambda items: [set(item) if isinstance(item, list) and item else {} for item in items]), "115"),
    (_first(lambda items: {key: tuple(item) for key, item in items.items()}), "722"),
    (_first(complex), "252"),
    (lambda arguments: [arguments[0], tuple(arguments[1])], "106 750"),
    (lambda arguments: [float(arguments[0]), complex(arguments[1])], "124"),
)  # fmt: skip
_SHAPES = {int(number): shape for shape, numbers in _TASKS for number in numbers.split()}


def main(source: Path, target: Path) -> None:
    """Run the references of an EvalPlus file in a jail and write its rows with the expected outputs."""
    tasks = inputs = answered = 0
    for task, asked, known in add_expected(source, target):
        tasks, inputs, answered = tasks + 1, inputs + asked, answered + known
        if known < asked:
            print(f"{task}: {asked - known} of {asked} inputs left out: no plain data of moderate size came in time")
    print(f"{target}: {tasks} tasks, {answered} of {inputs} outputs")


if __name__ == "__main__":
    typer.run(main)
