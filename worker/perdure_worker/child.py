"""A tethered child process: started, watched, stopped in order, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from . import tether


@dataclass(frozen=True, slots=True)
class Child:
    """A process of ours in a session of its own."""

    process: Process

    @property
    def pid(self) -> int:
        """Process id; on Linux that of the command itself."""
        return self.process.pid

    @property
    def running(self) -> bool:
        """Whether it has not exited yet."""
        return self.process.returncode is None

    async def wait(self) -> int:
        """Wait for the exit and give the exit code."""
        return await self.process.wait()

    async def stop(self, patience_s: float) -> int:
        """Send SIGTERM, after `patience_s` SIGKILL; wait for the exit; sweep what is left of its session."""
        if self.running:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), patience_s)
            except TimeoutError:
                await self.kill()
        _kill_group(self.pid)
        return await self.process.wait()

    async def kill(self) -> int:
        """Send SIGKILL, as a crash would, and wait for the exit."""
        if self.running:
            if sys.platform == "linux":
                self.process.kill()
            else:
                _kill_group(self.pid)
        return await self.process.wait()


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


async def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdout: int | IO[bytes] = DEVNULL,
    stderr: int | IO[bytes] | None = None,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start a command that dies with this process.

    It gets a session of its own, so that Ctrl-C reaches us alone and we stop things in order.
    """
    full = dict(os.environ if env is None else env)
    watched = sys.platform != "linux"
    if watched:
        full["PERDURE_TETHER_FDS"] = ",".join(map(str, pass_fds))
    process = await asyncio.create_subprocess_exec(
        *tether.command(os.getpid(), list(argv)),
        stdin=PIPE if watched else DEVNULL,
        stdout=stdout,
        stderr=stderr,
        env=full,
        pass_fds=tuple(pass_fds),
        start_new_session=True,
    )
    return Child(process)
