"""The Rust test programs of MultiPL-E, read as calls and expected values. MBXP has none."""

from __future__ import annotations

import re
from typing import Any

from roles.problems.formats.dialects.literals import Literals, escaped
from roles.problems.formats.dialects.scanning import Unparsed, end_of_group, split
from roles.records import Test
from roles.sandbox.tester import literal

_MACRO = re.compile(r"assert_eq!\s*(?=\()")
_CANDIDATE = re.compile(r"let candidate = (\w+)")
_UNCHANGED = (".to_string()", ".to_owned()", ".into()")
_MAPS = ("HashMap::from", "BTreeMap::from")
_SETS = ("HashSet::from", "BTreeSet::from")
_SAME = ("String::from", "Some", "Box::new")  # what holds one value and is written as that value


class _Rust(Literals):
    words = {"true": True, "false": False, "None": None}  # noqa: RUF012

    def value(self) -> Any:
        self.skip("&")
        value = super().value()
        while any(self.skip(method) for method in _UNCHANGED):
            pass
        return value

    def bracket(self, here: str) -> Any:
        if here == "[":
            return self.items("[", "]", self.value)
        if here != "(":
            return super().bracket(here)
        start = self.position
        items = self.items("(", ")", self.value)
        alone = len(items) == 1 and not self.text[start : self.position - 1].rstrip().endswith(",")
        return items[0] if alone else tuple(items)

    def word(self, name: str) -> Any:
        name = name.removeprefix("std::collections::")
        if name == "vec" and self.skip("!"):
            return self.items("[", "]", self.value)
        if name in ("Vec::new", "String::new", "HashMap::new", "BTreeMap::new", "HashSet::new", "BTreeSet::new"):
            self.items("(", ")", self.value)
            return {"V": [], "S": ""}.get(name[0], {} if "Map" in name else set())
        if name in (*_MAPS, *_SETS, *_SAME):
            held = self.items("(", ")", self.value)
            if len(held) != 1:
                raise self.unparsed("not one value")
            try:
                return dict(held[0]) if name in _MAPS else set(held[0]) if name in _SETS else held[0]
            except (TypeError, ValueError) as error:
                raise self.unparsed(f"not a {name}") from error
        return super().word(name)

    def string(self, quoted: str) -> Any:
        return escaped(quoted)


def multipl_e(tests: str, entry_point: str) -> tuple[Test, ...]:
    """The tests of a row of MultiPL-E. Raises `Unparsed`."""
    start = re.search(r"\bfn main\(\)\s*(?=\{)", tests)
    named = _CANDIDATE.search(tests)
    if start is None or named is None:
        raise Unparsed(f"no main: {tests[:80]!r}")
    end = end_of_group(tests, start.end(), '"')
    read = []
    for statement in split(tests[start.end() + 1 : end - 1], ";", '"'):
        macro = _MACRO.match(statement)
        if macro and end_of_group(statement, macro.end(), '"') == len(statement):
            parts = split(statement[macro.end() + 1 : -1], ",", '"')
            if len(parts) != 2 or not parts[0].startswith("candidate("):
                raise Unparsed(f"not a call and a value: {statement[:80]!r}")
            expected = literal(_Rust.read(parts[1]))
            read.append(Test(named.group(1) + parts[0].removeprefix("candidate"), f"result == {expected}"))
        elif statement and not _CANDIDATE.fullmatch(statement):
            raise Unparsed(f"not an assertion: {statement[:80]!r}")
    if not read:
        raise Unparsed("no tests")
    return tuple(read)


def mbxp(test: str, entry_point: str, prompt: str) -> tuple[Test, ...]:
    """Raises `Unparsed`."""
    raise Unparsed("MBXP has no Rust")
