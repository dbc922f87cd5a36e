"""The first Python engine: pydantic-monty, a Python subset in a pool of worker processes (jailed where possible)."""

from __future__ import annotations

import asyncio
import builtins
import os
import re
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from perdure_graph.effects import RunCode

from . import jail, seccomp
from .failures import ChildCrashed, SandboxFailure, not_json, out_of_memory, shorten, timed_out, too_large
from .results import parse_result

if TYPE_CHECKING:
    from pydantic_monty import AsyncMonty, AsyncMontySession, MontyRuntimeError, MontySyntaxError, ResourceLimits

_WALL_GRACE_S = 2.0
_SESSIONS_PER_WORKER = 1_000
# The address space of a worker must hold the largest heap that requests ask for.
_WORKER_ADDRESS_KB = 8 * 1024 * 1024
_SETTLE_S = 0.05

_SILENCE = "def print(*args, **kwargs):\n    pass\n"
_CALL = "_perdure_result = main(**_perdure_inputs)"
_ENCODE = """
import json as _perdure_json
_perdure_text = _perdure_json.dumps(_perdure_result, allow_nan=False, ensure_ascii=False)
_perdure_text if len(_perdure_text) <= _perdure_limit else None
"""
_OWN_FRAME = re.compile(r'  File "<python-input-[023]>".*?(?=^  File |^\S)', re.MULTILINE | re.DOTALL)
_TIME_LIMITS = ("feed time limit exceeded", "turn time limit exceeded", "sleep limit exceeded")


class MontyGaveUp(Exception):
    """Monty did not get to a result. CPython may; `needs` says what for, where monty is known to lack it."""

    def __init__(self, failure: SandboxFailure | ChildCrashed, needs: str = "") -> None:
        self.failure = failure
        self.needs = needs
        super().__init__(str(failure))


