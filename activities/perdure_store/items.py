"""What the writer writes. Light to import: a worker makes these before the libraries of the store are loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .ledger_records import DeltaRow


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one scope of a run, as they were emitted. `flow` and `tenant` are those of the run."""

    run_id: str
    scope: str
    events: tuple[dict[str, Any], ...]
    flow: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Keep:
    """A reply to keep for equal requests; times in milliseconds since the epoch."""

    scope: str
    key: str
    run_id: str
    reply: dict[str, Any]
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Note:
    """A large value that was put into the blob store."""

    run_id: str
    key: str
    bytes: int
    created_at: int


@dataclass(frozen=True, slots=True)
class Deltas:
    """Pieces of answers on their way."""

    rows: tuple[DeltaRow, ...]
    at: int


Item = Batch | Keep | Note | Deltas
