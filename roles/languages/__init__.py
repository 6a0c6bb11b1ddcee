"""The languages that programs may be written in: each is one module of this folder."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from roles.languages.base import Build, Executed, Language, MissingRuntime, Runtime


def _discover() -> dict[str, Language]:
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    classes = {
        member
        for module in modules
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Language) and not inspect.isabstract(member)
    }
    return {language.name: language() for language in sorted(classes, key=lambda language: language.name)}


_LANGUAGES = _discover()


def get(name: str) -> Language:
    """Raises `ValueError` that names the known languages."""
    try:
        return _LANGUAGES[name]
    except KeyError:
        raise ValueError(f"language: {name!r} is not known; allowed: {', '.join(_LANGUAGES)}") from None


def names() -> tuple[str, ...]:
    return tuple(_LANGUAGES)


__all__ = ["Build", "Executed", "Language", "MissingRuntime", "Runtime", "get", "names"]
