"""One sandbox process as the worker sees it: start it, exchange frames with it, kill it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from . import jail
from .failures import ChildCrashed

_HERE = Path(__file__).resolve().parent
_MAIN = str(_HERE / "child_main.py")
_START_S = 30.0
_BUFFER_BYTES = 1 << 20


class ReplyTooLarge(Exception):
    """The child announced a reply larger than it may send."""


@dataclass(frozen=True)
class ChildSpec:
    """What to start: a handler file beside this module, its limits and the packages it imports."""

    handler: str
    limits: dict[str, int] = field(default_factory=dict[str, int])
    packages: tuple[str, ...] = ()

    def command(self, parent: int) -> jail.Command:
        """Write the command; `parent` is the process the child must not outlive (0: the jail sees to it)."""
        handler = str(_HERE / self.handler)
        folders = sorted({str(Path(package).parent) for package in self.packages})
        config = json.dumps({"limits": self.limits, "path": folders, "parent": parent})
        return jail.python(_MAIN, handler, config, reads=(_MAIN, handler, *self.packages))


class Child:
    """A running child. Every method but `kill` and `close` may raise `ChildCrashed`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.served = 0
        self.healthy = True

    @classmethod
    async def start(cls, spec: ChildSpec, *, jailed: bool) -> Child:
        """Start a child and wait until it has loaded its handler."""
        pipe = jail.filter_pipe() if jailed else None
        command = spec.command(parent=0 if jailed else os.getpid())
        argv = jail.jailed(command, pipe) if jailed else list(command.argv)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=_BUFFER_BYTES,
                env={},
                cwd="/",
                start_new_session=True,
                pass_fds=() if pipe is None else (pipe,),
            )
        except OSError as error:
            raise ChildCrashed(f"a sandbox process could not be started: {error}") from error
        finally:
            if pipe is not None:
                os.close(pipe)
        child = cls(process)
        try:
            async with asyncio.timeout(_START_S):
                await child._read(0)
        except TimeoutError:
            child.kill()
            raise ChildCrashed(f"a sandbox process did not start within {_START_S:g} s") from None
        except BaseException:
            child.kill()
            raise
        return child

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child may take another request."""
        return self.healthy and self._process.returncode is None

    async def exchange(self, request: dict[str, Any], *, timeout_s: float, max_reply: int) -> dict[str, Any]:
        """Send one request and read its reply; whatever goes wrong, the child does not survive it.

        Raises:
            TimeoutError: no reply in time.
            ReplyTooLarge: the reply is longer than `max_reply` bytes.
            ChildCrashed: the child ended, or wrote what is no reply.
        """
        payload = json.dumps({**request, "timeout_s": timeout_s}).encode()
        self.healthy = False
        self.served += 1
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._call(payload, max_reply)
        except BaseException:
            self.kill()
            raise
        reply = _parse_reply(answer)
        self.healthy = not reply.get("exit")
        return reply

    async def _call(self, payload: bytes, max_reply: int) -> bytes:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(struct.pack("!I", len(payload)) + payload)
            if len(payload) > 65_536:
                await stdin.drain()
        except (ConnectionError, RuntimeError):
            await self._crashed()
        return await self._read(max_reply)

    async def _read(self, max_reply: int) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        try:
            (size,) = struct.unpack("!I", await stdout.readexactly(4))
            if size > max_reply:
                raise ReplyTooLarge
            return await stdout.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return await self._crashed()

    async def _crashed(self) -> bytes:
        self.kill()
        code = await self._process.wait()
        raise ChildCrashed(f"a sandbox process ended without an answer (exit status {code})", code)

    def kill(self) -> None:
        """End the child and all it started, at once."""
        self.healthy = False
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def close(self) -> None:
        """End the child and wait until it is gone."""
        self.kill()
        await self._process.wait()


def _parse_reply(answer: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(answer)
    except (ValueError, RecursionError):
        reply = None
    if not isinstance(reply, dict):
        raise ChildCrashed("a sandbox process wrote something that is no reply")
    return cast("dict[str, Any]", reply)
