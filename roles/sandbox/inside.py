"""What the program's own process does, once it is confined: reads its job and becomes the program.

A job is one file: the nonce, the size of its description, the description as JSON, and the bytes of its files. It is
one of three: a Python program with calls, answered in this process; a command that replaces it; a compiler that runs
below it, so that what it leaves can be sent out.
"""

from __future__ import annotations

import builtins
import contextlib
import glob
import json
import linecache
import os
import signal
import stat
import struct
import sys
import traceback
import types
from typing import Any, NoReturn

from roles.sandbox.values import TooLarge, encode

NONCE_BYTES = 16
HEAD = struct.Struct("<16sI")  # the nonce, the size of the description
ARTEFACT = struct.Struct("<IQ")  # the sizes of a name and of its content, which follow
REPLIES = 3  # descriptor of the replies inside the program
_TRACEBACK = 2000  # characters


def perform(descriptor: int) -> NoReturn:
    leave = os._exit
    try:
        with open(descriptor, "rb") as file:
            nonce, size = HEAD.unpack(file.read(HEAD.size))
            job = json.loads(file.read(size))
            for name, length in job.get("files", ()):
                _write(name, file.read(length))
        if job["kind"] == "python":
            _answer(job, nonce)
            leave(0)
        if job["kind"] == "compile":
            leave(_compile(job))
        _become(job)
    finally:
        leave(1)


def _become(job: dict[str, Any]) -> NoReturn:
    """Replaces this process by the job's command, with the signals that the interpreter ignores as they were."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.execve(job["command"][0], job["command"], job["environment"])


def _write(name: str, content: bytes) -> None:
    folder = os.path.dirname(name)
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(name, "xb", opener=lambda path, flags: os.open(path, flags, 0o755)) as file:
        file.write(content)


def _compile(job: dict[str, Any]) -> int:
    """Runs the compiler below this process, then sends the files it left. Returns its exit status."""
    child = os.fork()
    if child == 0:
        try:
            os.close(REPLIES)
            _become(job)
        finally:
            os._exit(127)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    if status == 0:
        with open(REPLIES, "wb", closefd=False) as out:
            for pattern in job["artefacts"]:
                for name in sorted(glob.glob(pattern, recursive=True)):
                    if stat.S_ISREG(os.lstat(name).st_mode):
                        with open(name, "rb") as file:
                            content = file.read()
                        encoded = name.encode("utf-8", "surrogateescape")
                        out.write(ARTEFACT.pack(len(encoded), len(content)) + encoded + content)
    return os.WEXITSTATUS(status)


def _answer(job: dict[str, Any], nonce: bytes) -> None:
    """Compiles and runs the program, then the calls; writes one frame for each thing that happened.

    Library functions are bound before the program runs, and it has its own view of the builtins, so that a program
    which patches either still answers. What it answers is a claim all the same.
    """
    dumps, write, show = json.dumps, os.write, traceback.format_exception
    execute, evaluate, translate = exec, eval, compile
    name, largest = "program.py", job["largest_frame"]
    mark = nonce.hex().encode("ascii") + b" "

    def send(*frame: Any) -> None:
        body = dumps(frame).encode("ascii")
        if len(body) > largest:
            body = dumps([frame[0], "big"]).encode("ascii")
        body = mark + body + b"\n"
        while body:
            body = body[write(REPLIES, body) :]

    table = vars(builtins)
    ours, theirs = table.copy(), table.copy()

    def inside(action: Any, *arguments: Any) -> Any:
        nonlocal theirs
        table.update(theirs)
        try:
            return action(*arguments)
        finally:
            theirs = table.copy()
            table.update(ours)

    def raised(index: int, error: BaseException) -> None:
        code = error.code if isinstance(error, SystemExit) else None
        status = code if isinstance(code, int) else int(code is not None or not isinstance(error, SystemExit))
        send(index, "err", str(type(error).__name__)[:80], status)
        if not isinstance(error, SystemExit):
            with contextlib.suppress(BaseException):
                text = "".join(show(type(error), error, error.__traceback__, limit=-6))
                write(2, text[-_TRACEBACK:].encode("utf-8", "backslashreplace"))

    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = open(0)  # noqa: SIM115
    main = types.ModuleType("__main__")
    sys.modules["__main__"] = main
    scope = main.__dict__
    try:
        code = translate(job["program"], name, "exec", dont_inherit=True)
    except BaseException as error:
        return raised(-2, error)
    linecache.cache[name] = (len(job["program"]), None, job["program"].splitlines(True), name)
    send(-2, "ok")
    try:
        inside(execute, code, scope)
        inside(execute, translate(job["setup"], "setup.py", "exec", dont_inherit=True), scope)
        if not job["calls"]:
            _wait_for_threads()
    except BaseException as error:
        _flush()
        return raised(-1, error)
    _flush()
    send(-1, "ok")
    for index, call in enumerate(job["calls"]):
        try:
            value = inside(evaluate, translate(call, "call.py", "eval", dont_inherit=True), scope)
            send(index, "val", encode(value))
        except TooLarge:
            send(index, "big")
        except NameError as error:
            outer = error.__traceback__ and error.__traceback__.tb_next  # `inside`, and then the call
            frame = outer and outer.tb_next
            if frame is not None and frame.tb_next is None:  # raised by the call itself: the program lacks the name
                send(index, "undefined")
            else:
                raised(index, error)
        except BaseException as error:
            raised(index, error)
    _flush()
    send(len(job["calls"]), "end")


def _flush() -> None:
    with contextlib.suppress(BaseException):
        sys.stdout.flush()


def _wait_for_threads() -> None:
    """As the interpreter does at its end, for a program that is judged by what it prints."""
    threading = sys.modules.get("threading")
    if threading:
        threading._shutdown()  # type: ignore[attr-defined]
