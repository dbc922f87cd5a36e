"""Secrets of providers, as they come: encrypted by whoever stores them."""

from __future__ import annotations

from dataclasses import asdict, fields

from sqlalchemy import Connection, select
from sqlalchemy import delete as delete_from

from .ledger_records import CredentialRow
from .ledger_tables import CREDENTIALS
from .statements import insert_into

_COLUMNS = [CREDENTIALS.c[field.name] for field in fields(CredentialRow)]


def put(connection: Connection, row: CredentialRow, now: int) -> None:
    """Store a credential, in place of the one of that name, which keeps its first time."""
    insert = insert_into(CREDENTIALS, connection.dialect.name)
    changes = {name: insert.excluded[name] for name in ("provider", "secret", "shown", "updated_at")}
    values = asdict(row) | {"created_at": now, "updated_at": now}
    connection.execute(insert.on_conflict_do_update(index_elements=["name"], set_=changes), values)


def find(connection: Connection, name: str) -> CredentialRow | None:
    """Find a credential."""
    row = connection.execute(select(*_COLUMNS).where(CREDENTIALS.c.name == name)).mappings().first()
    return None if row is None else CredentialRow(**row)


def listed(connection: Connection, provider: str | None) -> list[CredentialRow]:
    """Give credentials by name."""
    query = select(*_COLUMNS).order_by(CREDENTIALS.c.name)
    if provider is not None:
        query = query.where(CREDENTIALS.c.provider == provider)
    return [CredentialRow(**row) for row in connection.execute(query).mappings()]


def delete(connection: Connection, name: str) -> bool:
    """Delete a credential; whether there was one."""
    return connection.execute(delete_from(CREDENTIALS).where(CREDENTIALS.c.name == name)).rowcount > 0
