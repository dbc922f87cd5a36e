"""The normalised document of a graph: plain JSON, no canvas positions.

{version, mode, name, nodes: [{id, data, parent?}], edges: [{source, target, handle}],
environment: [variable], conversation: [variable], features: {...}}
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from .values import ValueType

Mode = Literal["workflow", "advanced-chat", "rag-pipeline"]


class Variable(BaseModel):
    """An environment or conversation variable with its declared type and (initial) value."""

    model_config = ConfigDict(frozen=True)

    name: str
    value_type: ValueType
    value: Any = None


class Edge(BaseModel):
    """An edge; it is taken when its source finishes and selects `handle`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    target: str
    handle: str = "source"


class NodeSpec(BaseModel):
    """A node as the document has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    data: dict[str, Any]
    parent: str | None = None


class Document(BaseModel):
    """The normalised document of a graph: what is hashed and what travels in a run.

    Unknown keys are refused here, so that a document as editors export it is never mistaken for a normalised one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str = "0.6.0"
    mode: Mode = "workflow"
    name: str = ""
    nodes: tuple[NodeSpec, ...]
    edges: tuple[Edge, ...]
    environment: tuple[Variable, ...] = ()
    conversation: tuple[Variable, ...] = ()
    features: dict[str, Any] = {}

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, in hex."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
