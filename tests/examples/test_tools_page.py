"""docs/tools.md: its tools file is read, its function is a tool, and it knows all keys and tools that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from perdure_activities.tools.approval import ApprovalRule, Condition
from perdure_activities.tools.builtin import builtin_sources
from perdure_activities.tools.config import SearchEndpoint, ToolsConfig, Wikipedia
from perdure_activities.tools.mcp.config import McpServer
from perdure_activities.tools.openapi.config import OpenAPISource
from perdure_activities.tools.protocol import ToolCallContext
from perdure_activities.tools.registry import ToolRegistry
from perdure_graph.agents.config import ToolType, ToolUse
from perdure_graph.agents.tools import TextOut

PAGE = (Path(__file__).parents[2] / "docs" / "tools.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def block(language: str) -> str:
    (text,) = [text for kind, text in BLOCK.findall(PAGE) if kind == language]
    return text


async def test_the_files_of_the_page_are_as_they_must_be(tmp_path: Path) -> None:
    (tmp_path / "tools.yml").write_text(block("yaml"))
    (tmp_path / "order_tools.py").write_text(block("python"))
    config = ToolsConfig.of_file(tmp_path / "tools.yml")
    assert (len(config.openapi), len(config.mcp), len(config.approval)) == (1, 2, 3)
    use = ToolUse(provider_type="custom", provider_id="orders", tool_name="refund")
    registry = ToolRegistry(config.model_copy(update={"python": (str(tmp_path / "order_tools.py"),)}))
    refund = await registry.find(use)
    shown = {one.name: one for one in refund.declaration.parameters}
    assert [name for name, one in shown.items() if one.form == "llm"] == ["order_id", "amount"]
    assert shown["amount"].description == "How much."
    assert registry.approval(use, refund.declaration) == "policy"
    assert registry.asks(use, {"order_id": "A1", "amount": 1})
    assert not registry.asks(use, {"order_id": "A1", "amount": 1, "currency": "EUR"})
    context = ToolCallContext(key="k", run_id="r", folder=tmp_path, timeout_s=5, secrets={"key": "s"})
    (part,) = await refund.run({"order_id": "A1", "amount": 2}, {"shop": "side"}, context)
    assert isinstance(part, TextOut)
    assert part.text == "2.00 of A1 were paid back by side."
    await registry.close()


@pytest.mark.parametrize(
    "part", [ToolsConfig, OpenAPISource, McpServer, SearchEndpoint, Wikipedia, ApprovalRule, Condition]
)
def test_the_page_names_every_key(part: type[BaseModel]) -> None:
    assert [name for name in part.model_fields if f"`{name}`" not in PAGE] == []


def test_the_page_names_every_tool_that_comes_along() -> None:
    for source in builtin_sources(ToolsConfig(), {}):
        assert f"`{source.provider_id}`" in PAGE
    assert [kind for kind in get_args(ToolType) if f"`{kind}`" not in PAGE] == []
