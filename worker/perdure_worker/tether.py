"""Run a command that dies with the process that asked for it, even when that one is killed with SIGKILL.

    python -I -S tether.py exec|watch PARENT_PID COMMAND...

`exec` (Linux) asks the kernel for SIGKILL at the parent's death and becomes the command: same pid, no cost.
`watch` (elsewhere) stays, passes signals on, and kills the command when its standard input, a pipe from the
parent, closes. Started by path, so it must import nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from types import FrameType
from typing import NoReturn

_PR_SET_PDEATHSIG = 1


def command(parent: int, argv: list[str], *, mode: str | None = None) -> list[str]:
    """Give the command line that runs `argv` tethered to the process `parent`."""
    chosen = mode or ("exec" if sys.platform == "linux" else "watch")
    return [sys.executable, "-I", "-S", __file__, chosen, str(parent), *argv]


def _exec(parent: int, argv: list[str]) -> NoReturn:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(1)
    os.execvp(argv[0], argv)  # noqa: S606 - the caller's own command, no shell


def _watch(argv: list[str]) -> int:
    passed = tuple(int(fd) for fd in os.environ.pop("PERDURE_TETHER_FDS", "").split(",") if fd)
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=passed)  # noqa: S603

    def until_parent_dies() -> None:
        while os.read(0, 1024):
            pass
        child.kill()

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    for fd in passed:
        os.close(fd)
    threading.Thread(target=until_parent_dies, daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def main(args: list[str]) -> NoReturn:
    """Run the command; never returns."""
    mode, parent, argv = args[0], int(args[1]), args[2:]
    if mode == "exec":
        _exec(parent, argv)
    os._exit(_watch(argv))


if __name__ == "__main__":
    main(sys.argv[1:])
