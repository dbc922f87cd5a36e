"""One operation as a tool: arguments -> request -> parts of a result."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import httpx2
from pydantic import JsonValue, SecretStr

from perdure_graph.agents.tools import ToolPart

from ...files import FileStore
from ...models.deployed import FromEnv
from ...net import AddressBlocked, Fetched, NetError, NetSettings, Resolver, Timeout, fetch
from ..protocol import ToolCallContext, ToolDeclaration, ToolFault
from .auth import Proofs, hidden_in, proofs_for
from .bodies import BodyWriter
from .config import OpenAPISource
from .parts import Operation
from .replies import fault_of, limit_of, parts_of
from .shape import BodyLayout, Layout
from .styles import in_cookie, in_header, in_path, in_query
from .tokens import Tokens

Credentials = Callable[[str], Awaitable[Mapping[str, str]]]

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

_KEY = "Idempotency-Key"
# What well-known services accept at most.
_MAX_KEY_CHARS = 255
_ACCEPT = "application/json, */*;q=0.8"


@dataclass(frozen=True, slots=True)
class Outside:
    """What calls of one source share: the door, the files, the tokens."""

    source: OpenAPISource
    files: FileStore
    environ: Mapping[str, str] = field(repr=False)
    resolver: Resolver
    tokens: Tokens
    credentials: Credentials | None = None

    async def secrets(self, context: ToolCallContext) -> Mapping[str, str]:
        """Give the secrets of a call: its own, else those of the source's credential."""
        if context.secrets or self.source.credential is None or self.credentials is None:
            return context.secrets
        return await self.credentials(self.source.credential)

    def headers(self) -> list[tuple[str, str]]:
        """Give the operator's headers; read now, so that a key that was changed is taken at once."""
        return [(name, self._header(name, held)) for name, held in self.source.headers.items()]

    def _header(self, name: str, held: FromEnv | SecretStr) -> str:
        value = held.get_secret_value() if isinstance(held, SecretStr) else self.environ.get(held.env, "")
        if not value and not isinstance(held, SecretStr):
            raise ToolFault(
                "credentials",
                f"the header {name!r} of {self.source.id!r} is to come from the variable {held.env}, which is not set. "
                "Set it in the environment of the worker.",
            )
        if not value.isprintable():
            raise ToolFault("credentials", f"the header {name!r} of {self.source.id!r} holds what cannot be sent.")
        return value


@dataclass(frozen=True, slots=True)
class _Request:
    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    content: bytes = field(repr=False)


