"""MCP servers as sources of tools: two real ones, a process and an HTTP server, in both ages of the protocol."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jsonschema
import mcp_types
import pytest

from fakes import mcp_tools
from fakes.mcp_served import WAYS, Served, alive, serving, until
from perdure_activities.tools.mcp import McpServer
from perdure_activities.tools.mcp.declare import declaration_of
from perdure_activities.tools.protocol import ToolCallContext, ToolFault
from perdure_activities.tools.schema import schema_of
from perdure_graph.agents.tools import FileOut, JsonOut, LinkOut, TextOut


@pytest.fixture(scope="module", params=WAYS)
async def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    """One server for all tests that leave it as it was."""
    async with serving(request.param, tmp_path_factory.mktemp("mcp")) as running:
        yield running


async def test_says_what_its_tools_are(served: Served) -> None:
    found = {tool.declaration.name: tool.declaration for tool in await served.source.tools()}
    add, echo, crash = found["add"], found["echo"], found["crash"]
    assert (echo.provider_type, echo.provider_id, echo.label, echo.retry) == ("mcp", "tools", "Echo", "safe")
    assert (echo.approval, crash.approval, crash.retry, found["env"].retry) == ("never", "policy", "keyed", "never")
    assert [(one.name, one.type, one.required) for one in add.parameters] == [
        ("a", "integer", True),
        ("b", "integer", False),
    ]
    assert add.parameters[1].description == "the second"
    assert add.parameters[1].default == 1


async def test_gives_text_and_structured_results(served: Served) -> None:
    assert await served.text("echo", text="grüß dich") == "grüß dich"
    text, value = await served.call("add", a=2, b=40)
    assert json.loads(text.text) == {"total": 42}
    assert value == JsonOut(value={"total": 42}, shown=False)


async def test_tells_the_server_the_key_of_the_call(served: Served) -> None:
    await served.call("echo", text="x", key="run/3/call_1")
    assert {"tool": "echo", "key": "run/3/call_1"} in served.noted()


async def test_puts_bytes_into_the_file_store(served: Served) -> None:
    (drawn,) = await served.call("image")
    assert isinstance(drawn, FileOut)
    assert drawn.file["type"] == "image"
    assert served.store.read(str(drawn.file["related_id"])) == mcp_tools.PNG


async def test_gives_every_kind_of_content_in_order(served: Served) -> None:
    first, audio, page, notes, embedded, report, *_ = await served.call("mixed")
    assert first == TextOut(text="first")
    assert (audio.file["type"], report.file["type"]) == ("audio", "document")
    assert report.file["filename"] == "report.pdf"
    assert page == LinkOut(url="https://example.org/page")
    assert notes == TextOut(text="resource file:///srv/notes.txt: notes what was said")
    assert embedded == TextOut(text="embedded text")


async def test_an_error_of_the_tool_is_a_fault_in_its_words(served: Served) -> None:
    with pytest.raises(ToolFault, match="no such city") as caught:
        await served.call("error", message="no such city")
    assert (caught.value.kind, caught.value.again) == ("invoke", False)


async def test_wrong_arguments_are_a_fault(served: Served) -> None:
    with pytest.raises(ToolFault, match="add") as caught:
        await served.call("add", a="many")
    assert caught.value.kind in {"bad_arguments", "invoke"}


async def test_unusual_schemas_and_names_work(served: Served) -> None:
    odd = (await served.tool("odd.names/and:schemas")).declaration
    schema = schema_of(odd)
    jsonschema.Draft202012Validator.check_schema(schema)
    tree = {"name": "root", "children": [{"name": "leaf", "children": []}]}
    jsonschema.validate({"tree": tree, "pick": None, "free": {"a": [1]}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"tree": {"name": 1}}, schema)
    said = await served.text("odd.names/and:schemas", tree=tree, pick="x", free={"a": [1]})
    assert said == "root:1:'x':{'a': [1]}"


async def test_calls_share_a_session_and_run_at_once(served: Served) -> None:
    began = time.monotonic()
    given = await asyncio.gather(
        *(served.text("slow", seconds=0.5) for _ in range(8)), *(served.text("echo", text=str(n)) for n in range(8))
    )
    assert given == ["slept"] * 8 + [str(n) for n in range(8)]
    assert time.monotonic() - began < 3
    assert len({await served.pid() for _ in range(3)}) == 1


async def test_a_cancelled_call_is_cancelled_at_the_server(served: Served) -> None:
    served.calls.unlink(missing_ok=True)
    call = asyncio.create_task(served.call("slow", seconds=30))
    await until(lambda: {"tool": "slow", "began": True} in served.noted())
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: {"tool": "slow", "cancelled": True} in served.noted())
    assert await served.text("echo", text="still there") == "still there"


async def test_a_call_that_takes_too_long_is_ended(served: Served) -> None:
    served.calls.unlink(missing_ok=True)
    with pytest.raises(ToolFault, match=r"within 0\.3 s") as caught:
        await served.call("slow", seconds=30, timeout_s=0.3)
    assert (caught.value.kind, caught.value.again) == ("timeout", True)
    await until(lambda: {"tool": "slow", "cancelled": True} in served.noted())
    assert await served.text("echo", text="still there") == "still there"


PART = {"properties": {"x": {"type": "string"}}}


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ({}, []),
        ({"properties": {"a": True, "b": {"type": ["integer", "null"]}}, "required": ["a"]}, ["a", "b"]),
        ({"allOf": [{"$ref": "#/$defs/P"}], "$defs": {"P": PART}}, ["x"]),
        ({"anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}, ["a", "b"]),
        ({"properties": {"a": {"$ref": "http://127.0.0.1:9/schema.json"}}}, ["a"]),
        ({"properties": {"a": {"$ref": "#/properties/a"}, "$ref": {"type": "string"}}}, ["$ref", "a"]),
        ({"properties": {"a": {"type": "nonsense", "pattern": "("}}}, ["a"]),
        ({"properties": {}, "additionalProperties": {"type": "string"}}, []),
    ],
)
def test_any_schema_becomes_a_valid_one(schema: dict[str, Any], names: list[str]) -> None:
    tool = mcp_types.Tool(name="t", input_schema={"type": "object", **schema})
    declared = declaration_of(tool, McpServer(id="tools", url="https://example.org/mcp"))
    jsonschema.Draft202012Validator.check_schema(schema_of(declared))
    assert sorted(one.name for one in declared.parameters) == names
    assert declared.open == ("additionalProperties" in schema)


@pytest.mark.parametrize("way", WAYS)
async def test_a_changed_list_is_noticed(way: str, tmp_path: Path) -> None:
    async with serving(way, tmp_path) as served:
        assert "grown" not in {tool.declaration.name for tool in await served.source.tools()}
        await served.call("grow")
        async with asyncio.timeout(5):
            while "grown" not in {tool.declaration.name for tool in await served.source.tools()}:
                await asyncio.sleep(0.05)
        assert await served.text("grown") == "grown"


@pytest.mark.parametrize("way", [*WAYS, "http-json", "http-json-legacy"])
async def test_a_server_that_dies_in_a_call_is_an_observation(way: str, tmp_path: Path) -> None:
    async with serving(way, tmp_path) as served:
        before = await served.pid()
        others = [asyncio.create_task(served.call("slow", seconds=30)) for _ in range(2)]
        await until(lambda: sum(one.get("tool") == "slow" for one in served.noted()) == 2)
        with pytest.raises(ToolFault, match="lost while 'crash' ran") as caught:
            await served.call("crash")
        assert (caught.value.kind, caught.value.again) == ("session_lost", False)
        for lost in await asyncio.gather(*others, return_exceptions=True):
            assert isinstance(lost, ToolFault)
            # What only reads may be repeated.
            assert (lost.kind, lost.again) == ("session_lost", True)
        if way.startswith("http"):
            await served.restart()
        assert await served.pid() != before


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_that_was_killed_between_calls_is_not_noticed(way: str, tmp_path: Path) -> None:
    async with serving(way, tmp_path) as served:
        before = await served.pid()
        if way.startswith("http"):
            await served.restart()
        else:
            os.kill(before, signal.SIGKILL)
            await asyncio.sleep(0.3)
        assert await served.pid() != before


@pytest.mark.parametrize("way", ["http", "http-legacy"])
async def test_what_may_have_been_done_is_not_asked_again(way: str, tmp_path: Path) -> None:
    async with serving(way, tmp_path) as served:
        call = asyncio.create_task(served.call("slow", seconds=30))
        await until(lambda: {"tool": "slow", "began": True} in served.noted())
        await served.restart()
        # This one finds that the server has forgotten the session, and goes on in another.
        assert await served.text("echo", text="hello") == "hello"
        with pytest.raises(ToolFault) as caught:
            await call
        assert caught.value.kind == "session_lost"
        assert served.noted().count({"tool": "slow", "began": True}) == 1


async def test_a_server_that_hangs_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure_activities.tools.mcp.keeper._PROBE_S", 0.3)
    async with serving("stdio", tmp_path) as served:
        before = await served.pid()
        with pytest.raises(ToolFault) as caught:
            await served.call("hang", timeout_s=0.3)
        assert caught.value.kind == "timeout"
        assert await served.pid() != before
        await until(lambda: not alive(before))


async def test_an_idle_session_is_closed_and_opened_anew(tmp_path: Path) -> None:
    async with serving("stdio", tmp_path, idle_s=0.2) as served:
        before = await served.pid()
        await until(lambda: not alive(before))
        # Known for a while, the tools need no session.
        assert await served.tool("echo")
        assert await served.pid() != before


async def test_only_tools_that_the_file_allows_are_there(tmp_path: Path) -> None:
    async with serving(
        "stdio", tmp_path, tools=["e*", "add", "!env"], approval={"add": "required"}, retry="keyed"
    ) as it:
        found = {tool.declaration.name: tool.declaration for tool in await it.source.tools()}
        assert set(found) == {"echo", "error", "add"}
        assert (found["add"].approval, found["echo"].approval, found["echo"].retry) == ("required", "never", "keyed")


async def test_parameters_that_are_set_win_over_the_model(served: Served) -> None:
    context = ToolCallContext(key="k", run_id="run", folder=served.calls.parent, timeout_s=10)
    (text,) = [
        part
        for part in await (await served.tool("echo")).run({"text": "injected"}, {"text": "fixed"}, context)
        if isinstance(part, TextOut)
    ]
    assert text.text == "fixed"
