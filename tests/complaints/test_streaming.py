"""Answers that break off: what is shown in the end is the whole answer of one model, wherever it came from."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from complaints.conftest import OwnWorker
from complaints.flows import client_of, events_of

from fakes import till
from fakes.till import TOLD, Screen, books, deployment, telling, write_models
from perdure import Client, RunHandle
from perdure_fake import FakeProvider, Script, key_hash
from perdure_graph.events import TextChunk, TextRewind
from perdure_worker.embedded import EmbeddedStack

# After the twentieth word.
BREAKS: dict[str, dict[str, Any]] = {
    "cut": {"row": "cut", "params": {"after": 20}},
    "reset": {"row": "cut", "params": {"after": 20, "how": "reset"}},
    "stall": {"row": "stalled", "params": {"after": 20}},
    "malformed": {"row": "bad_line", "params": {"after": 20}},
    "error": {"row": "error_in_stream", "params": {"after": 20}},
    "unfinished": {"row": "unfinished", "params": {"after": 20}},
}
KINDS = {"malformed": "protocol_error", "error": "overloaded"}
LATENCY = {"first": 0.02, "chunk": 0.01}
SECOND_KEY = f"{till.KEY}_2"
KEYS = {till.KEY: "sk-first", SECOND_KEY: "sk-second"}


@dataclass(frozen=True)
class Desk:
    """A worker, and the provider that its models are served by: `primary` and `other` are two keys of it."""

    stack: EmbeddedStack
    client: Client
    provider: FakeProvider

    async def says(self, *steps: dict[str, Any]) -> None:
        """Script the provider, and forget what was known of it."""
        script = {"steps": [*steps, {"reply": till.REPLY}], "latency": LATENCY}
        await self.provider.script(Script.model_validate(script))
        await self.provider.reset()
        # Answers are noted a moment later.
        await asyncio.sleep(0.5)
        async with books(self.stack.store_url) as opened:
            await opened.ledger.forgive(("primary", "other"))
        # So long a worker goes by what it knew before.
        await asyncio.sleep(1.1)

    async def faults(self, handle: RunHandle) -> Counter[tuple[str, str | None]]:
        """What the calls of a run are accounted as."""
        async with books(self.stack.store_url) as opened:
            return Counter((row.outcome, row.fault) for row in await opened.rows() if row.run_id == handle.run_id)


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider.start_process() as running:
        yield running


@pytest.fixture(scope="module", params=["alone", "with another"])
async def desk(
    request: pytest.FixtureRequest,
    own_worker: OwnWorker,
    provider: FakeProvider,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Desk]:
    """One where there is one deployment, and one where there are two."""
    # So heavy that it is asked first, whatever it was asked before.
    served = [deployment("primary", provider, weight=1000)]
    if request.param != "alone":
        served.append(deployment("other", provider, credential={"env": SECOND_KEY}))
    file: Path = tmp_path_factory.mktemp("models") / "models.yaml"
    # A stall is seen after a second, not after the half minute of the default.
    write_models(file, *served, timeouts={"between_s": 1})
    with pytest.MonkeyPatch.context() as patch:
        for name, secret in KEYS.items():
            patch.setenv(name, secret)
        async with own_worker(f"complaints-streams-{len(served)}", models=file) as stack:
            yield Desk(stack, client_of(stack), provider)


@pytest.mark.parametrize("kind", BREAKS)
async def test_complaint_27_a_stream_that_breaks_after_twenty_words_is_begun_again_or_elsewhere(
    desk: Desk, own_worker: OwnWorker, kind: str
) -> None:
    # Alone, a deployment recovers; where there is another one, the one that was asked first never does.
    twice = desk.stack.task_queue.endswith("2")
    fault = {"fault": BREAKS[kind], "reply": till.REPLY}
    broken = {"match": {"key": key_hash(KEYS[till.KEY])}, **fault} if twice else {**fault, "times": 1}
    await desk.says(broken)
    handle = await desk.client.start(telling(), query="say")
    screen = Screen()
    async with asyncio.timeout(60):
        text = await screen.read(handle)
    assert text == (await handle.outputs())["answer"] == TOLD
    assert screen.longest <= len(TOLD)
    assert await Screen().read(handle) == TOLD

    journal = await desk.provider.journal()
    by_key = Counter(entry.key for entry in journal)
    first, second = (key_hash(secret) for secret in KEYS.values())
    assert journal[-1].finished and journal[-1].text == till.TEXT
    assert journal[-1].key == (second if twice else first)
    broke = len(journal) - 1
    assert broke == by_key[first] - (not twice) >= 1
    assert screen.rewinds == broke
    # What broke off is accounted, and is no answer.
    failed = KINDS.get(kind, "stream_broken")
    assert await desk.faults(handle) == Counter({("answer", None): 1}) + Counter({("wasted", failed): broke})
    # What is recorded was never in doubt: the reader alone was shown what did not last.
    recorded = [event async for event in handle.events(live=False)]
    assert not [event for event in recorded if isinstance(event, TextRewind)]
    assert "".join(event.text for event in recorded if isinstance(event, TextChunk)) == TOLD
    assert [event.seq for event in recorded] == list(range(1, len(recorded) + 1))


async def test_complaint_27_a_stream_that_always_breaks_fails_the_node_and_leaves_no_text(
    desk: Desk, own_worker: OwnWorker
) -> None:
    await desk.says({"fault": BREAKS["malformed"], "reply": till.REPLY})
    handle = await desk.client.start(telling(), query="say")
    screen = Screen()
    async with asyncio.timeout(60):
        text = await screen.read(handle)
    result = await handle.result()
    assert result.status == "failed" and result.error is not None
    assert (result.error.node, "protocol_error" in result.error.message) == ("ask", True)
    assert till.WORDS[0] not in text
    assert (await desk.faults(handle)) == {("wasted", "protocol_error"): len(await desk.provider.journal())}
    assert not [event for event in await events_of(handle) if isinstance(event, TextChunk) and "w1" in event.text]
