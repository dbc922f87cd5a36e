"""Which URL the operations of a specification are below."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from .document import Spot

_VARIABLE = re.compile(r"\{([^{}]*)\}")
_NEXT = "Set `base_url` of the source."


def server_of(
    root: Spot, item: Spot, operation: Spot, version: str, base_url: str | None, variables: dict[str, str]
) -> str:
    """Give the URL of the first server of an operation, without `/` at its end.

    Raises:
        BadSpec: it is wrong, or relative while there is no `base_url`.
    """
    base = urlsplit(base_url) if base_url else None
    if base_url and base and base.path.strip("/"):
        return base_url.rstrip("/")
    spot, url = _old(root, operation) if version == "2.0" else _written(root, item, operation, variables)
    parts = _split(spot, url)
    if base_url:
        # An absolute server is replaced as a whole; a relative one never said where it is.
        relative = not parts.netloc
        return base_url.rstrip("/") + (f"/{parts.path.strip('/')}".rstrip("/") if relative else "")
    if not parts.netloc:
        spot.wrong(f"the server {url or '/'!r} is relative, and nothing says where the document is from.", _NEXT)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        spot.wrong(f"{url!r} is no http or https URL.", _NEXT)
    if parts.username or parts.password or parts.query or parts.fragment:
        spot.wrong("the URL of a server holds a user, a query or a fragment.", _NEXT)
    return url.rstrip("/")


def _split(spot: Spot, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        spot.wrong(f"{url!r} is no URL.", _NEXT)
    return parts


def _written(root: Spot, item: Spot, operation: Spot, variables: dict[str, str]) -> tuple[Spot, str]:
    for holder in (operation, item, root):
        first = next(iter(holder.items("servers")), None)
        if first is not None:
            return first, _filled(first, variables)
    return root, "/"


def _filled(server: Spot, variables: dict[str, str]) -> str:
    defined = dict(server.entries("variables"))

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name in variables:
            return variables[name]
        if name not in defined:
            server.at("url").wrong(
                f"the variable {name!r} of the URL is not defined.", f"Set `variables.{name}` of the source."
            )
        return defined[name].text("default") or defined[name].wrong(
            "a variable of a server needs a default.", f"Set `variables.{name}` of the source."
        )

    return _VARIABLE.sub(value, server.needed("url"))


def _old(root: Spot, operation: Spot) -> tuple[Spot, str]:
    path = root.text("basePath")
    host = root.text("host")
    if not host:
        return root, path or "/"
    schemes = [str(one.value) for holder in (operation, root) for one in holder.items("schemes")]
    chosen = next((one for one in ("https", "http") if one in schemes), "https")
    if schemes and chosen not in schemes:
        root.wrong(f"the schemes {', '.join(schemes)} are not spoken.", _NEXT)
    return root, f"{chosen}://{host}/{path.strip('/')}"
