"""What the rest of the system knows about a programming language."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from roles.records import Problem
from roles.sandbox.limits import MIB, Limits


@dataclasses.dataclass(frozen=True)
class Runtime:
    """An installed toolchain: its version, and the folders and files of the host that it needs inside a jail."""

    executable: str
    version: str
    mounts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Build:
    """How to run a text: files in the working folder, what compiles them, what is left of that, what runs it.

    Every command starts with an absolute path. `compile` may be empty; then `files` are what runs. `artefacts` are
    glob patterns of the files that the compiler leaves and that `run` needs: they are all that a run sees.
    `syntax_check` is for what has no compiler: it is run only when a program did not load, and fails if its text is
    at fault.
    """

    files: Mapping[str, str]
    run: tuple[str, ...]
    compile: tuple[str, ...] = ()
    artefacts: tuple[str, ...] = ()
    syntax_check: tuple[str, ...] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Language(ABC):
    """One programming language: how to turn a completion into a program, and what runs it."""

    name: ClassVar[str]
    stop: ClassVar[tuple[str, ...]]  # strings that end a completion when a model generates past the function

    def assemble(self, problem: Problem, completion: str) -> str:
        """The complete program that `completion` makes of the problem's prompt."""
        return problem.prompt + completion

    @abstractmethod
    def runtime(self, foreign_user: bool) -> Runtime:
        """The toolchain to use inside a jail. With `foreign_user` the jail's user is not the one who starts it, so
        everything must be readable by all. Raises `MissingRuntime`."""


class Executed(Language):
    """A language whose programs are run by a command, once they are compiled if it has a compiler.

    `calls` adds a driver to a program. Run with a nonce as its last argument, the driver writes one line for each
    thing that happened to descriptor 3: the nonce, a space, and one of these as JSON in UTF-8
        [-1, "ok"]                      the program has loaded, nothing was called yet
        [-1, "err", name, status]       loading it raised an exception of that name, or exited with that status
        [i, "val", value]               call i returned; `roles/sandbox/values.py` tells how values are written
        [i, "err", name, status]        call i raised
        [i, "big"]                      call i returned more than `largest_frame` bytes, or more than 100 levels
        [i, "undefined"]                the program does not define what call i names
    in the order of the calls. Expected values are not known to it.
    """

    limits_data: ClassVar[bool] = False  # memory is bounded by RLIMIT_DATA: the runtime reserves address space at will
    headroom_bytes: ClassVar[int] = 0  # what the runtime takes for itself, beside the program's memory
    processes: ClassVar[int] = 0  # threads and processes that the runtime needs, beside the program's
    memory_signs: ClassVar[tuple[str, ...]] = ()  # what the runtime prints on standard error when memory ends
    compile_limits: ClassVar[Limits] = Limits(
        wall_seconds=60, cpu_seconds=60, memory_bytes=2048 * MIB, processes=128, open_files=256,
        file_bytes=128 * MIB, disk_bytes=512 * MIB, reply_bytes=64 * MIB,
    )  # fmt: skip

    @abstractmethod
    def program(self, text: str, limits: Limits) -> Build:
        """How to run `text` as it is, from standard input to standard output."""

    @abstractmethod
    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        """How to run `text`, then `setup`, and then answer `calls`."""


class MissingRuntime(RuntimeError):
    """No installed interpreter or compiler can be used inside a jail."""
