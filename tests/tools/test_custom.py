"""Python functions as tools."""

from __future__ import annotations

import asyncio
import enum
import threading
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from tools.support import context

from perdure_activities.tools import Attachment, Secret, Setting, ToolCallContext, ToolFault, tool
from perdure_activities.tools.schema import spec_of
from perdure_graph.agents.tools import FileOut, JsonOut, LinkOut, TextOut


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Place(BaseModel):
    lat: float
    lon: float = 0.0


@dataclass
class Found:
    name: str
    on: date


@tool(provider="shop", approval="required", sequential=True, retry="never", timeout_s=7, label="Order")
async def order(
    item: str,
    count: Annotated[int, Field(description="How many", ge=1)] = 1,
    colour: Color = Color.RED,
    speed: Literal["slow", "fast"] = "slow",
    places: list[Place] | None = None,
    copy: bool = False,
    *,
    shop: Annotated[str, Setting()] = "main",
    key: Annotated[str, Secret()],
    context: ToolCallContext,
) -> dict[str, Any]:
    """Order something.

    It is delivered.

    Args:
        item: What to order,
            by its name.
        copy (bool): Whether to send a copy.

    Returns:
        The order.
    """
    where = [type(place).__name__ for place in places or []]
    return {
        "i": item,
        "n": count,
        "c": colour.name,
        "p": where,
        "s": shop,
        "k": len(key),
        "key": context.key,
        "copy": copy,
    }


def test_what_a_function_says_of_itself() -> None:
    declared = order.declaration
    assert (declared.provider_id, declared.name, declared.label) == ("shop", "order", "Order")
    assert (declared.approval, declared.sequential, declared.retry, declared.timeout_s) == (
        "required",
        True,
        "never",
        7,
    )
    assert declared.description == "Order something.\n\nIt is delivered."
    forms = {one.name: (one.type, one.form) for one in declared.parameters if one.form == "form"}
    assert forms == {"shop": ("string", "form"), "key": ("secret-input", "form")}
    schema = spec_of(declared, "order").parameters
    assert [*schema["properties"]] == ["item", "count", "colour", "speed", "places", "copy"]
    assert schema["required"] == ["item"]
    assert schema["properties"]["item"]["description"] == "What to order, by its name."
    assert schema["properties"]["copy"]["description"] == "Whether to send a copy."
    assert schema["properties"]["count"]["minimum"] == 1
    assert "Place" in schema["$defs"]


async def test_it_is_called_with_values_of_its_types(tmp_path: Path) -> None:
    given = {"item": "tea", "count": 2, "colour": "blue", "places": [{"lat": 1}], "copy": True}
    (part,) = await order.run(given, {"shop": "side"}, context(tmp_path, secrets={"key": "s3cret"}))
    assert isinstance(part, JsonOut)
    assert part.value == {
        "i": "tea", "n": 2, "c": "BLUE", "p": ["Place"], "s": "side", "k": 6, "key": "run/k#1", "copy": True,
    }  # fmt: skip


async def test_a_missing_secret_and_a_wrong_value(tmp_path: Path) -> None:
    with pytest.raises(ToolFault, match="needs 'key'") as caught:
        await order.run({"item": "tea"}, {}, context(tmp_path))
    assert caught.value.kind == "credentials"
    with pytest.raises(ToolFault, match="count") as caught:
        await order.run({"item": "tea", "count": 0}, {}, context(tmp_path, secrets={"key": "s"}))
    assert caught.value.kind == "bad_arguments"


async def test_plain_functions_run_beside_the_loop(tmp_path: Path) -> None:
    @tool
    def where() -> str:
        return threading.current_thread().name

    (part,) = await where.run({}, {}, context(tmp_path))
    assert isinstance(part, TextOut)
    assert part.text != threading.main_thread().name
    assert where() == threading.current_thread().name


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (None, []),
        ("text", [TextOut(text="text")]),
        (3, [TextOut(text="3")]),
        ([1, "a"], [JsonOut(value=[1, "a"])]),
        ({"d": date(2024, 1, 2)}, [JsonOut(value={"d": "2024-01-02"})]),
        (Found("x", date(2024, 1, 2)), [JsonOut(value={"name": "x", "on": "2024-01-02"})]),
        (Place(lat=1), [JsonOut(value={"lat": 1.0, "lon": 0.0})]),
        (LinkOut(url="https://x"), [LinkOut(url="https://x")]),
        (["see", LinkOut(url="https://x")], [TextOut(text="see"), LinkOut(url="https://x")]),
    ],
)
async def test_what_a_function_gives(tmp_path: Path, given: Any, parts: list[Any]) -> None:
    @tool
    async def it() -> Any:
        return given

    assert await it.run({}, {}, context(tmp_path)) == parts


async def test_attachments_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_FILES_DIR", str(tmp_path / "files"))

    @tool
    def draw() -> Attachment:
        return Attachment(b"png", "a.png", "image/png")

    (part,) = await draw.run({}, {}, context(tmp_path))
    assert isinstance(part, FileOut)
    assert (part.file["type"], part.file["filename"], part.file["size"]) == ("image", "a.png", 3)


async def test_errors_are_the_tool_s(tmp_path: Path) -> None:
    @tool
    async def bad() -> None:
        await asyncio.sleep(0)
        raise KeyError("gone")

    @tool
    def odd() -> object:
        return object()

    with pytest.raises(ToolFault, match="KeyError: 'gone'") as caught:
        await bad.run({}, {}, context(tmp_path))
    assert caught.value.kind == "invoke"
    with pytest.raises(ToolFault, match="is no JSON"):
        await odd.run({}, {}, context(tmp_path))


def test_functions_that_cannot_be_tools() -> None:
    with pytest.raises(TypeError, match="named parameters only"):

        @tool
        def star(*args: int) -> None: ...

    with pytest.raises(TypeError, match="no JSON Schema"):

        @tool
        def odd(x: threading.Lock) -> None: ...  # type: ignore
