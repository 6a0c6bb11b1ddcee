"""Bash: a function's result is what it prints, without the newlines at its end."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from roles.languages import toolchain
from roles.languages.base import Build, Executed, Runtime
from roles.records import Problem
from roles.sandbox.limits import Limits

# Stands behind the program: from here on its output counts. As in a test program's command substitution no failing
# command ends it; a status of 2 is left to the shell itself, for giving up.
_CALL = """
set +e
exec >&4 4>&-
echo loaded
. ./call.sh
case $? in 2) exit 1 ;; *) exit $? ;; esac
"""
_SHELL = "/usr/bin/bash"
_CHECK = (_SHELL, "-n", "program.sh")


class Bash(Executed):
    name = "bash"
    stop = ("\n}", "\n```")
    processes = 4
    memory_signs = ("cannot allocate", "Cannot allocate memory", "memory exhausted", "not enough memory")

    def assemble(self, problem: Problem, completion: str) -> str:
        """Closes the function that the prompt opened: its end, a brace at the start of a line, is a stop string."""
        text = problem.prompt + completion
        if not problem.prompt.rstrip().endswith("{") or re.search(r"^\}", completion, re.MULTILINE):
            return text
        return f"{text.rstrip()}\n}}\n"

    def runtime(self, foreign_user: bool) -> Runtime:
        folders = ["/usr/bin", "/bin", "/etc/alternatives"]
        return toolchain.find(self.name, ["bash"], ["--version"], folders, "the packages bash and bc")

    def program(self, text: str, limits: Limits) -> Build:
        return Build({"program.sh": text}, (_SHELL, "program.sh"), syntax_check=_CHECK)

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        driver = toolchain.driver("bash.sh").replace("LARGEST_RESULT", str(limits.reply_bytes // 2))
        driver = driver.replace("CALLS", " ".join(map(shlex.quote, calls)), 1)
        files = {"program.sh": f"{text}\n{setup}\n{_CALL}", "driver.sh": driver}
        return Build(files, (_SHELL, "driver.sh"), syntax_check=_CHECK)
