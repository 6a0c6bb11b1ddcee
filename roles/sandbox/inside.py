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
_json = json.encoder.c_make_encoder(  # type: ignore[attr-defined]  # all in C: no part of it can be patched
    None, None, json.encoder.encode_basestring_ascii, None, ": ", ", ", False, False, False
)


def perform(descriptor: int) -> NoReturn:
    leave = os._exit
    try:
        nonce, size = HEAD.unpack(os.read(descriptor, HEAD.size))
        job = json.loads(os.read(descriptor, size))
        for name, length in job.get("files", ()):
            _write(name, os.read(descriptor, length))
        os.close(descriptor)
        if job["kind"] == "python":
            signal.signal(signal.SIGINT, signal.default_int_handler)
            main = sys.modules["__main__"] = types.ModuleType("__main__")
            _answer(job, nonce, main.__dict__)
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


def _answer(job: dict[str, Any], nonce: bytes, scope: dict[str, Any]) -> None:
    """Compiles and runs the program, then the calls; writes one frame for each thing that happened.

    Library functions are bound before the program runs, and this module has builtins of its own, so that a program
    which patches either still answers. What it answers is a claim all the same.
    """
    write, show = os.write, traceback.format_exception
    name, largest = "program.py", job["largest_frame"]
    mark = nonce.hex().encode("ascii") + b" "

    def send(*frame: Any) -> None:
        body = "".join(_json(frame, 0)).encode("ascii")
        if len(body) > largest:
            body = b'[%d, "big"]' % frame[0]
        body = mark + body + b"\n"
        while body:
            body = body[write(REPLIES, body) :]

    def raised(index: int, error: BaseException) -> None:
        code = error.code if isinstance(error, SystemExit) else None
        status = code if isinstance(code, int) else int(code is not None or not isinstance(error, SystemExit))
        send(index, "err", str(type(error).__name__)[:80], status)
        if not isinstance(error, SystemExit):
            with contextlib.suppress(BaseException):
                text = "".join(show(type(error), error, error.__traceback__, limit=-6))
                write(2, text[-_TRACEBACK:].encode("utf-8", "backslashreplace"))

    scope["__builtins__"] = builtins
    try:
        code = compile(job["program"], name, "exec", dont_inherit=True)
    except BaseException as error:
        return raised(-2, error)
    linecache.cache[name] = (len(job["program"]), None, job["program"].splitlines(True), name)
    send(-2, "ok")
    try:
        exec(code, scope)
        exec(compile(job["setup"], "setup.py", "exec", dont_inherit=True), scope)
        if not job["calls"]:
            _wait_for_threads()
    except BaseException as error:
        _flush()
        return raised(-1, error)
    _flush()
    send(-1, "ok")
    for index, call in enumerate(job["calls"]):
        try:
            value = eval(compile(call, "call.py", "eval", dont_inherit=True), scope)
            send(index, "val", encode(value))
        except TooLarge:
            send(index, "big")
        except NameError as error:
            frame = error.__traceback__ and error.__traceback__.tb_next
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
