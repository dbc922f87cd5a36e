"""A place for agents: a worker on a real server, a scripted provider, Python tools that note what they were told."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from perdure import AgentConfig, Client, RunHandle
from perdure_fake import FakeProvider, Script
from perdure_graph.agents.config import Strategy
from perdure_graph.events import AgentLimit, AgentThought, Event
from perdure_worker.embedded import EmbeddedStack, embedded

MODEL = {"provider": "openai", "name": "gpt-4o"}
KEY = "AGENT_PLACE_KEY"
STRATEGIES: tuple[Strategy, ...] = ("function_calling", "react")
MODULE = '''
import json
from pathlib import Path
from typing import Annotated

from perdure_activities.tools import Setting, tool

HERE = Path(__file__).parent


def note(**what) -> None:
    with (HERE / "calls.jsonl").open("a") as file:
        file.write(json.dumps(what) + "\\n")


@tool(retry="safe")
def look(at: str) -> str:
    """Look at something."""
    note(tool="look", at=at)
    return f"Seen: {at}."


@tool(retry="safe")
def read_page(name: str) -> str:
    """Read a page."""
    note(tool="read_page", name=name)
    return (HERE / name).read_text()


@tool
def fails(why: str) -> str:
    """Fail."""
    note(tool="fails", why=why)
    raise ValueError(f"no luck: {why}")


@tool
def send(text: str, sender: Annotated[str, Setting()] = "nobody") -> str:
    """Send a letter."""
    note(tool="send", text=text, sender=sender)
    return f"sent by {sender}"


@tool(approval="required")
def pay(amount: float, to: str = "nobody") -> str:
    """Pay."""
    note(tool="pay", amount=amount, to=to)
    return "paid"


@tool
def wipe() -> str:
    """Delete everything."""
    note(tool="wipe")
    return "wiped"
'''


@dataclass
class AgentPlace:
    """Runs agents, and tells what their models were asked and what their tools did."""

    stack: EmbeddedStack
    fake: FakeProvider
    folder: Path

    @property
    def client(self) -> Client:
        stack = self.stack
        return Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout, store=stack.store_url)

    async def start(self, tools: list[Any], replies: list[Any], **fields: Any) -> RunHandle:
        """Start an agent whose model says this, in turn; the last of it again and again.

        A tool is the name of one of ours, or a use.
        """
        task = f"Task: {uuid.uuid4()}."
        steps: list[dict[str, Any]] = [
            {"match": {"contains": task, "nth": number}, "reply": reply} for number, reply in enumerate(replies, 1)
        ]
        steps.append({"match": {"contains": task}, "reply": replies[-1]})
        await self.fake.reset()
        await self.fake.script(Script.model_validate({"steps": steps}))
        uses = [ours(each) if isinstance(each, str) else each for each in tools]
        given = {"name": "desk", "model": MODEL, "instruction": task, "tools": uses, **fields}
        return await self.client.start_agent(AgentConfig.model_validate(given), "go", run_id=f"agent-{uuid.uuid4()}")

    async def sent(self) -> list[dict[str, Any]]:
        """The bodies of the requests to the model since the last start."""
        return [entry.body for entry in await self.fake.journal()]

    def calls(self) -> list[dict[str, Any]]:
        """What the tools were told since this was last asked."""
        file = self.folder / "calls.jsonl"
        found = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        file.unlink(missing_ok=True)
        return found


@asynccontextmanager
async def agent_place(
    stack: EmbeddedStack, folder: Path, *, tools: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None
) -> AsyncIterator[AgentPlace]:
    """Open a place on the server of a stack. tools: what else the tools file says."""
    (folder / "desk_tools.py").write_text(MODULE)
    (folder / "tools.yml").write_text(yaml.safe_dump({"python": ["desk_tools.py"], **(tools or {})}))
    async with FakeProvider.start_here() as fake:
        deployment = {"name": "openai", "provider": "openai", "wire": "openai-chat", "base_url": fake.openai_url}
        deployment |= {"credential": {"env": KEY}, "allow_private": True}
        (folder / "models.yml").write_text(yaml.safe_dump({"deployments": [deployment]}))
        chosen = stack.settings.model_copy(
            update={
                "address": stack.address,
                "task_queue": f"agents-{uuid.uuid4()}",
                "tools": folder / "tools.yml",
                "models": folder / "models.yml",
                "runs_dir": folder / "runs",
            }
        )
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {KEY: "sk-not-a-key", **(env or {})}.items():
                patch.setenv(name, value)
            async with embedded(chosen) as own:
                yield AgentPlace(own, fake, folder)


def ours(name: str, **more: Any) -> dict[str, Any]:
    """The use of a tool of the module above."""
    return {"provider_type": "custom", "provider_id": "desk_tools", "tool_name": name, **more}


def calls(strategy: Strategy, name: str, arguments: Any, text: str = "") -> Any:
    """What a model says that calls a tool."""
    if strategy == "react":
        return f"Thought: {text or 'I need this.'}\nAction: {name}\nAction Input: {json.dumps(arguments)}"
    return {"text": text, "tool_calls": [{"name": name, "arguments": arguments}]}


def answers(strategy: Strategy, text: str) -> str:
    """What a model says that answers."""
    return f"Thought: I know.\nFinal Answer: {text}" if strategy == "react" else text


async def told(handle: RunHandle) -> list[Event]:
    """All events of a run that has ended."""
    async with asyncio.timeout(60):
        return [event async for event in handle.events()]


def rounds(events: list[Event]) -> list[AgentThought]:
    """The rounds as they were told last, in order."""
    last = {event.id: event for event in events if isinstance(event, AgentThought)}
    return sorted(last.values(), key=lambda event: event.position)


def met(events: list[Event]) -> list[str]:
    """Limits that were met."""
    return [event.reason for event in events if isinstance(event, AgentLimit)]


def made(thoughts: list[AgentThought]) -> list[dict[str, Any]]:
    """All calls of rounds."""
    return list(itertools.chain.from_iterable(thought.calls for thought in thoughts))


def offers(body: Mapping[str, Any]) -> bool:
    """Whether a request lets the model call tools."""
    return bool(body.get("tools")) and body.get("tool_choice") != "none"


async def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.05)
