"""Lua, run by its reference interpreter."""

from __future__ import annotations

from collections.abc import Sequence

from roles.languages import toolchain
from roles.languages.base import Build, Executed, Runtime
from roles.sandbox.limits import Limits


class Lua(Executed):
    name = "lua"
    stop = ("\nlocal ", "\nfunction ", "\n--", "\nprint(", "\n```")
    memory_signs = ("not enough memory",)

    def runtime(self, foreign_user: bool) -> Runtime:
        return toolchain.find(self.name, ["lua5.4"], ["-v"], ["/usr/share/lua"], "the package lua5.4")

    def program(self, text: str, limits: Limits) -> Build:
        return Build({"program.lua": text}, (self._lua(), "program.lua"), syntax_check=self._check())

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        driver = toolchain.driver("lua.lua").replace("LARGEST_FRAME", str(limits.reply_bytes))
        asked = "".join(call.encode("utf-8", "surrogatepass").hex() + "\n" for call in calls)
        files = {"program.lua": f"{text}\n{setup}", "calls.hex": asked, "driver.lua": driver}
        return Build(files, (self._lua(), "driver.lua"), syntax_check=self._check())

    def _lua(self) -> str:
        return self.runtime(False).executable

    def _check(self) -> tuple[str, ...]:
        return (self._lua(), "-e", 'assert(loadfile("program.lua"))')
