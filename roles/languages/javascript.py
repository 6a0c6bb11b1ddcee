"""JavaScript, run by Node.js."""

from __future__ import annotations

import json
from collections.abc import Sequence

from roles.languages import toolchain
from roles.languages.base import Build, Executed, Runtime
from roles.sandbox.limits import MIB, Limits


class JavaScript(Executed):
    name = "javascript"
    stop = ("\nfunction ", "\n/*", "\n//", "\nconsole.log", "\n```")
    limits_data = True
    headroom_bytes = 512 * MIB
    processes = 16
    memory_signs = ("JavaScript heap out of memory", "Array buffer allocation failed")

    def runtime(self, foreign_user: bool) -> Runtime:
        return toolchain.find(self.name, ["node"], ["--version"], [], "the package nodejs")

    def program(self, text: str, limits: Limits) -> Build:
        return Build({"program.js": text}, (*self._node(limits), "program.js"), syntax_check=self._check())

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        driver = toolchain.driver("javascript.js").replace("LARGEST_FRAME", str(limits.reply_bytes))
        files = {"program.js": f"{text}\n{setup}", "calls.json": json.dumps(list(calls)), "driver.js": driver}
        return Build(files, (*self._node(limits), "driver.js"), syntax_check=self._check())

    def _node(self, limits: Limits) -> tuple[str, ...]:
        heap = f"--max-old-space-size={limits.memory_bytes // MIB}"
        return (self.runtime(False).executable, heap, "--stack-size=50000")

    def _check(self) -> tuple[str, ...]:
        return (self.runtime(False).executable, "--check", "program.js")
