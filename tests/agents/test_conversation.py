"""What agents remember: turns of a conversation, and facts about a user that outlast conversations."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fakes.command_line import Done, against
from fakes.graphs import document, node, start
from perdure import AgentConfig, Client, Graph, RunResult
from perdure.cli.app import app
from perdure_fake import FakeProvider, Script
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

pytestmark = pytest.mark.xdist_group("agents-conversation")

MODEL = {"provider": "openai", "name": "gpt-4o"}
Said = tuple[str, str]


def agent(name: str = "desk", **more: Any) -> AgentConfig:
    return AgentConfig.model_validate({"name": name, "model": MODEL, "instruction": "You help."} | more)


TALKS = agent(memory={"enabled": True})
KNOWS = agent("friend", long_term={"enabled": True, "top_k": 2})


@dataclass
class Desk:
    client: Client
    provider: FakeProvider
    stack: EmbeddedStack

    async def ask(self, config: AgentConfig, query: str, **more: Any) -> tuple[RunResult, list[list[Said]]]:
        """Run an agent; gives what it was told in each of its rounds, by role."""
        before = len(await self.provider.journal())
        run = await self.client.start_agent(config, query, **more)
        result = await run.result()
        assert result.status == "succeeded", result.error
        return result, [said(entry.body) for entry in await self.provider.journal(before)]

    async def script(self, *steps: dict[str, Any]) -> None:
        await self.provider.script(Script.model_validate({"steps": list(steps)}))

    async def cli(self, *arguments: object) -> Done:
        """Run a command that needs the store alone, in this process."""
        hidden: dict[str, str | None] = {name: None for name in os.environ if name.startswith("PERDURE_")}
        environment = hidden | {"PERDURE_STORE": self.stack.store_url}
        ended = await asyncio.to_thread(CliRunner().invoke, app, list(map(str, arguments)), env=environment)
        assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
        return Done(ended.exit_code, ended.stdout, ended.stderr)

    async def talk(self, file: Path, query: str, *options: str) -> dict[str, Any]:
        """Run `perdure agent run` on the server."""
        return (await against(self.stack, "agent", "run", file, "-q", query, *options, "--json")).json


def said(body: Any) -> list[Said]:
    """Roles and texts of a request, whichever of OpenAI's wires it went through."""
    return [
        (message["role"], texts(message.get("content")))
        for message in body.get("messages", body.get("input"))
        if message.get("role")
    ]


def texts(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])


