"""What a worker does around every effect: record the events that ride in it, keep its reply where a node wants that,
and give those that ask models, or run tools, what the worker has for them.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from pydantic import ValidationError
from pydantic_core import to_json
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from perdure_graph.agents.effects import AskRound, OpenAgent, RunTool
from perdure_graph.effects import Effect, EffectMeta, Reply, ReplyMeta
from perdure_graph.errors import PlatformError
from perdure_graph.models.effects import InvokeModel, ModelAnswer
from perdure_store.kept import MAX_KEPT_BYTES, key_of, scope_of
from perdure_store.recorder import Recorder

from .agents import Agents
from .models import Models


class Effects(Interceptor):
    """Acts on the `EffectMeta` of requests and answers with the `ReplyMeta` of replies."""

    def __init__(self, recorder: Recorder, models: Models | None = None, agents: Agents | None = None) -> None:
        self._recorder = recorder
        self._models = models
        self._agents = agents

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        """Wrap the activity."""
        return _Performed(next, self._recorder, self._models, self._agents)


class _Performed(ActivityInboundInterceptor):
    def __init__(
        self, next: ActivityInboundInterceptor, recorder: Recorder, models: Models | None, agents: Agents | None
    ) -> None:
        super().__init__(next)
        self._recorder = recorder
        self._models = models
        self._agents = agents

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        effect = input.args[0] if input.args else None
        await self._provide(effect)
        if not isinstance(effect, Effect) or effect.meta is None:
            return await self.next.execute_activity(input)
        recorded: Literal["yes", "no", "off"] = "no"
        # Beside the work, not before it. The recorder neither raises nor takes longer than its limit.
        task = asyncio.create_task(self._recorder.record(effect.meta))
        try:
            reply, cached = await self._reply(input, effect, effect.meta)
        finally:
            recorded = await task
        if not isinstance(reply, Reply):
            return reply
        return reply.model_copy(update={"meta": ReplyMeta(recorded=recorded, cached=cached)})

    async def _provide(self, effect: object) -> None:
        try:
            if isinstance(effect, InvokeModel) and self._models is not None:
                from perdure_activities.models.context import RUNTIME

                RUNTIME.set(await self._models.runtime())
            elif isinstance(effect, OpenAgent | AskRound | RunTool) and self._agents is not None:
                from perdure_activities.agents.context import AGENTS

                AGENTS.set(await self._agents.support())
        except PlatformError as error:
            raise ApplicationError(str(error), type=type(error).__name__, non_retryable=True) from None

    async def _reply(self, input: ExecuteActivityInput, effect: Effect, meta: EffectMeta) -> tuple[Any, bool]:
        """Take the reply to an equal request where the node allows that, else perform the effect."""
        if meta.cache is None or meta.retry != "safe" or not effect.may_be_kept():
            return await self.next.execute_activity(input), False
        scope, key = scope_of(meta, meta.cache.scope), key_of(effect)
        kept = await self._recorder.find(scope, key)
        if kept is not None and (known := _read(effect, kept)) is not None:
            return await _free_of_charge(effect, known), True
        reply = await self.next.execute_activity(input)
        if isinstance(reply, Reply) and reply.worth_keeping() and len(to_json(reply)) <= MAX_KEPT_BYTES:
            kept = reply.model_dump(mode="json", exclude={"meta"})
            await self._recorder.keep(scope, key, meta.run_id, kept, meta.cache.ttl_s)
        return reply, False


async def _free_of_charge(effect: Effect, known: Reply) -> Reply:
    """Account for an answer of a model that nobody has to pay."""
    if not (isinstance(effect, InvokeModel) and isinstance(known, ModelAnswer)):
        return known
    from perdure_activities.models.cache import as_cached
    from perdure_activities.models.context import RUNTIME

    runtime = RUNTIME.get()
    # A worker that has something else answer for models has nowhere to account for it.
    return as_cached(known) if runtime is None else await runtime.cached(effect, known)


def _read(effect: Effect, kept: dict[str, Any]) -> Reply | None:
    try:
        return type(effect).reply.model_validate(kept)
    except ValidationError:
        # Another version of the node wrote it.
        return None
