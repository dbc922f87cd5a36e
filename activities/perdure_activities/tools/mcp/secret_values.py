"""Values that the tools file gives by reference, and how secrets are kept out of what servers say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from pydantic import JsonValue

from ...models.stream.faults import blotted
from ..protocol import ToolFault
from .config import FromCredential, FromEnv, Value

Credentials = Callable[[str], Awaitable[Mapping[str, str]]]

# Shorter ones would be found everywhere.
_LEAST = 6


@dataclass(frozen=True, slots=True)
class Resolved:
    """Values in clear text, and which parts of them are secret."""

    values: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def hide(self, text: str) -> str:
        """Blot the secrets out of a text."""
        return blotted(text, self.secrets)

    def hide_in(self, value: JsonValue) -> JsonValue:
        """Blot the secrets out of a JSON value, names of members included."""
        if not self.secrets:
            return value
        match value:
            case str():
                return self.hide(value)
            case list():
                return [self.hide_in(one) for one in value]
            case dict():
                return {self.hide(name): self.hide_in(one) for name, one in value.items()}
            case _:
                return value


async def resolved(
    server: str, given: Mapping[str, Value], environ: Mapping[str, str], credentials: Credentials | None
) -> Resolved:
    """Read all values that a server is given.

    Raises:
        ToolFault: `credentials`, one is missing; says where to put it.
    """
    values: dict[str, str] = {}
    secrets: set[str] = set()
    for name, value in given.items():
        match value:
            case str():
                values[name] = value
                continue
            case FromEnv():
                secret = environ.get(value.env, "").strip()
                if not secret:
                    raise ToolFault(
                        "credentials",
                        f"the variable {value.env} that {name!r} of the MCP server {server!r} is taken from is not "
                        "set. Set it in the environment of the worker.",
                    )
            case FromCredential():
                secret = await _field(server, name, value, credentials)
        values[name] = value.prefix + secret
        secrets.update((values[name], secret, *secret.split()))
    return Resolved(values, _longest_first(secrets))


async def _field(server: str, name: str, value: FromCredential, credentials: Credentials | None) -> str:
    fields: Mapping[str, str] = await credentials(value.credential) if credentials is not None else {}
    if not value.field and len(fields) == 1:
        return next(iter(fields.values()))
    if secret := fields.get(value.field or "value", ""):
        return secret
    which = f"the field {value.field!r} of the credential" if value.field else "the credential"
    raise ToolFault(
        "credentials",
        f"{which} {value.credential!r} that {name!r} of the MCP server {server!r} is taken from is missing. "
        "Give it under `credentials` of the worker's tools file, and name the field where there are several.",
    )


def _longest_first(secrets: Iterable[str]) -> tuple[str, ...]:
    # One may be a part of another.
    return tuple(sorted((one for one in secrets if len(one) >= _LEAST), key=len, reverse=True))


def as_json(value: object) -> JsonValue:
    """Say that a value came out of a JSON text."""
    return cast("JsonValue", value)
