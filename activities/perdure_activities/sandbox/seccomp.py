"""A system call filter for jailed processes: no new processes, no network families, no kernel back rooms.

Namespaces already hide files and network; the filter closes what they leave open: fork bombs run by root (the
process limit does not count root), vsock (not part of a network namespace) and rarely tested kernel interfaces.
"""

from __future__ import annotations

import platform
import struct
from dataclasses import dataclass

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERRNO = 0x00050000
_EPERM, _EACCES, _ENOSYS = 1, 13, 38

_LOAD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_GREATER_EQUAL = 0x35
_JUMP_SET = 0x45
_RETURN = 0x06

_OFFSET_NUMBER, _OFFSET_ARCH, _OFFSET_FIRST_ARGUMENT = 0, 4, 16
_CLONE_THREAD = 0x00010000
_AF_UNIX = 1
_X32_BIT = 0x40000000


@dataclass(frozen=True)
class _Machine:
    audit_arch: int
    clone: int
    clone3: int
    socket: int
    refused: tuple[int, ...]


# Refused, in this order where the machine has them: fork, vfork, ptrace, mount, umount2, pivot_root, chroot,
# unshare, setns, bpf, add_key, request_key, keyctl, userfaultfd, perf_event_open, process_vm_readv, _writev,
# kexec_load, kexec_file_load, init_module, finit_module, delete_module, open_by_handle_at, then io_uring_*,
# the new mount calls and mount_setattr.
_NEW_CALLS = (425, 426, 427, 428, 429, 430, 431, 432, 433, 442)
_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        56,
        435,
        41,
        (57, 58, 101, 165, 166, 155, 161, 272, 308, 321, 248, 249, 250, 323, 298)
        + (310, 311, 246, 320, 175, 313, 176, 304, *_NEW_CALLS),
    ),
    "aarch64": _Machine(
        0xC00000B7,
        220,
        435,
        198,
        (117, 40, 39, 41, 51, 97, 268, 280, 217, 218, 219, 282, 241)
        + (270, 271, 104, 294, 105, 273, 106, 265, *_NEW_CALLS),
    ),
}


def _op(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, jump_true, jump_false, k)


def _refuse(errno: int) -> bytes:
    return _op(_RETURN, _ERRNO | errno)


def build(machine: str | None = None) -> bytes | None:
    """Assemble the filter for a machine (this one by default); None where the numbers are not known."""
    known = _MACHINES.get(machine or platform.machine())
    if known is None:
        return None
    program = [
        _op(_LOAD, _OFFSET_ARCH),
        _op(_JUMP_EQUAL, known.audit_arch, jump_true=1),
        _op(_RETURN, _KILL),
        _op(_LOAD, _OFFSET_NUMBER),
        _op(_JUMP_GREATER_EQUAL, _X32_BIT, jump_false=1),
        _refuse(_EPERM),
        _op(_JUMP_EQUAL, known.clone3, jump_false=1),
        # "Not there" makes the C library fall back to clone, whose flags a filter can read.
        _refuse(_ENOSYS),
    ]
    for number in known.refused:
        program += [_op(_JUMP_EQUAL, number, jump_false=1), _refuse(_EPERM)]
    program += [
        _op(_JUMP_EQUAL, known.clone, jump_false=3),
        _op(_LOAD, _OFFSET_FIRST_ARGUMENT),
        _op(_JUMP_SET, _CLONE_THREAD, jump_true=1),
        _refuse(_EPERM),
        _op(_LOAD, _OFFSET_NUMBER),
        _op(_JUMP_EQUAL, known.socket, jump_false=3),
        _op(_LOAD, _OFFSET_FIRST_ARGUMENT),
        _op(_JUMP_EQUAL, _AF_UNIX, jump_true=1),
        _refuse(_EACCES),
        _op(_RETURN, _ALLOW),
    ]
    return b"".join(program)
