"""Perl, whose scalars are text and numbers at once: they are returned as text."""

from __future__ import annotations

from collections.abc import Sequence

from roles.languages import toolchain
from roles.languages.base import Build, Executed, Runtime
from roles.sandbox.limits import Limits


class Perl(Executed):
    name = "perl"
    stop = ("\nsub ", "\n#", "\nprint ", "\nuse ", "\n```")
    memory_signs = ("Out of memory",)

    def runtime(self, foreign_user: bool) -> Runtime:
        mounts = ["/usr/share/perl", "/usr/share/perl5", "/etc/perl"]
        return toolchain.find(self.name, ["perl"], ["--version"], mounts, "the package perl")

    def program(self, text: str, limits: Limits) -> Build:
        return Build({"program.pl": text}, (self._perl(), "program.pl"), syntax_check=self._check())

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        driver = toolchain.driver("perl.pl").replace("LARGEST_FRAME", str(limits.reply_bytes))
        asked = "".join(call.encode("utf-8", "surrogatepass").hex() + "\n" for call in calls)
        files = {"program.pl": f"{text}\n{setup}", "calls.hex": asked, "driver.pl": driver}
        return Build(files, (self._perl(), "driver.pl"), syntax_check=self._check())

    def _perl(self) -> str:
        return self.runtime(False).executable

    def _check(self) -> tuple[str, ...]:
        return (self._perl(), "-c", "program.pl")
