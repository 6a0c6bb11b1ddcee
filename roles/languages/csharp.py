"""C#, compiled by Mono's mcs and run by Mono, which knows the language up to version 7."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from roles.languages import braces, cache, toolchain
from roles.languages.base import Build, Executed, MissingRuntime, Runtime
from roles.records import Problem
from roles.sandbox.limits import MIB, Limits

_CALLS = "RewardRankerCalls"
_NAMESPACES = (
    "System", "System.Collections.Generic", "System.Linq", "System.Numerics", "System.Text",
    "System.Text.RegularExpressions",
)  # fmt: skip
_DRIVER, _PROGRAM = "rewardranker.exe", "program.exe"
_FLAGS = ("-nologo", "-warn:0", "-codepage:utf8")
_ASSERTIONS = "-define:DEBUG"
_REFERENCES = ("System.Numerics", "Microsoft.CSharp")
_PACKAGES = "the packages mono-mcs mono-runtime libmono-system-core4.0-cil libmono-system-numerics4.0-cil"


class CSharp(Executed):
    name = "csharp"
    stop = ("\n    }\n", "\n```")
    limits_data = True
    headroom_bytes = 256 * MIB
    processes = 16
    memory_signs = ("System.OutOfMemoryException", "ould not allocate")

    def assemble(self, problem: Problem, completion: str) -> str:
        text = problem.prompt + completion
        return text if problem.weak else braces.close(text, characters=True)  # a test program closes them itself

    def runtime(self, foreign_user: bool) -> Runtime:
        return _made().runtime

    def program(self, text: str, limits: Limits) -> Build:
        return self._build({"program.cs": text}, (_ASSERTIONS, "-target:exe"), (), limits)

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        files = {"program.cs": f"{text}\n{setup}", "calls.cs": _calls(calls)}
        return self._build(files, ("-target:library",), (_CALLS, str(limits.reply_bytes)), limits)

    def _build(
        self, files: dict[str, str], options: Sequence[str], arguments: Sequence[str], limits: Limits
    ) -> Build:
        made = _made()
        references = [f"-reference:{name}" for name in (*made.references, made.driver)]
        heap = limits.memory_bytes // MIB
        return Build(
            files,
            compile=(*made.compiler, *_FLAGS, *options, f"-out:{_PROGRAM}", *references, *files),
            artefacts=(_PROGRAM,),
            run=(made.mono, made.driver, _PROGRAM, *arguments),
            environment={"MONO_GC_PARAMS": f"max-heap-size={heap}m"},
        )


def _calls(calls: Sequence[str]) -> str:
    """The class that makes the calls."""
    lines = [f"using {namespace};" for namespace in _NAMESPACES]
    lines += [f"public sealed class {_CALLS} : RewardRanker.ICalls {{"]
    lines += [f"public int Count {{ get {{ return {len(calls)}; }} }}"]
    lines += ["public object Call(int index) { switch (index) {"]
    lines += [f"case {index}: return Call{index}();" for index in range(len(calls))]
    lines += ["default: return null; } }"]
    for index, call in enumerate(calls):
        lines += [f"static object Call{index}() {{ return (\n{call}\n); }}"]
    return "\n".join([*lines, "}", ""])


@dataclasses.dataclass(frozen=True)
class _Made:
    """An installation and the driver that was compiled for it."""

    runtime: Runtime
    mono: str
    compiler: tuple[str, ...]
    references: tuple[str, ...]
    driver: str


@functools.cache
def _made() -> _Made:
    """Raises `MissingRuntime`."""
    found = toolchain.find("csharp", ["mono"], ["--version"], ["/etc/mono"], _PACKAGES)
    mono = os.path.realpath(found.executable)
    library = Path(mono).parent.parent / "lib" / "mono" / "4.5"
    if not (library / "mcs.exe").exists():
        raise MissingRuntime(f"csharp: no compiler in {library}; `make languages` installs it ({_PACKAGES})")
    compiler = (mono, str(library / "mcs.exe"))
    references = tuple(name for name in _REFERENCES if (library / f"{name}.dll").exists())
    text = toolchain.driver("csharp/Driver.cs")

    def build(folder: Path) -> None:
        source = folder / "Driver.cs"
        source.write_text(text, encoding="utf-8")
        options = [_ASSERTIONS, f"-out:{folder / _DRIVER}", "-reference:System.Numerics", str(source)]
        command = [*compiler, *_FLAGS, *options]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120, env={"HOME": str(folder)})

    made = cache.folder("csharp", repr((mono, found.version, os.stat(mono).st_mtime_ns, text)), build)
    if made is None:
        raise MissingRuntime(f"csharp: {compiler[1]} does not compile the driver; needed are {_PACKAGES}")
    mounts = (mono, *found.mounts[1:], str(library.parent), str(made))
    return _Made(Runtime(mono, found.version, mounts), mono, compiler, references, str(made / _DRIVER))
