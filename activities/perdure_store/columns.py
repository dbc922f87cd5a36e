"""What the tables are made of: their metadata and the kinds of their columns."""

# No `from __future__ import annotations`: SQLModel reads the annotations of its fields when the class is made.

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, MetaData, Text
from sqlmodel import Field, SQLModel

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Json = dict[str, Any]


class Table(SQLModel):
    """Root of our tables; they have metadata of their own, so that a user's models never mix with them."""

    metadata: ClassVar[MetaData] = METADATA  # pyright: ignore[reportIncompatibleVariableOverride]


def text_column(*, key: bool = False, null: bool = False) -> Any:
    """Make a column of text."""
    default = None if null else ""
    return Field(default=default, sa_column=Column(Text, primary_key=key, nullable=null))


def run_column() -> Any:
    """Make a column that names the run a row goes with, as part of the key."""
    return Field(sa_column=Column(Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True))


def big_column(*, key: bool = False, null: bool = False) -> Any:
    """Make a column of integers of 64 bits."""
    column = Column(BigInteger, primary_key=key, nullable=null, autoincrement=False)
    return Field(default=None if null else 0, sa_column=column)


def json_column(*, null: bool = True) -> Any:
    """Make a column of JSON."""
    return Field(default=None, sa_column=Column(JSON(none_as_null=True), nullable=null))
