"""What a session needs of a way to its server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams


class Link(Protocol):
    """A way to a server, good for one session.

    status: with which it refused a message over HTTP, the last time. forgotten: whether the server does not know the
    session any more.
    """

    status: int | None
    forgotten: bool

    def streams(self, gone: Callable[[], None]) -> AbstractAsyncContextManager[TransportStreams]:
        """Open it. gone: called when the other side has ended; may be called more than once."""
        ...

    def said(self) -> str:
        """Tell how it ended, as far as the link knows; may hold secrets. Empty: it knows nothing."""
        ...
