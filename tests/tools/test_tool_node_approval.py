"""Rules of a tools file that hold for tool nodes: through the client and the command line, and in the activity."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from tools.support import call, perform, support, written

from fakes.command_line import Done, against
from fakes.graphs import document, end, node, start
from perdure import Client, RunHandle
from perdure.approvals import Approval
from perdure_graph.events import FormRequired
from perdure_graph.graph import Graph
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

pytestmark = pytest.mark.xdist_group("tool-node-approval")

LIMIT_S = 60.0
MODULE = '''
from pathlib import Path
from typing import Annotated

from pydantic import Field

from perdure_activities.tools import Setting, ToolCallContext, tool

BOOK = Path(__file__).with_name("book.txt")


def note(line: str) -> str:
    with BOOK.open("a") as book:
        book.write(line + chr(10))
    return line


@tool(provider="shop", label="Pay a bill")
async def pay(
    to: str,
    sum: Annotated[int, Field(gt=0)],
    context: ToolCallContext,
    currency: str = "EUR",
    till: Annotated[str, Setting()] = "one",
) -> str:
    """Pay."""
    return note(f"{to} {sum} {currency} from {till}")


@tool(provider="shop", approval="required")
async def look(what: str) -> str:
    """Look."""
    return note(f"looked at {what}")


@tool(provider="shop")
async def send(what: str) -> str:
    """Send."""
    return note(f"sent {what}")
'''
RULES = """
    python: [shop_tools.py]
    workflows: {letter: letter.yml}
    approval:
      - tools: shop/pay
        approval: policy
        when: {arguments: {currency: [EUR, USD]}}
        unless: {arguments: {sum: ["1", "2"]}}
      - {tools: [shop/send, calculator/*, workflow/letter/*], approval: required}
"""


def tools_file(folder: Path) -> Path:
    (folder / "shop_tools.py").write_text(MODULE)
    (folder / "letter.yml").write_text(LETTER)
    file = folder / "tools.yml"
    file.write_text(dedent(RULES))
    return file


LETTER = """
app: {mode: workflow, name: Write a letter}
kind: app
version: 0.3.1
workflow:
  graph:
    nodes:
      - {id: s, data: {type: start, title: s, variables: [{variable: to, label: to, type: text-input}]}}
      - {id: e, data: {type: end, title: e, outputs: [{variable: out, value_selector: [s, to]}]}}
    edges: [{source: s, target: e}]
"""


@dataclass
class Shop:
    client: Client
    stack: EmbeddedStack
    folder: Path

    def book(self, name: str) -> list[str]:
        """What was done for somebody."""
        file = self.folder / "book.txt"
        return [line for line in file.read_text().splitlines() if name in line] if file.exists() else []

    async def begins(self, tool: str, **given: Any) -> RunHandle:
        kind, provider = ("workflow", "letter") if tool == "letter" else ("custom", "shop")
        return await self.client.start(graph(tool, provider, kind, **given))

    async def cli(self, *arguments: object) -> Done:
        return await against(self.stack, *arguments)


@pytest.fixture(scope="module")
async def shop(
    stack: EmbeddedStack, worker_settings: WorkerSettings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    chosen = {"address": stack.address, "task_queue": "tool-node-approval", "tools": tools_file(folder)}
    async with embedded(worker_settings.model_copy(update=chosen)) as own:
        yield Shop(Client(own.client, own.task_queue, store=own.store_url), own, folder)


def graph(tool: str, provider: str, kind: str, **given: Any) -> Graph:
    drawn = {"provider_type": kind, "provider_id": provider, "tool_name": tool, "error_strategy": "fail-branch"}
    drawn["tool_configurations"] = given.pop("settings", {})
    drawn["tool_parameters"] = {name: {"type": "constant", "value": value} for name, value in given.items()}
    nodes = [start(), node("t", "tool", **drawn), end(out=["t", "text"]), end("no", why=["t", "error_message"])]
    return Graph.from_document(
        document(nodes, [("start", "t"), ("t", "source", "end"), ("t", "fail-branch", "no")], name=tool)
    )


async def waiting(handle: RunHandle) -> Approval:
    async with asyncio.timeout(LIMIT_S):
        while not ((found := await handle.approvals()) and (await handle.status()).status == "paused"):
            await asyncio.sleep(0.05)
    (only,) = found
    return only


async def outputs(handle: RunHandle) -> dict[str, Any]:
    async with asyncio.timeout(LIMIT_S):
        return (await handle.result()).outputs


async def test_an_approved_call_is_made_once(shop: Shop) -> None:
    handle = await shop.begins("pay", to="Ada", sum=30, settings={"till": "two"})
    asked = await waiting(handle)
    assert (asked.key, asked.tool, asked.agent) == ("t#approval", "Pay a bill", "t")
    assert asked.arguments == {"to": "Ada", "sum": 30}
    assert '"till": "two"' in asked.content
    assert shop.book("Ada") == []
    await handle.approve(asked.key)
    assert await outputs(handle) == {"out": "Ada 30 EUR from two"}
    assert shop.book("Ada") == ["Ada 30 EUR from two"]
    forms = [event async for event in handle.events(live=False) if isinstance(event, FormRequired)]
    assert [(form.key, form.node_type) for form in forms] == [("t#approval", "tool")]


async def test_a_person_changes_the_arguments(shop: Shop) -> None:
    handle = await shop.begins("pay", to="Bob", sum=30)
    await handle.approve((await waiting(handle)).key, {"to": "Bob", "sum": 3})
    assert await outputs(handle) == {"out": "Bob 3 EUR from one"}
    assert shop.book("Bob") == ["Bob 3 EUR from one"]
    wrong = await shop.begins("pay", to="Bea", sum=30)
    await wrong.approve((await waiting(wrong)).key, {"to": "Bea", "sum": -3})
    assert "sum" in (await outputs(wrong))["why"], "what a person writes is checked as what is drawn"
    assert shop.book("Bea") == []


async def test_a_denied_call_takes_the_fail_branch(shop: Shop) -> None:
    handle = await shop.begins("pay", to="Cem", sum=30)
    await handle.deny((await waiting(handle)).key, "too much")
    assert await outputs(handle) == {
        "why": "A person denied this call of 'Pay a bill', so it was not run. The reason given: too much"
    }
    assert shop.book("Cem") == []


async def test_what_no_rule_wants_a_person_for_runs_at_once(shop: Shop) -> None:
    """What a tool declares is for agents: who draws a node has said what it does."""
    for handle, said in (
        (await shop.begins("pay", to="Dan", sum=2), "Dan 2 EUR from one"),
        (await shop.begins("pay", to="Dan", sum=30, currency="GBP"), "Dan 30 GBP from one"),
        (await shop.begins("look", what="Dan"), "looked at Dan"),
    ):
        assert await outputs(handle) == {"out": said}


async def test_nobody_is_asked_about_a_call_that_cannot_be_made(shop: Shop) -> None:
    assert "sum" in (await outputs(await shop.begins("pay", to="Eve", sum="much")))["why"]


async def test_a_graph_that_is_a_tool_waits_too(shop: Shop) -> None:
    handle = await shop.begins("letter", to="Fay")
    asked = await waiting(handle)
    assert asked.tool == "Write a letter"
    await handle.approve(asked.key, {"to": "Fritz"})
    assert await outputs(handle) == {"out": '{"out": "Fritz"}'}


async def test_the_command_line_answers(shop: Shop) -> None:
    yes, no = await shop.begins("send", what="Gil"), await shop.begins("send", what="Guy")
    await waiting(yes)
    await waiting(no)
    status = (await shop.cli("status", yes.run_id, "--json")).json
    assert [one["key"] for one in status["forms"]] == ["t#approval"]
    done = await shop.cli("approve", yes.run_id, "t", "--arguments", '{"what": "Gus"}')
    assert done.code == 0, done.err
    done = await shop.cli("deny", no.run_id, "t", "--reason", "not him")
    assert done.code == 0, done.err
    assert await outputs(yes) == {"out": "sent Gus"}
    assert (await outputs(no))["why"].endswith("not him")
    assert shop.book("sent G") == ["sent Gus"]


@pytest.mark.parametrize(
    ("kind", "provider", "tool", "arguments"),
    [
        ("builtin", "calculator", "calculator", {"expression": "1"}),
        ("builtin", "langgenius/calculator/calculator", "calculator", {"expression": "1"}),
        ("builtin", "maths", "eval_expression", {"expression": "1"}),
        ("builtin", "", "calculator", {"expression": "1"}),
        ("custom", "", "send", {"what": "x"}),
        ("workflow", "", "letter", {"to": "x"}),
    ],
)
async def test_no_other_name_of_a_tool_leads_past_a_rule(
    tmp_path: Path, kind: str, provider: str, tool: str, arguments: dict[str, Any]
) -> None:
    config = written(tmp_path, tools_file(tmp_path).read_text())
    async with support(tmp_path, config) as ours:
        effect = call(provider, tool, arguments, provider_type=kind, thread="", ask=True)
        assert (await perform(ours, effect)).asks
        registry = ours.registry
        use = effect.use.model_copy(update={"approval": "never"})
        assert registry.approval(use, (await registry.find(use)).declaration) == "required", "nor that of an agent"
        answered = effect.model_copy(update={"ask": False})
        assert (await perform(ours, answered)).asks is None


@pytest.mark.parametrize(
    ("drawn", "settings", "asks"),
    [
        ({"to": "x", "sum": "30"}, {}, True),
        ({"to": "x", "sum": "2"}, {}, False),
        ({"to": "x", "sum": 30, "currency": "GBP"}, {}, False),
        ({"to": "x", "sum": 30, "currency": "GBP"}, {"currency": "USD"}, False),
        ({"to": "x", "sum": 30}, {"currency": "USD"}, True),
        ({"to": "x", "sum": 30}, {"currency": "GBP"}, False),
    ],
)
async def test_a_rule_looks_at_what_the_tool_gets(
    tmp_path: Path, drawn: dict[str, Any], settings: dict[str, Any], asks: bool
) -> None:
    """Values that are read as others, that are set beside the arguments, that are left out and have a default."""
    config = written(tmp_path, tools_file(tmp_path).read_text())
    async with support(tmp_path, config) as ours:
        effect = call("shop", "pay", drawn, provider_type="custom", parameters=settings, thread="", ask=True)
        for attempt in (1, 2):
            assert bool((await perform(ours, effect, attempt)).asks) is asks
        assert (tmp_path / "book.txt").exists() is not asks
