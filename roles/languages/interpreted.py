"""What languages share whose interpreter is given the program's text and a driver in the same language."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from roles.languages import toolchain
from roles.languages.base import Build, Executed
from roles.sandbox.limits import Limits


class Interpreted(Executed):
    """The driver `drivers/<name>.<suffix>` reads `program.<suffix>` and `calls.hex`, a call on each line."""

    suffix: ClassVar[str]

    @abstractmethod
    def interpreter(self) -> tuple[str, ...]:
        """What stands before the name of a file to run."""

    @abstractmethod
    def check(self, file: str) -> tuple[str, ...]:
        """What parses `file` and fails if it is at fault."""

    def program(self, text: str, limits: Limits) -> Build:
        return self._build({self._program: text}, self._program)

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        name = f"driver.{self.suffix}"
        driver = toolchain.driver(f"{self.name}.{self.suffix}").replace("LARGEST_FRAME", str(limits.reply_bytes))
        asked = "".join(call.encode("utf-8", "surrogatepass").hex() + "\n" for call in calls)
        return self._build({self._program: f"{text}\n{setup}", "calls.hex": asked, name: driver}, name)

    @property
    def _program(self) -> str:
        return f"program.{self.suffix}"

    def _build(self, files: dict[str, str], run: str) -> Build:
        return Build(files, (*self.interpreter(), run), syntax_check=self.check(self._program))
