"""The tools file, and the registry that finds tools of every kind by it."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from tools.support import written

from perdure_activities.tools import tool
from perdure_activities.tools.approval import ApprovalRule
from perdure_activities.tools.config import BadToolsFile, ToolsConfig
from perdure_activities.tools.protocol import Tool, ToolFault
from perdure_activities.tools.registry import ToolRegistry
from perdure_activities.tools.schema import spec_of
from perdure_activities.tools.sources import PackageSources
from perdure_graph.agents.config import ToolUse

FLOW = """
app: {mode: %s, name: Greeter}
kind: app
version: 0.3.0
workflow:
  graph:
    nodes:
      - id: s
        data: {type: start, title: s, variables: [
          {variable: name, label: Whom to greet, type: text-input, required: true},
          {variable: tone, type: select, options: [warm, cold]},
          {variable: photo, type: file}]}
      - {id: e, data: {type: %s, title: e, outputs: [], answer: hi}}
    edges: [{source: s, target: e}]
"""
AGENT = "name: helper\ndescription: Helps.\nmodel: {provider: openai, name: gpt-x}\n"
FUNCTIONS = """
from perdure_activities.tools import tool

@tool(approval="required")
def shout(text: str) -> str:
    "Make a text loud."
    return text.upper()
"""


def use(kind: str, provider: str, name: str, **more: Any) -> ToolUse:
    return ToolUse(provider_type=kind, provider_id=provider, tool_name=name, **more)  # type: ignore


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mcp: [{id: a}]", "needs either `command` or `url`"),
        ("openapi: [{id: a}]", "`openapi[0].spec`: it is missing"),
        ("searh: {}", "there is no such field. Is `search` meant?"),
        ("search: {url: 'https://x/'}", "write `{query}` there"),
        ("search: {url: 'ftp://x/{query}'}", "`search.url`: it must be like https://host/path"),
        ("mcp: [{id: a, url: 'https://x'}, {id: a, url: 'https://y'}]", "the id 'a' comes twice"),
        ("credentials: {a: {token: sk-123456}}", "`credentials.a.token`"),
        ("approval: [{tools: '*', approval: sometimes}]", "`approval[0].approval`"),
        ("- a", "must hold a mapping"),
        ("a: [", "tools.yml:2: this is not YAML"),
    ],
)
def test_a_wrong_file_is_told_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadToolsFile) as caught:
        written(tmp_path, text)
    assert said in str(caught.value)
    assert "tools.yml" in str(caught.value)
    assert "sk-123456" not in str(caught.value)


def test_the_file_is_named_by_the_environment(tmp_path: Path) -> None:
    assert ToolsConfig.read({}) == ToolsConfig()
    (tmp_path / "t.yml").write_text("python: [a.b]\nx-note: mine\n")
    config = ToolsConfig.read({"PERDURE_TOOLS": str(tmp_path / "t.yml")})
    assert (config.python, config.folder) == (("a.b",), tmp_path)
    with pytest.raises(BadToolsFile, match="cannot be read"):
        ToolsConfig.read({"PERDURE_TOOLS": str(tmp_path / "gone.yml")})


@pytest.mark.parametrize(
    ("provider", "name", "found"),
    [
        ("time", "current_time", "current_time"),
        ("langgenius/time/time", "weekday", "weekday"),
        ("webscraper", "webscraper", "webscraper"),
        ("langgenius/wikipedia/wikipedia", "wikipedia_search", "wikipedia_search"),
        ("", "calculator", "calculator"),
        ("builtin", "http_request", "http_request"),
        ("http_request", "http_request", "http_request"),
        ("files", "file_write", "file_write"),
        ("json_process", "parse", "json_query"),
        ("builtin", "json_parse", "json_query"),
        ("searxng", "searxng_search", "search"),
        ("maths", "eval_expression", "calculator"),
    ],
)
async def test_built_in_tools_by_their_names_and_those_of_dify(provider: str, name: str, found: str) -> None:
    declaration = (await ToolRegistry(environ={}).find(use("builtin", provider, name))).declaration
    assert (declaration.name, declaration.provider_type) == (found, "builtin")


async def test_unknown_tools_are_told_what_there_is() -> None:
    registry = ToolRegistry(environ={})
    for asked, said in (
        (use("builtin", "time", "tea"), "there is not a tool named 'tea' of 'time'; there are: current_time"),
        (use("builtin", "langgenius/perplexity/perplexity", "perplexity"), "there are: calculator"),
        (use("custom", "mine", "x"), "custom provider named 'mine'"),
        (use("plugin", "acme/x", "x"), "plugin provider named 'acme/x'"),
        (use("api", "pets", "list"), "under `openapi`"),
        (use("mcp", "git", "log"), "under `mcp`"),
        (use("workflow", "w", "w"), "is not under `workflows`"),
        (use("agent", "a", "a"), "is not under `agents`"),
        (use("dataset-retrieval", "kb-1", "search"), "no knowledge bases yet"),
    ):
        with pytest.raises(ToolFault) as caught:
            await registry.find(asked)
        assert caught.value.kind == "unknown_tool"
        assert said in str(caught.value)


async def test_functions_of_files_and_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud.py").write_text(FUNCTIONS)
    (tmp_path / "perdure_test_tools.py").write_text(FUNCTIONS.replace("shout", "whisper"))
    (tmp_path / "broken.py").write_text("import nothing_like_that")
    monkeypatch.syspath_prepend(tmp_path)
    registry = ToolRegistry(written(tmp_path, "python: [loud.py, perdure_test_tools, broken.py]"), {})
    assert (await registry.find(use("custom", "loud", "shout"))).declaration.approval == "required"
    assert (await registry.find(use("custom", "perdure_test_tools", "whisper"))).declaration.name == "whisper"
    assert (await registry.find(use("custom", "", "whisper"))).declaration.name == "whisper"
    with pytest.raises(ToolFault, match="nothing_like_that"):
        await registry.find(use("custom", "broken", "x"))
    sys.modules.pop("perdure_test_tools", None)


@tool
def packaged(text: str) -> str:
    """Say it."""
    return text


async def test_packages_register_tools_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[packaged.declaration.provider_id] = sys.modules[__name__]
    points = [
        EntryPoint("acme/say", f"{packaged.declaration.provider_id}:packaged", "perdure.tools"),
        EntryPoint("acme/all", packaged.declaration.provider_id, "perdure.tools"),
        EntryPoint("acme/odd", f"{packaged.declaration.provider_id}:FLOW", "perdure.tools"),
        EntryPoint("acme/gone", "nothing_like_that:x", "perdure.tools"),
    ]
    assert module.packaged is packaged
    registry = ToolRegistry(environ={})
    registry._packages = PackageSources(points)
    for provider in ("acme/say", "acme/all"):
        found = (await registry.find(use("plugin", provider, "packaged"))).declaration
        assert (found.provider_type, found.provider_id) == ("plugin", provider)
    assert (await registry.find(use("builtin", "acme/say", "packaged"))).declaration.name == "packaged"
    for provider, said in (("acme/odd", "must lead to tools"), ("acme/gone", "does not load")):
        with pytest.raises(ToolFault, match=said):
            await registry.find(use("plugin", provider, "x"))


def children(tmp_path: Path) -> ToolRegistry:
    (tmp_path / "flow.yml").write_text(FLOW % ("workflow", "end"))
    (tmp_path / "chat.yml").write_text(FLOW % ("advanced-chat", "answer"))
    (tmp_path / "agent.yml").write_text(AGENT)
    text = "workflows: {greet: flow.yml, chat: chat.yml, gone: gone.yml}\nagents: {helper: agent.yml}"
    return ToolRegistry(written(tmp_path, text), {})


def shown(found: Tool) -> dict[str, Any]:
    return spec_of(found.declaration, "t").parameters


async def test_graphs_and_agents_are_tools(tmp_path: Path) -> None:
    registry = children(tmp_path)
    greet = await registry.find(use("workflow", "greet", "greet"))
    assert greet.declaration.runner == "workflow"
    assert shown(greet)["properties"] == {
        "name": {"type": "string", "description": "Whom to greet"},
        "tone": {"type": "string", "enum": ["warm", "cold"]},
    }
    assert shown(greet)["required"] == ["name"]
    assert "query" in shown(await registry.find(use("workflow", "chat", "chat")))["required"]
    helper = await registry.find(use("agent", "helper", "ask"))
    assert (helper.declaration.runner, helper.declaration.description) == ("agent", "Helps.")
    assert shown(helper)["required"] == ["query"]
    complete = registry.complete(use("workflow", "greet", "greet"))
    assert complete.flow is not None
    assert complete.flow.name == "Greeter"
    assert registry.complete(complete) is complete
    agent = registry.complete(use("agent", "helper", "ask")).agent
    assert agent is not None
    assert agent.model.name == "gpt-x"
    with pytest.raises(ToolFault, match=r"gone\.yml"):
        registry.complete(use("workflow", "gone", "gone"))


async def test_a_graph_that_changes_is_read_anew(tmp_path: Path) -> None:
    registry = children(tmp_path)
    assert "name" in shown(await registry.find(use("workflow", "greet", "greet")))["properties"]
    (tmp_path / "flow.yml").write_text((FLOW % ("workflow", "end")).replace("variable: name", "variable: whom") + "\n")
    assert "whom" in shown(await registry.find(use("workflow", "greet", "greet")))["properties"]


async def test_credentials_come_from_the_environment(tmp_path: Path) -> None:
    text = "credentials: {mine: {token: {env: T}, user: {env: U}}, time: {key: {env: T}}}"
    registry = ToolRegistry(written(tmp_path, text), {"T": "t0ken", "U": "me"})
    assert await registry.secrets(use("custom", "x", "x", credential="mine")) == {"token": "t0ken", "user": "me"}
    assert await registry.secrets(use("builtin", "time", "x")) == {"key": "t0ken"}
    assert await registry.secrets(use("builtin", "calculator", "x")) == {}
    with pytest.raises(ToolFault, match="no credential 'gone'"):
        await registry.secrets(use("custom", "x", "x", credential="gone"))
    with pytest.raises(ToolFault, match="the variable U"):
        await ToolRegistry(registry.config, {"T": "t0ken"}).secrets(use("custom", "x", "x", credential="mine"))


RULES = dedent(
    """
    approval:
      - {tools: builtin/time/*, approval: never}
      - tools: [http/http_request]
        approval: policy
        unless: {hosts: ["*.example.com", example.com]}
      - {tools: files/file_write, approval: policy, when: {arguments: {path: ["secret*", "*.key"]}}}
      - {tools: custom/*, approval: required}
    """
)


async def test_the_operator_says_who_is_asked(tmp_path: Path) -> None:
    registry = ToolRegistry(written(tmp_path, RULES), {})
    declared = (await registry.find(use("builtin", "time", "weekday"))).declaration
    strict = declared.model_copy(update={"approval": "required"})
    assert registry.approval(use("builtin", "time", "weekday"), strict) == "never"
    assert registry.approval(use("builtin", "time", "weekday", approval="required"), declared) == "required"
    assert registry.approval(use("custom", "x", "x", approval="never"), declared) == "required"
    assert registry.approval(use("builtin", "json", "json_query"), declared) == "never"
    assert registry.approval(use("builtin", "json", "json_query"), strict) == "required"
    assert registry.approval(use("builtin", "json", "json_query", approval="never"), strict) == "never"
    assert registry.approval(use("builtin", "http", "http_request"), declared) == "policy"


@pytest.mark.parametrize(
    ("tool_", "arguments", "asks"),
    [
        ("http/http_request", {"url": "https://api.example.com/x"}, False),
        ("http/http_request", {"url": "https://example.com"}, False),
        ("http/http_request", {"url": "https://evil.com/?https://example.com"}, True),
        ("http/http_request", {"url": "https://example.com@evil.com"}, True),
        ("http/http_request", {"url": "https://example.com", "body": {"next": ["https://evil.com"]}}, True),
        ("http/http_request", {"url": "example.com"}, True),
        ("http/http_request", {"url": "https://[bad"}, True),
        ("files/file_write", {"path": "secret/x"}, True),
        ("files/file_write", {"path": "a/b.key"}, True),
        ("files/file_write", {"path": "notes"}, False),
        ("time/weekday", {}, True),
        ("other/tool", {}, True),
    ],
)
def test_policies(tmp_path: Path, tool_: str, arguments: dict[str, Any], asks: bool) -> None:
    registry = ToolRegistry(written(tmp_path, RULES), {})
    provider, name = tool_.split("/")
    assert registry.asks(use("builtin", provider, name), arguments) is asks


def test_a_condition_needs_all_that_it_says() -> None:
    rule = ApprovalRule.model_validate(
        {"tools": "*", "approval": "policy", "when": {"arguments": {"a": "x*", "b": ["1"]}, "hosts": "h"}}
    )
    assert rule.asks({"a": "xy", "b": 1, "c": "https://h/"})
    assert not rule.asks({"a": "xy", "b": 1})
    assert not rule.asks({"a": "xy", "c": "https://h/"})


async def test_apis_and_servers_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "pets.yml").write_text(PETS)
    text = """
    openapi: [{id: pets, spec: pets.yml, credential: mine}]
    mcp: [{id: git, command: [some-server]}]
    credentials: {mine: {token: {env: T}}}
    """
    registry = ToolRegistry(written(tmp_path, dedent(text)), {"T": "t0ken", "PATH": ""})
    found = await registry.find(use("api", "pets", "listPets"))
    assert (found.declaration.retry, "limit" in shown(found)["properties"]) == ("safe", True)
    assert await registry.find(use("api", "pets", "listPets")) is found
    assert await registry.secrets(use("api", "pets", "listPets")) == {"token": "t0ken"}
    with pytest.raises(ToolFault, match="there are: listPets"):
        await registry.find(use("api", "pets", "gone"))
    with pytest.raises(ToolFault, match="allow_commands") as caught:
        await registry.find(use("mcp", "git", "log"))
    assert caught.value.kind == "refused"
    await registry.close()


PETS = """
openapi: 3.0.0
info: {title: Pets, version: "1"}
servers: [{url: https://pets.example}]
paths:
  /pets:
    get:
      operationId: listPets
      parameters: [{name: limit, in: query, schema: {type: integer}}]
      responses: {"200": {description: ok}}
"""
