"""Lua, run by its reference interpreter."""

from __future__ import annotations

from roles.languages import toolchain
from roles.languages.base import Runtime
from roles.languages.interpreted import Interpreted


class Lua(Interpreted):
    name = "lua"
    suffix = "lua"
    stop = ("\nlocal ", "\nfunction ", "\n--", "\nprint(", "\n```")
    memory_signs = ("not enough memory",)

    def runtime(self, foreign_user: bool) -> Runtime:
        return toolchain.find(self.name, ["lua5.4"], ["-v"], ["/usr/share/lua"], "the package lua5.4")

    def interpreter(self) -> tuple[str, ...]:
        return (self.runtime(False).executable,)

    def check(self, file: str) -> tuple[str, ...]:
        return (*self.interpreter(), "-e", f'assert(loadfile("{file}"))')
