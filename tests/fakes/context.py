"""A context for node functions over a plain dict, with the real templates and the real reading of paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perdure_graph import templates
from perdure_graph.nodes.base import MISSING, Missing
from perdure_graph.options import ValueLimits
from perdure_graph.pool import lookup, type_of
from perdure_graph.request import RunOptions
from perdure_graph.state import Frame, RunState
from perdure_graph.values import ValueType


class FakeContext:
    """What a node reads: `pool` is {node: {name: value}}, `types` declares some of them."""

    def __init__(
        self,
        pool: dict[str, dict[str, Any]] | None = None,
        *,
        types: dict[str, dict[str, ValueType]] | None = None,
        node_id: str = "me",
        memo: Any = None,
        limits: ValueLimits | None = None,
    ) -> None:
        self.limits = limits or ValueLimits()
        self.node_id = node_id
        self.thread = f"run/{node_id}/1"
        self.tenant = ""
        self.depth = 1
        self.now = 0
        self.memo = memo
        self.pool = pool or {}
        self.frame = Frame()
        self.frame.scope = self.pool
        self.state = RunState(
            run_id="run",
            graph_hash="",
            started_at=0,
            options=RunOptions(),
            pins={},
            frames={"": self.frame},
            types=types or {},
        )

    def get(self, selector: Sequence[str]) -> Any | Missing:
        return lookup(self.state, self.frame, selector)

    def type_of(self, selector: Sequence[str]) -> ValueType:
        return type_of(self.state, self.frame, selector)

    def render(self, template: str) -> str:
        return templates.render(template, self.get, MISSING)

    def render_markdown(self, template: str) -> str:
        return templates.render(template, self.get, MISSING, markdown=True)

    def all_variables(self, scope: str) -> Mapping[str, Any]:
        return self.pool.get(scope, {})


def file(name: str, kind: str = "document", size: int = 1, url: str = "") -> dict[str, Any]:
    """A file object."""
    extension = "." + name.rpartition(".")[2]
    return {
        "dify_model_identity": "__dify__file__",
        "type": kind,
        "transfer_method": "remote_url",
        "filename": name,
        "extension": extension,
        "mime_type": None,
        "size": size,
        "url": url or f"https://example.com/{name}",
        "related_id": None,
    }
