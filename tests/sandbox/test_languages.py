import pytest

from roles import languages
from roles.records import Problem


def test_an_unknown_language_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"language: 'cobol' is not known; allowed: .*python"):
        languages.get("cobol")


def test_a_completion_follows_the_prompt() -> None:
    problem = Problem("1", "own", "test", "python", "def f(x):\n", "f", ())
    assert languages.get("python").assemble(problem, "    return x\n") == "def f(x):\n    return x\n"