@pytest.fixture(scope="module")
async def desk(
    stack: EmbeddedStack, worker_settings: WorkerSettings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    given: dict[str, Any] = {"address": stack.address, "task_queue": f"conversation-{uuid.uuid4()}"}
    given |= {"store": f"sqlite:///{tmp_path_factory.mktemp('conversation')}/runs.db"}
    async with FakeProvider.start_process() as provider:
        chosen = worker_settings.model_copy(update={**given, "demo_model": provider.openai_url})
        async with embedded(chosen) as own:
            yield Desk(Client(own.client, own.task_queue, store=own.store_url), provider, own)


def answering(*turns: Said) -> list[dict[str, Any]]:
    return [{"match": {"contains": query}, "reply": answer} for query, answer in turns]


async def test_a_turn_is_told_the_turns_before_it(desk: Desk) -> None:
    await desk.script(*answering(("I am Ada", "Hello, Ada."), ("and I knit", "How nice."), ("who am I", "Ada.")))
    first, (told,) = await desk.ask(TALKS, "I am Ada", run_id=f"talk-{uuid.uuid4()}")
    assert [text for role, text in told if role != "system"] == ["I am Ada"]
    talk = first.run_id
    await desk.ask(TALKS, "and I knit", conversation_id=talk)
    _, (told,) = await desk.ask(TALKS, "who am I", conversation_id=talk)
    past = [("user", "I am Ada"), ("assistant", "Hello, Ada."), ("user", "and I knit"), ("assistant", "How nice.")]
    assert [one for one in told if one[0] != "system"] == [*past, ("user", "who am I")]


async def test_the_command_line_goes_on_with_a_conversation(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "desk.yml"
    file.write_text(yaml.safe_dump(TALKS.model_dump(mode="json", exclude_defaults=True)))
    await desk.script(*answering(("my dog is Rex", "Hello, Rex."), ("my dog's name", "Rex.")))
    first = await desk.talk(file, "my dog is Rex")
    before = len(await desk.provider.journal())
    second = await desk.talk(file, "my dog's name", "--conversation-id", first["run_id"])
    assert second["outputs"]["answer"] == "Rex."
    (told,) = [said(entry.body) for entry in await desk.provider.journal(before)]
    assert ("assistant", "Hello, Rex.") in told


async def test_the_agent_of_a_chatflow_is_told_its_turns(desk: Desk) -> None:
    given = {"model": MODEL, "instruction": "You help.", "query": "{{#sys.query#}}", "tools": []}
    drawn = {
        "agent_strategy_provider_name": "langgenius/agent/agent",
        "agent_strategy_name": "function_calling",
        "agent_parameters": {name: {"type": "constant", "value": value} for name, value in given.items()},
    }
    window = {"window": {"enabled": True, "size": 1}}
    nodes = [start(), node("a", "agent", memory=window, **drawn), node("out", "answer", answer="So: {{#a.text#}}")]
    graph = Graph.from_document(document(nodes, [("start", "a"), ("a", "out")], mode="advanced-chat"))
    await desk.script(*answering(*((f"turn {n}", f"said {n}") for n in range(3))))
    talk = ""
    for n in range(3):
        before = len(await desk.provider.journal())
        run = await desk.client.start(graph, query=f"turn {n}", conversation_id=talk or None)
        talk = talk or run.run_id
        assert (await run.outputs())["answer"] == f"So: said {n}"
        (told,) = [said(entry.body) for entry in await desk.provider.journal(before)]
        # What the user saw of a turn counts, not what its agent said.
        past = [("user", f"turn {n - 1}"), ("assistant", f"So: said {n - 1}")] if n else []
        assert [one for one in told if one[0] != "system"] == [*past, ("user", f"turn {n}")]


async def test_so_many_turns_are_told_as_the_memory_has(desk: Desk) -> None:
    talk = f"talk-{uuid.uuid4()}"
    await desk.script(*answering(*((f"query {n}", f"answer {n}") for n in range(4))))
    for n in range(3):
        await desk.ask(TALKS, f"query {n}", conversation_id=talk)
    asked = [f"query {n}" for n in range(3)]
    for size in (1, 2, 9):
        _, (told,) = await desk.ask(agent(memory={"enabled": True, "size": size}), "query 3", conversation_id=talk)
        assert [text for role, text in told if role == "user"] == [*asked[-size:], "query 3"], size
        asked.append("query 3")
    _, (told,) = await desk.ask(agent(), "query 3", conversation_id=talk)
    assert [text for role, text in told if role == "user"] == ["query 3"], "without memory nothing is told"


async def test_nobody_sees_the_conversations_of_other_tenants(desk: Desk) -> None:
    talk = f"talk-{uuid.uuid4()}"
    await desk.script(*answering(("the code is 1234", "Noted."), ("what is the code", "I cannot know.")))
    await desk.ask(TALKS, "the code is 1234", conversation_id=talk, tenant="acme")
    for tenant, knows in (("evil", False), ("", False), ("acme", True)):
        _, (told,) = await desk.ask(TALKS, "what is the code", conversation_id=talk, tenant=tenant)
        assert ("the code is 1234" in [text for _, text in told]) is knows, tenant


async def test_each_round_of_a_turn_is_told_the_past_before_its_query(desk: Desk) -> None:
    tools = [{"provider_type": "builtin", "provider_id": "calculator", "tool_name": "calculator"}]
    talk = f"talk-{uuid.uuid4()}"
    work = {"name": "calculator", "arguments": {"expression": "6*7"}}
    await desk.script(
        {"match": {"contains": "first"}, "reply": "One."},
        {"match": {"contains": "compute", "nth": 1}, "reply": {"tool_calls": [work]}},
        {"match": {"contains": "compute", "nth": 2}, "reply": "It is 42."},
        {"match": {"contains": "last"}, "reply": "Bye."},
    )
    config = agent(memory={"enabled": True}, tools=tools)
    await desk.ask(config, "first", conversation_id=talk)
    _, rounds = await desk.ask(config, "compute", conversation_id=talk)
    assert len(rounds) == 2
    for told in rounds:
        past = [one for one in told if one[0] in ("user", "assistant")][:3]
        assert past == [("user", "first"), ("assistant", "One."), ("user", "compute")]
    before = len(await desk.provider.journal())
    _, (told,) = await desk.ask(config, "last", conversation_id=talk)
    assert ("assistant", "It is 42.") in told
    # What was called, and what came of it, goes along: the next question may be about that.
    asked = json.dumps((await desk.provider.journal(before))[0].body["messages"])
    at = [asked.index(text) for text in ('"compute"', "6*7", '"42"', "It is 42.", '"last"')]
    assert at == sorted(at)


async def test_react_is_told_what_it_did_in_earlier_turns_as_its_notes(desk: Desk) -> None:
    tools = [{"provider_type": "builtin", "provider_id": "calculator", "tool_name": "calculator"}]
    config = agent(memory={"enabled": True}, tools=tools, strategy="react")
    action = 'Thought: I compute.\nAction: {"action": "calculator", "action_input": {"expression": "6*7"}}'
    await desk.script(
        {"times": 1, "reply": action},
        {"times": 1, "reply": "Final Answer: It is 42."},
        {"times": 1, "reply": "Final Answer: Of 6 and 7."},
    )
    talk = f"talk-{uuid.uuid4()}"
    result, _ = await desk.ask(config, "the product", conversation_id=talk)
    assert result.outputs["answer"] == "It is 42."
    result, (told,) = await desk.ask(config, "of which numbers?", conversation_id=talk)
    _, (_, asked), (by, notes), (_, last) = told
    assert (asked, by, last) == ("the product", "assistant", "of which numbers?")
    at = [notes.index(text) for text in ("Thought: I compute.", "6*7", "Observation: 42", "Final Answer: It is 42.")]
    assert at == sorted(at)


def remembering(query: str, fact: str) -> list[dict[str, Any]]:
    call = {"name": "remember", "arguments": {"fact": fact}}
    return [
        {"match": {"contains": query, "nth": 1}, "reply": {"tool_calls": [call]}},
        {"match": {"contains": query, "nth": 2}, "reply": "Noted."},
    ]


async def test_what_was_noted_of_a_user_is_known_in_their_next_run(desk: Desk) -> None:
    ann, other = f"ann-{uuid.uuid4()}", "I like tea, says another"
    fact = "The user takes tea without milk."
    await desk.script(
        *remembering("no milk please", fact),
        *remembering(other, "The user is somebody else."),
        {"reply": "Here is your tea."},
    )
    _, rounds = await desk.ask(KNOWS, "no milk please", user=ann, tenant="acme")
    assert len(rounds) == 2
    await desk.ask(KNOWS, other, user="bob", tenant="acme")
    _, (told,) = await desk.ask(KNOWS, "tea", user=ann, tenant="acme")
    system = "".join(text for role, text in told if role == "system")
    assert fact in system
    assert "somebody else" not in str(told)
    for whose in ({"user": "bob", "tenant": "acme"}, {"user": ann, "tenant": "evil"}, {"user": ann}):
        _, (told,) = await desk.ask(KNOWS, "tea", **whose)
        assert fact not in str(told), whose
    for config in (agent("stranger", long_term={"enabled": True}), agent("friend")):
        _, (told,) = await desk.ask(config, "tea", user=ann, tenant="acme")
        assert fact not in str(told), config.name


async def test_so_many_facts_are_told_as_fit_best(desk: Desk) -> None:
    ann = f"ann-{uuid.uuid4()}"
    facts = ["The user has a grey cat.", "The user plays the cello.", "The user lives in Bruges."]
    calls = [{"name": "remember", "arguments": {"fact": fact}} for fact in facts]
    await desk.script(
        {"match": {"contains": "about me", "nth": 1}, "reply": {"tool_calls": calls}},
        {"match": {"contains": "about me", "nth": 2}, "reply": "Noted."},
        {"reply": "Well."},
    )
    await desk.ask(KNOWS, "about me", user=ann)
    _, (told,) = await desk.ask(KNOWS, "how is my cat?", user=ann)
    known = [fact for fact in facts if fact in str(told)]
    assert (len(known), facts[0] in known) == (2, True)


async def test_facts_are_listed_and_deleted_by_those_who_run_it(desk: Desk) -> None:
    ann = f"ann-{uuid.uuid4()}"
    await desk.script(
        *remembering("call me Nan", "The user is called Nan."),
        *remembering("and I sail", "The user sails."),
        {"reply": "Hello."},
    )
    await desk.ask(KNOWS, "call me Nan", user=ann, tenant="acme")
    await desk.ask(KNOWS, "and I sail", user=ann, tenant="acme")
    of = ("--user", ann, "--agent", "friend", "--tenant", "acme")
    facts = (await desk.cli("memories", "list", *of, "--json")).json["facts"]
    assert [fact["text"] for fact in facts] == ["The user sails.", "The user is called Nan."]
    shown = await desk.cli("memories", "list", *of)
    assert facts[0]["id"] in shown.out.splitlines()[0]
    nobody = await desk.cli("memories", "list", "--user", ann, "--agent", "friend")
    assert (nobody.code, "knows nothing" in nobody.out) == (0, True)
    wrong = await desk.cli(
        "memories", "delete", facts[0]["id"], "--user", "bob", "--agent", "friend", "--tenant", "acme"
    )
    assert (wrong.code, "there is no fact" in wrong.err) == (1, True)
    one = await desk.cli("memories", "delete", facts[0]["id"], *of, "--json")
    assert (one.code, one.json) == (0, {"deleted": 1, "missing": []})
    _, (told,) = await desk.ask(KNOWS, "hello", user=ann, tenant="acme")
    assert ("Nan" in str(told), "sails" in str(told)) == (True, False)
    unsure = await desk.cli("memories", "delete", "--user", ann, "--tenant", "acme")
    assert (unsure.code, "Say --yes" in unsure.err) == (2, True)
    whose = await desk.cli("memories", "delete", facts[1]["id"], "--user", ann, "--tenant", "acme")
    assert (whose.code, "--agent" in whose.err) == (2, True)
    rest = await desk.cli("memories", "delete", "--user", ann, "--tenant", "acme", "--yes", "--json")
    assert rest.json["deleted"] == 1
    _, (told,) = await desk.ask(KNOWS, "hello", user=ann, tenant="acme")
    assert "Nan" not in str(told)


async def test_a_model_forgets_what_its_user_wants_forgotten(desk: Desk) -> None:
    ann = f"ann-{uuid.uuid4()}"
    await desk.script(*remembering("I like jazz", "The user likes jazz."))
    await desk.ask(KNOWS, "I like jazz", user=ann)
    (fact,) = (await desk.cli("memories", "list", "--user", ann, "--agent", "friend", "--json")).json["facts"]
    forget = {"name": "forget", "arguments": {"id": fact["id"]}}
    await desk.script(
        {"match": {"contains": "no more jazz", "nth": 1}, "reply": {"tool_calls": [forget]}},
        {"match": {"contains": "no more jazz", "nth": 2}, "reply": "Forgotten."},
    )
    await desk.ask(KNOWS, "no more jazz", user=ann)
    assert not (await desk.cli("memories", "list", "--user", ann, "--agent", "friend", "--json")).json["facts"]
