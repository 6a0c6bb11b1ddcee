"""One pipeline written as Python in several layouts: step by step, as loops, or nested in one expression."""

from __future__ import annotations

import ast
import random
from typing import Literal

from roles.problems.pocket.pipeline import Pipeline, Stage, code_of, expression, fill, fold_code, stage_lines
from roles.problems.pocket.primitive import Kind

Layout = Literal["steps", "loops", "nested", "fused"]
LAYOUTS: tuple[Layout, ...] = ("steps", "steps", "loops", "nested", "fused")
RESULTS = ("out", "result", "value")
ELEMENTS: dict[Kind, tuple[str, ...]] = {
    "ints": ("x", "n", "num"), "words": ("w", "word", "s"), "text": ("ch", "char", "c"), "int": ("x",), "bool": ("x",),
}


def render(pipeline: Pipeline, rng: random.Random, layout: Layout | None = None) -> str:
    """The body of `solve`, indented, without a trailing newline."""
    layout = layout or rng.choice(LAYOUTS)
    elements = {kind: rng.choice(names) for kind, names in ELEMENTS.items()}
    writer = _Writer(pipeline.arguments[0], rng.choice(RESULTS), elements)
    stages, nest = list(pipeline.stages), layout == "nested"
    while stages:
        taken = 0
        if layout == "loops":
            taken = writer.loop(stages)
        elif layout != "steps":
            taken = writer.fuse(stages, nest)
        if not taken:
            taken = writer.step(stages[0], nest)
        stages = stages[taken:]
    return writer.finish(direct=nest or rng.random() < 0.5)


def signature(pipeline: Pipeline) -> str:
    return f"def solve({', '.join(pipeline.arguments)}):"


class _Writer:
    """Collects statements; `self.value` is the expression of the newest value."""

    def __init__(self, argument: str, result: str, elements: dict[Kind, str]) -> None:
        self.lines: list[str] = []
        self.value = argument
        self.result = result
        self.elements = elements

    def step(self, stage: Stage, nest: bool) -> int:
        """One stage as statements of its own or, when nested, around the value so far; takes one stage."""
        element = self.elements[stage.primitive.source]
        if stage.primitive.form == "fold":
            self._bind()
            total = "total"
            self.lines += stage_lines(stage, self.value, total, element)
            self.value = total
            return 1
        if not nest or code_of(stage).count("{v}") > 1:
            self._bind()
        argument = any(place in code_of(stage) for place in ("({v})", "({v},", " in {v}"))
        self.value = expression(stage, self.value if argument else _atom(self.value), element)
        if not nest:
            self._bind()
        return 1

    def fuse(self, stages: list[Stage], nest: bool) -> int:
        """A filter and the map after it as one comprehension; the number of stages taken."""
        if len(stages) < 2 or [stage.primitive.form for stage in stages[:2]] != ["keep", "each"]:
            return 0
        if not nest:
            self._bind()
        x = self.elements[stages[0].primitive.source]
        condition, mapped = (fill(code_of(stage), stage, x=x) for stage in stages[:2])
        self.value = f"[{mapped} for {x} in {self.value} if {condition}]"
        return 2

    def loop(self, stages: list[Stage]) -> int:
        """Filters and maps, and the fold after them, as one `for` loop; the number of stages taken."""
        run = 0
        while run < len(stages) and stages[run].primitive.form in ("keep", "each"):
            run += 1
        fold = stages[run] if run < len(stages) else None
        if fold is not None and not (fold.primitive.form == "fold" or (fold.primitive.loop and not fold.mistaken)):
            fold = None
        if not run and fold is None:
            return 0
        self._bind()
        kind = stages[0].primitive.source
        x, text = self.elements[kind], kind == "text"
        if fold is not None:
            start, update = fold_code(fold, "total", x)
            target = "total"
        else:
            target = self.result if self.value != self.result else "kept"
            start, update = ("''", f"{target} += {x}") if text else ("[]", f"{target}.append({x})")
        body: list[str] = []
        indent = "    "
        for index, stage in enumerate(stages[:run]):
            code = fill(code_of(stage), stage, x=x)
            if stage.primitive.form == "keep":
                body.append(f"{indent}if {code}:")
                indent += "    "
            elif index == run - 1 and fold is None:
                update = f"{target}.append({code})"
            else:
                body.append(f"{indent}{x} = {code}")
        self.lines += [f"{target} = {start}", f"for {x} in {self.value}:", *body, indent + update]
        self.value = target
        return run + (fold is not None)

    def finish(self, direct: bool) -> str:
        if direct and self.lines and self.lines[-1] == f"{self.result} = {self.value}":
            self.lines.pop()
        if direct and self.lines and self.lines[-1].startswith(f"{self.result} = ") and self.value == self.result:
            self.value = self.lines.pop().removeprefix(f"{self.result} = ")
        return "\n".join(f"    {line}" for line in [*self.lines, f"return {self.value}"])

    def _bind(self) -> None:
        if not self.value.isidentifier():
            self.lines.append(f"{self.result} = {self.value}")
            self.value = self.result


def _atom(code: str) -> str:
    """`code` in brackets unless it can stand before a subscript, an attribute or an operator."""
    node = ast.parse(code, mode="eval").body
    loose = (ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.IfExp)
    return f"({code})" if isinstance(node, loose) else code
