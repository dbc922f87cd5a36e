"""The way to a server that is a process of ours: messages are lines of its standard input and output.

In place of the SDK's own, which inherits more of the environment, lets the process outlive a killed worker and
reads lines of any length into memory.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from . import keeper_process

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams
    from mcp.shared.message import SessionMessage

_TAIL_BYTES = 2000
_LEAVE_S = 1.0
_STDERR_S = 0.5


class StdioLink:
    """Starts a server and speaks to it; ends it, and all it started, when left."""

    def __init__(self, command: tuple[str, ...], env: Mapping[str, str], cwd: str | None, *, max_bytes: int) -> None:
        self.status: int | None = None
        self.forgotten = False
        self._argv = keeper_process.command(os.getpid(), command)
        self._env = dict(env)
        self._cwd = cwd
        self._max_bytes = max_bytes
        self._tail = bytearray()
        self._broke = ""
        self._code: int | None = None

    @asynccontextmanager
    async def streams(self, gone: Callable[[], None]) -> AsyncGenerator[TransportStreams]:
        """Start the server.

        Raises:
            OSError: it cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=self._env,
            cwd=self._cwd,
            limit=self._max_bytes,
            start_new_session=True,
        )
        try:
            into, read = anyio.create_memory_object_stream["SessionMessage | Exception"](0)
            write, out = anyio.create_memory_object_stream["SessionMessage"](0)
            with into, read, write, out:
                async with anyio.create_task_group() as tasks:
                    # A task of its own: it goes on while the process ends, whose last words matter most.
                    listening = asyncio.create_task(self._keep_tail(process), name="perdure-mcp-stderr")
                    tasks.start_soon(self._read, process, into, gone)
                    tasks.start_soon(self._write, process, out, gone)
                    try:
                        yield read, write
                    finally:
                        with anyio.CancelScope(shield=True):
                            await self._leave(process, listening)
                        tasks.cancel_scope.cancel()
        finally:
            _kill(process)

    def said(self) -> str:
        """Tell how the process ended, and the last that it said."""
        last = self._tail.decode("utf-8", "replace").strip()
        how = self._broke or _ended(self._code)
        if not last:
            return how
        return f"{how}; the last it said: {last}" if how else f"the last it said: {last}"

    async def _read(
        self, process: Process, into: MemoryObjectSendStream[SessionMessage | Exception], gone: Callable[[], None]
    ) -> None:
        from mcp.shared.message import SessionMessage
        from mcp_types import jsonrpc_message_adapter

        assert process.stdout is not None
        try:
            with into:
                while line := await process.stdout.readline():
                    try:
                        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except ValueError:
                        # Programs that print into their own protocol are common; what is meant for us is read.
                        continue
                    await into.send(SessionMessage(message))
        except ValueError:
            self._broke = f"it sent a message of more than {self._max_bytes} bytes"
        except (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            gone()

    async def _write(
        self, process: Process, out: MemoryObjectReceiveStream[SessionMessage], gone: Callable[[], None]
    ) -> None:
        assert process.stdin is not None
        try:
            with out:
                async for sent in out:
                    text = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
                    process.stdin.write(text.encode() + b"\n")
                    await process.stdin.drain()
        except OSError:
            gone()

    async def _keep_tail(self, process: Process) -> None:
        assert process.stderr is not None
        with suppress(OSError):
            while part := await process.stderr.read(65536):
                self._tail += part
                del self._tail[:-_TAIL_BYTES]

    async def _leave(self, process: Process, listening: asyncio.Task[None]) -> None:
        """Let the server end by itself, then make it; what it started ends with it."""
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        if not self._broke:
            if await _exits(process):
                # How it ended by itself; how we end it is nobody's concern.
                self._code = process.returncode
            else:
                _signal(process, signal.SIGTERM)
                await _exits(process)
        _kill(process)
        await asyncio.wait({listening}, timeout=_STDERR_S)
        listening.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                await process.wait()


async def _exits(process: Process) -> bool:
    """Wait a little for the process to end. Its pipes may stay open longer: what it started can hold them."""
    until = asyncio.get_running_loop().time() + _LEAVE_S
    while process.returncode is None:
        if asyncio.get_running_loop().time() >= until:
            return False
        await asyncio.sleep(0.01)
    return True


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _kill(process: Process) -> None:
    _signal(process, signal.SIGKILL)
    # Private, but what else closes pipes that a process outside of the group still holds?
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()


def _ended(code: int | None) -> str:
    if code is None:
        return ""
    if code == 0:
        return "it ended"
    number = -code if code < 0 else code - 128
    if 0 < number < 65:
        with suppress(ValueError):
            return f"it was ended by {signal.Signals(number).name}"
    return f"it ended with exit status {code}"
