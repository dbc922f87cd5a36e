"""The nodes that ask models in real runs: client, server, worker, model runtime and fake provider."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fakes.command_line import Done, against
from fakes.graphs import document, end, node, start
from perdure import Client, Graph
from perdure_fake import FakeProvider, Script
from perdure_graph.graph import NodeSpec
from perdure_graph.request import RunResult
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

MODEL: dict[str, Any] = {"provider": "openai", "name": "gpt-5-mini", "mode": "chat", "completion_params": {}}
PLAIN = MODEL | {"name": "plain"}


@dataclass(frozen=True)
class Desk:
    """A worker whose models are all served by a fake provider."""

    client: Client
    provider: FakeProvider
    stack: EmbeddedStack
    settings: WorkerSettings

    @asynccontextmanager
    async def worker(self, **settings: Any) -> AsyncIterator[Desk]:
        """Another worker, with other settings."""
        async with at_desk(self.provider, self.settings, **settings) as other:
            yield other

    async def cli(self, *arguments: object) -> Done:
        """Run a command of the real command line against this worker."""
        return await against(self.stack, *arguments, PERDURE_BLOBS=str(self.settings.blobs))

    async def run(self, graph: Graph, inputs: dict[str, Any] | None = None, **more: Any) -> RunResult:
        """Run a graph to its good end."""
        handle = await self.client.start(graph, inputs, run_id=more.pop("run_id", f"nodes-{uuid.uuid4()}"), **more)
        async with asyncio.timeout(60):
            result = await handle.result()
        assert result.status == "succeeded", result.error
        return result

    async def history_bytes(self, run_id: str) -> int:
        """Size of the history of a run."""
        described = await self.client.temporal.get_workflow_handle(run_id).describe()
        return described.raw_description.workflow_execution_info.history_size_bytes

    async def bodies(self) -> list[dict[str, Any]]:
        """What the provider was asked, since the script was last set."""
        return [entry.body for entry in await self.provider.journal() if isinstance(entry.body, dict)]


@asynccontextmanager
async def at_desk(provider: FakeProvider, settings: WorkerSettings, **more: Any) -> AsyncIterator[Desk]:
    """Start a worker on a queue of its own."""
    given: dict[str, Any] = {"task_queue": f"nodes-{uuid.uuid4()}", "demo_model": provider.openai_url, **more}
    chosen = settings.model_copy(update=given)
    async with embedded(chosen) as own:
        yield Desk(Client(own.client, own.task_queue, store=own.store_url), provider, own, chosen)


@pytest.fixture(scope="module")
async def desk(
    stack: EmbeddedStack, worker_settings: WorkerSettings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    """One for all tests of this file."""
    given: dict[str, Any] = {"address": stack.address, "blobs": stack.blobs, "blobs_create": False}
    given["store"] = f"sqlite:///{tmp_path_factory.mktemp('nodes')}/runs.db"
    async with (
        FakeProvider.start_process() as provider,
        at_desk(provider, worker_settings.model_copy(update=given)) as started,
    ):
        yield started


def scripted(*steps: dict[str, Any]) -> Script:
    """A script of steps."""
    return Script.model_validate({"steps": list(steps)})


def llm(node_id: str, *messages: tuple[str, str], **data: Any) -> NodeSpec:
    """An llm node."""
    drawn = [{"role": role, "text": text} for role, text in messages]
    return node(node_id, "llm", **{"model": MODEL, "prompt_template": drawn, "context": {"enabled": False}, **data})


def chain(*nodes: NodeSpec, **more: Any) -> Graph:
    """A graph of nodes one after another."""
    pairs: list[tuple[str, ...]] = [(a.id, b.id) for a, b in itertools.pairwise(nodes)]
    return Graph.from_document(document(list(nodes), pairs, **more))


SCHEMA = {"type": "object", "properties": {"urgent": {"type": "boolean"}}, "required": ["urgent"]}


def support(model: dict[str, Any] = MODEL) -> Graph:
    """Sort a text, read an order number out of it, judge it."""
    sort = node(
        "sort",
        "question-classifier",
        query_variable_selector=["start", "text"],
        model=model,
        classes=[{"id": "bill", "name": "bills"}, {"id": "tech", "name": "broken things", "label": "Tech"}],
    )
    parameters = [
        {"name": "order", "type": "number", "description": "order number", "required": True},
        {"name": "words", "type": "array[string]", "description": "keywords", "required": True},
    ]
    read = node("read", "parameter-extractor", model=model, query=["start", "text"], parameters=parameters)
    judge = llm(
        "judge",
        ("user", "{{#start.text#}}"),
        model=model,
        structured_output_enabled=True,
        structured_output={"schema": SCHEMA},
    )
    out = end(
        label=["sort", "class_label"],
        order=["read", "order"],
        words=["read", "words"],
        ok=["read", "__is_success"],
        urgent=["judge", "structured_output", "urgent"],
    )
    nodes = [start(text="paragraph"), sort, read, judge, out]
    edges: list[tuple[str, ...]] = [("start", "sort"), ("sort", "tech", "read"), ("read", "judge"), ("judge", "end")]
    return Graph.from_document(document(nodes, edges))


async def test_all_three_nodes_ask_and_read_answers(desk: Desk) -> None:
    call = {"name": "extract_parameters", "arguments": {"order": 7, "words": ["router"]}}
    await desk.provider.script(
        scripted(
            {"match": {"contains": "Categories:"}, "reply": '```json\n{"category_id": "tech"}\n```'},
            {"match": {"has_tool": "extract_parameters"}, "reply": {"tool_calls": [call]}},
            {"match": {"has_schema": True}, "reply": {"structured": {"urgent": True}}},
        )
    )
    result = await desk.run(support(), {"text": "My router of order 7 smokes"})
    assert result.outputs == {"label": "Tech", "order": 7, "words": ["router"], "ok": 1, "urgent": True}


async def test_a_simulated_provider_without_a_script_serves_them_too(desk: Desk) -> None:
    await desk.provider.script(Script())
    result = await desk.run(support(), {"text": "broken things: my router of order 7"})
    outputs = result.outputs
    assert (outputs["label"], outputs["ok"]) == ("Tech", 1)
    assert isinstance(outputs["order"], int | float) and isinstance(outputs["urgent"], bool)


async def test_parameters_and_stop_words_reach_the_provider_and_usage_comes_back(desk: Desk) -> None:
    await desk.provider.script(scripted({"reply": {"text": "done", "usage": {"prompt": 11, "completion": 3}}}))
    parameters = {"temperature": "{{#start.t#}}", "stop": ["END"], "max_tokens": 50}
    flow = chain(
        start(t="paragraph"),
        llm("say", ("system", "short"), ("user", "hi"), model=PLAIN | {"completion_params": parameters}),
        end(text=["say", "text"], usage=["say", "usage"], why=["say", "finish_reason"]),
    )
    result = await desk.run(flow, {"t": "0.25"})
    assert (result.outputs["text"], result.outputs["why"]) == ("done", "stop")
    assert (result.outputs["usage"]["prompt_tokens"], result.outputs["usage"]["total_tokens"]) == (11, 14)
    body = (await desk.bodies())[-1]
    assert (body["temperature"], body["stop"]) == (0.25, ["END"])
    assert [(m["role"], m["content"]) for m in body["messages"]] == [("system", "short"), ("user", "hi")]


def chat(**memory: Any) -> Graph:
    """A chat with a memory."""
    say = llm("say", ("system", "turn {{#sys.dialogue_count#}}"), memory={"query_prompt_template": "", **memory})
    return chain(start(), say, node("answer", "answer", answer="{{#say.text#}}"), mode="advanced-chat")


def told(body: dict[str, Any]) -> list[tuple[str, str]]:
    """Role and text of the messages that a provider got."""
    return [(m["role"], m["content"]) for m in body["messages"]]


async def test_a_later_turn_of_a_conversation_is_told_the_earlier_ones(desk: Desk) -> None:
    await desk.provider.script(
        scripted(
            {"match": {"contains": "my name"}, "reply": "Hello Ada"},
            {"match": {"contains": "who"}, "reply": "Ada"},
            {"reply": "hm"},
        )
    )
    first = f"nodes-{uuid.uuid4()}"
    result = await desk.run(chat(), query="my name is Ada", run_id=first)
    assert result.outputs["answer"] == "Hello Ada"
    await desk.run(chat(), query="who am I?", conversation_id=first)
    await desk.run(chat(), query="and now?", conversation_id=first)
    await desk.run(chat(window={"enabled": True, "size": 1}), query="short", conversation_id=first)
    await desk.run(chat(), query="somebody else", conversation_id=f"other-{first}")
    one, two, three, windowed, other = (await desk.bodies())[-5:]
    turns = [("user", "my name is Ada"), ("assistant", "Hello Ada"), ("user", "who am I?"), ("assistant", "Ada")]
    assert told(one) == [("system", "turn 1"), turns[0]]
    assert told(two) == [("system", "turn 2"), *turns[:3]]
    assert told(three) == [("system", "turn 3"), *turns, ("user", "and now?")]
    assert told(windowed) == [("system", "turn 4"), ("user", "and now?"), ("assistant", "hm"), ("user", "short")]
    assert told(other) == [("system", "turn 1"), ("user", "somebody else")]


async def test_the_same_start_of_a_later_turn_is_the_same_run(desk: Desk) -> None:
    await desk.provider.script(Script())
    first, second = f"nodes-{uuid.uuid4()}", f"nodes-{uuid.uuid4()}"
    await desk.run(chat(), query="a", run_id=first)
    for _ in range(2):
        await desk.run(chat(), query="b", run_id=second, conversation_id=first)


async def test_a_completion_model_is_told_the_past_where_its_prompt_wants_it(desk: Desk) -> None:
    await desk.provider.script(scripted({"reply": "fine"}))
    say = node(
        "say",
        "llm",
        model=PLAIN | {"mode": "completion"},
        prompt_template={"text": "<{{#histories#}}> {{#sys.query#}}"},
        context={"enabled": False},
        memory={"role_prefix": {"user": "Q", "assistant": "A"}},
    )
    flow = chain(start(), say, node("answer", "answer", answer="{{#say.text#}}"), mode="advanced-chat")
    first = f"nodes-{uuid.uuid4()}"
    await desk.run(flow, query="one", run_id=first)
    await desk.run(flow, query="two", conversation_id=first)
    prompts = [body["prompt"] for body in (await desk.bodies())[-2:]]
    assert prompts == ["<> one", "<Q: one\nA: fine> two"]


async def test_histories_stay_small_with_long_contexts_and_growing_conversations(desk: Desk) -> None:
    long = "lorem ipsum " * 17_000
    await desk.provider.script(scripted({"match": {"contains": "tell"}, "reply": "word " * 4_000}, {"reply": "ok"}))
    context = {"enabled": True, "variable_selector": ["start", "text"]}
    flow = chain(
        start(text="paragraph"),
        llm("a", ("user", "{{#context#}}\nwhat?"), context=context, model=PLAIN),
        llm("b", ("user", "{{#start.text#}}\nand?"), model=PLAIN),
        end(a=["a", "text"], b=["b", "text"]),
    )
    run_id = f"nodes-{uuid.uuid4()}"
    result = await desk.run(flow, {"text": long}, run_id=run_id)
    assert result.outputs == {"a": "ok", "b": "ok"}
    assert [len(body["messages"][0]["content"]) > len(long) for body in (await desk.bodies())[-2:]] == [True, True]
    assert await desk.history_bytes(run_id) < 60_000

    first, sizes = f"nodes-{uuid.uuid4()}", list[int]()
    for turn in range(5):
        this = first if not turn else f"nodes-{uuid.uuid4()}"
        await desk.run(chat(), query=f"tell {turn}", run_id=this, conversation_id=first if turn else None)
        sizes.append(await desk.history_bytes(this))
    # Each turn adds 20 KB to what the model reads, and nothing to what the server keeps of the next run.
    assert len(str((await desk.bodies())[-1]["messages"])) > 80_000
    assert max(sizes[1:]) - min(sizes[1:]) < 2_000, sizes


MODELS = """
declarations: [weak.yaml]
deployments:
  - {{name: weak, provider: weak, base_url: "{url}"}}
