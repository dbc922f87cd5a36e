"""Run the command of an MCP server so that it, and all it starts, dies with the worker, even by SIGKILL.

    python -I -S keeper_process.py PARENT_PID COMMAND...

It leads the process group, stays beside the command and ends as that ends. Programs such as npx start the server
proper as their child: a signal for the parent's death alone would not reach it. Started by path, so it must
import nothing but the standard library.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_ORPHANED = signal.SIGUSR1
_LOOK_S = 1.0


def command(parent: int, argv: tuple[str, ...]) -> list[str]:
    """Give the command line that runs `argv` for the process `parent`; it must lead a session of its own."""
    return [sys.executable, "-I", "-S", __file__, str(parent), *argv]


def _end_all(_number: int = 0, _frame: FrameType | None = None) -> None:
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _wait(_number: int, _frame: FrameType | None) -> None:
    """The whole group was told to end; this process ends with its command."""


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    _end_all()


def _tie_to(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(_ORPHANED), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def main(args: list[str]) -> NoReturn:
    """Run the command; never returns."""
    parent, argv = int(args[0]), args[1:]
    signal.signal(_ORPHANED, _end_all)
    signal.signal(signal.SIGTERM, _wait)
    signal.signal(signal.SIGINT, _wait)
    _tie_to(parent)
    try:
        child = subprocess.Popen(argv)  # noqa: S603 - checked against the list of allowed commands
    except OSError as error:
        sys.stderr.write(f"{argv[0]!r} cannot be started: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(127)
    # Held open here, the pipes would outlive the command, and the worker would not see that it ended.
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    code = child.wait()
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main(sys.argv[1:])
