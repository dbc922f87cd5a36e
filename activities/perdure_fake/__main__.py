"""python -m perdure_fake [--port N] [--script FILE.yaml] [--ready-fd N] [--until-stdin-closes]."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from .script import Script
from .server import FakeServer


async def _run(script: Script, port: int, ready: int | None, *, tethered: bool) -> None:
    server = FakeServer(script)
    await server.start(port)
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    if tethered:
        await loop.connect_read_pipe(lambda: _Tether(over), sys.stdin)
    urls = {"url": server.base, "openai_url": f"{server.base}/v1", "anthropic_url": server.base, "pid": os.getpid()}
    _say(json.dumps(urls), ready)
    await over.wait()
    await server.stop()


def _say(line: str, ready: int | None) -> None:
    """Tell where the server is: on standard output, and to whoever waits for it."""
    if ready is not None:
        with os.fdopen(ready, "w") as pipe:
            pipe.write(f"{line}\n")
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class _Tether(asyncio.Protocol):
    """Ends the server when the process that started it is gone."""

    def __init__(self, over: asyncio.Event) -> None:
        self._over = over

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._over.set()


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m perdure_fake", description="A simulated model provider.")
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1; any free one by default")
    parser.add_argument("--script", type=Path, help="YAML file of steps; without it, answers are made up")
    parser.add_argument("--ready-fd", type=int, help="file descriptor that gets the URLs, too, as one line of JSON")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the process that holds the pipe")
    given = parser.parse_args(argv)
    try:
        script = Script.read(given.script) if given.script else Script()
        asyncio.run(_run(script, given.port, given.ready_fd, tethered=given.until_stdin_closes))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"perdure_fake: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
