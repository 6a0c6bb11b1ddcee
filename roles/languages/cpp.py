"""C++, compiled by GCC.

The standard library's headers are compiled once per machine, together with the driver: parsing them is what most of a
compilation of a short program consists of.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from roles.languages import braces, cache, toolchain
from roles.languages.base import Build, Executed, Runtime
from roles.records import Problem
from roles.sandbox.limits import MIB, Limits

_FLAGS = ("-std=gnu++17", "-O1", "-w", "-pipe")
_HEADER, _DRIVER = "judge.h", "judge.cpp"
_GOLD = "/usr/bin/ld.gold"  # takes a third of the other linker's time
_NEEDED = ("/usr/include", "/usr/bin/as", "/usr/bin/ld", "/usr/bin/ld.bfd", _GOLD)
_WHOLE_LIBRARY = re.compile(  # nothing in front of it that could change what it means
    r"(?:\s+|//[^\n]*|/\*(?:[^*]|\*(?!/))*\*/|#[ \t]*(?:include(?![ \t]*<bits/stdc\+\+\.h>)|pragma)\b[^\n]*)*+"
    r"#[ \t]*include[ \t]*<bits/stdc\+\+\.h>"
)


class Cpp(Executed):
    name = "cpp"
    stop = ("\n}", "\n```")
    headroom_bytes = 16 * MIB
    memory_signs = ("std::bad_alloc",)

    def assemble(self, problem: Problem, completion: str) -> str:
        text = problem.prompt + completion
        return text if problem.weak else braces.close(text, characters=True)  # a test program closes them itself

    def runtime(self, foreign_user: bool) -> Runtime:
        found, folder = _compiler(), _precompiled()
        return dataclasses.replace(found, mounts=(*found.mounts, str(folder))) if folder else found

    def program(self, text: str, limits: Limits) -> Build:
        folder = _precompiled()
        header = ("-include", str(folder / _HEADER)) if folder and _WHOLE_LIBRARY.match(text) else ()
        return self._build({"program.cpp": text}, (*header, "program.cpp"), ())

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        lines = ["#define main __judge_program_main", '#include "program.cpp"']
        lines += [f"auto __judge_{i} = __judge::call(+[] {{ return {call};\n}});" for i, call in enumerate(calls)]
        files = {"program.cpp": f"{text}\n{setup}\n", "calls.cpp": "\n".join(lines) + "\n"}
        folder = _precompiled()
        if folder is None:
            files |= {name: toolchain.driver(f"cpp/{name}") for name in (_HEADER, _DRIVER)}
        here = str(folder) if folder else "."
        driver = f"{here}/judge.o" if folder else f"{here}/{_DRIVER}"
        return self._build(files, ("-include", f"{here}/{_HEADER}", "calls.cpp", driver), (str(limits.reply_bytes),))

    def _build(self, files: dict[str, str], sources: Sequence[str], arguments: Sequence[str]) -> Build:
        linker = ("-fuse-ld=gold",) if Path(_GOLD).exists() else ()
        compile = (_compiler().executable, *_FLAGS, *linker, *sources, "-o", "program")
        return Build(files, ("/tmp/program", *arguments), compile, ("program",))


def _compiler() -> Runtime:
    return toolchain.find("cpp", ["g++"], ["-dumpfullversion"], _NEEDED, "the package g++")


@functools.cache
def _precompiled() -> Path | None:
    """The folder of the driver, compiled, and of its header, precompiled. None when it cannot be made."""
    compiler = _compiler().executable
    texts = {name: toolchain.driver(f"cpp/{name}") for name in (_HEADER, _DRIVER)}

    def build(folder: Path) -> None:
        for name, text in texts.items():
            folder.joinpath(name).write_text(text, encoding="utf-8")
        for command in (
            [compiler, *_FLAGS, "-x", "c++-header", _HEADER, "-o", f"{_HEADER}.gch"],
            [compiler, *_FLAGS, "-c", _DRIVER, "-o", "judge.o"],
        ):
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)

    return cache.folder("cpp", repr((_identity(compiler), _FLAGS, sorted(texts.items()))), build)


def _identity(compiler: str) -> str:
    """Tells one compiler with its headers from every other."""
    command = [compiler, "-v", "-E", "-x", "c++", "/dev/null"]
    printed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stderr
    folders = [Path(line.strip()) for line in printed.splitlines() if line.startswith(" /")]
    return repr((printed, [(str(folder), folder.stat().st_mtime_ns) for folder in folders if folder.is_dir()]))
