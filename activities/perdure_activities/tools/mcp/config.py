"""What the worker's tools file says of an MCP server. All of it is data: nothing is evaluated, no shell is asked."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from perdure_graph.agents.config import Approval
from perdure_graph.agents.tools import Interrupted
from perdure_graph.options import RetryClass

_SECRET_WORDS = frozenset(
    {
        *("apikey", "auth", "authorization", "cookie", "credential", "credentials"),
        *("key", "passwd", "password", "secret", "token"),
    }
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class FromEnv(_Part):
    """A secret in a variable of the worker's environment. prefix: put before it, like `Bearer `."""

    env: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    prefix: str = ""


class FromCredential(_Part):
    """A field of a credential of the tools file; without a field, the only one it has."""

    credential: str
    field: str = ""
    prefix: str = ""


Value = Annotated[FromEnv | FromCredential | str, Field(union_mode="left_to_right")]


class McpServer(_Part):
    """A server: either `command` is started and spoken to through its pipes, or `url` is asked over HTTP.

    command: program and arguments; the program must be in `allow_commands` of the tools file.
    env: what the server's environment holds besides a safe minimum. cwd: where it runs.
    url, headers: of its streamable HTTP endpoint. allow_private: whether that may be at an address that is not public.
    tools: globs of the tools that may be used; `!` before a glob leaves them out.
    approval, retry: for all its tools, or by glob, the first that fits; in place of what the server hints at.
    interrupted: for all, or by glob: `tell` an agent's model that nobody knows what became of a call whose worker was
        lost, or `ask` an operator; for calls that must not be repeated. Without a word it is told.
    timeout_s: of one call. connect_s: of starting it, or connecting, and asking what it can.
    idle_s: after so long without a call its session is closed.
    max_bytes: of one message of it. protocol: `legacy` for servers that choke on a newer greeting.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    command: tuple[str, ...] = ()
    env: dict[str, Value] = Field(default_factory=dict[str, Value])
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, Value] = Field(default_factory=dict[str, Value])
    allow_private: bool = False
    tools: tuple[str, ...] = ("*",)
    approval: Approval | dict[str, Approval] | None = None
    retry: RetryClass | dict[str, RetryClass] | None = None
    interrupted: Interrupted | dict[str, Interrupted] | None = None
    sequential: bool = False
    timeout_s: float = Field(default=60.0, gt=0, le=3600)
    connect_s: float = Field(default=30.0, gt=0, le=600)
    idle_s: float = Field(default=300.0, gt=0)
    max_bytes: int = Field(default=10 * 1024 * 1024, ge=1024)
    protocol: Literal["auto", "legacy"] = "auto"

    @field_validator("command", mode="before")
    @classmethod
    def _is_a_list(cls, value: object) -> object:
        if isinstance(value, str):
            raise ValueError("a command is a list of texts, like [npx, -y, some-server]: no shell takes it apart")
        return value

    @field_validator("command")
    @classmethod
    def _can_be_passed(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any("\0" in part for part in value) or (value and not value[0]):
            raise ValueError("its program is empty, or a part of it holds a zero byte")
        return value

    @field_validator("url")
    @classmethod
    def _without_password(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "")
        if parts.username or parts.password:
            raise ValueError("the address holds a user or password; give a key under `headers` instead")
        if value is not None and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("it must be like https://host/mcp")
        return value

    @field_validator("env", "headers")
    @classmethod
    def _no_open_secrets(cls, value: dict[str, Value]) -> dict[str, Value]:
        for name, given in value.items():
            if not name or any(sign in name for sign in "=\0\r\n: "):
                raise ValueError(f"{name!r} is no name")
            last = re.split(r"[_\-.]", name.lower())[-1]
            if isinstance(given, str) and last in _SECRET_WORDS:
                raise ValueError(
                    f"{name!r} looks like a secret, which does not belong in this file. Give it as "
                    f"{{env: VARIABLE}} or {{credential: NAME}}"
                )
        return value

    @model_validator(mode="after")
    def _one_way(self) -> McpServer:
        if bool(self.command) == (self.url is not None):
            raise ValueError(f"the MCP server {self.id!r} needs either `command` or `url`, and not both")
        if self.url is None and (self.headers or self.allow_private):
            raise ValueError(f"`headers` and `allow_private` of the MCP server {self.id!r} belong to a `url`")
        if self.url is not None and (self.env or self.cwd):
            raise ValueError(f"`env` and `cwd` of the MCP server {self.id!r} belong to a `command`")
        return self
