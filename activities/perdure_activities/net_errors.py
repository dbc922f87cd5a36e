"""What can go wrong at the HTTP door.

NetError
├── BadUrl            no http(s) URL, or a redirect to none
├── AddressBlocked    an address that only the operator may open up
├── ConnectFailed     no such name, no connection, TLS refused, connection broke
├── Timeout           connecting, sending, receiving or all of it took too long
├── TooLarge          the response is larger than the caller allows
└── BadExchange       the other side or the request breaks the protocol; too many redirects
"""

from __future__ import annotations

from perdure_graph.errors import PerdureError

from .addresses import ALLOW_SETTING


class NetError(PerdureError):
    """A request through the door failed; `host` is the host of the URL it failed at."""

    code = "net_error"

    def __init__(self, message: str, *, host: str = "") -> None:
        self.host = host
        super().__init__(message)


class BadUrl(NetError):
    """The URL cannot be requested: not http(s), no host, or unreadable."""

    code = "bad_url"


class AddressBlocked(NetError):
    """The host has an address that is not public and that the operator did not allow."""

    code = "address_blocked"

    def __init__(self, host: str, address: str, port: int, *, via: str = "") -> None:
        self.address = address
        self.port = port
        shown = f"[{address}]" if ":" in address else address
        how = f" (a redirect from {via!r} led there)" if via else ""
        super().__init__(
            f"{host!r} is at {address}, which is not a public address{how}. If runs may reach it, add "
            f"{shown}:{port} (or the host, or a CIDR) to {ALLOW_SETTING} of the worker.",
            host=host,
        )


class ConnectFailed(NetError):
    """No connection, or it broke."""

    code = "connect_failed"
    retryable = True


class Timeout(NetError):
    """A limit of time passed."""

    code = "timeout"
    retryable = True


class TooLarge(NetError):
    """The response is larger than `limit` bytes; the rest was not read."""

    code = "too_large"

    def __init__(self, host: str, limit: int) -> None:
        self.limit = limit
        super().__init__(f"The response of {host!r} is larger than {limit} bytes.", host=host)


class BadExchange(NetError):
    """What was sent or received is not proper HTTP."""

    code = "bad_exchange"
    retryable = True
