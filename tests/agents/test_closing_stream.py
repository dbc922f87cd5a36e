"""What readers see of a round that was asked for without tools, though its model writes calls into its text."""

from __future__ import annotations

from pathlib import Path

import pytest
from agents.desk import CHAT, PLAIN, config, desk, first, tool

from perdure_graph.agents.config import AgentModel
from perdure_graph.agents.markup import without_calls
from perdure_graph.models.effects import StreamTo

CALL = '<tool_call>{"name": "search", "arguments": {"query": "x"}}</tool_call>'
TEXT = f"It is a < b.\n\n{CALL}\n\nWritten `<tool_call>`:\n```\n{CALL}\n```\nThat is all. {CALL}"


@pytest.mark.parametrize(
    ("model", "said"), [(CHAT, TEXT), (PLAIN, f"Thought: enough.\nFinal Answer: {TEXT}")], ids=["functions", "react"]
)
async def test_readers_see_no_call_in_a_closing_round(tmp_path: Path, model: AgentModel, said: str) -> None:
    async with desk(tmp_path, tool("search")) as d:
        await d.says(said)
        agent = config(model, "search")
        more = {"stream": StreamTo(node_id="agent", selector=("agent", "text"))}
        effect = first(agent, await d.open(agent), closing=True, note="Enough.", **more)
        answer = await d.ask(effect)
        rows = await d.support.models.ledger.deltas("r", "agent", "r1")
        assert rows[-1].done
        assert "".join(row.text for row in rows) == without_calls(answer.text)
        # The message of the thread, and what is read from it, stay as the model wrote them.
        assert answer.text.count(CALL) == 3


async def test_other_rounds_are_read_as_they_are_written(tmp_path: Path) -> None:
    async with desk(tmp_path, tool("search")) as d:
        await d.says(TEXT)
        agent = config(CHAT, "search")
        effect = first(agent, await d.open(agent), stream=StreamTo(node_id="agent", selector=("agent", "text")))
        answer = await d.ask(effect)
        rows = await d.support.models.ledger.deltas("r", "agent", "r1")
        assert "".join(row.text for row in rows) == answer.text == TEXT
