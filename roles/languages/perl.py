"""Perl, whose scalars are text and numbers at once: they are returned as text."""

from __future__ import annotations

from roles.languages import toolchain
from roles.languages.base import Runtime
from roles.languages.interpreted import Interpreted


class Perl(Interpreted):
    name = "perl"
    suffix = "pl"
    stop = ("\nsub ", "\n#", "\nprint ", "\nuse ", "\n```")
    memory_signs = ("Out of memory",)

    def runtime(self, foreign_user: bool) -> Runtime:
        mounts = ["/usr/share/perl", "/usr/share/perl5", "/etc/perl"]
        return toolchain.find(self.name, ["perl"], ["--version"], mounts, "the package perl")

    def interpreter(self) -> tuple[str, ...]:
        return (self.runtime(False).executable,)

    def check(self, file: str) -> tuple[str, ...]:
        return (*self.interpreter(), "-c", file)
