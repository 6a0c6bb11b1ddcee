"""Java, compiled by javac and run by the java of the same installation.

The driver, an archive of javac's own classes and one of those that most programs load are made once per machine.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import subprocess
import zipfile
from collections.abc import Sequence
from pathlib import Path

from roles.languages import braces, cache, javatuples, toolchain
from roles.languages.base import Build, Executed, MissingRuntime, Runtime
from roles.records import Problem
from roles.sandbox.limits import MIB, Limits

_CALLS = "RewardrankerCalls"
_PACKAGES = ("java.util", "java.util.function", "java.util.stream", "java.math", "java.io", "org.javatuples")
_JVM = (
    "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-Xshare:auto",
    "-XX:+DisplayVMOutputToStderr", "-Xlog:disable", "-Xlog:all=warning:stderr",  # standard output is the program's
)  # fmt: skip
_RUN = (*_JVM, "-Xss16m", "-XX:VMThreadStackSize=1024", "-XX:CompilerThreadStackSize=1024")
_COMPILE = (*_JVM, "-Xss16m", "-Xmx512m")
# Strings put together by plain calls: what javac makes of `+` otherwise takes 20 ms to start.
_OPTIONS = ("-nowarn", "-proc:none", "-encoding", "UTF-8", "-XDstringConcat=inline", "-d", ".")
_CLASSES, _COMPILER_ARCHIVE, _ARCHIVE = "driver.jar", "javac.jsa", "java.jsa"
_OUTLINE = re.compile(
    r'//[^\n]*|/\*.*?(?:\*/|\Z)|"""(?:\\.|[^\\])*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|(?P<bracket>[{}])'
    r"|\bpackage\s+(?P<package>[\w.]+)\s*;|(?P<modifiers>(?:\w+\s+)*)\b(?:class|interface|enum|record)\s+(?P<type>\w+)"
    r"|\bvoid\s+(?P<main>main)\s*\(",
    re.DOTALL,
)


class Java(Executed):
    name = "java"
    stop = ("\n    }\n", "\n```")
    limits_data = True
    headroom_bytes = 1024 * MIB
    processes = 32
    memory_signs = ("java.lang.OutOfMemoryError", "insufficient memory for the Java Runtime Environment")

    def assemble(self, problem: Problem, completion: str) -> str:
        text = problem.prompt + completion
        return text if problem.weak else braces.close(text, characters=True)  # a test program closes them itself

    def runtime(self, foreign_user: bool) -> Runtime:
        made = _made()
        return dataclasses.replace(made.runtime, mounts=(*made.runtime.mounts, *map(str, made.folders)))

    def program(self, text: str, limits: Limits) -> Build:
        outline = _Outline.of(text)
        return self._build({outline.file: text}, [outline.main], limits)

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        text = f"{text}\n{setup}"
        outline = _Outline.of(text)
        files = {outline.file: text, f"{_CALLS}.java": _calls(outline.package, calls)}
        main = ["rewardranker.Driver", outline.qualified(_CALLS), str(limits.reply_bytes)]
        return self._build(files, main, limits)

    def _build(self, files: dict[str, str], main: Sequence[str], limits: Limits) -> Build:
        made = _made()
        compiler = [f"-J{option}" for option in (*_COMPILE, *made.archive(_COMPILER_ARCHIVE))]
        heap = f"-Xmx{limits.memory_bytes // MIB}m"
        return Build(
            files,
            compile=(made.runtime.executable, *compiler, *_OPTIONS, "-cp", made.classes, *files),
            artefacts=("**/*.class",),
            run=(made.java, *_RUN, *made.archive(_ARCHIVE), heap, "-ea", "-cp", f"{made.classes}:.", *main),
        )


@dataclasses.dataclass(frozen=True)
class _Outline:
    """Where the parts of a program are: javac wants a public type in the file of its name."""

    package: str = ""
    public: str = ""
    main: str = ""

    @staticmethod
    def of(text: str) -> _Outline:
        package = public = main = first = current = ""
        depth = 0
        for found in _OUTLINE.finditer(text):
            if found["bracket"]:
                depth += 1 if found["bracket"] == "{" else -1
            elif found["package"] and not first:
                package = found["package"]
            elif found["type"] and depth == 0:
                current = found["type"]
                first = first or current
                if "public" in found["modifiers"].split():
                    public = public or current
            elif found["main"] and depth == 1:
                main = current  # the last: a test program stands behind the program
        outline = _Outline(package, public)
        return dataclasses.replace(outline, main=outline.qualified(main or first or "Main"))

    @property
    def file(self) -> str:
        return f"{self.public or 'Program'}.java"

    def qualified(self, name: str) -> str:
        return f"{self.package}.{name}" if self.package else name


