"""TypeScript, type-checked and translated by the native compiler of TypeScript 7, run by Node.js."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from roles.languages.base import Build, MissingRuntime, Runtime
from roles.languages.node import NodeLanguage
from roles.sandbox.limits import Limits

# `make languages` installs the packages of requirements/node in the first of these when root, else in the second. A
# folder of root's own home is of no use: the user of a jail could not enter it.
_FOLDERS = (Path("/usr/local/lib/rewardranker/node"), Path.home() / ".local/share/rewardranker/node")
_OPTIONS = (
    "--ignoreConfig", "--target", "es2022", "--lib", "esnext", "--module", "commonjs", "--strict", "false",
    "--moduleDetection", "force", "--skipLibCheck", "--singleThreaded", "--pretty", "false",
)  # fmt: skip
_USES_NODE = re.compile(r"\b(import|require|process|Buffer|NodeJS|global|URL|URLSearchParams|TextEncoder|TextDecoder|"
                        r"performance|queueMicrotask|setImmediate|structuredClone|__dirname|__filename)\b")  # fmt: skip
_GLOBALS = """declare var console: any;
declare function setTimeout(callback: (...given: any[]) => void, delay?: number, ...given: any[]): any;
declare function setInterval(callback: (...given: any[]) => void, delay?: number, ...given: any[]): any;
declare function clearTimeout(timer: any): void;
declare function clearInterval(timer: any): void;
"""


class TypeScript(NodeLanguage):
    """Types are checked as the published test programs are: a program with a wrong type is no program, not strictly."""

    name = "typescript"
    stop = ("\nfunction ", "\n/*", "\n//", "\nclass ", "\nconsole.log", "\n```")

    def runtime(self, foreign_user: bool) -> Runtime:
        node, installed = super().runtime(foreign_user), _installed(foreign_user)
        version = f"{installed.version} on node {node.version}"
        return Runtime(node.executable, version, (*node.mounts, *installed.mounts))

    def program(self, text: str, limits: Limits) -> Build:
        return self._build(text, {}, "program.js", limits)

    def calls(self, text: str, setup: str, calls: Sequence[str], limits: Limits) -> Build:
        # The calls are compiled too: what they hand over has to be of the types that the program declares.
        wrapped = ", ".join(f"() => ({call}\n)" for call in calls)
        source = f"{text}\n{setup}\n;const $calls = [{wrapped}];\n"
        answered = [f"$calls[{index}]()" for index in range(len(calls))]
        files = {"calls.json": json.dumps(answered), "driver.js": self.driver(limits)}
        return self._build(source, files, "driver.js", limits)

    def _build(self, source: str, files: dict[str, str], run: str, limits: Limits) -> Build:
        compiler = _installed(False)
        command = [compiler.executable, *_OPTIONS, "program.ts", "globals.d.ts"]
        declarations = _GLOBALS
        if _USES_NODE.search(source):
            declarations = ""
            command += ["--types", "node", "--typeRoots", f"{compiler.mounts[1]}/@types"]
        else:
            command += ["--types", ""]
        return Build(
            files | {"program.ts": source, "globals.d.ts": declarations}, (*self.node(limits), run),
            compile=tuple(command), artefacts=("program.js", *files), environment={"GOGC": "off"},
        )  # fmt: skip


@functools.cache
def _installed(foreign_user: bool) -> Runtime:
    """The compiler, and as its mounts its own folder and that of its packages. Raises `MissingRuntime`."""
    compilers = [
        compiler
        for folder in _FOLDERS
        for compiler in folder.glob("node_modules/@typescript/typescript-linux-*/lib/tsc")
        if (folder / "node_modules/@types/node").is_dir()
    ]
    usable = [compiler for compiler in compilers if _closed(compiler) is None]
    if not usable and compilers and not foreign_user:
        usable = compilers  # the jail's user is the one who may read them
    if usable:
        packages = usable[0].parents[3]
        version = json.loads((packages / "typescript/package.json").read_text(encoding="utf-8"))["version"]
        return Runtime(str(usable[0]), version, (str(usable[0].parent), str(packages)))
    looked_in = " or ".join(map(str, _FOLDERS))
    refused = f" ({_closed(compilers[0])} is not open to other users)" if compilers else ""
    raise MissingRuntime(f"typescript: no compiler in {looked_in}{refused}; `make languages` installs it")


def _closed(path: Path) -> Path | None:
    """What keeps other users from running `path`."""
    return next((part for part in (path, *path.parents) if not os.stat(part).st_mode & 0o001), None)
