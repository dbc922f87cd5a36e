"""Which addresses the HTTP door leads to: public ones, and those that the operator allows.

The judgement is about addresses, never about names: a name is only as good as every address it resolves to.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ALLOW_SETTING = "PERDURE_HTTP_ALLOW"

Address = IPv4Address | IPv6Address

_UNICAST6 = IPv6Network("2000::/3")
_DOCUMENTATION6 = IPv6Network("3fff::/20")
_NAT64 = IPv6Network("64:ff9b::/96")
# The host agent of Azure answers on a public address, but only to the machine itself.
_HOST_AGENTS = frozenset({IPv4Address("168.63.129.16")})


@dataclass(frozen=True, slots=True)
class AllowRule:
    """One entry of `PERDURE_HTTP_ALLOW`: a host name or a network, perhaps only on one port."""

    host: str = ""
    network: IPv4Network | IPv6Network | None = None
    port: int | None = None

    def covers(self, host: str, port: int, address: Address) -> bool:
        """Whether the rule opens the door to this address, reached by this name and port."""
        if self.port is not None and self.port != port:
            return False
        if self.network is None:
            return _plain(host) == self.host
        return address.version == self.network.version and address in self.network


@functools.cache
def parse_rule(text: str) -> AllowRule:
    """Read `host`, `host:port`, `address`, `address:port`, `[v6]:port` or a CIDR.

    Raises:
        ValueError: it is none of these.
    """
    host, port = text.strip(), None
    if found := re.fullmatch(r"\[([^\]]+)\](?::(\d{1,5}))?|([^:/]+):(\d{1,5})", host):
        host = found[1] or found[3]
        port = int(digits) if (digits := found[2] or found[4]) else None
    try:
        return AllowRule(network=ip_network(host, strict=False), port=port)
    except ValueError:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", host):
            raise ValueError(f"{text!r} is no host, host:port, address or CIDR; correct {ALLOW_SETTING}") from None
    return AllowRule(host=_plain(host), port=port)


class NetSettings(BaseSettings):
    """What the door lets through (`PERDURE_HTTP_*`).

    allow: hosts, addresses or CIDRs, comma separated, that may be reached although they are not public.
    max_redirects: redirects followed per request.
    max_upload_bytes: size of a remote file that is fetched in order to be sent on.
    """

    model_config = SettingsConfigDict(env_prefix="PERDURE_HTTP_", frozen=True, extra="ignore")

    allow: Annotated[tuple[str, ...], NoDecode] = ()
    max_redirects: int = Field(default=10, ge=0)
    max_upload_bytes: int = Field(default=50 * 1024 * 1024, ge=0)

    @field_validator("allow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [entry for part in value.split(",") if (entry := part.strip())] if isinstance(value, str) else value

    @field_validator("allow")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            parse_rule(entry)
        return value

    def permits(self, host: str, port: int, address: Address) -> bool:
        """Whether a connection to this address is all right: public, or allowed."""
        face = _unwrapped(address)
        return is_public(face) or any(parse_rule(entry).covers(host, port, face) for entry in self.allow)


def _plain(host: str) -> str:
    return host.lower().rstrip(".")


def _unwrapped(address: Address) -> Address:
    """Take the IPv4 address out of an IPv6 address that only carries one (mapped, 6to4, NAT64)."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_public(address: Address) -> bool:
    """Whether an address is public unicast; carried IPv4 addresses count as what they carry."""
    face = _unwrapped(address)
    if not face.is_global or face.is_multicast:
        return False
    if isinstance(face, IPv6Address):
        return face in _UNICAST6 and face not in _DOCUMENTATION6
    return not face.is_reserved and face not in _HOST_AGENTS
