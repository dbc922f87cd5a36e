"""What the activities of agents need, around the fake provider: a real runtime, a store in SQLite, tools of a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import JsonValue

from fakes.adapters import KEY
from perdure_activities.agents.context import AgentSupport
from perdure_activities.agents.memory_tools import MemoryTools
from perdure_activities.agents.opening import opened
from perdure_activities.agents.round import asked
from perdure_activities.models.config import ModelsConfig
from perdure_activities.models.runtime import Runtime
from perdure_activities.tools.protocol import Tool, ToolCallContext, ToolDeclaration, ToolFault, ToolParameter
from perdure_fake import FakeProvider, Script
from perdure_graph.agents.config import AgentConfig, AgentModel, Approval, ToolUse
from perdure_graph.agents.effects import AgentOpened, AskRound, OpenAgent, RoundAnswer
from perdure_graph.agents.tools import TextOut, ToolPart
from perdure_graph.effects import EffectMeta
from perdure_graph.models.messages import Message, TextPart, ToolMessage, user
from perdure_payloads.keys import KeyRing
from perdure_store.ledger import Ledger
from perdure_store.memories import Memories
from perdure_store.recorder import Recorder
from perdure_store.threads import Threads

CHAT = AgentModel(provider="openai", name="gpt-5.4-mini")
CLAUDE = AgentModel(provider="anthropic", name="claude-haiku-4-5")
# Models of the declaration below.
PLAIN = AgentModel(provider="plain", name="words")
SMALL = AgentModel(provider="plain", name="small")
SINGLE = AgentModel(provider="plain", name="single")
COMPLETES = AgentModel(provider="plain", name="completes")

_DECLARED: dict[str, Any] = {
    "provider": "plain",
    "profile": "openai",
    "models": [
        {"model": "words", "features": ["stop-words"]},
        {"model": "small", "features": ["multi-tool-call"], "model_properties": {"context_size": 2000}},
        {"model": "single", "features": ["tool-call"]},
        {"model": "completes", "features": [], "model_properties": {"mode": "completion"}},
    ],
}


@dataclass
class Echo:
    """A tool that says what it was given."""

    declaration: ToolDeclaration

    async def run(
        self, arguments: Mapping[str, JsonValue], settings: Mapping[str, JsonValue], context: ToolCallContext
    ) -> Sequence[ToolPart]:
        return [TextOut(text=f"{self.declaration.name}: {dict(arguments)} {dict(settings)} for {context.user}")]


def tool(name: str, *parameters: ToolParameter, **more: Any) -> Echo:
    """A tool, of the provider `test`."""
    given = parameters or (ToolParameter(name="query", required=True),)
    return Echo(ToolDeclaration(provider_type="builtin", provider_id="test", name=name, parameters=given, **more))


@dataclass
class Tools:
    """A registry of the tools of a test; what has no tool is unknown, what has an error raises it."""

    found: dict[str, Tool | Exception] = field(default_factory=dict)

    async def find(self, use: ToolUse) -> Tool:
        tool = self.found.get(use.tool_name)
        if isinstance(tool, Exception):
            raise tool
        if tool is None:
            raise ToolFault("unknown_tool", f"there is no tool {use.tool_name!r}")
        return tool

    def complete(self, use: ToolUse) -> ToolUse:
        return use

    def approval(self, use: ToolUse, declaration: ToolDeclaration) -> Approval:
        return use.approval or declaration.approval

    def asks(self, use: ToolUse, arguments: Mapping[str, JsonValue]) -> bool:
        return arguments.get("query") != "harmless"

    def rule_asks(self, use: ToolUse, declaration: ToolDeclaration, arguments: Mapping[str, JsonValue]) -> bool:
        return False

    async def secrets(self, use: ToolUse) -> Mapping[str, str]:
        return {}

    async def close(self) -> None:
        pass


@dataclass
class Desk:
    """A worker's support for agents, and the provider that it asks."""

    support: AgentSupport
    fake: FakeProvider
    tools: Tools
    recorder: Recorder

    async def says(self, *replies: Any, **more: Any) -> None:
        """Script the provider: one reply for each request, in turn."""
        steps = [
            {"reply": reply, "times": 1} if not isinstance(reply, int) else {"fault": reply, "times": 1}
            for reply in replies
        ]
        await self.fake.script(Script.model_validate({"steps": steps} | more))

    async def sent(self) -> list[dict[str, Any]]:
        """The bodies of the requests so far."""
        return [entry.body for entry in await self.fake.journal()]

    async def open(self, config: AgentConfig, query: str = "Where is it?", **more: Any) -> AgentOpened:
        """Open the agent of run `r`."""
        given = {"thread": "r/agent", "config": config, "query": user(query), "user": "ann", "tenant": "acme"}
        return await opened(self.support, OpenAgent(meta=about("open"), **given | more))

    async def ask(self, effect: AskRound, attempt: int = 1) -> RoundAnswer:
        """Ask for a round."""
        return await asked(self.support, effect, attempt)

    async def away(self) -> None:
        """Take the store away for good."""
        await self.recorder.close()


