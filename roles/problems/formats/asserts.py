"""Turns assert statements into tests: a call for the jail and a check that stays outside.

`assert f(1, 2) == 3` becomes the call `f(1, 2)` and the check `result == 3`. What cannot be cut in two that way
becomes a script, which runs in a process of its own and reaches the program through calls.
"""

from __future__ import annotations

import ast
import builtins
import copy
import sys

from roles.records import Test
from roles.sandbox.check import CheckError, compile_check


def from_assert(statement: ast.stmt, remote: frozenset[str], entry_point: str, known: frozenset[str]) -> Test | None:
    """The test of one assert, or None when it has to run as a script.

    `remote` are the names under which the assert reaches the program; they become `entry_point` in the call. `known`
    are other names that calls may use, because the jail's set-up code or the program defines them.
    """
    if not isinstance(statement, ast.Assert):
        return None
    calls = [node for node in ast.walk(statement.test) if _is_call(node, remote)]
    if len(calls) != 1 or not isinstance(calls[0], ast.Call):
        return None
    call = calls[0]
    if _names(call) - remote - known - frozenset(dir(builtins)):
        return None
    renamed = copy.deepcopy(call)
    renamed.func = ast.Name(entry_point, ast.Load())
    check = ast.unparse(_replace(statement.test, call))
    try:
        compile_check(check)
    except CheckError:
        return None
    return Test(ast.unparse(renamed), check)


def from_check(source: str, entry_point: str, program: bool = False) -> tuple[Test, ...]:
    """The tests of a script that defines `check(candidate)`: one for each assert when all of them stand alone, else
    the whole script as one test.

    With `program`, names that the script does not bind are the program's, and calls may use them. Raises `ValueError`
    when there is no such function or no assert in it, `SyntaxError` when it is not Python.
    """
    module = ast.parse(source)
    check = next((node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "check"), None)
    if check is None or len(check.args.args) != 1:
        raise ValueError("does not define check(candidate)")
    remote = frozenset([check.args.args[0].arg, entry_point])
    known = _names(check) - _bound(module) if program else frozenset()
    tests = []
    for statement in check.body:
        if _is_idle(statement):
            continue
        test = from_assert(statement, remote, entry_point, known)
        if test is None:
            return (Test("", source, "script"),)
        tests.append(test)
    if not tests:
        raise ValueError("check(candidate) has no assert")
    return tuple(tests)


def script(statements: list[ast.stmt]) -> Test:
    """A test that runs `statements` as the body of `check(candidate)`, with the imports that they need."""
    names = frozenset().union(*(_names(statement) for statement in statements)) if statements else frozenset()
    modules = sorted(name for name in names if name in sys.stdlib_module_names)
    body = "\n".join(f"    {line}" for statement in statements for line in ast.unparse(statement).splitlines())
    imports = "".join(f"import {name}\n" for name in modules)
    return Test("", f"{imports}def check(candidate):\n{body}\n", "script")


def _is_idle(statement: ast.stmt) -> bool:
    """A docstring, `pass`, `print(...)` or `assert True`."""
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()) | ast.Assert(test=ast.Constant(value=True)):
            return True
        case ast.Expr(value=ast.Call(func=ast.Name(id="print"))):
            return True
    return False


def _bound(module: ast.Module) -> frozenset[str]:
    """Names that a module binds anywhere."""
    names = {node.id for node in ast.walk(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return frozenset(names)


def _is_call(node: ast.AST, remote: frozenset[str]) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in remote


def _names(node: ast.AST) -> frozenset[str]:
    return frozenset(part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def _replace(expression: ast.expr, call: ast.Call) -> ast.expr:
    class Replacer(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            return ast.Name("result", ast.Load()) if node is call else self.generic_visit(node)

    # the nodes of the original are shared with the suite's row: work on a copy that keeps `call` itself
    result: ast.expr = Replacer().visit(copy.deepcopy(expression, {id(call): call}))
    return result
