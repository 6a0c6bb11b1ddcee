"""The languages that programs may be written in."""

from __future__ import annotations

from roles.languages.base import Language, MissingRuntime, Runtime
from roles.languages.python import Python

_LANGUAGES: dict[str, Language] = {language.name: language for language in (Python(),)}


def get(name: str) -> Language:
    """Raises `ValueError` that names the known languages."""
    try:
        return _LANGUAGES[name]
    except KeyError:
        raise ValueError(f"language: {name!r} is not known; allowed: {', '.join(sorted(_LANGUAGES))}") from None


def names() -> tuple[str, ...]:
    return tuple(_LANGUAGES)


__all__ = ["Language", "MissingRuntime", "Runtime", "get", "names"]
