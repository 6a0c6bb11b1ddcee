"""The warm server: first process of a jail, forks one program after another into fresh namespaces.

Runs inside nsjail, with capabilities that hold in its own user namespace only, and never sees a program: it hands
the descriptors of a job to the job's own processes, and these read the program after the last fork.

    server (pid 1 of the jail)  ->  init (pid 1 of the job)  ->  program (pid 2 of the job)

Over the control socket (SOCK_SEQPACKET, one message each):
  in   START + descriptors of the job, its replies, stdout and stderr;  STOP + job number
  out  RESULT of the job, or FAULT + what broke on our side
When the other end of the socket closes, the server ends and the kernel ends every process of the jail.
"""

from __future__ import annotations

import array
import builtins
import contextlib
import ctypes
import gc
import importlib
import json
import linecache
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
import traceback
import types
from typing import Any, NoReturn

from roles.sandbox.values import TooLarge, encode

START = struct.Struct("<cId8Q")  # b"J", number, wall seconds, then the values of LIMIT_NAMES, /tmp bytes, nonce size
STOP = struct.Struct("<cI")  # b"K", number
RESULT = struct.Struct("<cIidqd")  # b"R", number, wait status, CPU seconds, peak memory in bytes, wall seconds
TIMEOUT_STATUS = -1
STOPPED_STATUS = -2
LIMIT_NAMES = ("AS", "CPU", "NPROC", "NOFILE", "FSIZE", "CORE")

_NEWNS, _NEWIPC, _NEWPID = 0x00020000, 0x08000000, 0x20000000
_NOSUID, _NODEV, _NOEXEC, _RDONLY = 2, 4, 8, 1
_SET_DUMPABLE, _SET_SECCOMP, _DROP_BOUND, _SET_NO_NEW_PRIVS = 4, 22, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522
_TRACEBACK = 2000  # characters
_REPLIES = 3  # descriptor of the replies inside the program
_PRELOADED = (
    "bisect", "collections", "copy", "functools", "heapq", "itertools", "math", "operator", "random", "re", "string",
    "typing",
)  # fmt: skip
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def serve(control: socket.socket, seccomp: bytes) -> None:
    """Runs jobs until the other end of `control` closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a handler would let a program interrupt its init
    home = os.open("/proc/self/ns/pid", os.O_RDONLY)
    for module in _PRELOADED:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # keeps the collector of the forked programs off the shared pages
    while True:
        message, ancillary, _, _ = control.recvmsg(START.size, socket.CMSG_SPACE(4 * 4))
        if not message:
            return
        if message[:1] != b"J":  # a late STOP
            continue
        descriptors = array.array("i", ancillary[0][2])
        _, number, wall, *numbers = START.unpack(message)
        control.send(_job(control, home, number, wall, numbers, list(descriptors), seccomp))


def _job(
    control: socket.socket, home: int, number: int, wall: float, numbers: list[int], descriptors: list[int], bpf: bytes
) -> bytes:
    start = time.monotonic()
    report, up = os.pipe()
    try:
        _check(_libc.unshare(_NEWPID), "unshare of the pid namespace")
        init = os.fork()
        if init == 0:
            _init(numbers, descriptors, up, bpf)
        _check(_libc.setns(home, _NEWPID), "return to the pid namespace")
    except OSError as error:
        return b"F" + str(error).encode()
    finally:
        os.close(up)
        for descriptor in descriptors:
            os.close(descriptor)
    status = _wait(control, report, number, start + wall)
    message = os.read(report, 4096) if status is None else b""
    os.kill(init, signal.SIGKILL)
    os.waitpid(init, 0)  # returns when the last process of the job is gone
    os.close(report)
    elapsed = time.monotonic() - start
    if status is not None:
        return RESULT.pack(b"R", number, status, 0.0, 0, elapsed)
    if message[:1] != b"R":
        return b"F" + (message[1:] or b"the init of the job died")
    _, _, status, cpu, rss, _ = RESULT.unpack(message)
    return RESULT.pack(b"R", number, status, cpu, rss, elapsed)


def _wait(control: socket.socket, report: int, number: int, deadline: float) -> int | None:
    """None when the program has ended, else why it has to be ended."""
    while True:
        ready, _, _ = select.select([report, control.fileno()], [], [], max(0.0, deadline - time.monotonic()))
        if report in ready:
            return None
        if not ready:
            return TIMEOUT_STATUS
        message = control.recv(START.size)
        if not message:
            os._exit(0)
        if message[:1] == b"K" and STOP.unpack(message)[1] == number:
            return STOPPED_STATUS


def _init(numbers: list[int], descriptors: list[int], up: int, bpf: bytes) -> NoReturn:
    """First process of the job's pid namespace: fresh mounts, then reaps until the program ends, then reports."""
    try:
        _check(_libc.unshare(_NEWNS | _NEWIPC), "unshare of the mount and ipc namespaces")
        _libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)
        options = b"size=%d,nr_inodes=2048,mode=1777" % numbers[len(LIMIT_NAMES)]
        _check(_libc.mount(b"none", b"/tmp", b"tmpfs", _NOSUID | _NODEV, options), "mount of /tmp")
        _check(_libc.mount(b"none", b"/proc", b"proc", _NOSUID | _NODEV | _NOEXEC | _RDONLY, None), "mount of /proc")
        program = os.fork()
        if program == 0:
            _program(numbers, descriptors, up, bpf)
        os.closerange(0, 3)
        for descriptor in descriptors:
            os.close(descriptor)
        pid = 0
        while pid != program:
            pid, status, usage = os.wait4(-1, 0)
        cpu = usage.ru_utime + usage.ru_stime
        os.write(up, RESULT.pack(b"R", 0, status, cpu, usage.ru_maxrss * 1024, 0.0))
    except BaseException as error:
        os.write(up, b"F" + f"init: {error!r}".encode()[:1000])
    os._exit(0)


