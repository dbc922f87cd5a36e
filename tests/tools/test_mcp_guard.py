"""What MCP servers may not do, and what is said when they cannot be used."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from fakes.http_server import http_server
from fakes.mcp_served import ALLOWED, SCRIPT, SECRET, alive, serving, until
from perdure_activities.files import FileStore
from perdure_activities.tools.config import ToolsConfig
from perdure_activities.tools.mcp import FromCredential, McpServer, McpSource
from perdure_activities.tools.mcp.commands import AllowedCommands
from perdure_activities.tools.protocol import ToolCallContext, ToolFault
from perdure_activities.tools.registry import ToolRegistry
from perdure_graph.agents.config import ToolUse
from perdure_graph.agents.tools import TextOut


def source(folder: Path, allowed: AllowedCommands = ALLOWED, **given: Any) -> McpSource:
    server = McpServer.model_validate({"id": "tools"} | given)
    return McpSource(server, allowed, FileStore(folder), environ={**os.environ, "WORKER_KEY": SECRET})


async def refusal(source: McpSource) -> ToolFault:
    """Ask for the tools of a server that has none to give."""
    try:
        with pytest.raises(ToolFault) as caught:
            await source.tools()
    finally:
        await source.close()
    assert SECRET not in str(caught.value)
    return caught.value


@asynccontextmanager
async def redirecting(to: str) -> AsyncIterator[int]:
    """Answer every request with a redirect."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 307 Elsewhere\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        writer.write(head.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "either `command` or `url`"),
        ({"command": ["x"], "url": "https://x"}, "either `command` or `url`"),
        ({"command": "npx -y thing"}, "no shell takes it apart"),
        ({"command": ["npx", "a\0b"]}, "zero byte"),
        ({"command": ["x"], "env": {"API_KEY": SECRET}}, "looks like a secret"),
        ({"url": "https://x/mcp", "headers": {"Authorization": f"Bearer {SECRET}"}}, "looks like a secret"),
        ({"url": f"https://me:{SECRET}@x/mcp"}, "user or password"),
        ({"url": "file:///etc/passwd"}, "https://host/mcp"),
        ({"command": ["x"], "headers": {"A": "b"}}, "belong to a `url`"),
        ({"command": ["x"], "shell": True}, "shell"),
    ],
)
def test_a_wrong_configuration_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        McpServer.model_validate({"id": "tools"} | given)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("allow", "program", "ok"),
    [
        ([], "tool", False),
        (["other"], "tool", False),
        (["tool"], "tool", True),
        (["tool"], "{bin}/tool", True),
        (["{bin}/tool"], "tool", True),
        (["{bin}/tool"], "{bin}/../bin/tool", False),
        (["tool"], "./tool", False),
        (["./tool"], "./tool", False),
        (["*"], "tool", False),
        (["tool"], "tool --flag", False),
        (["tool"], "{elsewhere}/tool", False),
    ],
)
def test_only_programs_on_the_list_are_started(tmp_path: Path, allow: list[str], program: str, ok: bool) -> None:
    folders = {"bin": tmp_path / "bin", "elsewhere": tmp_path / "elsewhere"}
    for folder in folders.values():
        folder.mkdir()
        for name in ("tool", "other"):
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
    allowed = AllowedCommands([entry.format(**folders) for entry in allow], path=str(folders["bin"]))
    server = McpServer(id="tools", command=(program.format(**folders), "$(touch /tmp/x)"))
    if ok:
        assert allowed.command_of(server) == (str(folders["bin"] / "tool"), "$(touch /tmp/x)")
        return
    with pytest.raises(ToolFault, match="allow_commands") as caught:
        allowed.command_of(server)
    assert caught.value.kind == "refused"


