"""What an operation asks for as proof of who calls."""

from __future__ import annotations

from typing import Any, cast

from .config import is_header
from .document import Spot
from .parts import Place, Proof, Scheme, Schemes


def schemes_of(root: Spot, version: str) -> Schemes:
    """Give the security schemes of a document by name, unread."""
    holder = root if version == "2.0" else root.get("components")
    key = "securityDefinitions" if version == "2.0" else "securitySchemes"
    return {} if holder is None else dict(holder.entries(key))


def needed(root: Spot, operation: Spot, schemes: Schemes) -> tuple[tuple[Proof, ...], ...]:
    """Give the alternatives of an operation; none, or an empty one among them, means that nothing is needed.

    Raises:
        BadSpec: it asks for a scheme that is not defined, or that is wrong.
    """
    holder = operation if operation.mapping().get("security") is not None else root
    return tuple(
        tuple(_proof(one.at(name), name, schemes) for name in one.mapping()) for one in holder.items("security")
    )


def _proof(spot: Spot, name: str, schemes: Schemes) -> Proof:
    if name not in schemes:
        spot.wrong(f"the security scheme {name!r} is not defined.", "Define it, or correct the name.")
    written: Any = spot.value
    scopes = cast("list[Any]", written) if isinstance(written, list) else []
    return Proof(_scheme(name, schemes[name].resolved()), tuple(str(scope) for scope in scopes))


def _scheme(name: str, spot: Spot) -> Scheme:
    kind = spot.needed("type")
    match kind:
        case "apiKey":
            return _key(name, spot)
        case "basic":
            return Scheme(name, "basic")
        case "http":
            said = spot.needed("scheme").lower()
            if said in ("basic", "bearer"):
                return Scheme(name, "basic" if said == "basic" else "bearer")
            return Scheme(name, "other", said=f"http {said}")
        case "oauth2":
            return _oauth2(name, spot)
        case "openIdConnect":
            return Scheme(name, "bearer")
        case "mutualTLS":
            return Scheme(name, "other", said=kind)
        case _:
            return spot.at("type").wrong(
                f"there is no kind {kind!r} of security scheme.", "Write apiKey, http, oauth2 or openIdConnect."
            )


def _key(name: str, spot: Spot) -> Scheme:
    place, field = spot.needed("in"), spot.needed("name")
    if place not in ("header", "query", "cookie"):
        spot.at("in").wrong(f"a key cannot be in the {place!r}.", "Write header, query or cookie.")
    if place == "header" and not is_header(field):
        spot.at("name").wrong(f"{field!r} is no name of a header.")
    return Scheme(name, "key", place=cast("Place", place), field=field)


def _oauth2(name: str, spot: Spot) -> Scheme:
    """Client credentials where there are; a token that somebody else got is sent like any other."""
    old = spot.text("flow")
    if old:
        return Scheme(name, "client", token_url=spot.needed("tokenUrl")) if old == "application" else _token(name)
    flows = dict(spot.entries("flows"))
    if not flows:
        spot.wrong("oauth2 needs `flows`.", "Add them.")
    client = flows.get("clientCredentials")
    return _token(name) if client is None else Scheme(name, "client", token_url=client.needed("tokenUrl"))


def _token(name: str) -> Scheme:
    return Scheme(name, "bearer", said="oauth2")
