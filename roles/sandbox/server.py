"""The warm server: first process of a jail, forks one program after another into fresh namespaces.

Runs inside nsjail, with capabilities that hold in its own user namespace only, and never sees a program: the process
that becomes the program is forked ahead, waits for its job on a socket of its own, and reads it after the last fork.

    server (pid 1 of the jail)  ->  init (pid 1 of the job), which only reaps
                                ->  program (pid 2 of the job)

Over the control socket (SOCK_SEQPACKET, one message each), jobs being numbered from 1:
  in   STOP + number of the job to end
  out  READY once;  RESULT of each job, or FAULT + what broke on our side
Over the jobs socket, read by the next program: START + descriptors of the job, its standard input, replies, stdout
and stderr. When the other end of the control socket closes, the server ends and the kernel ends every process of the
jail.
"""

from __future__ import annotations

import _thread
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
from typing import NoReturn

from roles.sandbox.inside import REPLIES, perform

LIMIT_NAMES = ("AS", "DATA", "CPU", "NPROC", "NOFILE", "FSIZE", "CORE")
UNLIMITED = (1 << 64) - 1
START = struct.Struct("<8Q")  # the values of LIMIT_NAMES and the bytes of /tmp
STOP = struct.Struct("<cI")  # b"K", number
READY = b"U"
RESULT = struct.Struct("<cIidq")  # b"R", number, wait status, CPU seconds, peak memory in bytes
DESCRIPTORS = 5

_VM, _NEWNS, _NEWIPC, _NEWPID = 0x00000100, 0x00020000, 0x08000000, 0x20000000
_NOSUID, _NODEV, _NOEXEC, _RDONLY = 2, 4, 8, 1
_SET_DUMPABLE, _SET_SECCOMP, _DROP_BOUND, _SET_NO_NEW_PRIVS = 4, 22, 24, 38
_CAPABILITY_VERSION_3 = 0x20080522
_ARENAS = -8  # M_ARENA_MAX of mallopt
_THREAD_STACK = 8 << 20  # bytes; the main thread's is larger, and all of them count as memory
_HIGH = 200  # descriptors from here on are out of the way of 0 to REPLIES
_PRELOADED = (
    "bisect", "collections", "copy", "functools", "heapq", "itertools", "math", "operator", "random", "re", "string",
    "typing",
)  # fmt: skip
_LIMITS = tuple(getattr(resource, "RLIMIT_" + name) for name in LIMIT_NAMES)
_NO_CAPABILITIES = struct.pack("Ii", _CAPABILITY_VERSION_3, 0), bytes(24)
_libc = ctypes.CDLL(None, use_errno=True)
for _name in ("capset", "mount", "prctl", "unshare"):
    getattr(_libc, _name)  # looked up here, not in every program
_libc.clone.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_pause = ctypes.cast(_libc.pause, ctypes.c_void_p)
_stack = ctypes.create_string_buffer(1 << 14)
_stack_top = ctypes.addressof(_stack) + len(_stack) & ~63


