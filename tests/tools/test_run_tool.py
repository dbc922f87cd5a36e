"""`run_tool`: every kind of end of a call is a result; what may be tried again is; the thread holds it once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from tools.support import call, perform, support, written

from perdure_activities.tools import Secret, Setting, ToolCallContext, ToolFault, tool
from perdure_activities.tools.activity import ATTEMPTS, run_tool
from perdure_activities.tools.config import ToolsConfig
from perdure_graph.agents.limits import digest
from perdure_graph.agents.tools import FileOut, JsonOut, LinkOut, TextOut, ToolPart, VariableOut
from perdure_graph.models.messages import ToolMessage, text_of
from perdure_graph.values import FILE_IDENTITY
from perdure_store.run_folders import folder_of

KEY = "sk-very-secret-key"
calls: list[Any] = []


@tool(provider="mine", retry="keyed", timeout_s=0.2)
async def act(
    how: str,
    *,
    level: Annotated[str, Setting()] = "low",
    key: Annotated[str, Secret()],
    context: ToolCallContext,
) -> Sequence[ToolPart] | str:
    """Do as told."""
    calls.append((how, level, context.key, context.attempt, context.user))
    match how:
        case "slow":
            await asyncio.sleep(30)
        case "soon":
            raise ToolFault("invoke", f"busy with {key}", retryable=True)
        case "never":
            raise ToolFault("session_lost", "the session is gone")
        case "bug":
            raise RuntimeError(f"key {key} is bad")
        case "long":
            return "ä" * 50_000
        case "picture":
            return [LinkOut(url="https://x/a.png", image=True)]
        case "parts":
            file = {"dify_model_identity": FILE_IDENTITY, "type": "document", "filename": "a.txt"}
            return [
                TextOut(text=f"said {key}"),
                JsonOut(value={"k": [key], "ü": 1}),
                LinkOut(url="https://x"),
                FileOut(file=file),  # type: ignore
                VariableOut(name="v", value=1),
            ]
        case _:
            return f"did {how}"
    return ""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ToolsConfig:
    module = ModuleType("perdure_tests_mine")
    module.act = act  # type: ignore
    monkeypatch.setitem(sys.modules, "perdure_tests_mine", module)
    calls.clear()
    return written(tmp_path, "python: [perdure_tests_mine]\ncredentials: {mine: {key: {env: KEY}}}\n")


def asked(how: str, **fields: Any) -> Any:
    return call("mine", "act", fields.pop("arguments", {"how": how}), provider_type="custom", **fields)


ENVIRON = {"KEY": KEY}


async def test_a_result_is_in_the_thread_and_only_its_beginning_in_the_reply(
    config: ToolsConfig, tmp_path: Path
) -> None:
    async with support(tmp_path, config, ENVIRON) as given:
        result = await perform(given, asked("long", user="u1", parameters={"level": "high"}, max_bytes=9_000))
        assert (result.kept, len(result.text), result.error_kind, result.parts) == (True, 501, None, ())
        (stored,) = (await given.threads.pick("run/agent", [2])).values()
        message = ToolMessage.model_validate(stored)
        assert (message.call_id, message.name) == ("c1", "act")
        assert len(text_of(message).encode()) <= 9_000
        assert (result.size, result.digest) == (len(text_of(message)), digest(text_of(message)))
        assert "left out" in text_of(message)
        assert calls == [("long", "high", "run/k#1", 1, "u1")]


async def test_a_store_that_is_away_leaves_it_to_the_run(config: ToolsConfig, tmp_path: Path) -> None:
    async with support(tmp_path, config, ENVIRON, store="off") as given:
        result = await perform(given, asked("long", max_bytes=5_000))
        assert not result.kept
        assert 4_900 < len(result.text.encode()) <= 5_000


async def test_a_call_that_an_earlier_attempt_made_is_not_made_again(config: ToolsConfig, tmp_path: Path) -> None:
    async with support(tmp_path, config, ENVIRON) as given:
        await perform(given, asked("a"))
        again = await perform(given, asked("b"), attempt=2)
        assert (again.text, again.kept, len(calls)) == ("did a", True, 1)
        other = await perform(given, asked("b", call_id="c2", position=3), attempt=2)
        assert (other.text, len(calls)) == ("did b", 2)


async def test_two_attempts_at_once_agree_on_the_first(config: ToolsConfig, tmp_path: Path) -> None:
    async with support(tmp_path, config, ENVIRON) as given:
        await perform(given, asked("a"))
        assert (await perform(given, asked("b"))).text == "did a"


async def test_a_graph_gets_the_parts(config: ToolsConfig, tmp_path: Path) -> None:
    async with support(tmp_path, config, ENVIRON) as given:
        result = await perform(given, asked("parts", thread="", call_id=""))
        assert [part.type for part in result.parts] == ["text", "json", "link", "file", "variable"]
        assert result.parts[1] == JsonOut(value={"k": ["********"], "ü": 1})
        assert result.text.splitlines() == [
            "said ********",
            'tool response: {"k": ["********"], "ü": 1}.',
            "result link: https://x. Tell the user to open it.",
            "Generated file 'a.txt'; the user has it.",
        ]
        assert KEY not in result.model_dump_json()
        assert not result.kept


async def test_pictures_are_files_and_left_to_the_agent(config: ToolsConfig, tmp_path: Path) -> None:
    async with support(tmp_path, config, ENVIRON) as given:
        result = await perform(given, asked("picture"))
        assert [(file["type"], file["url"]) for file in result.files] == [("image", "https://x/a.png")]
        assert not result.kept
        assert "shown to the user already" in result.text


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("slow", "timeout", "gave no result within"),
        ("never", "session_lost", "the session is gone"),
        ("bug", "invoke", "RuntimeError: key ******** is bad"),
    ],
)
async def test_faults_are_results(config: ToolsConfig, tmp_path: Path, how: str, kind: str, said: str) -> None:
    async with support(tmp_path, config, ENVIRON) as given:
        result = await perform(given, asked(how, timeout_s=0.3))
        assert result.error_kind == kind
        assert said in result.error
        assert said in result.text
        assert not result.kept
        assert not result.worth_keeping()
        assert KEY not in result.model_dump_json()


async def test_what_may_soon_be_over_is_tried_again_a_few_times(config: ToolsConfig, tmp_path: Path) -> None:
    async with support(tmp_path, config, ENVIRON) as given:
        for attempt in range(1, ATTEMPTS):
            with pytest.raises(ApplicationError) as caught:
                await perform(given, asked("soon"), attempt)
            assert (caught.value.type, caught.value.non_retryable) == ("ToolFault", False)
            assert KEY not in f"{caught.value}{caught.value.__cause__}"
        assert (await perform(given, asked("soon"), ATTEMPTS)).error == "busy with ********"
        assert (await perform(given, asked("soon", retry="never"))).error_kind == "invoke"


async def test_what_must_not_be_repeated_is_not(config: ToolsConfig, tmp_path: Path) -> None:
    async with support(tmp_path, config, ENVIRON) as given:
        result = await perform(given, asked("a", retry="never"), attempt=2)
        assert "not known whether" in result.error
        assert calls == []


async def test_arguments_are_checked_again_and_settings_are_out_of_reach(config: ToolsConfig, tmp_path: Path) -> None:
    async with support(tmp_path, config, ENVIRON) as given:
        for arguments, said in (
            ({}, "'how' must be given"),
            ({"how": ["x"]}, "$.how"),
            ({"how": "a", "level": "root"}, "'level' cannot be set"),
            ({"how": "a", "key": "x"}, "'key' cannot be set"),
        ):
            result = await perform(given, asked("", arguments=arguments))
            assert result.error_kind == "bad_arguments"
            assert said in result.text
        assert calls == []
        assert (await perform(given, asked("", arguments={"how": 3}))).text == "did 3"


async def test_missing_secrets_are_told(config: ToolsConfig, tmp_path: Path) -> None:
    async with support(tmp_path, config, {}) as given:
        result = await perform(given, asked("a"))
        assert (result.error_kind, calls) == ("credentials", [])
        assert "the variable KEY" in result.text


async def test_unknown_tools_and_graphs_as_tools(config: ToolsConfig, tmp_path: Path) -> None:
    async with support(tmp_path, config, ENVIRON) as given:
        assert (await perform(given, call("mine", "gone", provider_type="custom"))).error_kind == "unknown_tool"
        (tmp_path / "a.yml").write_text("name: helper\nmodel: {provider: openai, name: gpt-x}\n")
    config = written(tmp_path, "agents: {helper: a.yml}")
    async with support(tmp_path, config, ENVIRON) as given:
        result = await perform(given, call("helper", "ask", {"query": "q"}, provider_type="agent", thread=""))
        assert result.child is not None
        assert result.child.agent is not None
        result = await perform(given, call("helper", "ask", {"query": "q"}, provider_type="agent"))
        assert result.error_kind == "refused"


async def test_cancelling_ends_the_tool(config: ToolsConfig, tmp_path: Path) -> None:
    async with support(tmp_path, config, ENVIRON) as given:
        task = asyncio.create_task(perform(given, asked("slow", timeout_s=60)))
        while not calls:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_without_support_the_worker_says_so() -> None:
    with pytest.raises(ApplicationError, match="perdure worker"):
        await ActivityEnvironment().run(run_tool, call("time", "current_time"))


def test_each_run_has_a_folder_of_its_own() -> None:
    root = Path("/runs")
    assert folder_of(root, "run-1.a") == root / "run-1.a"
    others = {folder_of(root, name) for name in ("", "..", "a/b", "../../etc", "x" * 300, "a\0", ".hidden", "~a")}
    assert len(others) == 8
    assert all(other.parent == root and other.name.startswith("~") for other in others)
