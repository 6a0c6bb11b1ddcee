"""PHP, run by its command line interpreter."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

from roles.languages import toolchain
from roles.languages.base import Build, Executed, Runtime
from roles.sandbox.limits import MIB, Limits

_NAMES = ("php", "php8.4", "php8.3", "php8.2", "php8.1")
_EXTENSIONS = ("ctype", "mbstring", "iconv", "bcmath", "gmp", "calendar")
_FATAL = 1 | 4 | 16 | 64 | 256 | 4096  # what ends a program is shown, warnings would fill its standard error


class PHP(Executed):
    name = "php"
    stop = ("\nfunction ", "\n?>", "\n//", "\n#", "\n/*", "\nclass ", "\necho ", "\nprint", "\n```")
    headroom_bytes = 256 * MIB
    memory_signs = ("Allowed memory size of", "Out of memory")

    def runtime(self, foreign_user: bool) -> Runtime:
        return toolchain.find(self.name, _NAMES, ["--version"], ["/usr/share/zoneinfo"], "the package php-cli")

    def program(self, text: str, limits: Limits) -> Build:
        return Build({"program.php": text}, (*self._php(limits), "program.php"), syntax_check=self._check(limits))

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        driver = toolchain.driver("php.php").replace("LARGEST_FRAME", str(limits.reply_bytes))
        source = f"{text}\n{setup}" if setup else text
        files = {"program.php": source, "calls.json": json.dumps(list(calls)), "driver.php": driver}
        return Build(files, (*self._php(limits), "driver.php"), syntax_check=self._check(limits))

    def _php(self, limits: Limits) -> tuple[str, ...]:
        executable = self.runtime(False).executable
        settings = {
            "memory_limit": limits.memory_bytes, "display_errors": "stderr", "error_reporting": _FATAL,
            "date.timezone": "UTC",
        }  # fmt: skip
        options = [f"{name}={value}" for name, value in settings.items()]
        options += [f"extension={name}" for name in _extensions(executable)]
        return (executable, "-n", *(part for option in options for part in ("-d", option)))

    def _check(self, limits: Limits) -> tuple[str, ...]:
        return (*self._php(limits), "-l", "program.php")


@functools.cache
def _extensions(executable: str) -> tuple[str, ...]:
    """Those of `_EXTENSIONS` that are installed as files of their own; without its settings PHP loads none."""
    code = "echo ini_get('extension_dir');"
    done = subprocess.run([executable, "-n", "-r", code], capture_output=True, text=True, timeout=60, check=True)
    return tuple(name for name in _EXTENSIONS if Path(done.stdout, f"{name}.so").exists())