def _check(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def serve(control: socket.socket, jobs: socket.socket, code: bytes) -> None:
    """Runs jobs until the other end of `control` closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a handler would let a program interrupt its init
    home = os.open("/proc/self/ns/pid", os.O_RDONLY)
    for module in _PRELOADED:
        importlib.import_module(module)
    for capability in range(64):  # of the bounding set: no process of this jail ever regains one
        if _libc.prctl(_DROP_BOUND, capability, 0, 0, 0) < 0:
            break
    _check(_libc.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _libc.prctl(_SET_DUMPABLE, 0, 0, 0, 0)  # the init shares the memory of the server: nobody may look at it
    _thread.stack_size(_THREAD_STACK)
    _libc.mallopt(_ARENAS, 1)  # one for each thread would use up the address space
    report, up = os.pipe()
    os.set_blocking(report, False)
    instructions = ctypes.create_string_buffer(code)
    seccomp = struct.pack("HxxxxxxQ", len(code) // 8, ctypes.addressof(instructions)) if code else b""
    gc.collect()
    gc.freeze()  # keeps the collector of the forked programs off the shared pages
    number = 0
    while True:
        number += 1
        try:
            init, program = _fork(home, jobs, up, seccomp)
        except OSError as error:
            control.send(b"F" + str(error).encode())
            return
        if number == 1:
            control.send(READY)
        _wait(control, program, number)
        os.kill(init, signal.SIGKILL)
        left, result = {init, program}, b""
        while left:  # the init ends after all other processes of the job
            ended, status, usage = os.wait4(-1, 0)
            left.discard(ended)
            if ended == program:
                cpu = usage.ru_utime + usage.ru_stime
                result = RESULT.pack(b"R", number, status, cpu, usage.ru_maxrss * 1024)
        try:
            message = os.read(report, 4096)
        except BlockingIOError:
            message = b"Fthe process of the job died before it began"
        control.send(result if message == b"J" else message)


def _fork(home: int, jobs: socket.socket, up: int, seccomp: bytes) -> tuple[int, int]:
    """The init and the program of the next job."""
    _check(_libc.unshare(_NEWPID), "unshare of the pid namespace")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # inherited by the init: the kernel reaps what it adopts
    try:
        # All it ever does is to sleep. Without memory of its own it costs a twentieth of a fork.
        init = _check(_libc.clone(_pause, _stack_top, _VM | signal.SIGCHLD, None), "clone of the init")
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    program = os.fork()
    if program == 0:
        _program(jobs, up, seccomp)
    _check(_libc.setns(home, _NEWPID), "return to the pid namespace")
    return init, program


def _wait(control: socket.socket, program: int, number: int) -> None:
    """Returns when the program has ended or has to be ended."""
    descriptor = os.pidfd_open(program)
    try:
        while True:
            ready, _, _ = select.select([descriptor, control.fileno()], [], [])
            if descriptor in ready:
                return
            message = control.recv(STOP.size)
            if not message:
                os._exit(0)
            if STOP.unpack(message)[1] == number:
                return
    finally:
        os.close(descriptor)


def _program(jobs: socket.socket, up: int, seccomp: bytes) -> NoReturn:
    try:
        os.setsid()
        _check(_libc.unshare(_NEWNS | _NEWIPC), "unshare of the mount and ipc namespaces")
        _check(_libc.mount(b"none", b"/proc", b"proc", _NOSUID | _NODEV | _NOEXEC | _RDONLY, None), "mount of /proc")
        message, ancillary, _, _ = jobs.recvmsg(START.size, socket.CMSG_SPACE(4 * DESCRIPTORS))
        if not message:
            os._exit(0)
        *limits, disk = START.unpack(message)
        options = b"size=%d,nr_inodes=2048,mode=1777" % disk
        _check(_libc.mount(b"none", b"/tmp", b"tmpfs", _NOSUID | _NODEV, options), "mount of /tmp")
        os.chdir("/tmp")
        given = [up, *array.array("i", ancillary[0][2])]
        up, job, *streams = [os.dup2(descriptor, _HIGH + index) for index, descriptor in enumerate(given)]
        os.closerange(0, _HIGH)
        for source, target in zip(streams, (0, REPLIES, 1, 2)):  # noqa: B905 - `strict` is too young
            os.dup2(source, target)
        os.closerange(streams[0], streams[-1] + 1)
        _confine(limits, seccomp)
        os.write(up, b"J")
        os.close(up)  # from here on nothing this process does can look like a fault of the sandbox
    except BaseException as error:
        os.write(up, b"F" + f"program: {error!r}".encode()[:1000])
        os._exit(125)
    perform(job)


def _confine(limits: list[int], seccomp: bytes) -> None:
    """No capabilities, limits, filter; what concerns all programs the server has done for itself."""
    _check(_libc.capset(*_NO_CAPABILITIES), "capset")
    for which, value in zip(_LIMITS, limits):  # noqa: B905 - `strict` is younger than the oldest interpreter here
        if value == UNLIMITED:
            continue
        # of CPU time SIGXCPU comes first, which nothing else sends; SIGKILL a second later
        resource.setrlimit(which, (value, value + (which == resource.RLIMIT_CPU)))
    _libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)  # the init must not be looked at, the program may look at itself
    if seccomp:
        _check(_libc.prctl(_SET_SECCOMP, 2, seccomp, 0, 0), "seccomp")
