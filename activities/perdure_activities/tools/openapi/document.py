"""A specification as data that knows where it stands: every wrong part is told with its pointer and line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, NoReturn, cast
from urllib.parse import unquote

from perdure_graph.errors import InvalidGraph
from perdure_graph.yaml_reader import Reading, read

from .problems import BadSpec, Path

MAX_BYTES = 40 * 1024 * 1024
_MAX_HOPS = 32


class Document:
    """A specification that was read."""

    def __init__(self, reading: Reading, name: str) -> None:
        self._reading = reading
        self._found: dict[str, tuple[Any, Path]] = {}
        self.name = name

    @property
    def root(self) -> Spot:
        """All of it."""
        return Spot(self, self._reading.data, ())

    def wrong(self, path: Path | None, what: str, next_step: str) -> NoReturn:
        """Say that a part is wrong."""
        raise BadSpec(self.name, path, None if path is None else self.line_of(path), what, next_step)

    def line_of(self, path: Path) -> int | None:
        """Say on which line of the file a part stands."""
        return self._reading.line_of(path)

    def find(self, reference: Any, at: Path) -> Spot:
        """Find what a `$ref` that stands at `at` leads to; that may be a reference again.

        Raises:
            BadSpec: it leads out of the document, or nowhere.
        """
        if not isinstance(reference, str):
            self.wrong(at, "a reference must be text.", "Write it like `#/components/schemas/NAME`.")
        if (known := self._found.get(reference)) is None:
            known = self._found[reference] = self._follow(reference, at)
        return Spot(self, *known)

    def _follow(self, reference: str, at: Path) -> tuple[Any, Path]:
        if reference != "#" and not reference.startswith("#/"):
            self.wrong(
                at,
                f"the reference {reference!r} leads out of the document, and nothing else is read.",
                "Bundle the specification into one file (`redocly bundle`), with references like `#/components/...`.",
            )
        value: Any = self._reading.data
        path: Path = ()
        for part in reference.split("/")[1:]:
            name = unquote(part).replace("~1", "/").replace("~0", "~")
            key: str | int = name
            if isinstance(value, dict) and name in value:
                value = cast("dict[str, Any]", value)[name]
            elif isinstance(value, list) and name.isdecimal() and int(name) < len(cast("list[Any]", value)):
                key = int(name)
                value = cast("list[Any]", value)[key]
            else:
                self.wrong(at, f"the reference {reference!r} leads nowhere: there is no {name!r}.", "Correct it.")
            path = (*path, key)
        return value, path


@dataclass(frozen=True, slots=True)
class Spot:
    """A part of a specification and where it stands."""

    document: Document
    value: Any
    path: Path

    def line(self) -> int | None:
        """Say on which line of the file it stands."""
        return self.document.line_of(self.path)

    @property
    def data(self) -> dict[str, Any]:
        """Give the mapping that it is, else an empty one."""
        value: Any = self.value
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}

    def wrong(self, what: str, next_step: str = "Correct it.") -> NoReturn:
        """Say that this is wrong."""
        self.document.wrong(self.path, what, next_step)

    def at(self, key: str | int) -> Spot:
        """Give a part of it, as it is written."""
        return Spot(self.document, self.value[key], (*self.path, key))

    def get(self, key: str) -> Spot | None:
        """Give a part of a mapping; None where it is missing or null."""
        return None if self.mapping().get(key) is None else self.at(key)

    def resolved(self) -> Spot:
        """Follow references until there is none.

        Raises:
            BadSpec: they lead out of the document, nowhere, or round in a circle.
        """
        spot = self
        for _ in range(_MAX_HOPS):
            if "$ref" not in spot.data:
                return spot
            spot = self.document.find(spot.data["$ref"], (*spot.path, "$ref"))
        return self.wrong("its references run in a circle.", "Let one of them lead to a definition.")

    def mapping(self) -> dict[str, Any]:
        """Take it for a mapping."""
        value: Any = self.value
        if not isinstance(value, dict):
            self.wrong(f"this must be a mapping, not {_kind(value)}.")
        return self.data

    def entries(self, key: str) -> Iterator[tuple[str, Spot]]:
        """Give the entries of a mapping that is a part of this one."""
        if (inner := self.get(key)) is not None:
            for name in inner.mapping():
                yield name, inner.at(name)

    def items(self, key: str) -> Iterator[Spot]:
        """Give the items of a list that is a part of this mapping."""
        if (inner := self.get(key)) is not None:
            several: Any = inner.value
            if not isinstance(several, list):
                inner.wrong(f"this must be a list, not {_kind(several)}.")
            for index in range(len(cast("list[Any]", several))):
                yield inner.at(index)

    def text(self, key: str) -> str:
        """Give a text that is a part of this mapping; empty where there is none. Numbers are taken as written."""
        if (inner := self.get(key)) is None:
            return ""
        value: Any = inner.value
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            inner.wrong(f"this must be text, not {_kind(value)}.")
        return str(value).strip()

    def needed(self, key: str) -> str:
        """Give a text that must be there."""
        return self.text(key) or self.wrong(f"`{key}` is missing.", "Add it.")

    def words(self, key: str) -> str:
        """Give what is said to people; empty where that is no text."""
        said = self.mapping().get(key)
        return said.strip() if isinstance(said, str) else ""

    def flag(self, key: str, default: bool = False) -> bool:
        """Give a part that is true or false."""
        if (inner := self.get(key)) is None:
            return default
        if not isinstance(inner.value, bool):
            inner.wrong(f"this must be true or false, not {_kind(inner.value)}.")
        return inner.value


def read_document(file: FilePath) -> Document:
    """Read a specification.

    Raises:
        BadSpec: it cannot be read, or is no OpenAPI 3 or Swagger 2 document.
    """
    name = file.name
    try:
        if file.stat().st_size > MAX_BYTES:
            raise BadSpec(name, None, None, f"it is larger than {MAX_BYTES // 1024**2} MB.", "Split it.")
        reading = read(file.read_bytes(), plain_keys=True, plain_words=True, max_bytes=MAX_BYTES)
    except OSError as error:
        said = error.strerror or type(error).__name__
        raise BadSpec(str(file), None, None, f"the file cannot be read ({said}).", "Correct `spec`.") from error
    except InvalidGraph as error:
        found = error.findings[0]
        raise BadSpec(name, None, found.line, found.message, found.next_step or "Correct the file.") from error
    document = Document(reading, name)
    if not isinstance(reading.data, dict):
        document.wrong((), f"this must be a mapping, not {_kind(reading.data)}.", "Give an OpenAPI document.")
    return document


def version_of(document: Document) -> str:
    """Give `2.0`, `3.0`, `3.1` or `3.2`.

    Raises:
        BadSpec: it says none, or another.
    """
    root = document.root
    if (old := root.text("swagger")) == "2.0" or old == "2":
        return "2.0"
    if old:
        root.at("swagger").wrong(f"Swagger {old} is not read.", "Convert the document to OpenAPI 3.")
    version = root.text("openapi")
    if not version:
        root.wrong("it says neither `openapi: 3.x` nor `swagger: '2.0'`.", "Give an OpenAPI document.")
    short = ".".join(version.split(".")[:2])
    if short == "3":
        return "3.0"
    if short not in ("3.0", "3.1", "3.2"):
        root.at("openapi").wrong(f"OpenAPI {version} is not read.", "Give 3.0, 3.1 or Swagger 2.0.")
    return short


def _kind(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "a mapping"
