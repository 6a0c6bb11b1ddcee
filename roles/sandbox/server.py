"""The warm server: first process of a jail, forks one program after another into fresh namespaces.

Runs inside nsjail, with capabilities that hold in its own user namespace only, and never sees a program: it hands
the descriptors of a job to the job's own processes, and these read the program after the last fork.

    server (pid 1 of the jail)  ->  init (pid 1 of the job)  ->  program (pid 2 of the job)

Over the control socket (SOCK_SEQPACKET, one message each):
  in   START + descriptors of the job, its standard input, replies, stdout and stderr;  STOP + job number
  out  RESULT of the job, or FAULT + what broke on our side
When the other end of the socket closes, the server ends and the kernel ends every process of the jail.
"""

from __future__ import annotations

import array
import ctypes
import gc
import importlib
import os
import resource
import select
import signal
import socket
import struct
import time
from typing import NoReturn

from roles.sandbox.inside import REPLIES, perform

LIMIT_NAMES = ("AS", "DATA", "CPU", "NPROC", "NOFILE", "FSIZE", "CORE")
UNLIMITED = (1 << 64) - 1
START = struct.Struct("<cId8Q")  # b"J", number, wall seconds, then the values of LIMIT_NAMES and the bytes of /tmp
STOP = struct.Struct("<cI")  # b"K", number
RESULT = struct.Struct("<cIidqd")  # b"R", number, wait status, CPU seconds, peak memory in bytes, wall seconds
DESCRIPTORS = 5
TIMEOUT_STATUS = -1
STOPPED_STATUS = -2

_NEWNS, _NEWIPC, _NEWPID = 0x00020000, 0x08000000, 0x20000000
_NOSUID, _NODEV, _NOEXEC, _RDONLY = 2, 4, 8, 1
_SET_DUMPABLE, _SET_SECCOMP, _DROP_BOUND, _SET_NO_NEW_PRIVS = 4, 22, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522
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
        message, ancillary, _, _ = control.recvmsg(START.size, socket.CMSG_SPACE(4 * DESCRIPTORS))
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
        job, source, replies, out, err = descriptors
        os.setsid()
        os.chdir("/tmp")
        job, up, replies = _move(job, 200), _move(up, 201), _move(replies, 202)
        for given, target in ((source, 0), (out, 1), (err, 2), (replies, REPLIES)):
            os.dup2(given, target)
        os.closerange(REPLIES + 1, 200)
        os.closerange(202, 256)
        _confine(numbers, bpf)
        _libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # the init must not be looked at, the program may look at itself
        os.close(up)  # from here on nothing this process does can look like a fault of the sandbox
    except BaseException as error:
        os.write(up, b"F" + f"program: {error!r}".encode()[:1000])
        os._exit(125)
    perform(job)


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
        if value == UNLIMITED:
            continue
        hard = value + 1 if name == "CPU" else value  # SIGXCPU first, which nothing else sends; SIGKILL a second later
        resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, hard))
    if bpf:
        code = ctypes.create_string_buffer(bpf, len(bpf))
        header = struct.pack("HxxxxxxQ", len(bpf) // 8, ctypes.addressof(code))
        _check(_libc.prctl(_SET_SECCOMP, 2, header, 0, 0), "seccomp")
