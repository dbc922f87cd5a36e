"""The whole runtime against the fake provider: all wires over real sockets, accounting equal to its journal."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fakes.adapters import KEY, ask
from fakes.http_server import listening
from perdure_activities.models.config import ModelsConfig
from perdure_activities.models.failover import LocatedFault
from perdure_activities.models.runtime import Runtime
from perdure_fake import FakeProvider, Script
from perdure_graph.models.effects import StreamTo
from perdure_graph.models.messages import AnswerSchema
from perdure_payloads.keys import KeyRing
from perdure_store.ledger import Ledger
from perdure_store.recorder import Recorder

WIRES = ("openai-chat", "openai-responses", "anthropic-messages")
ANSWER = AnswerSchema(schema={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})


def served(fake: FakeProvider, wire: str, name: str = "", **more: Any) -> dict[str, Any]:
    """A deployment of the fake provider."""
    anthropic = wire == "anthropic-messages"
    given: dict[str, Any] = {"provider": "anthropic" if anthropic else "openai", "wire": wire, "name": name or wire}
    given |= {"base_url": fake.openai_url, "allow_private": True, "credential": {"env": "CANARY"}}
    return given | more


@asynccontextmanager
async def opened(folder: Path, **config: Any) -> AsyncIterator[Runtime]:
    recorder = Recorder(f"sqlite:///{folder}/runs.db", limit_s=4.0)
    given = {"timeouts": {"first_token_s": 5, "between_s": 1}} | config
    runtime = Runtime.open(ModelsConfig.model_validate(given), Ledger(recorder), KeyRing(), environ={"CANARY": KEY})
    try:
        yield runtime
    finally:
        await runtime.close()
        await recorder.close()


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider.start_here() as running:
        yield running


def model(wire: str) -> dict[str, str]:
    anthropic = wire == "anthropic-messages"
    return {
        "provider": "anthropic" if anthropic else "openai",
        "model": "claude-haiku-4-5" if anthropic else "gpt-5.4-mini",
    }


@pytest.mark.parametrize("wire", WIRES)
async def test_an_answer_over_each_wire(fake: FakeProvider, tmp_path: Path, wire: str) -> None:
    async with opened(tmp_path, deployments=[served(fake, wire)]) as runtime:
        await runtime.warm()
        effect = ask("what is up", stream=StreamTo(node_id="k", selector=("k", "text")), **model(wire))
        answer = await runtime.invoke(effect, 1)
        assert answer.simulated
        assert "what is up" in answer.text
        rows = await runtime.ledger.deltas("run-1", "", "k")
        assert "".join(row.text for row in rows) == answer.text
        assert rows[-1].done
        found = await runtime.invoke(ask("Paris", key="k2", answer=ANSWER, **model(wire)), 1)
        assert isinstance((found.structured or {})["city"], str)
        usage = (await runtime.ledger.usage()).rows
        journal = [entry for entry in await fake.journal() if entry.status == 200]
        assert sum(row.prompt_tokens for row in usage) == sum(entry.usage.prompt for entry in journal)
        assert sum(row.completion_tokens for row in usage) == sum(entry.usage.completion for entry in journal)
        assert all(float(row.price) > 0 and row.simulated for row in usage)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_key_that_is_refused_hands_over_to_the_next(fake: FakeProvider, tmp_path: Path, wire: str) -> None:
    await fake.script(Script.model_validate({"steps": [{"match": {"wire": wire}, "fault": 5, "times": 1}]}))
    deployments = [served(fake, wire, name) for name in ("one", "two")]
    async with opened(tmp_path, deployments=deployments) as runtime:
        answer = await runtime.invoke(ask(**model(wire)), 1)
        rows = (await runtime.ledger.usage()).rows
        assert Counter((row.outcome, row.fault) for row in rows) == {("answer", None): 1, ("wasted", "auth"): 1}
        assert answer.deployment in ("one", "two")
        assert [entry.status for entry in await fake.journal()] == [401, 200]


async def test_another_provider_takes_over(fake: FakeProvider, tmp_path: Path) -> None:
    steps = [{"match": {"wire": "anthropic-messages"}, "fault": 16}]
    await fake.script(Script.model_validate({"steps": steps}))
    async with opened(
        tmp_path,
        deployments=[served(fake, "anthropic-messages"), served(fake, "openai-chat")],
        fallbacks=[{"from": "anthropic/*", "to": ["openai/gpt-5.4-mini"]}],
    ) as runtime:
        answer = await runtime.invoke(ask(**model("anthropic-messages")), 1)
        assert (answer.provider, answer.model) == ("openai", "gpt-5.4-mini")


@asynccontextmanager
async def counted(fake: FakeProvider) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Stand before the fake provider and pass bytes on; gives the URL, and what each connection sent."""
    port = int(fake.url.rpartition(":")[2])
    sent: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(sent)
        sent.append(b"")
        back, forth = await asyncio.open_connection("127.0.0.1", port)
        passing = asyncio.create_task(_pass(back, writer))
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                sent[number] += data
                forth.write(data)
        forth.close()
        await passing

    async with listening(handle) as served:
        yield f"http://127.0.0.1:{served}/v1", sent


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@pytest.mark.parametrize("wire", WIRES)
async def test_the_first_call_finds_an_open_connection(fake: FakeProvider, tmp_path: Path, wire: str) -> None:
    async with counted(fake) as (url, sent):
        one = served(fake, wire, base_url=url, headers={"X-Secret": "sk-header-canary"})
        async with opened(tmp_path, deployments=[one]) as runtime:
            await runtime.warm()
            (warmed,) = sent
            assert warmed.startswith(b"HEAD /")
            assert not any(secret in warmed.lower() for secret in (b"sk-", b"authorization", b"api-key", b"x-secret"))
            assert await fake.journal() == []
            assert (await runtime.invoke(ask("what is up", **model(wire)), 1)).simulated
            assert len(sent) == 1
            assert KEY.encode() in sent[0]
            assert b"sk-header-canary" in sent[0]


