"""Suites of problems by name: `pocket`, a file in our own format, or `FORMAT:PATH`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from roles.problems.files import SuiteError
from roles.problems.formats import apps, codecontests, evalplus, humaneval, mbpp, mbxp, multipl_e, native
from roles.records import Problem

_FORMATS: dict[str, Callable[[Path], list[Problem]]] = {
    "mbpp": mbpp.load, "humaneval": humaneval.load, "mbxp": mbxp.load, "multipl_e": multipl_e.load,
    "evalplus": evalplus.load, "apps": apps.load, "codecontests": codecontests.load,
}  # fmt: skip


def load(spec: str, split: str | None = None) -> list[Problem]:
    """The problems of a suite, those of one split if it is given, in the order of the file.

    Raises `SuiteError` for an unknown format or split, a file that cannot be read, a malformed row, or an id twice.
    """
    if spec == "pocket":
        return _pocket(split)
    problems = _load(spec)
    seen: set[str] = set()
    for problem in problems:
        if problem.id in seen:
            raise SuiteError(f"{spec}: the problem id {problem.id!r} occurs twice")
        seen.add(problem.id)
    if not problems:
        raise SuiteError(f"{spec}: no problems")
    if split is None:
        return problems
    chosen = [problem for problem in problems if problem.split == split]
    if not chosen:
        splits = ", ".join(dict.fromkeys(problem.split for problem in problems))
        raise SuiteError(f"{spec}: no problem of the split {split!r}; it has: {splits}")
    return chosen


def _load(spec: str) -> list[Problem]:
    name, colon, rest = spec.partition(":")
    if not colon:
        return native.load(_file(spec, spec))
    if name in _FORMATS:
        return _FORMATS[name](_file(spec, rest))
    if Path(spec).is_file():  # a path may contain a colon
        return native.load(Path(spec))
    raise SuiteError(f"{spec}: the format {name!r} is not known; allowed: {', '.join(sorted(_FORMATS))}")


def _pocket(split: str | None) -> list[Problem]:
    from roles.problems import pocket  # reads its own Parquet file; nothing else here needs it

    try:
        return pocket.load(split)
    except (OSError, ValueError) as error:
        raise SuiteError(f"pocket: {error}") from error


def _file(spec: str, path: str) -> Path:
    if not Path(path).is_file():
        named = "a suite is `pocket`, a path to JSONL or Parquet, or FORMAT:PATH with FORMAT one of "
        raise SuiteError(f"{spec}: there is no file {path!r}; {named}{', '.join(sorted(_FORMATS))}")
    return Path(path)


__all__ = ["SuiteError", "load"]
