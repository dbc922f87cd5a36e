"""A wire between workers and their Temporal server on which they can be made mute: what they say then never arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

_PIECE = 65_536


class MuteWire:
    """Passes connections on to a server. What is said on those that `mute` has met is lost; new ones are fine."""

    def __init__(self, host: str, port: int) -> None:
        self.address = ""
        self._to = (host, port)
        self._muted = 0
        self._made = 0
        self._carrying: set[asyncio.Task[None]] = set()

    def mute(self) -> None:
        """From now on the server hears nothing of whoever is connected."""
        self._muted = self._made

    def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        self._made += 1
        task = asyncio.create_task(self._carry(reader, writer, self._made))
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)

    async def close(self) -> None:
        """Cut all connections."""
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        to_server, from_here = await asyncio.open_connection(*self._to)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._up(reader, from_here, number))
                both.create_task(_down(to_server, writer))
        except* OSError:
            pass
        finally:
            for end in (writer, from_here):
                end.close()

    async def _up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        while piece := await reader.read(_PIECE):
            if number > self._muted:
                writer.write(piece)
                await writer.drain()
        writer.close()


async def _down(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def mute_wire(address: str) -> AsyncGenerator[MuteWire]:
    """Lay a wire to the server at `host:port` for the length of the block."""
    host, _, port = address.rpartition(":")
    wire = MuteWire(host, int(port))
    server = await asyncio.start_server(wire.pass_on, "127.0.0.1", 0)
    wire.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield wire
    finally:
        server.close()
        await wire.close()