def _calls(package: str, calls: Sequence[str]) -> str:
    """The class that makes the calls: one method for each, since the size of a method is bounded."""
    lines = [f"package {package};"] if package else []
    lines += [f"import {each}.*;" for each in _PACKAGES]
    lines += [f"public final class {_CALLS} implements rewardranker.Calls {{"]
    lines += [f"public int count() {{ return {len(calls)}; }}"]
    lines += ["public java.lang.Object call(int index) throws java.lang.Throwable { switch (index) {"]
    lines += [f"case {index}: return call{index}();" for index in range(len(calls))]
    lines += ["default: return null; } }"]
    for index, call in enumerate(calls):
        lines += [f"static java.lang.Object call{index}() throws java.lang.Throwable {{ return (\n{call}\n); }}"]
    return "\n".join([*lines, "}", ""])


@dataclasses.dataclass(frozen=True)
class _Made:
    """An installation and what was made for it. Without archives everything works, more slowly."""

    runtime: Runtime
    folders: tuple[Path, ...]

    @property
    def classes(self) -> str:
        return str(self.folders[0] / _CLASSES)

    @property
    def java(self) -> str:
        return str(Path(self.runtime.executable).with_name("java"))

    def archive(self, name: str) -> list[str]:
        return [f"-XX:SharedArchiveFile={folder / name}" for folder in self.folders[1:]]


@functools.cache
def _made() -> _Made:
    """Raises `MissingRuntime`."""
    package = "the package openjdk-17-jdk-headless"
    found = toolchain.find("java", ["java"], ["-version"], [], package)
    compiler = Path(found.executable).resolve().with_name("javac")
    if not compiler.exists():
        raise MissingRuntime(f"java: there is no {compiler}; `make languages` installs it ({package})")
    home = compiler.parent.parent
    configuration = map(str, Path("/etc").glob("java*openjdk*"))
    runtime = Runtime(str(compiler), found.version, (str(home), *configuration))
    sources = javatuples.sources()
    for name in ("Driver", "Calls", "Sample"):
        sources[f"rewardranker/{name}.java"] = toolchain.driver(f"java/{name}.java")
    key = repr((str(compiler), compiler.stat().st_mtime_ns, sorted(sources.items()), _RUN, _COMPILE, _OPTIONS))
    classes = cache.folder("java", key, lambda folder: _compile(compiler, sources, folder))
    if classes is None:
        raise MissingRuntime(f"java: {compiler} does not compile the driver; a complete JDK does ({package})")
    # The path of its classes is written into an archive, so they have to be in their place before.
    made = f"{key} {(classes / _CLASSES).stat().st_mtime_ns}"
    archives = cache.folder("java", made, lambda folder: _archive(compiler, classes, folder))
    return _Made(runtime, (classes, archives) if archives else (classes,))


def _compile(compiler: Path, sources: dict[str, str], folder: Path) -> None:
    text, output = folder / "source", folder / "classes"
    for name, content in sources.items():
        file = text / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    output.mkdir()
    _run(output, compiler, *_OPTIONS, *(str(text / name) for name in sources))
    with zipfile.ZipFile(folder / _CLASSES, "w") as jar:
        for path in sorted(output.rglob("*.class")):
            jar.write(path, path.relative_to(output))


def _archive(compiler: Path, classes: Path, folder: Path) -> None:
    """The classes that were loaded while a typical program was compiled, and while one was run."""
    java = compiler.with_name("java")
    jar = str(classes / _CLASSES)
    main = "rewardranker.Driver"
    sample = str(classes / "source" / "rewardranker" / "Sample.java")
    _run(
        folder, java, *_COMPILE, f"-XX:ArchiveClassesAtExit={folder / _COMPILER_ARCHIVE}",
        "-m", "jdk.compiler/com.sun.tools.javac.Main", *_OPTIONS, "-cp", jar, sample,
    )  # fmt: skip
    _run(
        folder, java, *_RUN, f"-XX:ArchiveClassesAtExit={folder / _ARCHIVE}", "-Xmx256m",
        "-cp", jar, main, "rewardranker.Sample", "1000000", "sample",
    )  # fmt: skip


def _run(folder: Path, *command: str | Path) -> None:
    """Raises `OSError` or `subprocess.SubprocessError`."""
    line = ["/bin/sh", "-c", '"$0" "$@" 3>/dev/null', *map(str, command)]
    subprocess.run(line, cwd=folder, check=True, capture_output=True, timeout=120, env={"PATH": "/usr/bin:/bin"})
