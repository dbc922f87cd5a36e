"""Complaints about MCP servers: configuration that was evaluated, sessions that took the run with them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes import mcp_tools
from fakes.agent_place import AgentPlace, agent_place, calls, made, rounds, told, until
from fakes.command_line import COMMAND
from perdure import RunHandle
from perdure_activities.tools.config import BadToolsFile, ToolsConfig
from perdure_graph.events import AgentLog, Event
from perdure_worker.embedded import EmbeddedStack

pytestmark = [pytest.mark.xdist_group("agents-mcp"), pytest.mark.timeout(240)]
SCRIPT = str(Path(mcp_tools.__file__).resolve())
FC = "function_calling"


def server(id_: str, calls_file: Path, **more: Any) -> dict[str, Any]:
    return {"id": id_, "command": [sys.executable, SCRIPT, "stdio"], "env": {"CALLS": str(calls_file)}, **more}


def of(id_: str, name: str) -> dict[str, Any]:
    return {"provider_type": "mcp", "provider_id": id_, "tool_name": name}


def hostile(marker: Path) -> list[str]:
    """Texts that something somewhere evaluates; each would make a file."""
    made = str(marker)
    return [
        f"$(touch {made})",
        f"`touch {made}`",
        f"; touch {made} #",
        f"&& touch {made}",
        f"| tee {made}",
        f"\n touch {made}",
        "${HOME}",
        "{{ ''.__class__ }}",
        f"__import__('os').mknod('{made}')",
        f'}}); require("fs").writeFileSync("{made}", ""); ({{',
        f'(function(){{process.mainModule.require("child_process").execSync("touch {made}")}})()',
    ]


def left_out(events: list[Event]) -> dict[str, str]:
    """Tools that did not load, and why."""
    [found] = [data for event in events if isinstance(event, AgentLog) and (data := event.data.get("skipped_tools"))]
    return found


@pytest.fixture(scope="module")
async def own(stack: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[AgentPlace]:
    folder = tmp_path_factory.mktemp("mcp")
    noted, marker = folder / "noted.jsonl", folder / "marker"
    allowed_too = folder / "server"
    allowed_too.write_text(f"#!/bin/sh\ntouch {marker}\n")
    allowed_too.chmod(0o755)
    texts = hostile(marker)
    odd, python = server("odd", noted), Path(sys.executable)
    odd["command"] = [*odd["command"], *texts]
    odd["env"] |= {f"TEXT_{number}": text for number, text in enumerate(texts)}
    tools: dict[str, Any] = {
        "mcp": [
            server("desk", noted, approval="never"),
            server("asking", noted, interrupted={"book": "ask"}),
            odd,
            {"id": "shell", "command": ["/bin/sh", "-c", f"touch {marker}"]},
            {"id": "beside", "command": ["./server"], "cwd": str(folder)},
            {"id": "other", "command": [str(allowed_too)]},
            {"id": "detour", "command": [str(python.parent / ".." / python.parent.name / python.name)]},
            {"id": "joined", "command": [f"{sys.executable} {SCRIPT} stdio"]},
        ],
        "allow_commands": [sys.executable],
    }
    async with agent_place(stack, folder, tools=tools) as place:
        yield place


async def test_complaint_34_only_programs_of_the_list_are_started(own: AgentPlace) -> None:
    """A text of the configuration was evaluated, and ran whatever it said."""
    refused = ("shell", "beside", "other", "detour", "joined")
    tools = [of(name, "book") for name in refused] + [of("desk", "where")]
    handle = await own.start(tools, [calls(FC, "where", {}), "Here."])
    result = await handle.result()
    assert (result.status, result.outputs["answer"]) == ("succeeded", "Here."), "the others cost it nothing"
    events = await told(handle)
    skipped = left_out(events)
    assert "allow_commands" in skipped["book"]
    [call] = made(rounds(events))
    assert json.loads(call["observation"])["pid"] > 0
    assert not (own.folder / "marker").exists()


@pytest.mark.parametrize("name", ["shell", "beside", "other", "detour", "joined"])
async def test_complaint_34_a_refusal_says_what_to_do(own: AgentPlace, name: str) -> None:
    handle = await own.start([of(name, "book")], ["No tools."])
    assert (await handle.result()).outputs["answer"] == "No tools."
    skipped = left_out(await told(handle))
    assert name in skipped["book"] and "allow_commands" in skipped["book"]
    assert not (own.folder / "marker").exists()


async def test_complaint_34_texts_of_the_configuration_reach_a_server_as_they_are(own: AgentPlace) -> None:
    texts = hostile(own.folder / "marker")
    handle = await own.start([of("odd", "env"), of("odd", "arguments")], [calls(FC, "arguments", {}), "Here."])
    await handle.result()
    file = own.folder / "noted.jsonl"
    await until(lambda: file.exists() and "arguments" in file.read_text())
    [noted] = [line for line in map(json.loads, file.read_text().splitlines()) if line.get("tool") == "arguments"]
    assert noted["given"][1:] == texts
    assert noted["env"] == texts
    assert not (own.folder / "marker").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"command": "python -c 'import os'"}, "list of texts"),
        ({"command": [["python"]]}, "command"),
        ({"command": ["python"], "eval": "1"}, "eval"),
        ({"command": ["python"], "env": {"API_KEY": "sk-12345"}}, "looks like a secret"),
        ({"command": ["python"], "cwd": {"$ne": 1}}, "cwd"),
        ({"url": "file:///etc/passwd"}, "https://host/mcp"),
    ],
)
def test_complaint_34_a_configuration_that_is_none_is_refused(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    file = tmp_path / "tools.yml"
    file.write_text(yaml.safe_dump({"mcp": [{"id": "x", **wrong}], "allow_commands": ["python"]}))
    with pytest.raises(BadToolsFile) as refused:
        ToolsConfig.of_file(file)
    assert said in str(refused.value) and "sk-12345" not in str(refused.value)


async def test_complaint_34_whoever_writes_an_agent_cannot_bring_a_command(own: AgentPlace, tmp_path: Path) -> None:
    """Only the operator's file names programs: what an agent's file says of them is refused."""
    marker = tmp_path / "marker"
    agent = {
        "name": "x",
        "model": {"provider": "openai", "name": "gpt-4o"},
        "tools": [of("new", "book") | {"command": ["/bin/sh", "-c", f"touch {marker}"]}],
    }
    file = tmp_path / "agent.yml"
    file.write_text(yaml.safe_dump(agent))
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("agent", "run", str(file), "-q", "go"),
        env={**os.environ, "PERDURE_ADDRESS": own.stack.address, "PERDURE_TASK_QUEUE": own.stack.task_queue},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode != 0 and "command" in out.decode(), out.decode()
    assert not marker.exists()


async def killed_in_a_call(own: AgentPlace, use: dict[str, Any], what: str) -> RunHandle:
    """Kill the worker while an MCP server of it does something, and start another."""
    file = own.folder / "noted.jsonl"
    booking = calls(FC, "book", {"what": what, "seconds": 600})
    more = calls(FC, "book", {"what": f"{what} again"})
    handle = await own.start([use], [booking, more, "Asked for once more."])
    await until(lambda: file.exists() and f'"{what}"' in file.read_text())
    if not own.stack.worker_pids:
        raise AssertionError("there is no worker")
    await own.stack.kill_worker()
    await own.stack.restart_worker()
    return handle


def booked(own: AgentPlace, what: str) -> int:
    return (own.folder / "noted.jsonl").read_text().count(json.dumps(what))


@pytest.mark.crash
async def test_complaint_40_a_session_that_dies_with_its_worker_is_told_and_the_agent_goes_on(own: AgentPlace) -> None:
    """The run failed with the session, which nobody could open again."""
    handle = await killed_in_a_call(own, of("desk", "book"), "a room")
    async with asyncio.timeout(90):
        result = await handle.result()
    assert (result.status, result.outputs["answer"]) == ("succeeded", "Asked for once more.")
    events = await told(handle)
    lost, after = made(rounds(events))
    assert (lost["status"], lost["error_kind"]) == ("failed", "session_lost")
    assert "session with the MCP server 'desk'" in lost["observation"]
    assert "not known whether the call was carried out" in lost["observation"]
    assert (after["status"], after["observation"]) == ("done", "booked a room again"), "a new session, unaided"
    assert not [event for event in events if event.type in ("form_required", "node_held", "run_paused")]
    assert booked(own, "a room") == 1, "what may have been done is not done twice"
    assert "not known whether" in str((await own.sent())[-1]["messages"])


@pytest.mark.crash
async def test_complaint_40_an_operator_may_want_to_be_asked_instead(own: AgentPlace) -> None:
    handle = await killed_in_a_call(own, of("asking", "book"), "a table")
    async with asyncio.timeout(90):
        while not (forms := (await handle.status()).forms):
            await asyncio.sleep(0.05)
    [form] = forms
    assert {action.id for action in form.form.actions} == {"run_again", "give_result", "not_known"}
    await handle.submit(form.key, "give_result", {"result": "table 7"})
    async with asyncio.timeout(60):
        assert (await handle.result()).status == "succeeded"
    first, _ = made(rounds(await told(handle)))
    assert (first["status"], first["observation"]) == ("done", "table 7")
    assert booked(own, "a table") == 1


async def test_complaint_40_a_server_that_dies_in_a_call_costs_that_call(own: AgentPlace) -> None:
    replies = [calls(FC, "crash", {}), calls(FC, "book", {"what": "a seat"}), "Done."]
    handle = await own.start([of("desk", "crash"), of("desk", "book")], replies)
    result = await handle.result()
    assert (result.status, result.outputs["answer"]) == ("succeeded", "Done.")
    lost, after = made(rounds(await told(handle)))
    assert (lost["status"], lost["error_kind"]) == ("failed", "session_lost")
    assert "not known whether the call was carried out" in lost["observation"]
    assert after["status"] == "done"