class MontyPool:
    """Worker processes of monty, started when first needed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._slots = asyncio.Semaphore(size)
        self._starting = asyncio.Lock()
        self._pool: AsyncMonty | None = None
        self._files: list[int] = []
        self._closed = False
        self._running: set[asyncio.Task[Any]] = set()

    async def run(self, request: RunCode) -> JsonValue:
        """Run the snippet of a request.

        Raises:
            SandboxFailure: out of time, memory or output: final.
            MontyGaveUp: anything else; CPython may do better.
        """
        async with self._slots:
            pool = await self.start()
            task = asyncio.create_task(_run(pool, request))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            try:
                return await task
            except asyncio.CancelledError:
                current = asyncio.current_task()
                if current is None or current.cancelling():
                    raise
                # `close` cancelled the run; the caller itself is not being cancelled.
                raise ChildCrashed("the sandbox was closed while code was running") from None

    async def start(self) -> AsyncMonty:
        """Start the pool unless it runs."""
        async with self._starting:
            if self._closed:
                raise ChildCrashed("the sandbox is closed")
            if self._pool is None:
                self._pool = await self._start()
            return self._pool

    async def _start(self) -> AsyncMonty:
        try:
            from pydantic_monty import AsyncMonty
        except ImportError as error:
            raise SandboxFailure(
                "CodeSandboxError", f"Python code needs the package pydantic-monty ({error}); install `perdure[worker]`"
            ) from error
        launcher = _open_launcher() if await jail.usable() else None
        path, self._files = launcher or (None, [])
        pool = AsyncMonty(
            binary_path=path,
            min_processes=1,
            max_processes=self._size,
            max_checkouts_per_worker=_SESSIONS_PER_WORKER,
        )
        return await pool.__aenter__()

    async def close(self) -> None:
        """End all workers and what they run."""
        self._closed = True
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        async with self._starting:
            pool, self._pool = self._pool, None
        if pool is not None:
            await pool.__aexit__(None, None, None)
            # Its own threads still hand back Python objects; an interpreter that exits meanwhile aborts.
            await asyncio.sleep(_SETTLE_S)
        for file in self._files:
            os.close(file)
        self._files = []


def _open_launcher() -> tuple[str, list[int]] | None:
    """Make a script that starts monty in the jail: its path, and the open files it lives in. None where it cannot run.

    It lives in memory: nothing is left on disk after kill -9, and nobody tidies it away under a running worker.
    """
    from pydantic_monty._binary import find_monty_binary

    binary = str(Path(find_monty_binary()).resolve())
    program = seccomp.build()
    command = shlex.join(jail.jailed(jail.Command((binary, "subprocess"), (binary,)), 9 if program else None))
    files: list[int] = []
    if program is not None:
        path, file = _memory_file("perdure-filter", program)
        files.append(file)
        command += f" 9<{path}"
    path, file = _memory_file("perdure-monty", f"#!/bin/sh\nulimit -v {_WORKER_ADDRESS_KB}\nexec {command}\n".encode())
    files.append(file)
    if os.access(path, os.X_OK):
        return path, files
    for file in files:
        os.close(file)
    return None


def _memory_file(name: str, content: bytes) -> tuple[str, int]:
    writing = os.memfd_create(name)
    try:
        os.write(writing, content)
        os.fchmod(writing, 0o500)
        # A file that is open for writing cannot be executed.
        reading = os.open(f"/proc/self/fd/{writing}", os.O_RDONLY)
    finally:
        os.close(writing)
    return f"/proc/{os.getpid()}/fd/{reading}", reading


async def _run(pool: AsyncMonty, request: RunCode) -> JsonValue:
    from pydantic_monty import MontyCrashedError, MontyError, MontyRuntimeError, MontySyntaxError

    try:
        async with asyncio.timeout(request.timeout_s + _WALL_GRACE_S):
            async with pool.checkout(
                limits=_limits(request), os_policy={"sleep_system_max": request.timeout_s + 1.0}
            ) as session:
                return await _drive(session, request)
    except TimeoutError:
        raise timed_out(request.timeout_s) from None
    except MontyCrashedError as error:
        if error.timed_out:
            raise timed_out(request.timeout_s) from None
        raise MontyGaveUp(ChildCrashed(f"a monty worker ended: {error}")) from error
    except (MontyRuntimeError, MontySyntaxError) as error:
        raise _judge(error, request) from None
    except (MontyError, ValueError, TypeError, OverflowError) as error:
        raise MontyGaveUp(SandboxFailure("CodeExecutionError", f"{type(error).__name__}: {error}")) from None


def _limits(request: RunCode) -> ResourceLimits:
    return {
        "max_feed_duration_secs": request.timeout_s,
        "max_total_sleep_secs": request.timeout_s,
        "max_memory": request.memory_mb * 1024 * 1024,
    }


async def _drive(session: AsyncMontySession, request: RunCode) -> JsonValue:
    # Printing would cross into this process and land in the worker's log.
    await session.feed_run(_SILENCE, print_callback=_discard)
    await session.feed_run(request.code, print_callback=_discard)
    await session.feed_run(_CALL, inputs={"_perdure_inputs": request.inputs}, print_callback=_discard)
    limit = request.max_output_bytes
    try:
        text = await session.feed_run(_ENCODE, inputs={"_perdure_limit": limit}, print_callback=_discard)
    except Exception as error:
        if isinstance(getattr(error, "exception", lambda: None)(), TypeError | ValueError):
            raise MontyGaveUp(not_json(_one_line(error))) from None
        raise
    if text is None:
        raise too_large(limit)
    return parse_result(str(text).encode(), limit)


def _discard(stream: str, text: str) -> None:
    """Drop what the snippet writes, as Dify does."""


def _one_line(error: Any) -> str:
    return str(error.display("type-msg"))


def _judge(error: MontyRuntimeError | MontySyntaxError, request: RunCode) -> Exception:
    inner = error.exception()
    message = str(inner)
    if isinstance(inner, TimeoutError) and message.startswith(_TIME_LIMITS):
        return timed_out(request.timeout_s)
    if isinstance(inner, MemoryError) and message.startswith("memory limit exceeded"):
        return out_of_memory(request.memory_mb)
    text = _OWN_FRAME.sub("", error.display()).replace("<python-input-1>", "code.py")
    if isinstance(inner, NameError) and "'main'" in message and "code.py" not in text:
        text = "NameError: the code defines no function `main`"
    return MontyGaveUp(SandboxFailure("CodeExecutionError", shorten(text)), _needs(inner, message))


def _needs(inner: BaseException, message: str) -> str:
    """Name what the snippet needs of CPython, where monty is known to lack it."""
    quoted = re.search(r"'([\w.]+)'", message)
    name = quoted.group(1) if quoted else ""
    if isinstance(inner, NotImplementedError):
        unsupported = re.search(r"support (?:for )?(.+)", message)
        return f"`{unsupported.group(1)}`" if unsupported else message
    if isinstance(inner, ModuleNotFoundError) and name.split(".")[0] in sys.stdlib_module_names:
        return f"`import {name}`"
    if isinstance(inner, AttributeError) and message.startswith("module "):
        with suppress(IndexError):
            return f"`{name}.{message.split(chr(39))[3]}`"
    if isinstance(inner, NameError) and hasattr(builtins, name):
        return f"`{name}`"
    if isinstance(inner, RuntimeError) and "not supported in this environment" in message:
        return f"`{name}`"
    return ""
