"""What names a store. Light to import: it is asked before the libraries of the store are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from perdure_graph.errors import PlatformError

OFF = "off"

Kind = Literal["sqlite", "postgresql"]
_KINDS: dict[str, Kind] = {
    "sqlite": "sqlite",
    "sqlite+aiosqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "postgresql+asyncpg": "postgresql",
}


def kind_of(url: str) -> Kind:
    """Say which kind of database a URL names; a bare path is one of SQLite.

    Raises:
        PlatformError: it names none that can be a store.
    """
    scheme = url.partition("://")[0] if "://" in url else "sqlite"
    if scheme not in _KINDS:
        raise PlatformError(
            f"{scheme!r} is no kind of run store. Set PERDURE_STORE to sqlite:///path, "
            "postgresql://user@host/name or off."
        )
    return _KINDS[scheme]


def path_of(url: str) -> Path:
    """Give the file that the URL of an SQLite store names."""
    if "://" not in url:
        return Path(url).expanduser()
    return Path(url.partition("://")[2].partition("?")[0].removeprefix("/"))
