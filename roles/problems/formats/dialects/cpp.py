"""The C++ test programs of MultiPL-E and MBXP, read as calls and expected values.

Expected values are C++ literals; how one reads depends on the type it is converted to: `{{1, 2}}` may be a map, a
vector of vectors or a vector of pairs, and `1.1f` is another number than `1.1`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from roles.problems.formats.dialects.scanning import Unparsed, end_of_group, split
from roles.records import Test
from roles.sandbox.tester import literal

_NUMBER = re.compile(
    r"[+-]?(0[xX][0-9a-fA-F]+|\d+(?P<fraction>\.\d*)?(?P<exponent>[eE][+-]?\d+)?)(?P<suffix>[a-zA-Z]*)"
)
_STRING = re.compile(r'\s*"((?:\\.|[^"\\])*)"', re.DOTALL)
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]+|[0-7]{1,3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_TYPE = re.compile(r"\s*(?:const\s+)?(?:std::)?(?P<name>(?:unsigned |signed |long |short )*[A-Za-z_]\w*)\s*")
_WORDS = {"true": True, "false": False, "nullptr": None, "NULL": None, "nullopt": None}
_INTEGERS = {"char", "short", "int", "long", "unsigned", "size_t", "int32_t", "int64_t", "uint64_t"}
_LISTS = {"vector", "list", "deque", "array", "initializer_list", "multiset"}
_SETS = {"set", "unordered_set"}
_DICTS = {"map", "unordered_map"}
_TUPLES = {"pair", "tuple"}
_TEMPLATES = _LISTS | _SETS | _DICTS | _TUPLES | {"optional"}

_CASE = re.compile(r"(?P<type>[\w:<>, ]+?)\s+(?P<variable>x\d+)\s*=\s*(?P<call>.*)", re.DOTALL)
_CHECK = re.compile(r"if\s*\(!\(compare\((?P<variable>x\d+),\s*(?P<expected>.*)\)\)\)\s*\{.*\}", re.DOTALL)


class _Type(NamedTuple):
    name: str
    arguments: tuple[_Type, ...] = ()


_ANY = _Type("any")


def multipl_e(tests: str, entry_point: str) -> tuple[Test, ...]:
    """The tests of a row of MultiPL-E. Raises `Unparsed`."""
    statements = _main(tests)
    named = re.fullmatch(r"auto candidate = (\w+)", statements[0]) if statements else None
    if named is None:
        raise Unparsed(f"no candidate: {tests[:80]!r}")
    read = []
    for statement in statements[1:]:
        if not re.match(r"assert\s*\(", statement) or end_of_group(statement, statement.index("(")) != len(statement):
            raise Unparsed(f"not an assertion: {statement[:80]!r}")
        condition = statement[statement.index("(") + 1 : -1].strip()
        if not condition.startswith("candidate("):
            raise Unparsed(f"not a call: {condition[:80]!r}")
        end = end_of_group(condition, len("candidate"))
        arguments, rest = condition[len("candidate") : end], condition[end:].strip()
        if not rest.startswith("=="):
            raise Unparsed(f"not compared for equality: {rest[:80]!r}")
        read.append(Test(named.group(1) + arguments, f"result == {literal(_read(rest[2:], _ANY))}"))
    return tuple(read)


def mbxp(test: str, entry_point: str, prompt: str) -> tuple[Test, ...]:
    """The tests of a row of MBXP. Raises `Unparsed`."""
    read = []
    called: dict[str, tuple[str, str]] = {}
    for statement in _main(test):
        if statement == "return 0":
            continue
        check, case = _CHECK.fullmatch(statement), _CASE.fullmatch(statement)
        if check and check["variable"] in called:
            kind, call = called.pop(check["variable"])
            expected = literal(_read(check["expected"], _type(kind)))
            read.append(Test(_converted(call, kind, entry_point, prompt), f"result == {expected}"))
        elif case and not check:
            called[case["variable"]] = case["type"].strip(), case["call"].strip()
        else:
            raise Unparsed(f"neither a call nor a comparison: {statement[:80]!r}")
    if not read or called:
        raise Unparsed("no tests")
    return tuple(read)


def _converted(call: str, kind: str, entry_point: str, prompt: str) -> str:
    """`call`, converted to `kind` as by the variable that it initialises; the prompt's function mostly returns that."""
    returned = re.search(rf"^\s*([\w:<>, ]+?)\s+{re.escape(entry_point)}\s*\(", prompt, re.MULTILINE)
    if returned and re.sub(r"\s|std::", "", returned.group(1)) == re.sub(r"\s|std::", "", kind):
        return call
    return f"[]() -> {kind} {{ return {call}; }}()"


