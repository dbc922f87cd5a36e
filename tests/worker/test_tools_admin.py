"""`perdure tools` and the tools line of the doctor: what is there, what is missing, and never a secret."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from typer.testing import CliRunner

from fakes import mcp_tools
from fakes.command_line import Done
from perdure.cli.app import app
from perdure_activities.tools.config import ToolsConfig
from perdure_activities.tools.protocol import ToolSource
from perdure_activities.tools.registry import ToolRegistry
from perdure_graph.agents.config import ToolUse
from perdure_worker.doctor import examine
from perdure_worker.settings import WorkerSettings

SECRET = "canary-of-the-tools-77311"
FUNCTIONS = """
from perdure_activities.tools import tool

@tool(approval="required")
def shout(text: str) -> str:
    "Make a text loud."
    return text.upper()
"""
PETS = {
    "openapi": "3.0.3",
    "info": {"title": "Pets", "version": "1"},
    "servers": [{"url": "https://pets.example.com/v1"}],
    "paths": {
        "/pets": {"get": {"operationId": "listPets", "responses": {"200": {"description": "ok"}}}},
        "/pets/{id}": {
            "parameters": [{"$ref": "#/components/parameters/Id"}],
            "get": {"operationId": "getPet", "responses": {"200": {"description": "ok"}}},
        },
    },
}


async def tools(*arguments: object, **env: str) -> Done:
    """Run `perdure tools ...` in this process."""
    hidden: dict[str, str | None] = {name: None for name in os.environ if name.startswith("PERDURE_")}
    ended = await asyncio.to_thread(CliRunner().invoke, app, ["tools", *map(str, arguments)], env=hidden | env)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    done = Done(ended.exit_code, ended.stdout, ended.stderr)
    assert SECRET not in done.out + done.err
    return done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "loud.py").write_text(FUNCTIONS)
    (tmp_path / "pets.json").write_text(json.dumps(PETS, indent=2))
    (tmp_path / "helper.yml").write_text("name: helper\nmodel: {provider: openai, name: gpt-4o}\n")
    return tmp_path


def written(folder: Path, **config: object) -> Path:
    path = folder / "tools.yml"
    path.write_text(yaml.safe_dump(config))
    return path


async def test_the_built_in_tools_are_there_without_a_file() -> None:
    listed = (await tools("list", "--json")).json
    names = {(one["provider_id"], one["tool_name"]) for one in listed["tools"]}
    assert {("calculator", "calculator"), ("time", "weekday"), ("memory", "remember")} <= names
    assert listed["without"] == []
    only = await tools("list", "--provider", "calculator")
    assert only.out.splitlines()[0] == "builtin calculator"
    assert "calculator(expression)" in only.out.splitlines()[1]
    assert len(only.out.splitlines()) == 2
    unknown = await tools("list", "--provider", "calculater")
    assert (unknown.code, "there are: calculator" in unknown.err) == (2, True)
    assert (await tools("check", PERDURE_TOOLS="")).code == 0, "a variable that is empty names no file"


async def test_tools_of_all_kinds_are_listed_with_what_the_rules_make_of_them(folder: Path) -> None:
    file = written(
        folder,
        python=["loud.py"],
        openapi=[{"id": "pets", "spec": "pets.json"}],
        agents={"helper": "helper.yml"},
        mcp=[{"id": "notes", "url": "https://notes.example.com/mcp"}],
        approval=[{"tools": "api/pets/*", "approval": "policy"}],
    )
    found = (await tools("list", "--json", PERDURE_TOOLS=str(file))).json
    listed = {(one["provider_type"], one["tool_name"]): one for one in found["tools"]}
    assert listed["custom", "shout"]["approval"] == "required"
    assert listed["custom", "shout"]["parameters"] == ["text"]
    assert listed["api", "listPets"]["approval"] == "policy"
    assert listed["agent", "helper"]["parameters"] == ["query"]
    assert [(one["provider_id"], "--live" in one["why"]) for one in found["without"]] == [("notes", True)]
    assert found["source"] == str(file)


async def test_a_check_names_what_is_missing_and_shows_no_secret(folder: Path) -> None:
    file = written(
        folder,
        python=["loud.py", "gone.py"],
        openapi=[{"id": "pets", "spec": "pets.json", "credential": "pets", "headers": {"X-Team": {"env": "TEAM_OF"}}}],
        workflows={"letter": "letter.yml"},
        mcp=[
            {"id": "notes", "command": ["no-such-program"]},
            {"id": "tickets", "url": "https://t.example.com/mcp", "headers": {"X": {"credential": "tickets"}}},
        ],
        allow_commands=[],
        credentials={"pets": {"token": {"env": "PETS_TOKEN"}, "user": {"env": "PETS_USER"}}},
    )
    done = await tools("check", "--file", file, "--json", PETS_TOKEN=SECRET, TEAM_OF=SECRET)
    assert done.code == 1
    checks = done.json["checks"]
    wrong = {(one["kind"], one["name"]): one["detail"] for one in checks if not one["ok"]}
    assert wrong["credential", "pets"] == "not set: user (PETS_USER). Set it in the environment of the worker."
    assert "cannot be imported" in wrong["custom", "gone"]
    assert "letter.yml" in wrong["workflow", "letter"]
    assert "allow_commands" in wrong["mcp", "notes"]
    assert "there is no credential 'tickets'" in wrong["mcp", "tickets"]
    (pets,) = [one for one in checks if (one["kind"], one["name"]) == ("api", "pets") and "tool" in one["detail"]]
    # The second operation refers to a parameter that is not there.
    assert (pets["ok"], pets["detail"], len(pets["problems"])) == (True, "1 tool", 1)
    assert "pets.json:" in pets["problems"][0]
    right = {(one["kind"], one["name"]): one["detail"] for one in checks if one["ok"]}
    assert right["custom", "loud"] == "1 tool"
    assert {"set: X-Team (TEAM_OF)", pets["detail"]} >= {right["api", "pets"]}


async def test_all_is_well_when_all_is_there(folder: Path) -> None:
    file = written(folder, python=["loud.py"], credentials={"pets": {"token": {"env": "PETS_TOKEN"}}})
    done = await tools("check", "--file", file, PETS_TOKEN=SECRET)
    assert (done.code, "ok      credential pets: set: token (PETS_TOKEN)" in done.out) == (0, True)


async def test_a_file_that_is_wrong_is_told_with_its_line(folder: Path) -> None:
    (folder / "tools.yml").write_text("python: [loud.py]\nsearhc: {}\n")
    done = await tools("check", "--file", folder / "tools.yml", "--json")
    assert done.code == 1
    assert "tools.yml:2" in done.json["error"]["message"]


async def test_servers_are_started_when_asked_to_live(folder: Path) -> None:
    script = str(Path(mcp_tools.__file__).resolve())
    file = written(
        folder,
        mcp=[
            {"id": "local", "command": [sys.executable, script, "stdio"]},
            {"id": "dead", "command": [sys.executable, "-c", f"print({SECRET!r})"], "connect_s": 20},
        ],
        allow_commands=[sys.executable],
    )
    quiet = await tools("check", "--file", file, "--json")
    assert (quiet.code, [one["detail"].split()[:2] for one in quiet.json["checks"]]) == (0, [["would", "start"]] * 2)
    done = await tools("check", "--live", "--file", file, "--json")
    told = {one["name"]: one for one in done.json["checks"] if not one["detail"].startswith("would")}
    assert told["local"]["ok"]
    assert told["local"]["detail"].endswith("tools")
    assert not told["dead"]["ok"]
    assert done.code == 1
    listed = (await tools("list", "--live", "--provider", "local", "--file", file, "--json")).json["tools"]
    assert {"echo"} <= {one["tool_name"] for one in listed}


def test_the_doctor_looks_at_the_tools_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PETS_TOKEN", raising=False)
    file = written(folder, python=["loud.py"], credentials={"pets": {"token": {"env": "PETS_TOKEN"}}})

    def line() -> tuple[bool, bool, str]:
        (found,) = [one for one in examine(WorkerSettings(tools=file)) if one.name == "tools file"]
        return found.ok, found.required, found.detail

    ok, required, detail = line()
    assert (ok, required) == (False, False)
    assert "PETS_TOKEN" in detail
    monkeypatch.setenv("PETS_TOKEN", SECRET)
    assert line() == (True, False, str(file))
    file.write_text("python: loud.py\n")
    assert line()[:2] == (False, True)
    assert not [one for one in examine(WorkerSettings()) if one.name == "tools file"]


async def test_tools_that_are_asked_for_at_once_are_all_there(tmp_path: Path) -> None:
    """A module that is being imported must not be taken for one that has no more tools."""
    source = """
        import time
        from perdure_activities.tools import tool

        @tool
        def first() -> str:
            return "1"

        time.sleep(0.3)

        @tool
        def second() -> str:
            return "2"
    """
    (tmp_path / "slow.py").write_text(dedent(source))
    registry = ToolRegistry(ToolsConfig.of_file(written(tmp_path, python=["slow.py"])))
    uses = [ToolUse(provider_type="custom", provider_id="slow", tool_name=name) for name in ("first", "second") * 3]
    found = await asyncio.gather(*(registry.find(use) for use in uses))
    assert [tool.declaration.name for tool in found] == [use.tool_name for use in uses]
    again: list[ToolSource] = list(await registry.sources())
    assert [source.provider_id for source in again if source.provider_type == "custom"] == ["slow"]
    await registry.close()
