"""An agent of many rounds with long observations: they are stored once, and its histories grow with its rounds."""

from __future__ import annotations

import base64
import json
import random
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from temporalio.api.history.v1 import HistoryEvent

from perdure import AgentConfig, Client, RunHandle, RunOptions
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

pytestmark = pytest.mark.xdist_group("agents-long")

ROUNDS = 60
FEWER = 24
PAGE_BYTES = 20_000
MOST_BYTES = 4_000_000
OPENING = -1

# What does not compress: a page that is somewhere in a history shows in its size.
TOOL = f'''
import base64, random
from perdure_activities.tools import tool

@tool(retry="safe")
def read_page(number: int) -> str:
    """Read a page of a long report."""
    return base64.b64encode(random.Random(number).randbytes({PAGE_BYTES * 3 // 4})).decode()
'''


def page(number: int) -> str:
    return base64.b64encode(random.Random(number).randbytes(PAGE_BYTES * 3 // 4)).decode()


def reader(task: str) -> AgentConfig:
    return AgentConfig.model_validate(
        {
            "name": "reader",
            "model": {"provider": "openai", "name": "gpt-4o"},
            "instruction": f"Task: {task}.",
            "tools": [{"provider_type": "custom", "provider_id": "pages", "tool_name": "read_page"}],
            "limits": {"max_iteration": ROUNDS + 1},
        }
    )


def steps(task: str, rounds: int) -> list[dict[str, Any]]:
    """A page in each round, then the answer."""
    calls = [[{"name": "read_page", "arguments": {"number": number}}] for number in range(1, rounds + 1)]
    replies = [{"text": "Next.", "tool_calls": call} for call in calls] + [{"text": f"Read {rounds}."}]
    return [
        {"match": {"contains": f"Task: {task}.", "turn": number}, "reply": reply}
        for number, reply in enumerate(replies, 1)
    ]


@dataclass
class Library:
    client: Client
    stack: EmbeddedStack

    async def read(self, task: str, options: RunOptions) -> RunHandle:
        """Run an agent to its end."""
        handle = await self.client.start_agent(reader(task), "What does it say?", options=options)
        result = await handle.result()
        assert (result.status, result.outputs["end"]) == ("succeeded", "answer")
        return handle

    async def histories(self, run_id: str) -> list[list[HistoryEvent]]:
        """All histories of a run, in order."""
        found: list[list[HistoryEvent]] = []
        described = await self.stack.client.get_workflow_handle(run_id).describe()
        here = described.raw_description.workflow_execution_info.first_run_id
        while here:
            handle = self.stack.client.get_workflow_handle(run_id, run_id=here)
            found.append([event async for event in handle.fetch_history_events()])
            here = found[-1][-1].workflow_execution_continued_as_new_event_attributes.new_execution_run_id
        return found

    def thread(self, run_id: str) -> list[tuple[int, dict[str, Any]]]:
        """The rows of the thread of a run."""
        path = Path(self.stack.store_url.removeprefix("sqlite:///"))
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as store:
            query = "SELECT position, message FROM thread_messages WHERE run_id = ? ORDER BY position"
            return [(position, json.loads(message)) for position, message in store.execute(query, (run_id,))]


def rounds_of(histories: list[list[HistoryEvent]]) -> list[int]:
    """Bytes of each round: from where its model is asked to where that of the next is."""
    sizes: list[int] = []
    for event in (event for history in histories for event in history):
        if event.activity_task_scheduled_event_attributes.activity_type.name == "ask_round":
            sizes.append(0)
        if sizes:
            sizes[-1] += event.ByteSize()
    return sizes


def size_of(history: list[HistoryEvent]) -> int:
    return sum(event.ByteSize() for event in history)


def check_thread(thread: list[tuple[int, dict[str, Any]]], rounds: int) -> None:
    """Each message stands once, at its place: the opening, the query, call and page of each round, the answer."""
    assert [position for position, _ in thread] == list(range(OPENING, 2 * rounds + 2))
    messages = [message for _, message in thread[1:]]
    assert [message["role"] for message in messages] == ["user", *["assistant", "tool"] * rounds, "assistant"]
    texts = [message["content"][0]["text"] for message in messages if message["role"] == "tool"]
    assert texts == [page(number) for number in range(1, rounds + 1)]


@pytest.fixture(scope="module")
async def library(
    stack: EmbeddedStack, worker_settings: WorkerSettings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Library]:
    folder = tmp_path_factory.mktemp("long")
    (folder / "pages.py").write_text(TOOL)
    (folder / "tools.yml").write_text(yaml.safe_dump({"python": ["pages.py"]}))
    script = {"steps": [*steps("whole", ROUNDS), *steps("in parts", FEWER)]}
    (folder / "script.yml").write_text(yaml.safe_dump(script))
    update: dict[str, Any] = {"address": stack.address, "task_queue": "agents-long", "tools": folder / "tools.yml"}
    # A store that a busy machine keeps waiting would be away, and the run would hold what it has not taken.
    update |= {"demo_model": "start", "demo_script": folder / "script.yml", "store_limit_s": 4.0}
    async with embedded(worker_settings.model_copy(update=update)) as own:
        yield Library(Client(own.client, own.task_queue, store=own.store_url), own)


async def test_sixty_rounds_of_long_observations_stand_once_and_the_history_grows_with_the_rounds(
    library: Library,
) -> None:
    handle = await library.read("whole", RunOptions())
    histories = await library.histories(handle.run_id)
    sizes, total = rounds_of(histories), sum(map(size_of, histories))
    shown = ", ".join(f"round {number}: {sizes[number - 1]:,}" for number in (1, 2, 20, 40, ROUNDS))
    print(f"{total:,} bytes of history for {ROUNDS} rounds of {PAGE_BYTES:,} bytes; {shown}")

    check_thread(library.thread(handle.run_id), ROUNDS)
    assert len(sizes) == ROUNDS + 1
    assert total < MOST_BYTES
    # A page in each round, or one more of anything from round to round, would show.
    assert sorted(sizes)[ROUNDS // 2] < PAGE_BYTES / 2
    third = ROUNDS // 3
    assert sum(sizes[-third - 1 : -1]) < 1.1 * sum(sizes[:third])
    # The model was sent all of it all the same.
    prompts = [thought.usage["prompt_tokens"] for thought in await handle.thoughts()]
    assert len(prompts) == ROUNDS + 1
    assert prompts[2 * third] > 2 * third * PAGE_BYTES / 8


async def test_an_agent_moves_to_fresh_histories_between_its_rounds(library: Library) -> None:
    handle = await library.read("in parts", RunOptions(continue_after_events=30))
    histories = await library.histories(handle.run_id)
    begins = [event.ByteSize() for event, *_ in histories]
    print(f"{len(histories)} histories for {FEWER} rounds; they begin with {begins} bytes")

    check_thread(library.thread(handle.run_id), FEWER)
    assert len(histories) > 5
    assert len(rounds_of(histories)) == FEWER + 1
    # No round was asked for twice because its history ended around it.
    thoughts = await handle.thoughts()
    assert [thought.position for thought in thoughts] == list(range(1, FEWER + 2))
    # What goes along are the last events, and of no page more than its beginning.
    assert max(begins) < FEWER * PAGE_BYTES / 4
    assert sum(map(size_of, histories)) < MOST_BYTES