"""
WEAK = """
provider: weak
label: Weak
supported_model_types: [llm]
configurate_methods: [customizable-model]
wire: openai-chat
allow_private: true
unknown_parameters: drop
default_model:
  model: any
  fetch_from: customizable-model
  features: []
  model_properties: {context_size: 8000}
  parameter_rules: []
"""


async def test_models_without_functions_and_structured_output_serve_the_nodes_too(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "weak.yaml").write_text(WEAK)
    (tmp_path / "models.yaml").write_text(MODELS.format(url=desk.provider.openai_url))
    await desk.provider.script(
        scripted(
            {"match": {"contains": "Categories:"}, "reply": '{"category_id": "tech"}'},
            {"match": {"contains": "order number"}, "reply": 'Here: {"order": 7, "words": ["router"]}'},
            {"reply": '{"urgent": false}'},
        )
    )
    async with desk.worker(models=tmp_path / "models.yaml", demo_model=None) as weak:
        graph = support({"provider": "weak", "name": "small", "mode": "chat", "completion_params": {}})
        result = await weak.run(graph, {"text": "My router of order 7 smokes"})
    assert result.outputs == {"label": "Tech", "order": 7, "words": ["router"], "ok": 1, "urgent": False}
    assert [set(body) & {"tools", "response_format"} for body in (await desk.bodies())[-3:]] == [set(), set(), set()]


async def test_the_command_line_goes_on_with_a_conversation(desk: Desk, tmp_path: Path) -> None:
    await desk.provider.script(scripted({"match": {"contains": "Bo"}, "reply": "Hello Bo"}, {"reply": "Bo"}))
    flow = tmp_path / "chat.json"
    graph = chat().document
    nodes = [{"id": each.id, "type": "custom", "data": each.data} for each in graph.nodes]
    edges = [{"source": edge.source, "target": edge.target} for edge in graph.edges]
    app = {"name": "chat", "mode": "advanced-chat"}
    drawn = {"kind": "app", "version": "0.6.0", "app": app, "workflow": {"graph": {"nodes": nodes, "edges": edges}}}
    flow.write_text(json.dumps(drawn))
    first = f"nodes-{uuid.uuid4()}"
    one = await desk.cli("run", flow, "--query", "I am Bo", "--run-id", first, "--json")
    two = await desk.cli("run", flow, "--query", "who?", "--conversation-id", first, "--json")
    assert (one.code, two.code) == (0, 0), one.err + two.err
    assert (one.json["outputs"]["answer"], two.json["outputs"]["answer"]) == ("Hello Bo", "Bo")
    assert told((await desk.bodies())[-1])[1:] == [("user", "I am Bo"), ("assistant", "Hello Bo"), ("user", "who?")]