def _program(numbers: list[int], descriptors: list[int], up: int, bpf: bytes) -> NoReturn:
    try:
        job, replies, out, err = descriptors
        os.setsid()
        os.chdir("/tmp")
        null = os.open("/dev/null", os.O_RDONLY)
        job, up, replies = _move(job, 200), _move(up, 201), _move(replies, 202)
        for source, target in ((null, 0), (out, 1), (err, 2), (replies, _REPLIES)):
            os.dup2(source, target)
        os.closerange(_REPLIES + 1, 200)
        os.closerange(202, 256)
        _confine(numbers, bpf)
        _libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # the init must not be looked at, the program may look at itself
        os.close(up)  # from here on nothing this process does can look like a fault of the sandbox
    except BaseException as error:
        os.write(up, b"F" + f"program: {error!r}".encode()[:1000])
        os._exit(125)
    _execute(job, numbers[len(LIMIT_NAMES) + 1])


def _move(descriptor: int, target: int) -> int:
    os.dup2(descriptor, target)
    return target


def _confine(numbers: list[int], bpf: bytes) -> None:
    """No capabilities, no way to regain one, limits, filter: in this order, each needs the one before."""
    for capability in range(64):
        if _libc.prctl(_DROP_BOUND, capability, 0, 0, 0) < 0:
            break
    _check(_libc.capset(struct.pack("Ii", _CAPABILITY_VERSION_3, 0), bytes(24)), "capset")
    _check(_libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    for name, value in zip(LIMIT_NAMES, numbers):  # noqa: B905 - `strict` is younger than the oldest interpreter here
        hard = value + 1 if name == "CPU" else value  # SIGXCPU first, which nothing else sends; SIGKILL a second later
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, hard))
    if bpf:
        code = ctypes.create_string_buffer(bpf, len(bpf))
        header = struct.pack("HxxxxxxQ", len(bpf) // 8, ctypes.addressof(code))
        _check(_libc.prctl(_SET_SECCOMP, 2, header, 0, 0), "seccomp")


def _execute(descriptor: int, nonce_bytes: int) -> NoReturn:
    leave = os._exit
    try:
        _answer(descriptor, nonce_bytes)
        leave(0)
    finally:
        leave(1)


def _answer(descriptor: int, nonce_bytes: int) -> None:
    """Compiles and runs the program, then the calls; writes one frame for each thing that happened.

    Library functions are bound before the program runs, and it has its own view of the builtins, so that a program
    which patches either still answers. What it answers is a claim all the same.
    """
    with open(descriptor, "rb") as file:
        nonce = file.read(nonce_bytes)
        job = json.loads(file.read())
    dumps, write, pack, show = json.dumps, os.write, struct.pack, traceback.format_exception
    execute, evaluate, translate = exec, eval, compile
    name, largest = "program.py", job["largest_frame"]

    def send(*frame: Any) -> None:
        body = dumps(frame).encode("ascii")
        if len(body) > largest:
            body = dumps([frame[0], "big"]).encode("ascii")
        body = nonce + pack("<I", len(body)) + body
        while body:
            body = body[write(_REPLIES, body) :]

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
    except BaseException as error:
        return raised(-1, error)
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
    with contextlib.suppress(BaseException):
        sys.stdout.flush()
    send(len(job["calls"]), "end")
