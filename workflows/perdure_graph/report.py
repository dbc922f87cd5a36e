"""What loading a graph found: located, levelled, one line each."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Level = Literal["same", "differs", "warning", "refused"]


class Finding(BaseModel):
    """One remark about a document: where it is, what it means, what to do.

    `same` runs as in Dify, `differs` runs otherwise than in Dify (the message says how), `warning` runs but
    probably not as meant, `refused` does not run.
    """

    model_config = ConfigDict(frozen=True)

    level: Level
    message: str
    node: str = ""
    title: str = ""
    field: str = ""
    line: int | None = None
    next_step: str = ""

    def __str__(self) -> str:
        """Write the finding as one line: place, message, next step."""
        place = f"node {self.node!r}" if self.node else "document"
        if self.title and self.title != self.node:
            place += f" ({self.title})"
        if self.field:
            place += f", field {self.field!r}"
        if self.line is not None:
            place += f", line {self.line}"
        tail = f" {self.next_step}" if self.next_step else ""
        return f"{place}: {self.message}{tail}"
