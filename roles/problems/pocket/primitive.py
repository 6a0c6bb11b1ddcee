"""What a primitive is: one typed step of a pipeline, with its wordings, its Python and a common mistake about it."""

from __future__ import annotations

import dataclasses
from typing import Literal

Kind = Literal["ints", "int", "text", "words", "bool"]
Form = Literal["keep", "each", "whole", "fold"]

SMALL = tuple(range(2, 5))  # for slices, so that lists of up to ten elements keep something
LARGE = tuple(range(2, 10))  # for comparisons and arithmetic


@dataclasses.dataclass(frozen=True)
class Primitive:
    """One step from a value of kind `source` to one of kind `target`.

    `code` is a condition over an element `{x}` for the form `keep`, an expression over `{x}` for `each`, an expression
    over the whole value `{v}` for `whole`; for `fold` it is the start value, `; ` and the statement that updates
    `{total}` with `{x}`. `{c}` is the constant. `loop` renders the same step as a fold, where that is usual.
    `clauses` are imperative wordings; `nouns` are phrases whose operand `{}` always comes last, so that nesting them
    reads in one way only. `mistake` is a program text in the place of `code` that is plausible and wrong.
    """

    name: str
    source: Kind
    target: Kind
    form: Form
    code: str
    clauses: tuple[str, ...]
    nouns: tuple[str, ...]
    constants: tuple[int, ...] = ()
    mistake: str = ""
    loop: str = ""


def primitive(
    name: str,
    kinds: str,
    form: Form,
    code: str,
    clauses: str,
    nouns: str,
    constants: tuple[int, ...] = (),
    mistake: str = "",
    loop: str = "",
) -> Primitive:
    """A `Primitive` from a compact row: `kinds` is `source>target`, wordings are separated by `|`."""
    source, target = kinds.split(">")
    return Primitive(
        name, _kind(source), _kind(target), form, code, tuple(clauses.split("|")), tuple(nouns.split("|")),
        constants, mistake, loop,
    )


def _kind(text: str) -> Kind:
    kinds: dict[str, Kind] = {"ints": "ints", "int": "int", "text": "text", "words": "words", "bool": "bool"}
    return kinds[text]
