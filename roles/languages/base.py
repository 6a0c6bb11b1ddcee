"""What the rest of the system knows about a programming language."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import ClassVar

from roles.records import Problem


@dataclasses.dataclass(frozen=True)
class Runtime:
    """An installed interpreter: its executable, its version, and the folders and files it needs to run."""

    executable: str
    version: str
    mounts: tuple[str, ...]


class Language(ABC):
    """One programming language: how to turn a completion into a program, and what runs it."""

    name: ClassVar[str]
    stop: ClassVar[tuple[str, ...]]  # strings that end a completion when a model generates past the function

    @abstractmethod
    def assemble(self, problem: Problem, completion: str) -> str:
        """The complete program that `completion` makes of the problem's prompt."""

    @abstractmethod
    def runtime(self, foreign_user: bool) -> Runtime:
        """The interpreter to use inside a jail. With `foreign_user` the jail's user is not the one who starts it, so
        everything must be readable by all. Raises `MissingRuntime`."""


class MissingRuntime(RuntimeError):
    """No installed interpreter can be used inside a jail."""
