"""What a specification says of an operation, whatever its version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .document import Spot

Place = Literal["path", "query", "header", "cookie"]
Style = Literal[
    "simple", "label", "matrix", "form", "cookie", "spaceDelimited", "pipeDelimited", "tabDelimited", "deepObject"
]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that is not in the body. media_type: it is written as such a document, whatever the style."""

    name: str
    place: Place
    schema: Spot | None = None
    required: bool = False
    description: str = ""
    style: Style = "simple"
    explode: bool = False
    media_type: str = ""
    reserved: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a form, as Swagger 2 describes each by itself."""

    name: str
    schema: Spot
    required: bool
    file: bool


@dataclass(frozen=True, slots=True)
class Media:
    """A body of one media type. fields: of a form of Swagger 2, in place of a schema."""

    name: str
    schema: Spot | None = None
    encodings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Body:
    """What a request may carry."""

    media: tuple[Media, ...]
    required: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way to prove who asks. kind `other` is one that tools cannot do.

    name: of the scheme. field: of the header, the parameter or the cookie. token_url: of oauth2 client credentials.
    """

    name: str
    kind: Literal["key", "basic", "bearer", "client", "other"]
    place: Place = "header"
    field: str = ""
    token_url: str = ""
    said: str = ""


Schemes = Mapping[str, Spot]


@dataclass(frozen=True, slots=True)
class Proof:
    """A scheme that an operation asks for, with the scopes it wants."""

    scheme: Scheme
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation. server: its URL, without `/` at the end. security: one of these is needed, each all of it."""

    name: str
    method: str
    path: str
    server: str
    summary: str
    description: str
    deprecated: bool
    parameters: tuple[Parameter, ...]
    body: Body | None
    security: tuple[tuple[Proof, ...], ...]
    spot: Spot
    version: str
