"""Rust, by rustc without cargo. As where test programs are published, nothing is optimised, and overflow panics."""

from __future__ import annotations

import dataclasses
import functools
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from roles.languages import braces, cache, toolchain
from roles.languages.base import Build, Executed, MissingRuntime, Runtime
from roles.records import Problem
from roles.sandbox.limits import MIB, Limits

_PACKAGE = "the package rustc; a toolchain in a home folder cannot be mounted"
_CRATE = "rewardranker_judge"
_GOLD = "/usr/bin/ld.gold"
_NEEDED = ("/usr/bin/cc", "/usr/bin/ld", "/usr/bin/ld.bfd", _GOLD)
_FLAGS = ("--edition", "2021", "--cap-lints", "allow", "-C", "debuginfo=0")
_MAIN = re.compile(r"^(?:pub[ \t]+)?fn[ \t]+main[ \t]*\(", re.MULTILINE)


class Rust(Executed):
    name = "rust"
    stop = ("\n}", "\n```")
    headroom_bytes = 16 * MIB
    memory_signs = ("memory allocation of",)

    def assemble(self, problem: Problem, completion: str) -> str:
        text = problem.prompt + completion
        return text if problem.weak else braces.close(text, characters=True)  # a test program closes them itself

    def runtime(self, foreign_user: bool) -> Runtime:
        found = _compiler()
        return dataclasses.replace(found, mounts=(*found.mounts, str(_driver())))

    def program(self, text: str, limits: Limits) -> Build:
        return self._build(text, (), ())

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        answers = "".join(
            f"|__reply| {{ use ::{_CRATE}::{{Known as _, Unknown as _}}; "
            f"(&::{_CRATE}::Returned({{ {call}\n}})).__judge(__reply) }},\n"
            for call in calls
        )
        text = f"{_MAIN.sub('fn program_main(', text)}\n{setup}\nfn main() {{ ::{_CRATE}::run(&[\n{answers}]) }}\n"
        return self._build(text, ("--extern", f"{_CRATE}={_driver()}/lib{_CRATE}.rlib"), (str(limits.reply_bytes),))

    def _build(self, text: str, options: Sequence[str], arguments: Sequence[str]) -> Build:
        linker = ("-C", f"link-arg=-fuse-ld={'gold' if Path(_GOLD).exists() else 'bfd'}", "-C", "strip=symbols")
        compile = (_compiler().executable, *_FLAGS, *linker, *options, "-o", "program", "program.rs")
        return Build({"program.rs": text}, ("/tmp/program", *arguments), compile, ("program",))


def _compiler() -> Runtime:
    return toolchain.find("rust", ["rustc"], ["--version"], _NEEDED, _PACKAGE)


@functools.cache
def _driver() -> Path:
    """The folder of the driver, compiled. Raises `MissingRuntime`."""
    compiler = _compiler().executable
    source = toolchain.driver("rust/judge.rs")
    version = subprocess.run([compiler, "-vV"], capture_output=True, text=True, check=False, timeout=60).stdout

    def build(folder: Path) -> None:
        folder.joinpath("judge.rs").write_text(source, encoding="utf-8")
        command = [compiler, *_FLAGS, "-O", "--crate-type", "rlib", "--crate-name", _CRATE, "judge.rs"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)

    folder = cache.folder("rust", repr((version, _FLAGS, source)), build)
    if folder is None:
        raise MissingRuntime(f"rust: {compiler} does not compile the driver; `make languages` installs it ({_PACKAGE})")
    return folder
