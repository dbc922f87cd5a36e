"""Prove who calls: put the secrets of a credential where an operation's security schemes want them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never
from urllib.parse import urljoin

from ...net import NetSettings
from ..protocol import ToolFault
from .parts import Operation, Proof, Scheme
from .styles import plain
from .tokens import Client, Tokens

# By these names too a secret is found, where only one scheme of its kind is asked for.
_NAMES: dict[str, tuple[tuple[str, ...], ...]] = {
    "key": (("api_key", "key", "token"),),
    "bearer": (("token", "access_token", "api_key"),),
    "basic": (("username", "user"), ("password",)),
    "client": (("client_id",), ("client_secret",)),
    "other": (),
}
# What may be shown of a credential.
_OPEN = ("username", "user", "client_id", "scope", "scopes")
_AUTHORIZATION = "Authorization"


@dataclass(frozen=True, slots=True)
class Proofs:
    """What goes into a request as proof. client, token: of oauth2, in case the token is refused."""

    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    query: tuple[str, ...] = field(default=(), repr=False)
    cookies: tuple[str, ...] = field(default=(), repr=False)
    client: Client | None = None
    token: str = field(default="", repr=False)


def unneeded(operation: Operation) -> frozenset[tuple[str, str]]:
    """Give places and names of parameters that are proofs: the model has no say in them."""
    schemes = [proof.scheme for several in operation.security for proof in several]
    return frozenset(
        (scheme.place, scheme.field.lower() if scheme.place == "header" else scheme.field)
        for scheme in schemes
        if scheme.kind == "key"
    )


def hidden_in(secrets: Mapping[str, str]) -> tuple[str, ...]:
    """Give the values of a credential that must not be shown."""
    return tuple(value for name, value in secrets.items() if value and name.rpartition(".")[2] not in _OPEN)


async def proofs_for(
    operation: Operation,
    secrets: Mapping[str, str],
    headers: frozenset[str],
    tokens: Tokens,
    settings: NetSettings,
    total_s: float,
    credential: str | None,
) -> Proofs:
    """Make the proofs of the first alternative that the secrets suffice for.

    headers: names, in lower case, of headers that the source sends anyway.

    Raises:
        ToolFault: `credentials`, names what is missing.
    """
    open_ = not operation.security
    for several in operation.security:
        if not several:
            open_ = True
            continue
        if (found := _found(several, secrets, headers)) is not None:
            return await _made(found, operation, tokens, settings, total_s)
    if open_:
        return Proofs()
    raise ToolFault("credentials", _missing(operation, credential))


_Values = tuple[str, ...]


def _found(
    several: Sequence[Proof], secrets: Mapping[str, str], headers: frozenset[str]
) -> list[tuple[Proof, _Values]] | None:
    result: list[tuple[Proof, _Values]] = []
    for proof in several:
        scheme = proof.scheme
        alone = sum(other.scheme.kind == scheme.kind for other in several) == 1
        values = _values(scheme, secrets, alone)
        if values is None and _header_of(scheme) in headers:
            continue
        if values is None:
            return None
        result.append((proof, values))
    return result


def _header_of(scheme: Scheme) -> str:
    if scheme.kind != "key":
        return _AUTHORIZATION.lower()
    return scheme.field.lower() if scheme.place == "header" else ""


def _values(scheme: Scheme, secrets: Mapping[str, str], alone: bool) -> _Values | None:
    """Find what a scheme needs: under `SCHEME.FIELD`, `SCHEME` where that is all, or the usual name."""
    wanted = _NAMES[scheme.kind]
    if not wanted:
        return None
    found: list[str] = []
    for names in wanted:
        own = [f"{scheme.name}.{name}" for name in names] + ([scheme.name] if len(wanted) == 1 else [])
        value = next((secrets[name] for name in (*own, *(names if alone else ())) if secrets.get(name)), None)
        if value is None:
            # A token that is there already will do as well as one to be asked for.
            token = secrets.get(f"{scheme.name}.token") or (secrets.get("token") if alone else None)
            return (token,) if scheme.kind == "client" and token else None
        found.append(value)
    return tuple(found)


async def _made(
    found: list[tuple[Proof, _Values]], operation: Operation, tokens: Tokens, settings: NetSettings, total_s: float
) -> Proofs:
    headers: list[tuple[str, str]] = []
    query: list[str] = []
    cookies: list[str] = []
    client: Client | None = None
    token = ""
    for proof, values in found:
        scheme = proof.scheme
        match scheme.kind:
            case "key" if scheme.place == "query":
                query.append(f"{plain(scheme.field)}={plain(values[0])}")
            case "key" if scheme.place == "cookie":
                cookies.append(f"{scheme.field}={plain(values[0])}")
            case "key":
                headers.append((scheme.field, values[0]))
            case "basic":
                pair = base64.b64encode(":".join(values).encode()).decode()
                headers.append((_AUTHORIZATION, f"Basic {pair}"))
            case "bearer":
                headers.append((_AUTHORIZATION, f"Bearer {values[0]}"))
            case "client" if len(values) == 1:
                headers.append((_AUTHORIZATION, f"Bearer {values[0]}"))
            case "client":
                url = urljoin(f"{operation.server}/", scheme.token_url)
                client = Client(url, values[0], values[1], " ".join(proof.scopes))
                token = await tokens.get(client, settings, total_s)
                headers.append((_AUTHORIZATION, f"Bearer {token}"))
            case "other":
                pass
            case _:
                assert_never(scheme.kind)
    if any(not value.isprintable() for _, value in headers):
        raise ToolFault("credentials", "a secret of the credential holds characters that a header cannot carry.")
    return Proofs(tuple(headers), tuple(query), tuple(cookies), client, token)


def _missing(operation: Operation, credential: str | None) -> str:
    ways: list[str] = []
    for several in operation.security:
        alone = len({proof.scheme.kind for proof in several}) == len(several)
        parts = [_needs(proof.scheme, alone) for proof in several]
        ways.append(" and ".join(parts))
    where = f"the credential {credential!r}" if credential else "a credential, named by `credential` of the source,"
    return f"{operation.name!r} needs {', or '.join(ways)}. Put it into {where} in the worker's tools file."


def _needs(scheme: Scheme, alone: bool) -> str:
    fields = [f"`{names[0]}`" if alone else f"`{scheme.name}.{names[0]}`" for names in _NAMES[scheme.kind]]
    if not fields:
        return f"{scheme.said or scheme.kind} ({scheme.name!r}), which tools cannot do"
    return f"{' and '.join(fields)} (scheme {scheme.name!r})"
