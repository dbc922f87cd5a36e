"""Complaint 30 once more, for tools: what they are given to get in somewhere is nowhere to be read afterwards."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import pytest
from complaints.test_secrets import decoded, leaking, leaks, rows

from fakes import mcp_tools
from fakes.agent_place import agent_place, calls, made, ours, rounds, told
from perdure_worker.embedded import EmbeddedStack

pytestmark = [pytest.mark.xdist_group("secrets"), pytest.mark.timeout(300)]
SCRIPT = str(Path(mcp_tools.__file__).resolve())
KEYED = '''
from typing import Annotated

from perdure_activities.tools import Secret, tool


@tool
def shows(key: Annotated[str, Secret()]) -> str:
    """Show what it was given."""
    return f"given: {key}"


@tool
def complains(key: Annotated[str, Secret()]) -> str:
    """Fail, and say with what."""
    raise ValueError(f"bad key {key}")
'''


async def test_complaint_30_what_tools_are_given_is_nowhere_to_be_read(stack: EmbeddedStack, tmp_path: Path) -> None:
    """A credential of a function and the environment of an MCP server; each is said by its tool, and by its errors."""
    key, token = (f"sk-{secrets.token_hex(20)}" for _ in range(2))
    (tmp_path / "keyed.py").write_text(KEYED)
    server = {"id": "desk", "command": [sys.executable, SCRIPT, "stdio"], "approval": "never"}
    server["env"] = {"SERVICE_KEY": {"env": "CANARY_TOKEN"}}
    tools = {
        "python": ["desk_tools.py", "keyed.py"],
        "mcp": [server],
        "allow_commands": [sys.executable],
        "credentials": {"canary": {"key": {"env": "CANARY_KEY"}}},
    }
    used = [ours(name, provider_id="keyed", credential="canary") for name in ("shows", "complains")]
    used += [{"provider_type": "mcp", "provider_id": "desk", "tool_name": name} for name in ("env", "crash")]
    names = [use["tool_name"] for use in used]
    hidden = (key, token)
    async with agent_place(stack, tmp_path, tools=tools, env={"CANARY_KEY": key, "CANARY_TOKEN": token}) as place:
        replies = [*(calls("function_calling", name, {}) for name in names), "Done."]
        handle = await place.start(used, replies, limits={"max_tool_failures_in_row": 0, "max_iteration": 9})
        result = await handle.result()
        assert (result.status, result.outputs["answer"]) == ("succeeded", "Done.")
        events = await told(handle)
        shown = {call["name"]: call for call in made(rounds(events))}
        assert [call["status"] for call in shown.values()] == ["done", "failed", "done", "failed"]
        # They were there to be said, and something was taken out.
        assert "given: ***" in shown["shows"]["observation"] and "bad key ***" in shown["complains"]["error"]
        assert "SERVICE_KEY" in str(await place.sent())
        history = await place.client.temporal.get_workflow_handle(handle.run_id).fetch_history()
        places = {
            "history": history.to_json() + await decoded(history.to_json_dict(), place.client),
            "events": "\n".join(event.model_dump_json() for event in events),
            "log": "\n".join([entry.event.model_dump_json() async for entry in handle.log(follow=False)]),
            "state": (await handle.status()).model_dump_json() + result.model_dump_json(),
            "model": str(await place.sent()),
        }
        store = Path(place.stack.store_url.removeprefix("sqlite:///"))
        assert "given: " in str(rows(store))
        left = rows(store)
    assert all("shows" in text for name, text in places.items() if name not in ("state",))
    assert leaking(places.items(), *hidden) == {}
    assert leaking(left.items(), *hidden) == {}
    assert leaks(f"x{key}", *hidden), "the search finds what it looks for"
