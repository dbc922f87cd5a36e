"""What a node or a run may be told beyond its drawing: deadlines, how an effect may be repeated, caching.

In a graph they stand in a node's data under `perdure`; `RunOptions.nodes` says the same from outside, and wins.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

RetryClass = Literal["safe", "keyed", "never"]
CacheScope = Literal["run", "flow", "tenant"]


class CacheOptions(BaseModel):
    """Keep the reply of a node's effect for `ttl_s` seconds; equal requests within `scope` then take it from there.

    scope: the run, all runs of the same flow (graph name), or all runs of the same tenant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ttl_s: float = Field(default=3600.0, gt=0)
    scope: CacheScope = "flow"


class NodeOptions(BaseModel):
    """Options of one node; what is None is left to the node type.

    deadline_s: seconds from the start of the node to its end, all attempts, waits and inner nodes included.
    retry: `safe` effects are simply performed again when a worker dies; `keyed` ones too, and carry an idempotency
        key for the other side; a `never` effect that was interrupted waits for an operator.
    cache: keep replies; never for nodes with side effects (`keyed`, `never`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    deadline_s: float | None = Field(default=None, gt=0)
    retry: RetryClass | None = None
    cache: CacheOptions | None = None

    def over(self, other: NodeOptions) -> NodeOptions:
        """Lay these options over others."""
        return other.model_copy(update=self.model_dump(exclude_none=True, exclude={"cache"}) | self._cache())

    def _cache(self) -> dict[str, CacheOptions]:
        return {} if self.cache is None else {"cache": self.cache}


class ValueLimits(BaseModel):
    """How much code and template nodes may give. The defaults are Dify's; raise them where large values flow.

    text_chars: longest string that code gives, at any depth, and longest text of a template.
    list_items: longest list that code gives; None is 30 strings or objects, 1000 numbers.
    code_output_bytes: all that one run of code gives, as JSON.
    code_memory_mb: memory that code may use, for its inputs too; a value takes several times its size as JSON.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text_chars: int = Field(default=400_000, ge=1)
    list_items: int | None = Field(default=None, ge=1)
    code_output_bytes: int = Field(default=1_000_000, ge=1)
    code_memory_mb: int = Field(default=256, ge=16, le=4096)