class OpenAPITool:
    """An operation that can be called."""

    def __init__(self, declaration: ToolDeclaration, operation: Operation, layout: Layout, outside: Outside) -> None:
        self._declaration = declaration
        self._operation = operation
        self._layout = layout
        self._outside = outside

    @property
    def declaration(self) -> ToolDeclaration:
        """What it is."""
        return self._declaration

    async def run(
        self, arguments: Mapping[str, JsonValue], settings: Mapping[str, JsonValue], context: ToolCallContext
    ) -> Sequence[ToolPart]:
        """Send the request of a call and read the answer.

        Raises:
            ToolFault: there is no result.
        """
        operation, outside = self._operation, self._outside
        given = {**arguments, **settings}
        secrets, own = await outside.secrets(context), outside.headers()
        hidden = (*hidden_in(secrets), *(value for _, value in own))
        door = _door(outside.source, operation)
        try:
            path, query, headers, cookies = self._placed(given)
            writer = BodyWriter(outside.files, NetSettings(), outside.resolver, context.timeout_s)
            content, media_type = await self._body(given, writer)
        except ValueError as error:
            raise ToolFault("bad_arguments", f"the arguments cannot be sent: {error}") from error
        if media_type:
            headers.append(("Content-Type", media_type))
        for last in (False, True):
            proofs = await self._proofs(secrets, context, door)
            request = self._request(path, query, [*headers, *own], cookies, content, proofs, context)
            private = [name for name, _ in (*proofs.headers, *own)]
            answer = await self._sent(request, private, context, door)
            if last or answer.status_code != 401 or proofs.client is None:
                break
            outside.tokens.forget(proofs.client, proofs.token)
        hidden = (*hidden, *([proofs.token] if proofs.token else ()))
        if not 200 <= answer.status_code < 300:
            raise fault_of(answer, self._where(), hidden)
        return await parts_of(answer, operation.method, outside.files, hidden)

    def _where(self) -> str:
        return f"{self._operation.method} {self._operation.path}"

    def _placed(self, given: Mapping[str, Any]) -> tuple[str, list[str], list[tuple[str, str]], list[str]]:
        path = self._operation.path
        query: list[str] = []
        headers: list[tuple[str, str]] = []
        cookies: list[str] = []
        for name, parameter in self._layout.parameters.items():
            value = given.get(name)
            if value is None and parameter.place != "path":
                if parameter.required and name not in given:
                    raise ToolFault("bad_arguments", f"`{name}` is required.")
                continue
            match parameter.place:
                case "path":
                    path = path.replace(f"{{{parameter.name}}}", in_path(parameter, value))
                case "query":
                    query += [text] if (text := in_query(parameter, value)) else []
                case "header":
                    headers.append((parameter.name, in_header(parameter, value)))
                case "cookie":
                    cookies += [text] if (text := in_cookie(parameter, value)) else []
        if any(unquote(part) in (".", "..") for part in path.split("/")):
            raise ToolFault("bad_arguments", "the values of the path lead out of it.")
        return path, query, headers, cookies

    async def _body(self, given: Mapping[str, JsonValue], writer: BodyWriter) -> tuple[bytes, str]:
        layout = self._layout.body
        if layout is None:
            return b"", ""
        if layout.fields is None:
            if layout.argument not in given or (given[layout.argument] is None and not layout.needed):
                return b"", ""
            return await writer.write(layout, given[layout.argument])
        value = self._fields(layout, layout.fields, given)
        if not value and not layout.needed:
            return b"", ""
        if missing := [name for name in layout.needs if name not in value]:
            names = ", ".join(f"`{name}`" for name in missing)
            raise ToolFault("bad_arguments", f"the body lacks {names}.")
        return await writer.write(layout, value)

    def _fields(
        self, layout: BodyLayout, fields: Mapping[str, str], given: Mapping[str, JsonValue]
    ) -> dict[str, JsonValue]:
        value = {field: given[name] for name, field in fields.items() if name in given}
        if layout.open:
            known = {*fields, *fields.values(), *self._layout.parameters}
            value |= {name: one for name, one in given.items() if name not in known}
        return value

    async def _proofs(self, secrets: Mapping[str, str], context: ToolCallContext, door: NetSettings) -> Proofs:
        source = self._outside.source
        return await proofs_for(
            self._operation,
            secrets,
            frozenset(name.lower() for name in source.headers),
            self._outside.tokens,
            door,
            context.timeout_s,
            source.credential,
        )

    def _request(
        self,
        path: str,
        query: list[str],
        headers: list[tuple[str, str]],
        cookies: list[str],
        content: bytes,
        proofs: Proofs,
        context: ToolCallContext,
    ) -> _Request:
        whole = "&".join((*query, *proofs.query))
        url = f"{self._operation.server}{path}" + (f"?{whole}" if whole else "")
        # What comes later is stronger: the operator's headers, then the proofs.
        named: dict[str, tuple[str, str]] = {"accept": ("Accept", _ACCEPT)}
        for name, value in (*headers, *proofs.headers):
            named[name.lower()] = (name, value)
        if cookies or proofs.cookies:
            named["cookie"] = ("Cookie", "; ".join((*cookies, *proofs.cookies)))
        if self._operation.method not in SAFE and self._declaration.retry != "safe":
            named.setdefault(_KEY.lower(), (_KEY, _carried(context.key)))
        return _Request(url, tuple(named.values()), content)

    async def _sent(
        self, request: _Request, private: Sequence[str], context: ToolCallContext, door: NetSettings
    ) -> Fetched:
        try:
            return await fetch(
                self._operation.method,
                request.url,
                headers=request.headers,
                content=request.content,
                secret_headers=private,
                timeout=httpx2.Timeout(context.timeout_s, connect=min(10.0, context.timeout_s)),
                total_s=context.timeout_s,
                max_bytes=limit_of,
                settings=door,
                resolver=self._outside.resolver,
            )
        except Timeout as error:
            raise ToolFault("timeout", f"{self._where()}: {error}", retryable=True) from error
        except AddressBlocked as error:
            hint = " Or set `allow_private` of the source, where it is the server itself."
            raise ToolFault("invoke", f"{self._where()}: {error}{hint}") from error
        except NetError as error:
            raise ToolFault("invoke", f"{self._where()}: {error}", retryable=error.retryable) from error


def _door(source: OpenAPISource, operation: Operation) -> NetSettings:
    """Open the door to the servers that the operator named, where they may be private."""
    settings = NetSettings()
    if not source.allow_private:
        return settings
    urls = [operation.server, *(proof.scheme.token_url for several in operation.security for proof in several)]
    hosts = [_host(httpx2.URL(url)) for url in urls if url.startswith(("http://", "https://"))]
    return settings.model_copy(update={"allow": (*settings.allow, *dict.fromkeys(hosts))})


def _host(url: httpx2.URL) -> str:
    port = url.port or (443 if url.scheme == "https" else 80)
    return f"[{url.host}]:{port}" if ":" in url.host else f"{url.host}:{port}"


def _carried(key: str) -> str:
    """Write a call's key so that a header carries it."""
    text = quote(key, safe="/#[]:,.!~@")
    return text if len(text) <= _MAX_KEY_CHARS else hashlib.sha256(text.encode()).hexdigest()