def about(key: str) -> EffectMeta:
    return EffectMeta(run_id="r", scope="agent", key=key, idempotency_key=f"r/{key}", flow="flow", tenant="acme")


def uses(*names: str, **more: Any) -> tuple[ToolUse, ...]:
    return tuple(ToolUse(provider_type="builtin", provider_id="test", tool_name=name, **more) for name in names)


def config(model: AgentModel = CHAT, *names: str, **more: Any) -> AgentConfig:
    return AgentConfig(**{"model": model, "tools": uses(*names)} | more)


def first(config: AgentConfig, opened: AgentOpened, **more: Any) -> AskRound:
    """The first round of an agent that was opened."""
    opening = opened.opening
    given: dict[str, Any] = (
        {"opening": None, "kept": 1} if opened.kept else {"opening": opening, "fresh": (opening.query,)}
    )
    given |= {"thread": "r/agent", "model": config.model, "strategy": opening.strategy, "user": "ann"}
    return AskRound(meta=about("r1"), **given | more)


def following(effect: AskRound, said: RoundAnswer, *more: Message, **changed: Any) -> AskRound:
    """The round after one, with what came of it."""
    length = effect.kept + len(effect.fresh)
    if said.kept:
        kept, fresh, opening = length + 1, more, None
    else:
        assert said.message is not None
        kept, fresh, opening = effect.kept, (*effect.fresh, said.message, *more), effect.opening
    number = effect.round + 1
    update = {"meta": about(f"r{number}"), "kept": kept, "fresh": fresh, "opening": opening, "round": number}
    return effect.model_copy(update=update | changed)


def result(call: str, text: str, name: str = "search") -> ToolMessage:
    return ToolMessage(call_id=call, name=name, content=(TextPart(text=text),))


@asynccontextmanager
async def desk(folder: Path, *tools: Tool, store: str | None = None, **models: Any) -> AsyncIterator[Desk]:
    """Open a desk for the length of a block. `models` goes into the models file."""
    declared = folder / "plain.yaml"
    async with FakeProvider.start_here() as fake:
        declared.write_text(yaml.safe_dump(_DECLARED | {"base_url": fake.openai_url}))
        recorder = Recorder(store or f"sqlite:///{folder}/runs.db", limit_s=4.0)
        ledger, memories = Ledger(recorder), Memories(recorder)
        of_openai = {"wire": "openai-chat", "base_url": fake.openai_url}
        deployments = [
            {"name": "openai", "provider": "openai", **of_openai},
            {"name": "plain", "provider": "plain", **of_openai},
            {"name": "claude", "provider": "anthropic", "base_url": fake.anthropic_url},
        ]
        about = {"credential": {"env": "CANARY"}, "allow_private": True}
        given = {"deployments": [one | about for one in deployments], "declarations": [declared]} | models
        runtime = Runtime.open(ModelsConfig.model_validate(given), ledger, KeyRing(), environ={"CANARY": KEY})
        found: dict[str, Tool | Exception] = {one.declaration.name: one for one in tools}
        registry = Tools(found | {one.declaration.name: one for one in await MemoryTools(memories).tools()})
        support = AgentSupport(runtime, registry, Threads(recorder), memories, folder / "runs")
        try:
            yield Desk(support, fake, registry, recorder)
        finally:
            await runtime.close()
            await recorder.close()
