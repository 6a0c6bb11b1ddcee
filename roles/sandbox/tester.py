"""Tests that are scripts: `check(candidate)` in a jail of its own, without the program.

The script's `candidate` answers from the results known so far. When it is called once more than that, the script
stops and says which call it wants; the judge gets that result from the program's jail and starts the script again.
Values cross by copy, so a test that looks at what the program did to its arguments cannot be expressed.
"""

from __future__ import annotations

import math
from typing import Any

from roles.problems.files import SuiteError
from roles.sandbox.outcome import Outcome, Raised, Reply, Returned
from roles.sandbox.values import Opaque

CALL = "_tester_outcome()"
MAX_CALLS = 1000
_LONG = 10**1000  # written in hexadecimal: Python refuses to read thousands of decimal digits

_HARNESS = """
import builtins as _tester_builtins, random as _tester_random
_tester_random.seed(0)
class _TesterOpaque:
    __hash__ = None
    def __eq__(self, other): return False
class _TesterCall(BaseException): pass
_tester_results = iter([{results}])
_tester_wanted = []
_tester_raised = []
def _tester_candidate(*arguments, **named):
    if _tester_wanted: raise _TesterCall
    for kind, value in _tester_results:
        if kind == "value": return value
        error = getattr(_tester_builtins, value, None)
        if not (isinstance(error, type) and issubclass(error, Exception)): error = Exception
        _tester_raised.append(value)
        raise error
    _tester_wanted.append((arguments, named))
    raise _TesterCall
{entry_point} = _tester_candidate
def _tester_outcome():
    try: check(_tester_candidate)
    except BaseException as error:
        if _tester_wanted: return ("call", *_tester_wanted[0])
        if isinstance(error, AssertionError): return ("failed",)
        return ("raised" if _tester_raised else "error", type(error).__name__)
    return ("call", *_tester_wanted[0]) if _tester_wanted else ("passed",)
"""


class BadTest(SuiteError):
    """A test script does not define `check(candidate)`, or hands the program something that is not plain data."""


def program(script: str, entry_point: str, results: list[Reply]) -> str:
    """The tester: the harness, answering the first calls from `results`, and the script."""
    known = []
    for result in results:
        match result:
            case Returned(value):
                known.append(f"('value', {literal(value, '_TesterOpaque()')})")
            case Raised(exception):
                known.append(f"('raised', {exception!r})")
            case _:
                known.append("('value', _TesterOpaque())")
    return _HARNESS.format(results=", ".join(known), entry_point=entry_point) + "\n" + script


def wanted(outcome: Outcome, entry_point: str, answered: int = 0) -> tuple[str, str]:
    """What the tester came to: `passed`, `failed`, `raised`, or `call` with the text of the call that it wants.

    Raises `BadTest` when the script itself cannot run; what results of the program do to it is no fault of it.
    """
    if not outcome.compiled or outcome.refused:
        if answered:  # it loaded before: the results make it too deep or too large
            return "failed", ""
        raise BadTest(f"the test script does not load: {outcome.stderr[-300:]}")
    if not outcome.replies:
        return "failed", ""
    match outcome.replies[0]:
        case Returned(("call", tuple(arguments), dict(named))):
            try:
                parts = [literal(value) for value in arguments]
                parts += [f"{name}={literal(value)}" for name, value in named.items()]
            except TypeError as error:
                if "_TesterOpaque" in str(error):  # the program's own object, handed back to it
                    return "failed", ""
                raise BadTest(f"the test script passes {error} to the program") from error
            return "call", f"{entry_point}({', '.join(parts)})"
        case Returned(("error", "NameError")):
            raise BadTest("the test script uses a name that it does not define")
        case Returned((str(kind), *_)) if kind in ("passed", "failed", "raised"):
            return kind, ""
    return "failed", ""


def literal(value: Any, opaque: str = "") -> str:
    """Python source in ASCII for a plain value, good in a call and in a check alike.

    Raises `TypeError` for an object that is not plain data, unless `opaque` is the source to use in its place.
    """
    kind = type(value)
    if value is None or kind is bool or kind is bytes or (kind is int and -_LONG < value < _LONG):
        return repr(value)
    if kind is str:
        return ascii(value)
    match value:
        case Opaque():
            if opaque:
                return opaque
            raise TypeError(f"a {value.kind} object")
        case float():
            return repr(value) if math.isfinite(value) else f"float('{value}')"
        case complex():
            return f"complex({literal(value.real)}, {literal(value.imag)})"
        case int():
            return hex(value)
        case list():
            return f"[{', '.join(literal(item, opaque) for item in value)}]"
        case tuple():
            return f"({''.join(literal(item, opaque) + ', ' for item in value)})"
        case set():
            return f"set([{', '.join(literal(item, opaque) for item in value)}])"
        case frozenset():
            return f"frozenset([{', '.join(literal(item, opaque) for item in value)}])"
        case dict():
            pairs = (f"{literal(key, opaque)}: {literal(item, opaque)}" for key, item in value.items())
            return f"{{{', '.join(pairs)}}}"
    raise TypeError(f"a {kind.__name__} object")
