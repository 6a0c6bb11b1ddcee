"""What the languages that Node.js runs have in common."""

from __future__ import annotations

from roles.languages import toolchain
from roles.languages.base import Executed, Runtime
from roles.sandbox.limits import MIB, Limits


class NodeLanguage(Executed):
    limits_data = True
    headroom_bytes = 512 * MIB
    processes = 16
    memory_signs = ("JavaScript heap out of memory", "rray buffer allocation failed", "ERR_MEMORY_ALLOCATION_FAILED")

    def runtime(self, foreign_user: bool) -> Runtime:
        return toolchain.find(self.name, ["node"], ["--version"], [], "the package nodejs")

    def node(self, limits: Limits) -> tuple[str, ...]:
        """The command that runs a file."""
        heap = f"--max-old-space-size={limits.memory_bytes // MIB}"
        return (NodeLanguage.runtime(self, False).executable, heap, "--stack-size=50000")

    def driver(self, limits: Limits) -> str:
        return toolchain.driver("javascript.js").replace("LARGEST_FRAME", str(limits.reply_bytes))
