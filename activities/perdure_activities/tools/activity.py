"""The activity that runs a tool, whatever kind it is of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import JsonValue, TypeAdapter
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from perdure_graph.agents.effects import RunTool, ToolResult
from perdure_graph.agents.limits import digest
from perdure_graph.agents.thoughts import BEGINNING
from perdure_graph.agents.tools import ToolPart
from perdure_graph.errors import PlatformError
from perdure_graph.models.messages import TextPart, ToolMessage, text_of
from perdure_graph.options import RetryClass
from perdure_store.ledger_records import LedgerAway
from perdure_store.run_folders import folder_of
from perdure_store.threads import ThreadLost

from ..agents.context import AgentSupport, current
from ..heartbeat import heartbeats
from .binding import bind
from .children import ChildTool
from .protocol import Tool, ToolCallContext, ToolFault
from .results import fault_for_model, files_of, text_for_model
from .secrets import without

# Attempts at a call whose fault may soon be over.
ATTEMPTS = 3
RETRIED = "ToolFault"

# Of a text that is in the store: what events show of it, and a little more, so that they say that it was cut.
_MOST_SHOWN = BEGINNING + 1
_PARTS: TypeAdapter[tuple[ToolPart, ...]] = TypeAdapter(tuple[ToolPart, ...])

_log = structlog.stdlib.get_logger("perdure.tools")


@activity.defn(name=RunTool.activity)
async def run_tool(effect: RunTool) -> ToolResult:
    """Run a tool, heartbeating meanwhile. A tool that fails is a result too.

    Raises:
        ApplicationError: `ToolFault`, to be tried again; `PlatformError`, the worker has nothing to run tools with.
    """
    async with heartbeats():
        try:
            return await Running(current(), effect, activity.info().attempt).perform()
        except PlatformError as error:
            raise ApplicationError(
                str(error),
                type="PlatformError",
                non_retryable=not error.retryable,
                category=ApplicationErrorCategory.BENIGN,
            ) from None


@dataclass(slots=True)
class Running:
    """One attempt at a call."""

    support: AgentSupport
    effect: RunTool
    attempt: int
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    began: float = field(default_factory=time.monotonic)

    async def perform(self) -> ToolResult:
        """Run the tool, and put what it gave into the thread.

        Raises:
            ApplicationError: the call is to be tried again.
        """
        if self.attempt > 1 and (earlier := await self._earlier()) is not None:
            return earlier
        try:
            tool = await self._limited_find()
            if self.effect.ask and self._waits(tool):
                return ToolResult(asks=tool.declaration.label or self.effect.name, elapsed=self._elapsed())
            if isinstance(tool, ChildTool) and not self.effect.thread:
                return ToolResult(child=self.support.registry.complete(self.effect.use))
            parts = await self._run(tool)
        except ToolFault as fault:
            return self._failed(fault)
        return await self._given(parts)

    async def _limited_find(self) -> Tool:
        limit = self.effect.timeout_s
        try:
            async with asyncio.timeout(limit):
                return await self.support.registry.find(self.effect.use)
        except TimeoutError:
            raise ToolFault(
                "timeout", f"{self.effect.name!r} was not found within {limit:g} s", retryable=True
            ) from None

    def _waits(self, tool: Tool) -> bool:
        """Whether a rule of the operator wants a person first. Of a call that cannot be made nobody is asked."""
        effect, registry = self.effect, self.support.registry
        called: dict[str, JsonValue] = {**effect.use.parameters, **effect.arguments}
        if not isinstance(tool, ChildTool):
            # What the tool really gets: a text may be read as a list, and what is left out has a default.
            bound = bind(tool.declaration, effect.use, effect.arguments, by_author=True)
            called = {**bound.settings, **bound.arguments}
        return registry.rule_asks(effect.use, tool.declaration, called)

    async def _run(self, tool: Tool) -> tuple[ToolPart, ...]:
        effect, declaration = self.effect, tool.declaration
        by_author = not effect.thread
        if self.attempt > 1 and "never" in (declaration.retry, self._retry):
            raise ToolFault(
                "internal",
                f"the worker that ran {effect.name!r} was lost, and it is not known whether the call was made. "
                "It is not made again: find out before you go on.",
            )
        bound = bind(declaration, effect.use, effect.arguments, by_author=by_author)
        self.secrets = await self.support.registry.secrets(effect.use)
        # A graph knows no tool's limit: the tool says it itself.
        limit = min(effect.timeout_s, declaration.timeout_s) if by_author else effect.timeout_s
        limit = max(0.1, limit - (time.monotonic() - self.began))
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                parts = await tool.run(bound.arguments, bound.settings, self._context(limit))
        except ToolFault:
            raise
        except TimeoutError as error:
            if not deadline.expired():
                raise ToolFault("invoke", str(error) or "TimeoutError") from error
            raise ToolFault("timeout", f"{effect.name!r} gave no result within {limit:g} s") from None
        except Exception as error:
            _log.warning("a tool failed", tool=effect.name, error=type(error).__name__)
            raise ToolFault("internal", f"{type(error).__name__}: {error}") from error
        return self._hidden(parts)

    def _context(self, limit: float) -> ToolCallContext:
        effect, meta = self.effect, self.effect.meta
        run_id = "" if meta is None else meta.run_id
        return ToolCallContext(
            key=effect.call_id or effect.name if meta is None else meta.idempotency_key,
            run_id=run_id,
            folder=folder_of(self.support.runs_dir, run_id),
            timeout_s=limit,
            secrets=self.secrets,
            attempt=self.attempt,
            user=effect.user,
            tenant=effect.tenant,
        )

    def _hidden(self, parts: Sequence[ToolPart]) -> tuple[ToolPart, ...]:
        if not self.secrets:
            return tuple(parts)
        return _PARTS.validate_python(without(_PARTS.dump_python(tuple(parts), mode="json"), self.secrets))

    def _failed(self, fault: ToolFault) -> ToolResult:
        message = str(without(fault.message, self.secrets))
        if fault.again and self._retry != "never" and self.attempt < ATTEMPTS:
            raise ApplicationError(message, type=RETRIED, category=ApplicationErrorCategory.BENIGN) from None
        text = fault_for_model(fault.kind, message)
        return ToolResult(text=text, size=len(text), error=message, error_kind=fault.kind, elapsed=self._elapsed())

    async def _given(self, parts: tuple[ToolPart, ...]) -> ToolResult:
        effect = self.effect
        text, files = text_for_model(parts, effect.max_bytes), files_of(parts)
        whole = ToolResult(text=text, size=len(text), files=files, elapsed=self._elapsed())
        if not effect.thread:
            return whole.model_copy(update={"parts": parts})
        if any(file.get("type") == "image" for file in files):
            # Whether the model sees images is not ours to say: whoever asked makes the message.
            return whole
        kept = await self._keep(text)
        if kept is None:
            return whole
        return whole.model_copy(update=_beginning(kept))

    async def _keep(self, text: str) -> str | None:
        """Put the message of the call into its thread; gives the text that is there then, None if the store is away."""
        effect, threads = self.effect, self.support.threads
        run_id = "" if effect.meta is None else effect.meta.run_id
        if threads.is_off or not run_id:
            return None
        message = ToolMessage(call_id=effect.call_id, name=effect.name, content=(TextPart(text=text),))
        try:
            there = await threads.write(effect.thread, run_id, {effect.position: message.model_dump(mode="json")})
        except LedgerAway as away:
            _log.warning("the run keeps the result of a tool itself", tool=effect.name, reason=str(away))
            return None
        if effect.position in there:
            return text_of(ToolMessage.model_validate(there[effect.position]))
        return text

    async def _earlier(self) -> ToolResult | None:
        """Find what an attempt before this one has put into the thread, though its worker was lost after it."""
        effect, threads = self.effect, self.support.threads
        if not effect.thread or threads.is_off:
            return None
        try:
            found = await threads.pick(effect.thread, [effect.position])
        except (LedgerAway, ThreadLost):
            return None
        message = ToolMessage.model_validate(found[effect.position])
        if message.call_id != effect.call_id:
            return None
        return ToolResult(**_beginning(text_of(message)), elapsed=self._elapsed())

    @property
    def _retry(self) -> RetryClass:
        return self.effect.retry if self.effect.meta is None else self.effect.meta.retry

    def _elapsed(self) -> float:
        return round(time.monotonic() - self.began, 3)


def _beginning(text: str) -> dict[str, Any]:
    """Tell of a text that the store has."""
    shown = text[:_MOST_SHOWN]
    return {"text": shown, "size": len(text), "digest": "" if shown == text else digest(text), "kept": True}