async def test_nothing_is_started_that_is_not_allowed(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    command = python(f"open({str(mark)!r}, 'w')")
    fault = await refusal(source(tmp_path, AllowedCommands([]), command=command))
    assert fault.kind == "refused"
    assert "allow_commands" in str(fault)
    assert not mark.exists()


async def test_a_command_is_never_read_by_a_shell(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    code = "import sys; sys.stderr.write(repr(sys.argv[1:])); sys.exit(1)"
    fault = await refusal(source(tmp_path, command=[*python(code), f"$(touch {mark})", f"; touch {mark}", "{{x}}"]))
    assert f"['$(touch {mark})', '; touch {mark}', '{{{{x}}}}']" in str(fault)
    assert not mark.exists()


async def test_a_server_sees_only_a_safe_part_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "PERDURE_STORE", "AWS_SECRET_ACCESS_KEY", "LD_LIBRARY_PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, "canary-of-the-worker")
    given = {"MODE": "plain", "SERVICE_KEY": {"env": "WORKER_KEY"}}
    async with serving("stdio", tmp_path, env=given, cwd=str(tmp_path)) as served:
        (text,) = [part.text for part in await served.call("env") if part.type == "text"]
        seen = json.loads(text)
        safe = {"HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER"}
        assert set(seen) <= safe | {"CALLS", "MODE", "SERVICE_KEY"}
        assert "canary" not in text
        assert json.loads(await served.text("where"))["cwd"] == str(tmp_path)
        # It has the key, but what it says of it goes no further.
        assert (seen["MODE"], seen["SERVICE_KEY"]) == ("plain", "***")
        (value,) = [part.value for part in await served.call("env") if part.type == "json"]
        assert SECRET not in json.dumps(value)
        with pytest.raises(ToolFault, match="about to end") as caught:
            await served.call("crash")
        assert "SIGKILL" in str(caught.value)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        ("import sys; sys.stderr.write('no config file\\n'); sys.exit(3)", "invoke", "exit status 3.*no config file"),
        ("", "invoke", "it ended"),
        ("print('not a message')", "invoke", "it ended"),
        ("import time; print('x' * 5000, flush=True); time.sleep(30)", "invoke", "more than 2048 bytes"),
        ("import sys, time; print('thinking', file=sys.stderr); time.sleep(30)", "timeout", "within 1 s.*thinking"),
        (f"import sys; sys.stderr.write('key {SECRET}'); sys.exit(1)", "invoke", r"key \*\*\*"),
    ],
)
async def test_a_server_that_does_not_start_says_why(tmp_path: Path, code: str, kind: str, says: str) -> None:
    given = {"command": python(code), "env": {"K_KEY": {"env": "WORKER_KEY"}}, "connect_s": 1, "max_bytes": 2048}
    began = time.monotonic()
    fault = await refusal(source(tmp_path, **given))
    assert fault.kind == kind
    assert time.monotonic() - began < 5
    assert re.search(says, str(fault), re.DOTALL)


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    allowed = AllowedCommands(["no-such-program"])
    fault = await refusal(source(tmp_path, allowed, command=["no-such-program"]))
    assert "'no-such-program'" in str(fault)
    assert "PATH" in str(fault)


async def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    fault = await refusal(source(tmp_path, command=python(""), env={"A_KEY": {"env": "NOT_SET_ANYWHERE"}}))
    assert fault.kind == "credentials"
    assert "NOT_SET_ANYWHERE" in str(fault)
    fault = await refusal(source(tmp_path, command=python(""), env={"A_KEY": {"credential": "github"}}))
    assert fault.kind == "credentials"
    assert "'github'" in str(fault)


async def test_servers_and_what_they_start_die_with_the_worker(tmp_path: Path) -> None:
    """Killed with SIGKILL, a worker can close nothing."""
    wrapper = tmp_path / "wrapper.py"
    wrapper.write_text(f"import subprocess, sys\nsubprocess.run([sys.executable, {SCRIPT!r}, 'stdio'])\n")
    worker = tmp_path / "worker.py"
    worker.write_text(
        f"""
import asyncio, sys
sys.path[:0] = {[str(Path(SCRIPT).parents[1])]!r}
from pathlib import Path
from fakes.mcp_served import serving

async def main():
    async with serving("stdio", Path({str(tmp_path)!r}), command=[sys.executable, {str(wrapper)!r}, "stdio"]) as served:
        print(await served.pid(), flush=True)
        await served.call("hang", timeout_s=60)

asyncio.run(main())
"""
    )
    process = await asyncio.create_subprocess_exec(sys.executable, str(worker), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    pid = int(await process.stdout.readline())
    assert alive(pid)
    process.kill()
    await process.wait()
    await until(lambda: not alive(pid), 3)


async def test_closing_a_source_ends_its_server(tmp_path: Path) -> None:
    async with serving("stdio", tmp_path) as served:
        pid = await served.pid()
    assert not alive(pid)
    with pytest.raises(ToolFault):
        await served.call("echo", text="x")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}/mcp", "http://[::ffff:127.0.0.1]:{port}/mcp", "http://2130706433:{port}/mcp"]
)
async def test_private_addresses_are_refused(tmp_path: Path, url: str) -> None:
    async with http_server() as server:
        fault = await refusal(source(tmp_path, url=url.format(port=server.port)))
        assert fault.kind == "refused"
        assert "PERDURE_HTTP_ALLOW" in str(fault)
        assert not server.connections


async def test_the_address_counts_not_the_name(tmp_path: Path) -> None:
    async def inside(_host: str, _port: int) -> list[str]:
        return ["169.254.169.254"]

    server = McpServer(id="tools", url="http://metadata.example.org/mcp")
    fault = await refusal(McpSource(server, ALLOWED, FileStore(tmp_path), resolver=inside))
    assert fault.kind == "refused"


async def test_allowing_one_private_server_allows_no_other(tmp_path: Path) -> None:
    """A redirect leaves the one address that the operator wrote down."""
    async with http_server() as inner, redirecting(f"http://127.0.0.1:{inner.port}/mcp") as port:
        fault = await refusal(source(tmp_path, url=f"http://127.0.0.1:{port}/mcp", allow_private=True, connect_s=5))
        assert not inner.connections
        assert fault.kind == "invoke"


