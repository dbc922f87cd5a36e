"""A system call filter for jailed processes: no new processes, no network families, no kernel back rooms.

Namespaces already hide files and network; the filter closes what they leave open: fork bombs run by root (the
process limit does not count root), vsock (not part of a network namespace) and rarely tested kernel interfaces.
"""

from __future__ import annotations

import platform
import struct

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


_CLONE3 = 435
# machine: (name of the instruction set for the kernel, column of the table, clone, socket)
_MACHINES = {"x86_64": (0xC000003E, 0, 56, 41), "aarch64": (0xC00000B7, 1, 220, 198)}
_REFUSED: dict[str, tuple[int, int | None]] = {
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "mount": (165, 40),
    "umount2": (166, 39),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "perf_event_open": (298, 241),
    "open_by_handle_at": (304, 265),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "finit_module": (313, 273),
    "kexec_file_load": (320, 294),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
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
    architecture, column, clone, socket = known
    program = [
        _op(_LOAD, _OFFSET_ARCH),
        _op(_JUMP_EQUAL, architecture, jump_true=1),
        _op(_RETURN, _KILL),
        _op(_LOAD, _OFFSET_NUMBER),
        _op(_JUMP_GREATER_EQUAL, _X32_BIT, jump_false=1),
        _refuse(_EPERM),
        _op(_JUMP_EQUAL, _CLONE3, jump_false=1),
        # "Not there" makes the C library fall back to clone, whose flags a filter can read.
        _refuse(_ENOSYS),
    ]
    for numbers in _REFUSED.values():
        number = numbers[column]
        if number is not None:
            program += [_op(_JUMP_EQUAL, number, jump_false=1), _refuse(_EPERM)]
    program += [
        _op(_JUMP_EQUAL, clone, jump_false=3),
        _op(_LOAD, _OFFSET_FIRST_ARGUMENT),
        _op(_JUMP_SET, _CLONE_THREAD, jump_true=1),
        _refuse(_EPERM),
        _op(_LOAD, _OFFSET_NUMBER),
        _op(_JUMP_EQUAL, socket, jump_false=3),
        _op(_LOAD, _OFFSET_FIRST_ARGUMENT),
        _op(_JUMP_EQUAL, _AF_UNIX, jump_true=1),
        _refuse(_EACCES),
        _op(_RETURN, _ALLOW),
    ]
    return b"".join(program)
