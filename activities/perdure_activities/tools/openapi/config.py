"""An OpenAPI document as the worker's tools file names it."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TypeVar, cast
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from perdure_graph.agents.config import Approval
from perdure_graph.options import RetryClass

from ...models.deployed import FromEnv, Glob, Part

Value = TypeVar("Value")


class OpenAPISource(Part):
    """One specification whose operations are tools.

    An operation is meant by globs of its name (`list*`) or of its method and path (`GET /pets/*`).

    spec: path of the file, relative to the tools file.
    base_url: in place of the servers that the document names; one without a path keeps the path of a relative server.
    variables: values of variables in the URL of the server.
    credential: name of a credential of the tools file.
    headers: sent with each request.
    operations: those that become tools; `!` before a glob leaves them out.
    approval, retry: for all of them, or by glob, the first that fits; else what the method says.
    timeout_s: of one call. allow_private: whether the server may be on this machine or in a private network.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    spec: str = Field(min_length=1)
    base_url: str | None = None
    variables: dict[str, str] = Field(default_factory=dict[str, str])
    credential: str | None = None
    headers: dict[str, FromEnv | SecretStr] = Field(default_factory=dict[str, FromEnv | SecretStr])
    operations: tuple[Glob, ...] = ("*",)
    approval: Approval | dict[Glob, Approval] = "never"
    retry: RetryClass | dict[Glob, RetryClass] | None = None
    timeout_s: float = Field(default=60.0, gt=0, le=3600)
    allow_private: bool = False

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if "@" in value:
            raise ValueError("the address holds a user or password; name a `credential` instead")
        if (
            parts.port == 0
            or parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
        ):
            raise ValueError("it must be like https://host/v1, without a query")
        return value.rstrip("/")

    @field_validator("headers")
    @classmethod
    def _headers(cls, value: dict[str, FromEnv | SecretStr]) -> dict[str, FromEnv | SecretStr]:
        for name, held in value.items():
            plain = held.get_secret_value() if isinstance(held, SecretStr) else ""
            if not is_header(name) or not plain.isprintable():
                raise ValueError(f"{name!r} is no header, or its value holds characters that cannot be sent")
        return value


def is_header(name: str) -> bool:
    """Whether this can be the name of a header."""
    return bool(name) and name.isascii() and all(char.isalnum() or char in "!#$%&'*+-.^_`|~" for char in name)


def fits(glob: str, name: str, method: str, path: str) -> bool:
    """Whether a glob means this operation."""
    return fnmatchcase(name, glob) or fnmatchcase(f"{method.upper()} {path}", glob)


def chosen(given: Value | Mapping[str, Value] | None, name: str, method: str, path: str) -> Value | None:
    """Give what is said of an operation; None where nothing is."""
    if not isinstance(given, Mapping):
        return given
    by_glob = cast("Mapping[str, Value]", given)
    return next((value for glob, value in by_glob.items() if fits(glob, name, method, path)), None)
