"""The system-call filter of a jailed program: a deny list, as classic BPF.

Answers with an errno instead of a kill, so programs that merely probe live on. `clone3` says ENOSYS, which makes the
C library fall back to `clone`, whose flags a filter can see.
"""

from __future__ import annotations

import errno
import itertools
import struct

ARCHITECTURE = "x86_64"
_AUDIT_X86_64 = 0xC000003E
_LOAD, _EQUAL, _ABOVE_OR_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x50000, 0x7FFF0000
_NUMBER, _ARCH, _FIRST_ARGUMENT, _SECOND_ARGUMENT = 0, 4, 16, 24  # offsets in struct seccomp_data
_UNKNOWN = 451  # the first call that is younger than this filter; those of the x32 ABI are far above
_NEW_NAMESPACES = 0x7E020000
_FEW = 4
_SIBLING = 0x8000  # CLONE_PARENT: the server would be its parent
_SOCKETS, _CLONE, _PRLIMIT, _AF_UNIX = (41, 53), 56, 302, 1  # socket and socketpair
_SET_SCHEDULER, _SCHED_OTHER = 144, 0

NOT_PERMITTED = (
    101, 310, 311, 312, 438, 440, 448,  # ptrace, process_vm_*, kcmp, pidfd_getfd, process_madvise, process_mrelease
    155, 161, 165, 166, 272, 308,  # pivot_root, chroot, mount, umount2, unshare, setns
    428, 429, 430, 431, 432, 433, 442,  # the new mount calls
    167, 168, 169, 179, 163,  # swapon, swapoff, reboot, quotactl, acct
    170, 171, 153, 103, 172, 173,  # sethostname, setdomainname, vhangup, syslog, iopl, ioperm
    159, 164, 227, 305,  # adjtimex, settimeofday, clock_settime, clock_adjtime
    175, 176, 313, 246, 320,  # init_module, delete_module, finit_module, kexec_load, kexec_file_load
    237, 238, 256, 279,  # mbind, set_mempolicy, migrate_pages, move_pages
    248, 249, 250,  # add_key, request_key, keyctl
    298, 300, 303, 304, 321, 323,  # perf_event_open, fanotify_init, *_handle_at, bpf, userfaultfd
    134, 154, 135,  # uselib, modify_ldt, personality
    29, 64, 68, 240,  # shmget, semget, msgget, mq_open: freed late, at the cost of the next program
    141, 142, 203, 251, 314,  # setpriority, sched_set*, ioprio_set: the init of the job has the same user
)  # fmt: skip
NOT_THERE = (425, 426, 427, 434, 435)  # io_uring_*, pidfd_open, clone3


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def program() -> bytes:
    """The filter for x86-64 Linux, as an array of `struct sock_filter`."""
    leaves: dict[int, list[bytes]] = {}
    for numbers, code in ((NOT_PERMITTED, errno.EPERM), (NOT_THERE, errno.ENOSYS)):
        leaves |= {number: [_instruction(_RETURN, _ERRNO | code)] for number in numbers}
    for number in _SOCKETS:
        leaves[number] = [
            _instruction(_LOAD, _FIRST_ARGUMENT),
            _instruction(_EQUAL, _AF_UNIX, if_true=1),
            _instruction(_RETURN, _ERRNO | errno.EAFNOSUPPORT),
            _instruction(_RETURN, _ALLOW),
        ]
    leaves[_PRLIMIT] = [  # only on itself: a limit on its init would look like our fault
        _instruction(_LOAD, _FIRST_ARGUMENT),
        _instruction(_EQUAL, 0, if_true=1),
        _instruction(_RETURN, _ERRNO | errno.EPERM),
        _instruction(_RETURN, _ALLOW),
    ]
    leaves[_SET_SCHEDULER] = [  # Mono asks for what it has, and prints a refusal
        _instruction(_LOAD, _SECOND_ARGUMENT),
        _instruction(_EQUAL, _SCHED_OTHER, if_false=1),
        _instruction(_RETURN, _ERRNO | 0),
        _instruction(_RETURN, _ERRNO | errno.EPERM),
    ]
    leaves[_CLONE] = [
        _instruction(_LOAD, _FIRST_ARGUMENT),
        _instruction(_ANY_BIT, _NEW_NAMESPACES | _SIBLING, if_false=1),
        _instruction(_RETURN, _ERRNO | errno.EPERM),
        _instruction(_RETURN, _ALLOW),
    ]
    return b"".join([
        _instruction(_LOAD, _ARCH),
        _instruction(_EQUAL, _AUDIT_X86_64, if_true=1),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_ABOVE_OR_EQUAL, _UNKNOWN, if_false=1),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
        *_search(sorted(leaves.items())),
    ])  # fmt: skip


def _search(leaves: list[tuple[int, list[bytes]]]) -> list[bytes]:
    """A binary search: the kernel runs a filter through for every system call there is, each time it is installed."""
    if len(leaves) <= _FEW:
        tests = [[_instruction(_EQUAL, number, if_false=len(leaf)), *leaf] for number, leaf in leaves]
        return [*itertools.chain(*tests), _instruction(_RETURN, _ALLOW)]
    middle = len(leaves) // 2
    low, high = _search(leaves[:middle]), _search(leaves[middle:])
    return [_instruction(_ABOVE_OR_EQUAL, leaves[middle][0], if_true=len(low)), *low, *high]
