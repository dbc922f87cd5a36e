"""Read the operations of a specification: what each takes, where it is sent, what it asks for as proof."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from . import swagger2
from .document import Document, Spot, version_of
from .parts import Body, Media, Operation, Parameter, Place, Schemes, Style
from .problems import BadSpec
from .security import needed, schemes_of
from .servers import server_of

Method = Literal["get", "put", "post", "delete", "options", "head", "patch", "trace"]

_METHODS: tuple[str, ...] = get_args(Method)
_STYLES: dict[str, tuple[str, ...]] = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
    "cookie": ("form", "cookie"),
}
# The request has its own of these.
_OURS = frozenset(
    {
        "accept",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "host",
        "idempotency-key",
        "transfer-encoding",
    }
)
_VARIABLE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Found:
    """An operation that a specification names, not read yet. `name` is free of repetition."""

    name: str
    method: str
    path: str
    spot: Spot
    item: Spot


class Operations:
    """The operations of a document.

    Raises:
        BadSpec: the document as a whole is wrong.
    """

    def __init__(self, document: Document) -> None:
        self.version = version_of(document)
        self._root = document.root
        self._schemes: Schemes = schemes_of(self._root, self.version)
        self.found = tuple(_named(_listed(self._root)))
        if not self.found:
            self._root.wrong("`paths` names no operation.", "Give a document with operations.")

    def read(self, found: Found, base_url: str | None, variables: dict[str, str]) -> Operation:
        """Read one of them.

        Raises:
            BadSpec: it, or something that it refers to, is wrong.
        """
        # A path that leads nowhere is told here.
        found.item.resolved()
        spot = found.spot
        old = self.version == "2.0"
        parameters = _parameters(found, old)
        if old:
            kept, body = swagger2.split(self._root, spot, parameters)
        else:
            kept, body = [_parameter(one) for one in parameters], _body(spot)
        placed = _placed(found, kept)
        return Operation(
            name=found.name,
            method=found.method.upper(),
            path=found.path,
            server=server_of(self._root, found.item, spot, self.version, base_url, variables),
            summary=spot.words("summary") or found.item.words("summary"),
            description=spot.words("description") or found.item.words("description"),
            deprecated=spot.flag("deprecated"),
            parameters=tuple(placed),
            body=body,
            security=needed(self._root, spot, self._schemes),
            spot=spot,
            version=self.version,
        )


def _listed(root: Spot) -> Iterator[tuple[str, str, Spot, Spot]]:
    for path, written in root.entries("paths"):
        if path.startswith("x-"):
            continue
        if not path.startswith("/"):
            written.wrong("a path must start with `/`.")
        try:
            item = written.resolved()
            names = list(item.mapping())
        except BadSpec:
            if "$ref" not in written.data:
                raise
            # Told when it is read: other paths may be fine.
            yield path, "get", written, written
            continue
        for method in names:
            if method in _METHODS:
                yield path, method, item.at(method), item


def _named(listed: Iterator[tuple[str, str, Spot, Spot]]) -> Iterator[Found]:
    """Name each after its `operationId`, else its method and path; none like another."""
    several = list(listed)
    wanted = [_own_name(spot) or slug(f"{method} {path}") for path, method, spot, _ in several]
    taken = set(wanted)
    given: set[str] = set()
    for name, (path, method, spot, item) in zip(wanted, several, strict=True):
        unique, number = name, 1
        while unique in given or (number > 1 and unique in taken):
            number += 1
            unique = f"{name}_{number}"
        given.add(unique)
        yield Found(unique, method, path, spot, item)


def _own_name(spot: Spot) -> str:
    name: Any = spot.data.get("operationId")
    return name.strip() if isinstance(name, str) else ""


def slug(text: str) -> str:
    """Make a name of letters, digits and `_`."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_")


def _parameters(found: Found, old: bool) -> list[Spot]:
    """Give those of the path and of the operation, which win."""
    several: dict[tuple[str, str], Spot] = {}
    for holder in (found.item, found.spot):
        for written in holder.items("parameters"):
            spot = written.resolved()
            name, place = spot.needed("name"), spot.needed("in")
            if place not in _STYLES and not (old and place in ("body", "formData")):
                spot.at("in").wrong(
                    f"there is no place {place!r} for a parameter.", "Write path, query, header or cookie."
                )
            several[place, name] = spot
    return list(several.values())


def _parameter(spot: Spot) -> Parameter:
    place = cast("Place", spot.text("in"))
    style = spot.text("style") or ("form" if place in ("query", "cookie") else "simple")
    if style not in _STYLES[place]:
        spot.at("style").wrong(
            f"there is no style {style!r} for a parameter in the {place}.", f"Write {' or '.join(_STYLES[place])}."
        )
    media = next(spot.entries("content"), None)
    schema = media[1].resolved().get("schema") if media else spot.get("schema")
    return Parameter(
        name=spot.needed("name"),
        place=place,
        schema=schema,
        required=place == "path" or spot.flag("required"),
        description=spot.words("description"),
        style=cast("Style", style),
        explode=spot.flag("explode", style in ("form", "cookie", "deepObject")),
        media_type=media[0] if media else "",
        reserved=spot.flag("allowReserved"),
    )


def _placed(found: Found, parameters: list[Parameter]) -> Iterator[Parameter]:
    """Hold the parameters of the path against the path; one that nobody describes is text."""
    names = _VARIABLE.findall(found.path)
    if _VARIABLE.sub("", found.path).count("{") or _VARIABLE.sub("", found.path).count("}") or "" in names:
        found.spot.wrong(f"the braces of the path {found.path!r} do not match.")
    known = {one.name for one in parameters if one.place == "path"}
    for one in parameters:
        if one.place == "path" and one.name not in names:
            found.spot.wrong(
                f"the parameter {one.name!r} is in the path, but {found.path!r} has no {{{one.name}}}.",
                "Correct the name, or the path.",
            )
        if one.place != "header" or one.name.lower() not in _OURS:
            yield one
    for name in dict.fromkeys(names):
        if name not in known:
            yield Parameter(name=name, place="path", required=True)


def _body(spot: Spot) -> Body | None:
    if (written := spot.get("requestBody")) is None:
        return None
    spot = written.resolved()
    media = tuple(_media(name, inner.resolved()) for name, inner in spot.entries("content"))
    if not media:
        spot.wrong("a request body needs a media type under `content`.", "Add one, such as application/json.")
    return Body(media=media, required=spot.flag("required"), description=spot.words("description"))


def _media(name: str, spot: Spot) -> Media:
    encodings = {key: inner.resolved().mapping() for key, inner in spot.entries("encoding")}
    return Media(name=name, schema=spot.get("schema"), encodings=encodings)
