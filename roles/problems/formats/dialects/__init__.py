"""How the published test programs of each language are read: as calls and expected values.

One module per language, each with
    multipl_e(tests: str, entry_point: str) -> tuple[Test, ...]     the `tests` of a MultiPL-E row
    mbxp(test: str, entry_point: str, prompt: str) -> tuple[Test, ...]    the `test` of an MBXP row
Both raise `Unparsed` for a test program that is anything else than a list of calls with literal results.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from roles.problems.formats.dialects.scanning import Unparsed


def of(language: str) -> ModuleType:
    """The module of `language`. Raises `Unparsed` when its test programs cannot be read."""
    try:
        return importlib.import_module(f"{__name__}.{language}")
    except ModuleNotFoundError as error:
        raise Unparsed(f"test programs in {language} cannot be read") from error


__all__ = ["Unparsed", "of"]
