"""Go, by the compiler and the linker themselves: what `go build` does around them takes longer than they do.

The standard library's packages and the driver are compiled once per machine.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from roles.languages import braces, cache, toolchain
from roles.languages.base import Build, Executed, MissingRuntime, Runtime
from roles.records import Problem
from roles.sandbox.limits import MIB, Limits

_PACKAGE = "the package golang-go"
_DRIVER = "rewardranker/judge"
_ENVIRONMENT = {"CGO_ENABLED": "0", "GO111MODULE": "off", "GOFLAGS": "", "GOTOOLCHAIN": "local", "GOPROXY": "off"}
_CLAUSE = re.compile(r"^package[ \t]+\w+", re.MULTILINE)
_MAIN = re.compile(r"^func[ \t]+main[ \t]*\(", re.MULTILINE)
_TESTS = re.compile(r"^func[ \t]+(Test\w*)[ \t]*\(\w+ \*testing\.T\)", re.MULTILINE)
_IMPORTS = re.compile(r"^import[ \t]*(?:\((?P<group>[^()]*)\)|(?P<single>[^\n]*))", re.MULTILINE)
_IMPORT = re.compile(r'^\s*(?P<alias>[\w.]+)?[ \t]*"(?P<path>[\w./]+)"', re.MULTILINE)
# What a published test program uses of what its prompt imports: without the test, Go refuses the import.
_USED = {
    "testing": "var _ *{}.T", "fmt": "var _ = {}.Sprint", "encoding/json": "var _ = {}.Marshal",
    "reflect": "var _ = {}.DeepEqual",
}  # fmt: skip

_TEST_MAIN = """import "testing"
func main() {
	testing.Main(func(_, _ string) (bool, error) { return true, nil }, []testing.InternalTest{%s}, nil, nil)
}
"""


class Go(Executed):
    name = "go"
    stop = ("\nfunc ", "\n//", "\ntype ", "\n```")
    limits_data = True
    headroom_bytes = 128 * MIB
    processes = 16
    memory_signs = ("out of memory", "cannot allocate memory")

    def assemble(self, problem: Problem, completion: str) -> str:
        return braces.close(problem.prompt + completion, characters=True)

    def runtime(self, foreign_user: bool) -> Runtime:
        made = _made()
        mounts = (*made.runtime.mounts, "/bin/sh", str(made.tools), str(made.packages), str(made.driver))
        return dataclasses.replace(made.runtime, mounts=mounts)

    def program(self, text: str, limits: Limits) -> Build:
        tests = [] if _MAIN.search(text) else _TESTS.findall(text)
        main = f'package main\nimport _ "{_DRIVER}"\n'
        if tests:
            main += _TEST_MAIN % ", ".join(f'{{"{test}", {test}}}' for test in tests)
        return self._build({"program.go": _CLAUSE.sub("package main", text, count=1), "main.go": main}, (), limits)

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        text = f"{_MAIN.sub('func main__(', _CLAUSE.sub('package main', text, count=1))}\n{setup}\n"
        answered = "".join(f"func() []interface{{}} {{ return judge__.Values({call},\n) }},\n" for call in calls)
        files = {
            "program.go": text + "".join(f"{line}\n" for line in _uses(text)),
            "calls.go": f'package main\nimport judge__ "{_DRIVER}"\nfunc main() {{ judge__.Run(\n{answered}) }}\n',
        }
        return self._build(files, ("--calls", str(limits.reply_bytes)), limits)

    def _build(self, files: dict[str, str], arguments: Sequence[str], limits: Limits) -> Build:
        made = _made()
        compile = f"{made.tools}/compile -p main -complete -importcfg importcfg -pack -o program.a {' '.join(files)}"
        link = f"{made.tools}/link -s -w -importcfg importcfg -o program program.a"
        environment = {**_ENVIRONMENT, "GOMEMLIMIT": str(limits.memory_bytes), "GOMAXPROCS": "2"}
        command = ("/bin/sh", "-c", f"{compile} && {link}")
        files = {**files, "importcfg": made.list}
        return Build(files, ("/tmp/program", *arguments), command, ("program",), environment=environment)


def _uses(text: str) -> Iterable[str]:
    """Declarations that use what only a test program would."""
    for group in _IMPORTS.finditer(text):
        for found in _IMPORT.finditer(group["group"] or group["single"]):
            path, alias = found["path"], found["alias"]
            if path in _USED and alias not in ("_", "."):
                yield _USED[path].format(alias or path.rpartition("/")[2])


@dataclasses.dataclass(frozen=True)
class _Made:
    """`packages` holds the standard library, `driver` the compiled driver, `list` names both to the compiler."""

    runtime: Runtime
    tools: Path
    packages: Path
    driver: Path
    list: str


@functools.cache
def _made() -> _Made:
    """Raises `MissingRuntime`."""
    runtime = toolchain.find("go", ["go"], ["version"], [], _PACKAGE)
    printed = _run([runtime.executable, "env", "GOTOOLDIR"], os.environ.get("HOME", "/"))
    tools = Path(printed.strip())
    key = repr((runtime.version, str(tools), tools.stat().st_mtime_ns, sorted(_ENVIRONMENT.items())))
    source = toolchain.driver("go/judge.go")
    packages = cache.folder("go", key, lambda folder: _library(runtime.executable, folder))
    driver = packages and cache.folder("go", key + source, lambda folder: _driver(tools, packages, source, folder))
    if packages is None or driver is None:
        raise MissingRuntime(f"go: {runtime.executable} does not compile the driver; a complete Go does ({_PACKAGE})")
    return _Made(runtime, tools, packages, driver, f"{_listed(packages)}packagefile {_DRIVER}={driver}/judge.a\n")


def _library(go: str, folder: Path) -> None:
    """Every package of the standard library, compiled, as `<import path>.a`."""
    form = "{{if .Export}}{{.ImportPath}} {{.Export}}{{end}}"
    listed = _run([go, "list", "-export", "-f", form, "std"], str(folder), GOCACHE=str(folder / "cache"))
    for line in listed.splitlines():
        name, _, path = line.partition(" ")
        target = folder / f"{name}.a"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.rmtree(folder / "cache")


def _listed(packages: Path) -> str:
    paths = sorted(packages.rglob("*.a"))
    return "".join(f"packagefile {path.relative_to(packages).with_suffix('')}={path}\n" for path in paths)


def _driver(tools: Path, packages: Path, source: str, folder: Path) -> None:
    folder.joinpath("importcfg").write_text(_listed(packages), encoding="utf-8")
    folder.joinpath("judge.go").write_text(source, encoding="utf-8")
    options = ["-p", _DRIVER, "-complete", "-importcfg", "importcfg", "-pack", "-o", "judge.a"]
    _run([f"{tools}/compile", *options, "judge.go"], str(folder))


def _run(command: list[str], folder: str, **environment: str) -> str:
    environment = {"PATH": "/usr/bin:/bin", "HOME": folder, **_ENVIRONMENT, **environment}
    done = subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True, timeout=900
    )  # fmt: skip
    return done.stdout