def _main(text: str) -> list[str]:
    """The statements of `main`, which has to be the last function."""
    start = re.search(r"\bint main\([^)]*\)\s*(?=\{)", text)
    if start is None:
        raise Unparsed(f"no main: {text[:80]!r}")
    end = end_of_group(text, start.end())
    if text[end:].strip():
        raise Unparsed(f"code behind main: {text[end : end + 80]!r}")
    body = text[start.end() + 1 : end - 1]
    return [part for part in split(re.sub(r"(?<=\})\s*\n", ";\n", body), ";") if part]


def _type(text: str) -> _Type:
    kind, end = _type_at(text, 0)
    if text[end:].strip(" &"):
        raise Unparsed(f"not a type: {text[:80]!r}")
    return kind


def _type_at(text: str, start: int) -> tuple[_Type, int]:
    """The type that `text` has at `start`, and where it ends."""
    found = _TYPE.match(text, start)
    if found is None:
        raise Unparsed(f"not a type: {text[start : start + 80]!r}")
    name, end = found["name"], found.end()
    arguments = []
    if text.startswith("<", end):
        while text[end] in "<,":
            argument, end = _argument_at(text, end + 1)
            arguments.append(argument)
            if end >= len(text):
                raise Unparsed(f"not a type: {text[start : start + 80]!r}")
        if text[end] != ">":
            raise Unparsed(f"not a type: {text[start : start + 80]!r}")
        end += 1
    return _Type(name.split()[-1], tuple(arguments)), end


def _argument_at(text: str, start: int) -> tuple[_Type, int]:
    size = re.compile(r"\s*(\d+)\s*").match(text, start)  # of an array
    if size:
        return _Type(size.group(1)), size.end()
    kind, end = _type_at(text, start)
    return kind, end + len(text[end:]) - len(text[end:].lstrip())


def _read(text: str, kind: _Type) -> Any:
    """The value of the expression `text` once it is converted to `kind`. Raises `Unparsed`."""
    text = text.strip()
    if text.startswith("(") and end_of_group(text, 0) == len(text):
        return _read(text[1:-1], kind)
    if text.startswith("("):  # a cast
        end = end_of_group(text, 0)
        return _convert(_read(text[end:], _type(text[1 : end - 1])), kind)
    if text.startswith("{") and end_of_group(text, 0) == len(text):
        return _gather(split(text[1:-1]), kind)
    for read in (_number, _text, _constructed):
        value = read(text)
        if value is not NotImplemented:
            return _convert(value, kind)
    raise Unparsed(f"not a literal: {text[:80]!r}")


def _number(text: str) -> Any:
    found = _NUMBER.fullmatch(text)
    if found is None:
        return NotImplemented
    digits = text[: len(text) - len(found["suffix"])] if found["suffix"] else text
    suffix = found["suffix"].lower()
    if found["fraction"] is None and found["exponent"] is None and not set(suffix) - set("ul"):
        sign = -1 if digits.startswith("-") else 1
        size = digits.lstrip("+-")
        return sign * (int(size, 16) if size[:2] in ("0x", "0X") else int(size, 8) if size[0] == "0" else int(size))
    if suffix not in ("", "f", "l"):
        raise Unparsed(f"not a number: {text[:80]!r}")
    return _single(float(digits)) if suffix == "f" else float(digits)


def _single(value: float) -> float:
    """The nearest number of single precision."""
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError as error:
        raise Unparsed(f"no number of single precision: {value}") from error


