"""The two activities of the agent loop that is written by hand."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import Any

from pydantic import TypeAdapter
from temporalio import activity

from perdure_activities.heartbeat import heartbeats
from perdure_activities.models.openai_chat import OpenAIChat
from perdure_activities.models.protocol import Endpoint, ModelCall
from perdure_activities.models.stream.accumulate import Accumulator
from perdure_activities.tools.builtin.calculator import calculator
from perdure_activities.tools.schema import spec_of
from perdure_graph.models.messages import Message
from perdure_worker.settings import WorkerSettings

MODEL = "demo"

_MESSAGES: TypeAdapter[tuple[Message, ...]] = TypeAdapter(tuple[Message, ...])
_MOST_BYTES = 10 * 1024 * 1024


@functools.cache
def _adapter() -> OpenAIChat:
    return OpenAIChat()


@functools.cache
def _endpoint() -> Endpoint:
    url = WorkerSettings().demo_model
    assert url is not None
    return Endpoint(MODEL, MODEL, "openai-chat", url, "none", allow_private=True)


@activity.defn
async def baseline_ask(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Ask the model with all messages; give its message, its text, and the calls that it asks for."""
    async with heartbeats():
        call = ModelCall(
            model=MODEL,
            messages=_MESSAGES.validate_python(messages),
            tools=(spec_of(calculator.declaration, "calculator"),),
        )
        accumulator = Accumulator(call, MODEL, _MOST_BYTES)
        async for delta in _adapter().stream(_endpoint(), call):
            accumulator.take(delta)
        said = accumulator.accumulated()
    calls = [one.model_dump(mode="json") for one in said.tool_calls]
    return {"message": said.message.model_dump(mode="json"), "text": said.text, "calls": calls}


@activity.defn
async def baseline_tool(call: dict[str, Any]) -> str:
    """Run the tool."""
    async with heartbeats():
        return await asyncio.to_thread(calculator, **json.loads(call["arguments"]))


ACTIVITIES = [baseline_ask, baseline_tool]
