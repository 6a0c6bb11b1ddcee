"""Plain Python values as tagged JSON, exact in both directions.

`encode` runs inside the jail beside a hostile program, `decode` outside. Nothing is evaluated or imported on the way
back: decoding is a walk over lists whose first item names the type. An instance of a subclass travels as the value
of its builtin base, so a lying `__eq__` stays behind; anything else becomes `Opaque`, which equals nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

MAX_NODES = 200_000
MAX_DEPTH = 100
_BIG = 1000  # hashed containers above this size are checked for engineered hash collisions
_MAX_SAME_HASH = 64
_MAX_DECIMAL = 4000


class TooLarge(Exception):
    """The value has more nodes or levels than a reply may have."""


class BadValue(ValueError):
    """The encoded form was not made by `encode`."""


class Opaque:
    """Stands for a returned object that is not plain data. It equals nothing, not even itself."""

    __slots__ = ("kind",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<{self.kind} object>"


def encode(value: Any) -> Any:
    """A JSON-ready form of `value`. Raises `TooLarge`."""
    return _encode(value, [MAX_NODES], 0)


def _encode(value: Any, left: list[int], depth: int) -> Any:
    kind = type(value)
    left[0] -= 1 + (len(value) >> 4 if kind in (str, bytes) else value.bit_length() >> 6 if kind is int else 0)
    if left[0] < 0 or depth > MAX_DEPTH:
        raise TooLarge
    if value is None or kind is bool or kind is str:
        return value
    if kind is bytes:
        return ["b", base64.b64encode(value).decode("ascii")]
    if kind is int:
        return ["i", f"{value:x}"]
    if kind is float:
        return ["f", value.hex()]
    if kind is complex:
        return ["c", value.real.hex(), value.imag.hex()]
    tag = _TAGS.get(kind)
    if tag is not None:
        return [tag, *[_encode(item, left, depth + 1) for item in value]]
    if kind is dict:
        pairs = dict.items(value)
        return ["d", *[[_encode(key, left, depth + 1), _encode(item, left, depth + 1)] for key, item in pairs]]
    for base, plain in _BASES:
        if issubclass(kind, base):
            return ["u", str(kind.__name__)[:80], _encode(plain(value), left, depth)]
    return ["o", f"{str(kind.__module__)[:40]}.{str(kind.__qualname__)[:80]}"]


_TAGS: dict[type, str] = {list: "l", tuple: "t", set: "s", frozenset: "z"}
_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (  # each reads the base's own value, whatever is overridden
    (int, int.__index__),
    (float, float.__float__),
    (complex, complex.__complex__),
    (str, str.__str__),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (list, lambda value: list(list.__iter__(value))),
    (tuple, lambda value: tuple(tuple.__iter__(value))),
    (set, lambda value: set(set.__iter__(value))),
    (frozenset, lambda value: frozenset(frozenset.__iter__(value))),
    (dict, lambda value: {key: dict.__getitem__(value, key) for key in dict.__iter__(value)}),
)


def decode(form: Any) -> Any:
    """The value that `encode` was given. Raises `BadValue` for any other form."""
    try:
        return _decode(form, 0)
    except (TypeError, ValueError, IndexError, OverflowError, AttributeError, RecursionError) as error:
        raise BadValue(f"{type(error).__name__}: {error}"[:200]) from error


def _decode(form: Any, depth: int) -> Any:
    if form is None or isinstance(form, bool | str):
        return form
    if depth > 2 * MAX_DEPTH or not isinstance(form, list):
        raise BadValue("not a tagged value")
    tag, *rest = form
    if tag == "l":
        return [_decode(item, depth + 1) for item in rest]
    if tag == "t":
        return tuple(_decode(item, depth + 1) for item in rest)
    if tag in ("s", "z"):
        items = unlike([_decode(item, depth + 1) for item in rest])
        return set(items) if tag == "s" else frozenset(items)
    if tag == "d":
        pairs = [(_decode(key, depth + 1), _decode(item, depth + 1)) for key, item in rest]
        unlike([key for key, _ in pairs])
        return dict(pairs)
    if tag == "i":
        return int(rest[0], 16)
    if tag == "j":
        return _decimal(rest[0])
    if tag == "f":
        return float.fromhex(rest[0])
    if tag == "e":
        return float(rest[0])
    if tag == "y":
        return bytes.fromhex(rest[0]).decode("utf-8", "surrogateescape")
    if tag == "c":
        return complex(float.fromhex(rest[0]), float.fromhex(rest[1]))
    if tag == "b":
        return base64.b64decode(rest[0], validate=True)
    if tag == "u":
        return _decode(rest[1], depth + 1)
    if tag == "o":
        return Opaque(str(rest[0]))
    raise BadValue("unknown tag")


def _decimal(digits: str) -> int:
    if len(digits) > _MAX_DECIMAL:  # reading them takes quadratic time
        raise BadValue("too many decimal digits")
    return int(digits)


def unlike(keys: list[Any]) -> list[Any]:
    """Refuses thousands of keys with one hash: building their table would take quadratic time outside the jail."""
    if len(keys) > _BIG:
        seen: dict[int, int] = {}
        for key in keys:
            code = hash(key)
            seen[code] = seen.get(code, 0) + 1
            if seen[code] > _MAX_SAME_HASH:
                raise BadValue("too many keys with one hash")
    return keys
