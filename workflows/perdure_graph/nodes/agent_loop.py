"""agent-loop: an agent itself, in the graph that `agents.run` draws of it. Graphs of users have the type `agent`."""

from __future__ import annotations

from typing import Any, Literal, cast

from ..agents import loop
from ..agents.config import AgentConfig
from ..agents.effects import AskRound, OpenAgent, RunAgent, RunTool
from ..agents.loop_state import AgentState, Asked, Move
from ..children import RunFlow
from ..models.drawn import MemoryConfig, MemoryWindow, ModelConfig
from ..models.effects import Remember
from ..models.prompt import files_in, remember
from ..options import RetryClass
from ..values import ValueType, to_text
from .base import Came, Context, Done, NodeData, NodeType, Outcome, Turn, system


class AgentLoopData(NodeData):
    """Data of an agent-loop. inputs_of: the node whose outputs are the inputs of the agent."""

    type: Literal["agent-loop"]
    config: AgentConfig
    inputs_of: str = "start"


def start(data: AgentLoopData, ctx: Context) -> Outcome:
    """Open the agent; one whose node failed goes on where it was."""
    if isinstance(ctx.memo, dict):
        return _outcome(loop.again(data.config, AgentState.model_validate(ctx.memo), ctx.now))
    asked = Asked(
        thread=ctx.thread,
        query=_text(ctx, "query"),
        files=tuple(files_in(system(ctx, "files"))),
        inputs=dict(ctx.all_variables(data.inputs_of)),
        user=_text(ctx, "user_id"),
        tenant=ctx.tenant,
        depth=ctx.depth,
        remember=_remember(data.config, ctx),
    )
    return _outcome(loop.begin(data.config, asked, ctx.now))


def resume(data: AgentLoopData, ctx: Context, came: Came) -> Outcome:
    """Take what came of one thing."""
    state = AgentState.model_validate(ctx.memo)
    return _outcome(loop.came(data.config, state, came.name, came.reply, ctx.now))


def _outcome(move: Move) -> Outcome:
    if move.answer is None:
        memo = cast("Any", move.state.model_dump(mode="json"))
        return Turn(perform=move.perform, wait=move.wait, tell=move.tell, memo=memo)
    answer = move.answer
    outputs: dict[str, Any] = {
        "text": answer.text,
        "files": list(answer.files),
        "json": [{"end": answer.end, "rounds": answer.rounds, "calls": answer.calls}],
        "usage": answer.usage.model_dump(mode="json"),
        "end": answer.end,
        "rounds": answer.rounds,
        "calls": answer.calls,
        "simulated": answer.simulated,
    }
    return Done(outputs=outputs, tell=move.tell)


def _remember(config: AgentConfig, ctx: Context) -> Remember | None:
    if not config.memory.enabled:
        return None
    size = config.memory.size
    memory = MemoryConfig(window=MemoryWindow(enabled=size is not None, size=size))
    model = ModelConfig(provider=config.model.provider, name=config.model.name, mode=config.model.mode)
    return remember(memory, model, ctx)


def _text(ctx: Context, name: str) -> str:
    return to_text(system(ctx, name))


def _outputs(_data: AgentLoopData) -> dict[str, ValueType]:
    return {
        "text": ValueType.STRING,
        "files": ValueType.ARRAY_FILE,
        "json": ValueType.ARRAY_OBJECT,
        "usage": ValueType.OBJECT,
        "end": ValueType.STRING,
        "rounds": ValueType.INTEGER,
        "calls": ValueType.INTEGER,
        "simulated": ValueType.BOOLEAN,
    }


def _repeats(_data: AgentLoopData) -> RetryClass:
    """Each of its effects says that itself."""
    return "keyed"


NODE = NodeType(
    name="agent-loop",
    data=AgentLoopData,
    start=start,
    resume=resume,
    outputs=_outputs,
    effects=(OpenAgent, AskRound, RunTool, RunAgent, RunFlow),
    repeats=_repeats,
    streams=("text",),
    waits=True,
)
