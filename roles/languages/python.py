"""Python: programs run in a warm interpreter, so only the interpreter has to be found."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

from roles.languages.base import Language, MissingRuntime, Runtime
from roles.records import Problem

_OLDEST = (3, 9)


class Python(Language):
    name = "python"
    stop = ("\ndef ", "\nclass ", "\nif ", "\nprint(", "\nassert ", "\n#", "\n@", '\n"""', "\n```")

    def assemble(self, problem: Problem, completion: str) -> str:
        return problem.prompt + completion

    def runtime(self, foreign_user: bool) -> Runtime:
        return _runtime(foreign_user)


@functools.cache
def _runtime(foreign_user: bool) -> Runtime:
    """The running interpreter's own installation when the jail's user can read it, else the system's."""
    running = Path(sys.base_prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")
    refused = []
    for path in (running, Path("/usr/bin/python3"), Path("/usr/local/bin/python3")):
        executable = path.resolve()
        library = executable.parent.parent / "lib"
        if not (os.access(executable, os.X_OK) and library.is_dir()):
            continue
        closed = next((part for part in (executable, *executable.parents) if not _open_to_all(part)), None)
        if foreign_user and closed:
            refused.append(f"{executable} ({closed} is not open to other users)")
            continue
        version = _version(executable)
        if version < _OLDEST:
            refused.append(f"{executable} (version {_dotted(version)} is older than {_dotted(_OLDEST)})")
            continue
        return Runtime(str(executable), _dotted(version), (str(executable), str(library)))
    raise MissingRuntime(
        "python: no interpreter that a jail can use; install python3 from the system's packages"
        + (f" (looked at {', '.join(refused)})" if refused else "")
    )


def _open_to_all(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o001)


def _version(executable: Path) -> tuple[int, ...]:
    code = "import sys; print(*sys.version_info[:3])"
    done = subprocess.run([executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=20, check=False)
    return tuple(int(part) for part in done.stdout.split()) if done.returncode == 0 else (0,)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