async def test_a_key_goes_along_and_a_wrong_one_is_told(tmp_path: Path) -> None:
    headers = {"Authorization": {"env": "WORKER_KEY", "prefix": "Bearer "}}
    async with serving("http", tmp_path, env={"WANTED": SECRET}, headers=headers) as served:
        assert await served.text("echo", text="hello") == "hello"
        assert {one["agent"] for one in served.noted() if "agent" in one} == {"Perdure"}
        url = served.source.server.url
        fault = await refusal(source(tmp_path, url=url, allow_private=True))
        assert fault.kind == "credentials"
        assert "401" in str(fault)


async def test_a_credential_of_the_tools_file_is_read_when_a_session_is_opened(tmp_path: Path) -> None:
    asked: list[str] = []

    async def credentials(name: str) -> dict[str, str]:
        asked.append(name)
        return {"token": SECRET}

    async with serving("http", tmp_path, env={"WANTED": SECRET}) as served:
        given = {"credential": "service", "field": "token", "prefix": "Bearer "}
        server = McpServer(
            id="other",
            url=served.source.server.url,
            allow_private=True,
            headers={"Authorization": FromCredential.model_validate(given)},
        )
        other = McpSource(server, ALLOWED, FileStore(tmp_path), credentials=credentials)
        assert asked == []
        assert await other.tools()
        assert asked == ["service"]
        assert SECRET not in repr(other.server)
        await other.close()


@pytest.mark.parametrize("way", ["stdio", "http", "http-legacy"])
async def test_an_answer_that_is_too_large_is_a_fault(tmp_path: Path, way: str) -> None:
    async with serving(way, tmp_path, max_bytes=100_000) as served:
        assert len(await served.text("big", size=30_000)) == 30_000
        with pytest.raises(ToolFault, match="100000") as caught:
            await served.call("big", size=200_000)
        assert caught.value.kind in {"invoke", "session_lost"}
        assert len(await served.text("big", size=10)) == 10


async def test_a_server_that_is_away_is_told_and_found_again(tmp_path: Path) -> None:
    async with serving("http", tmp_path) as served:
        await served.kill()
        with pytest.raises(ToolFault, match="no connection") as caught:
            await served.source.tools()
        assert caught.value.again
        await served.restart()
        await asyncio.sleep(0.15)
        assert await served.text("echo", text="back") == "back"


def tools_file(folder: Path, allow: list[str]) -> Path:
    path = folder / "tools.yaml"
    given = {"mcp": [{"id": "mine", "command": [sys.executable, SCRIPT, "stdio"]}], "allow_commands": allow}
    path.write_text(yaml.safe_dump(given))
    return path


async def test_a_server_of_the_tools_file_is_found_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_FILES_DIR", str(tmp_path / "files"))
    registry = ToolRegistry(ToolsConfig.of_file(tools_file(tmp_path, [sys.executable])))
    tool = await registry.find(ToolUse(provider_type="mcp", provider_id="mine", tool_name="echo"))
    context = ToolCallContext(key="k", run_id="r", folder=tmp_path, timeout_s=10)
    assert (await tool.run({"text": "hi"}, {}, context))[0] == TextOut(text="hi")
    with pytest.raises(ToolFault, match="echo") as caught:
        await registry.find(ToolUse(provider_type="mcp", provider_id="mine", tool_name="nothing"))
    assert caught.value.kind == "unknown_tool"
    await registry.close()


async def test_a_tools_file_that_allows_nothing_starts_nothing(tmp_path: Path) -> None:
    registry = ToolRegistry(ToolsConfig.of_file(tools_file(tmp_path, [])))
    with pytest.raises(ToolFault, match="allow_commands") as caught:
        await registry.find(ToolUse(provider_type="mcp", provider_id="mine", tool_name="echo"))
    assert caught.value.kind == "refused"
    await registry.close()


@pytest.mark.parametrize("provider_id", [sys.executable, "http://127.0.0.1:9/mcp", '{"command": ["sh"]}', "../mine"])
async def test_a_graph_names_servers_of_the_file_and_nothing_else(tmp_path: Path, provider_id: str) -> None:
    registry = ToolRegistry(ToolsConfig.of_file(tools_file(tmp_path, [sys.executable])))
    with pytest.raises(ToolFault) as caught:
        await registry.find(ToolUse(provider_type="mcp", provider_id=provider_id, tool_name="echo"))
    assert caught.value.kind == "unknown_tool"
    for extra in ({"command": ["sh"]}, {"url": "http://x"}):
        with pytest.raises(ValidationError):
            ToolUse.model_validate({"provider_type": "mcp", "provider_id": "mine", "tool_name": "echo"} | extra)
    await registry.close()
