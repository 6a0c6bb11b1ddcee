"""Which languages this machine can run."""

import functools

import pytest

from roles import languages
from roles.sandbox import jail
from roles.sandbox.errors import SandboxUnavailable


@functools.cache
def missing(language: str) -> str:
    """Why programs of `language` cannot be run here; empty when they can."""
    try:
        jail.find_nsjail()
        languages.get(language).runtime(jail.foreign_user())
    except (languages.MissingRuntime, SandboxUnavailable) as error:
        return str(error)
    return ""


def needs(language: str) -> pytest.MarkDecorator:
    """Skips a test, or as `pytestmark` a whole module, where `language` cannot be run."""
    reason = missing(language)
    return pytest.mark.skipif(bool(reason), reason=reason)