async def test_a_server_that_is_silent_is_not_waited_for(
    fake: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure_activities.models.stream.wire._WARM_S", 0.2)

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass

    async with listening(silent) as port:
        one = served(fake, "openai-chat", base_url=f"http://127.0.0.1:{port}/v1")
        timeouts = {"first_token_s": 60, "between_s": 60}
        async with opened(tmp_path, deployments=[one], timeouts=timeouts) as runtime:
            await asyncio.wait_for(runtime.warm(), 10.0)


async def test_a_deployment_without_its_key_is_not_connected_to(fake: FakeProvider, tmp_path: Path) -> None:
    async with counted(fake) as (url, sent):
        one = served(fake, "openai-chat", base_url=url, credential={"env": "NOT_SET"})
        other = served(fake, "openai-chat", "other", base_url=url)
        async with opened(tmp_path, deployments=[one, other]) as runtime:
            await runtime.warm()
            assert len(sent) == 1


async def test_nobody_listens_and_the_bytes_never_come(fake: FakeProvider, tmp_path: Path) -> None:
    gone = served(fake, "openai-chat", "gone", base_url=f"{fake.refused_url}/v1")
    async with opened(tmp_path, deployments=[gone]) as runtime:
        await runtime.warm()
        with pytest.raises(LocatedFault) as caught:
            await runtime.invoke(ask(**model("openai-chat")), 1)
        assert caught.value.kind == "connection"
        (row,) = (await runtime.ledger.usage()).rows
        assert (row.outcome, row.prompt_tokens) == ("wasted", 0)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_broken_stream_is_a_new_epoch(fake: FakeProvider, tmp_path: Path, wire: str) -> None:
    steps = [{"match": {"wire": wire}, "fault": 21, "times": 1}]
    await fake.script(Script.model_validate({"steps": steps}))
    effect = ask("please answer at length", stream=StreamTo(node_id="k", selector=("k", "text")), **model(wire))
    async with opened(tmp_path, deployments=[served(fake, wire)]) as runtime:
        with pytest.raises(LocatedFault) as caught:
            await runtime.invoke(effect, 1)
        assert caught.value.kind == "stream_broken"
        answer = await runtime.invoke(effect, 2)
        assert answer.epoch == 2
        rows = await runtime.ledger.deltas("run-1", "", "k", min_epoch=2)
        assert "".join(row.text for row in rows) == answer.text
        wasted = [row for row in (await runtime.ledger.usage()).rows if row.outcome == "wasted"]
        assert [(row.fault, row.estimated) for row in wasted] == [("stream_broken", True)]


async def test_calls_at_once_each_leave_out_what_the_server_refuses(fake: FakeProvider, tmp_path: Path) -> None:
    refuses = {"fault": {"row": "bad_parameter", "params": {"param": "max_completion_tokens"}}, "reply": {"text": "ok"}}
    # All are on their way before the first is refused: what one has learned was not left out of the others.
    await fake.script(Script.model_validate({"steps": [refuses], "latency": {"first": 0.5}}))
    async with opened(tmp_path, deployments=[served(fake, "openai-chat")]) as runtime:
        asked = [ask(key=f"k{n}", parameters={"max_tokens": 5}, provider="openai", model="gpt-4o") for n in range(5)]
        answers = await asyncio.gather(*(runtime.invoke(effect, 1) for effect in asked))
        assert [answer.text for answer in answers] == ["ok"] * 5
        assert Counter("max_completion_tokens" in entry.body for entry in await fake.journal()) == {True: 5, False: 5}


async def test_a_cancelled_call_ends_at_the_provider(fake: FakeProvider, tmp_path: Path) -> None:
    latency = {"first": 0.0, "chunk": 0.05}
    script = {"steps": [{"reply": {"text": "word " * 400}}], "latency": latency}
    await fake.script(Script.model_validate(script))
    async with opened(tmp_path, deployments=[served(fake, "openai-chat")]) as runtime:
        task = asyncio.create_task(runtime.invoke(ask(**model("openai-chat")), 1))
        async with asyncio.timeout(30):
            while not await fake.journal():
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(15):
            while not (await fake.journal())[0].aborted_by_client:
                await asyncio.sleep(0.05)
        assert len(await fake.journal()) == 1
        (row,) = (await runtime.ledger.usage()).rows
        assert (row.outcome, row.fault) == ("wasted", "cancelled")


async def test_money_for_fifty(fake: FakeProvider, tmp_path: Path) -> None:
    reply = {"text": "ok", "usage": {"prompt": 10, "completion": 5}}
    await fake.script(Script.model_validate({"steps": [{"reply": reply}]}))
    async with opened(
        tmp_path,
        deployments=[served(fake, "openai-chat")],
        budgets=[{"name": "b", "per": "flow", "money": "1000"}],
        prices={"*": {"input": 1_000_000, "output": 2_000_000}},
        # A call that a busy machine is slow to read would be one that failed, and may be charged.
        timeouts={"first_token_s": 60, "between_s": 60},
    ) as runtime:

        async def one(n: int) -> bool:
            for attempt in range(1, 1000):
                try:
                    await runtime.invoke(
                        ask(key=f"k{n}", parameters={"max_tokens": 5}, **model("openai-chat")), attempt
                    )
                except LocatedFault:
                    spent = (await runtime.ledger.spent(["b/flow:flow"]))["b/flow:flow"]
                    if spent.money > 940 * 10**9:
                        return False
                    await asyncio.sleep(0.05)
                else:
                    return True
            return False

        done = Counter(await asyncio.gather(*(one(n) for n in range(200))))
        spent = (await runtime.ledger.spent(["b/flow:flow"]))["b/flow:flow"]
        billed = [entry for entry in await fake.journal() if entry.status == 200]
        assert spent.reserved_money == 0
        assert len(billed) == done[True]
        assert spent.money == 20 * 10**9 * len(billed)
        assert 47 <= len(billed) <= 50