def _text(text: str) -> Any:
    if re.fullmatch(r"'(\\.[^']*|[^\\'])'", text):
        return _unescaped(text[1:-1])
    parts, end = [], 0
    while found := _STRING.match(text, end):
        parts.append(found.group(1))
        end = found.end()
    if not parts or end < len(text):
        return NotImplemented
    return _unescaped("".join(parts)).partition("\0")[0]  # a string made from a literal ends there


def _unescaped(text: str) -> str:
    def one(found: re.Match[str]) -> str:
        code = found.group(1)
        if code[0] in "uU":
            return chr(int(code[1:], 16))
        if code[0] == "x" or code[0] in "01234567":
            return bytes([int(code[1:], 16) if code[0] == "x" else int(code, 8)]).decode("ascii")
        return _ESCAPED.get(code, code)

    try:
        return _ESCAPE.sub(one, text)
    except ValueError as error:
        raise Unparsed(f"not text: {text[:80]!r}") from error


def _constructed(text: str) -> Any:
    """`true`, `string("a")`, `std::vector<long>({1, 2})`, `std::make_tuple(1, 2)` and their like."""
    kind, end = _type_at(text, 0)
    if end == len(text):
        return _WORDS.get(kind.name, NotImplemented)
    if text[end] not in "({" or end_of_group(text, end) != len(text):
        return NotImplemented
    inner = text[end + 1 : -1].strip()
    if kind.name in ("make_tuple", "make_pair", "tie"):
        return tuple(_read(part, _ANY) for part in split(inner))
    if text[end] == "(" and inner.startswith("{") and end_of_group(inner, 0) == len(inner):
        inner = inner[1:-1]
    elif text[end] == "(" and len(split(inner)) == 1:
        return _read(inner, kind)
    return _gather(split(inner), kind)


def _gather(parts: list[str], kind: _Type) -> Any:
    """What a list of initialisers makes of `kind`."""
    name, arguments = kind
    inner = arguments[0] if arguments else _ANY
    if name in _LISTS:
        return [_read(part, inner) for part in parts]
    if name in _SETS:
        return {_hashable(_read(part, inner)) for part in parts}
    if name in _DICTS and len(arguments) >= 2:
        pairs = [_read(part, _Type("pair", arguments[:2])) for part in parts]
        known: dict[Any, Any] = {}
        for key, value in pairs:
            known.setdefault(_hashable(key), value)
        return known
    if name in _TUPLES and len(parts) == len(arguments):
        return tuple(_read(part, argument) for part, argument in zip(parts, arguments, strict=True))
    if name == "optional" and not parts:
        return None
    if name in ("string", "any", "optional") and len(parts) == 1:
        return _read(parts[0], inner if name == "optional" else kind)
    if name == "string" and not parts:
        return ""
    if name == "any":
        return [_read(part, _ANY) for part in parts] if parts else None
    raise Unparsed(f"not a {name}: {', '.join(parts)[:80]!r}")


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError as error:
        raise Unparsed(f"not a key: {value!r}") from error
    return value


def _convert(value: Any, kind: _Type) -> Any:
    """`value` as `kind`; the type of what it was read from is forgotten."""
    name, arguments = kind
    convert: Callable[[Any, _Type], Any] = _convert
    match value:
        case bool():
            return value if name in ("bool", "any") or name not in _INTEGERS else int(value)
        case int() | float() if name == "bool":
            return bool(value)
        case int() | float() if name == "float":
            return _single(float(value))
        case int() if name == "double":
            return float(value)
        case float() if name in _INTEGERS:
            return int(value)
        case list() if arguments and name in _LISTS:
            return [convert(item, arguments[0]) for item in value]
        case tuple() if name in _TUPLES and len(arguments) == len(value):
            return tuple(convert(item, argument) for item, argument in zip(value, arguments, strict=True))
        case dict() if name in _DICTS and len(arguments) >= 2:
            return {convert(key, arguments[0]): convert(item, arguments[1]) for key, item in value.items()}
    if name == "optional" and arguments:
        return convert(value, arguments[0])
    return value
