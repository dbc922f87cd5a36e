"""Bubblewrap: start a command with no network, no home, no other processes and a read-only handful of files."""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from . import seccomp

_SYSTEM_DIRS = ("/usr/lib", "/usr/lib64", "/lib", "/lib64")
_SYSTEM_FILES = ("/etc/ld.so.cache", "/usr/share/zoneinfo")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_TMP = "/tmp"  # noqa: S108 - inside the jail
_TMP_BYTES = 64 * 1024 * 1024
_PROBE_S = 20.0
_usable: bool | None = None

MISSING = "install bubblewrap (Debian: `apt install bubblewrap`) and allow user namespaces on this host"


@dataclass(frozen=True)
class Command:
    """A program, the paths it must be able to read when it is jailed, and folders of its `base` to leave out."""

    argv: tuple[str, ...]
    reads: tuple[str, ...] = ()
    base: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()


@functools.cache
def interpreter() -> str:
    """Find the real Python executable behind a venv or a shim."""
    base = getattr(sys, "_base_executable", "") or sys.executable
    return os.path.realpath(base)


@functools.cache
def _installed_packages() -> tuple[str, ...]:
    folder = Path(os.__file__).resolve().parent
    places = (folder / "site-packages", folder / "dist-packages", Path("/usr/lib/python3/dist-packages"))
    return tuple(str(place) for place in places if place.is_dir())


@functools.cache
def _python_base() -> tuple[str, ...]:
    prefix = Path(sys.base_prefix).resolve()
    if prefix == Path("/usr"):
        return (interpreter(),)
    libraries = [str(path) for name in ("lib", "lib64") if (path := prefix / name).is_dir()]
    return (interpreter(), *libraries)


def python(*arguments: str, reads: tuple[str, ...] = ()) -> Command:
    """Run the base interpreter, isolated from environment, user site and site-packages."""
    return Command((interpreter(), "-I", "-S", *arguments), reads, _python_base(), _installed_packages())


def jailed(command: Command, seccomp_fd: int | None = None) -> list[str]:
    """Write the bubblewrap command line that runs a command in the jail.

    `--die-with-parent` and the process namespace make the kernel end everything inside when the worker dies.
    """
    argv = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    argv += ["--cap-drop", "ALL", "--setenv", "MALLOC_ARENA_MAX", "2", "--hostname", "sandbox"]
    for folder in _SYSTEM_DIRS:
        path = Path(folder)
        if path.is_symlink():
            argv += ["--symlink", str(path.readlink()), folder]
        elif path.is_dir():
            argv += ["--ro-bind", folder, folder]
    for name in _SYSTEM_FILES:
        argv += ["--ro-bind-try", name, name]
    for name in _DEVICES:
        argv += ["--dev-bind-try", name, name]
    # Later mounts cover earlier ones: what the command reads may lie below any of these.
    argv += ["--size", str(_TMP_BYTES), "--tmpfs", _TMP]
    for name in command.base:
        argv += ["--ro-bind", name, name]
    for name in command.hides:
        argv += ["--tmpfs", name]
    for name in command.reads:
        argv += ["--ro-bind", name, name]
    for name in command.hides:
        argv += ["--remount-ro", name]
    argv += ["--remount-ro", "/", "--chdir", _TMP]
    if seccomp_fd is not None:
        argv += ["--seccomp", str(seccomp_fd)]
    return [*argv, "--", *command.argv]


def filter_pipe() -> int | None:
    """Open a pipe that holds the system call filter; the caller closes it once the command is started."""
    program = seccomp.build()
    if program is None:
        return None
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "wb") as pipe:
        pipe.write(program)
    return read_end


async def usable() -> bool:
    """Say whether this host lets bubblewrap run Python in a jail. Probed once per process."""
    global _usable  # noqa: PLW0603 - one fact about the host
    if _usable is None:
        _usable = await _probe()
    return _usable


async def _probe() -> bool:
    if not sys.platform.startswith("linux") or shutil.which("bwrap") is None:
        return False
    pipe = filter_pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            *jailed(python("-c", "import json"), pipe),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            pass_fds=() if pipe is None else (pipe,),
        )
    except OSError:
        return False
    finally:
        if pipe is not None:
            os.close(pipe)
    try:
        return await asyncio.wait_for(process.wait(), _PROBE_S) == 0
    except TimeoutError:
        return False
    finally:
        with suppress(ProcessLookupError):
            process.kill()
