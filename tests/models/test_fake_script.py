"""The script, the journal, limits and times of the fake provider; its process and its command line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import openai as o
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import ValidationError

from perdure_fake import FakeProvider, Fault, Latency, Match, Rates, Reply, Script, Step, key_hash
from perdure_fake.http import Request
from perdure_fake.journal import Entry, Journal
from perdure_fake.play import Sent


@pytest.fixture(scope="module")
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider.start_process() as running:
        yield running


async def say(fake: FakeProvider, text: str = "hi", *, key: str = "sk-1", model: str = "m", **more: Any) -> str:
    async with AsyncOpenAI(api_key=key, base_url=fake.openai_url, max_retries=0) as client:
        messages: Any = [{"role": "user", "content": text}]
        reply: Any = await client.chat.completions.create(model=model, messages=messages, **more)
        return reply.choices[0].message.content


async def test_the_first_step_that_matches_and_is_not_used_up(fake: FakeProvider) -> None:
    steps: list[Any] = [
        {"match": {"contains": "once"}, "reply": "first", "times": 1},
        {"match": {"contains": "once", "nth": 3}, "reply": "third"},
        {"match": {"model": "gpt-*"}, "reply": "a gpt"},
        {"match": {"key": key_hash("sk-2")}, "reply": "the second key"},
        {"match": {"wire": "anthropic-messages"}, "reply": "never here"},
        {"match": {"has_tool": "find"}, "reply": "with a tool"},
        {"reply": "any"},
    ]
    await fake.script(Script.model_validate({"steps": steps}))
    assert [await say(fake, "once") for _ in range(4)] == ["first", "any", "third", "any"]
    assert await say(fake, model="gpt-9") == "a gpt"
    assert await say(fake, key="sk-2") == "the second key"
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}
    assert await say(fake, tools=[tool]) == "with a tool"
    await fake.reset()
    assert (await say(fake, "once"), len(await fake.journal())) == ("first", 1)


async def test_a_turn_is_told_by_the_conversation(fake: FakeProvider) -> None:
    steps: list[Any] = [{"match": {"turn": turn}, "reply": f"answer {turn}"} for turn in (1, 2)]
    await fake.script(Script.model_validate({"steps": steps}))
    call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": "{}"}}
    said: list[Any] = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "found"},
    ]
    async with AsyncOpenAI(api_key="sk-1", base_url=fake.openai_url, max_retries=0) as client:
        for length, answer in ((1, "answer 1"), (3, "answer 2"), (1, "answer 1"), (3, "answer 2")):
            reply = await client.chat.completions.create(model="m", messages=said[:length])
            assert reply.choices[0].message.content == answer
        # One answer in two pieces: over this wire each is an item of its own.
        items: list[Any] = [
            said[0],
            {"role": "assistant", "content": "let me see"},
            {"type": "function_call", "call_id": "c", "name": "find", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "found"},
        ]
        assert (await client.responses.create(model="m", input=items)).output_text == "answer 2"


async def test_keys_are_in_the_journal_only_as_hashes(fake: FakeProvider) -> None:
    await fake.reset()
    canary = "sk-canary-4711"
    await say(fake, "hello", key=canary)
    async with AsyncAnthropic(
        api_key=canary, base_url=fake.anthropic_url, max_retries=0, default_headers={"x-api-key": canary}
    ) as client:
        await client.messages.create(model="c", max_tokens=9, messages=[{"role": "user", "content": "hello"}])
    async with httpx2.AsyncClient() as raw:
        told = (await raw.get(f"{fake.url}/__journal")).text
    assert canary not in told
    assert {entry.key for entry in await fake.journal()} == {key_hash(canary)}


async def test_the_journal_is_exact_under_200_calls_at_once(fake: FakeProvider) -> None:
    await fake.script(
        Script(steps=(Step(match=Match(contains="7"), fault=Fault(row=13)),), latency=Latency(first=0.05))
    )  # type: ignore[arg-type]
    await fake.reset()
    limits = httpx2.Limits(max_connections=300)
    async with o.DefaultAsyncHttpxClient(limits=limits) as http:
        client = AsyncOpenAI(api_key="k", base_url=fake.openai_url, max_retries=0, http_client=http)

        async def one(number: int) -> int:
            messages: Any = [{"role": "user", "content": f"call {number}"}]
            try:
                reply = await client.chat.completions.create(model="m", messages=messages)
            except o.InternalServerError:
                return 0
            assert reply.usage is not None
            return reply.usage.total_tokens

        tokens = await asyncio.gather(*map(one, range(200)))
    entries = await fake.journal()
    bodies = sorted(entry.body["messages"][0]["content"] for entry in entries)  # type: ignore[index, call-overload]
    assert bodies == sorted(f"call {number}" for number in range(200))
    failed = [entry for entry in entries if entry.fault == 13]
    assert len(failed) == sum("7" in str(number) for number in range(200))
    assert all(entry.done and entry.finished for entry in entries)
    assert sum(tokens) == sum(entry.usage.prompt + entry.usage.completion for entry in entries if entry.usage)
    assert [entry.n for entry in entries] == list(range(1, 201))
    assert [entry.n for entry in await fake.journal(since=198)] == [199, 200]
    spans = [(entry.started_at, entry.ended_at or 0) for entry in entries if entry.fault is None]
    assert max(sum(start <= at < end for start, end in spans) for at, _ in spans) > 20, "the calls were not at once"


async def test_the_journal_forgets_the_oldest_and_counts_on() -> None:
    journal = Journal(most=3, most_bytes=1000)

    def ask(size: int = 10) -> Entry:
        return journal.open("w", Request("POST", "/", {}, {}, b"x" * size), "", {"model": "m"})

    def kept(since: int = 0) -> list[int]:
        return [entry.n for entry in journal.since(since)]

    first = ask()
    assert [ask().n for _ in range(4)] == [2, 3, 4, 5]
    assert (kept(), kept(3), kept(4), kept(5), kept(99)) == ([3, 4, 5], [4, 5], [5], [], [])
    journal.close(first, Sent(text=["y" * 2000]), None, whole=True, gone=False)
    assert kept() == [3, 4, 5], "what is forgotten takes no room"
    third = journal.since(2)[0]
    journal.close(third, Sent(text=["y" * 960]), None, whole=True, gone=False)
    assert kept() == [3, 4, 5]
    assert ask(11).n == 6
    assert kept() == [4, 5, 6]
    ask(990)
    assert kept() == [7]
    ask(5000)
    assert kept() == [8], "the last one is kept, however large"
    ask()
    assert kept() == [9]


async def test_requests_run_out_and_come_back(fake: FakeProvider) -> None:
    await fake.script(Script(rates=Rates(requests_per_min=120)))
    async with httpx2.AsyncClient(base_url=fake.url, headers={"authorization": "Bearer sk-1"}) as raw:
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        replies = [await raw.post("/v1/chat/completions", json=body) for _ in range(130)]
        good = [reply for reply in replies if reply.status_code == 200]
        assert 120 <= len(good) < 130
        left = [int(reply.headers["x-ratelimit-remaining-requests"]) for reply in good]
        assert (left[0], left[-1]) == (119, 0)
        refused = replies[-1]
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        wait = float(refused.headers["retry-after-ms"]) / 1000
        assert 0 < wait <= 0.5
        other = await raw.post("/v1/chat/completions", json=body, headers={"authorization": "Bearer sk-2"})
        assert other.status_code == 200
        await asyncio.sleep(wait + 0.05)
        assert (await raw.post("/v1/chat/completions", json=body)).status_code == 200


async def test_tokens_and_calls_at_once_are_limited_too(fake: FakeProvider) -> None:
    await fake.script(Script(rates=Rates(tokens_per_min=600), steps=(Step(reply=Reply(text="word " * 700)),)))
    version = {"anthropic-version": "2026-10-21", "x-api-key": "k"}
    async with httpx2.AsyncClient(base_url=fake.url, headers=version) as raw:
        body = {"model": "m", "max_tokens": 900, "messages": [{"role": "user", "content": "hi"}]}
        first = await raw.post("/v1/messages", json=body)
        assert first.headers["anthropic-ratelimit-tokens-limit"] == "600"
        assert first.headers["anthropic-ratelimit-tokens-remaining"] == "0"
        datetime.strptime(first.headers["anthropic-ratelimit-tokens-reset"], "%Y-%m-%dT%H:%M:%SZ")
        second = await raw.post("/v1/messages", json=body)
        assert (second.status_code, second.json()["error"]["type"]) == (429, "rate_limit_error")
        assert 10 <= int(second.headers["retry-after"]) <= 13
    await fake.script(Script(rates=Rates(concurrent=2), latency=Latency(first=0.3)))  # type: ignore[arg-type]
    told = await asyncio.gather(*(say(fake, f"{n}") for n in range(4)), return_exceptions=True)
    assert sum(isinstance(one, o.RateLimitError) for one in told) == 2
    assert await say(fake) is not None


async def test_times_follow_the_model_and_its_seed(fake: FakeProvider) -> None:
    steps = (Step(reply=Reply(chunks=("a", "b", "c", "d"))),)

    async def times(seed: int, latency: dict[str, Any]) -> list[float]:
        await fake.script(Script(steps=steps, latency=Latency.model_validate(latency), seed=seed))
        await fake.reset()
        async with AsyncOpenAI(api_key="k", base_url=fake.openai_url, max_retries=0) as client:
            started = time.monotonic()
            messages: Any = [{"role": "user", "content": "hi"}]
            stream: Any = await client.chat.completions.create(model="m", messages=messages, stream=True)
            seen = [time.monotonic() - started async for chunk in stream if chunk.choices[0].delta.content]
            entry = (await fake.journal())[0]
        assert entry.first_text_at is not None
        assert abs((entry.first_text_at - started) - seen[0]) < 0.1, "the clocks are not the same"
        assert seen[-1] >= entry.simulated_s
        return [entry.simulated_s, *seen]

    fixed = await times(1, {"first": 0.1, "chunk": 0.05})
    assert fixed[0] == pytest.approx(0.25)
    assert fixed[1] >= 0.1
    assert fixed[4] >= 0.25
    paced = await times(1, {"tokens_per_s": 20})
    assert paced[0] == pytest.approx(0.15)
    spread = {"first": {"median": 0.02, "sigma": 0.8}, "chunk": {"median": 0.01, "sigma": 0.5}}
    one, again, other = [(await times(seed, spread))[0] for seed in (1, 1, 2)]
    assert one == again != other


async def test_a_client_that_leaves_is_seen_within_a_second(fake: FakeProvider) -> None:
    await fake.script(Script(steps=(Step(reply=Reply(text="word " * 100)),), latency=Latency(chunk=10.0)))  # type: ignore[arg-type]
    await fake.reset()
    async with AsyncOpenAI(api_key="k", base_url=fake.openai_url, max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "hi"}]
        stream: Any = await client.chat.completions.create(model="m", messages=messages, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break
        await stream.close()
        left = time.monotonic()
        while not (entry := (await fake.journal())[0]).done:
            await asyncio.sleep(0.02)
    assert (entry.aborted_by_client, entry.finished, entry.text) == (True, False, "word")
    assert entry.aborted_at is not None
    assert entry.aborted_at - left < 1.0
    assert entry.usage is not None
    assert (entry.usage.completion, entry.usage.prompt > 0) == (1, True)


async def test_whole_replies_take_their_time_and_leaving_is_seen_there_too(fake: FakeProvider) -> None:
    await fake.script(Script(latency=Latency(first=30.0)))  # type: ignore[arg-type]
    await fake.reset()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await say(fake)
    await asyncio.sleep(0.3)
    entry = (await fake.journal())[0]
    assert (entry.aborted_by_client, entry.usage) == (True, None)


async def test_a_script_that_is_none_is_refused(fake: FakeProvider) -> None:
    for wrong in ({"steps": [{}]}, {"steps": [{"reply": {"text": "a", "chunks": ["b"]}}]}, {"step": []}):
        with pytest.raises(ValidationError):
            Script.model_validate(wrong)
    async with httpx2.AsyncClient(base_url=fake.url) as raw:
        assert (await raw.post("/__script", json={"steps": [{"fault": 99}]})).status_code == 400
        assert (await raw.post("/__other")).status_code == 404


async def started(*options: str, **pipes: Any) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "perdure_fake", *options, stdout=asyncio.subprocess.PIPE, **pipes
    )
    assert process.stdout is not None
    return process, json.loads(await asyncio.wait_for(process.stdout.readline(), 20))


async def test_the_command_line(tmp_path: Path) -> None:
    script = tmp_path / "script.yaml"
    script.write_text("steps:\n- match: {contains: weather}\n  reply: It rains.\n- fault: 13\n")
    reading, writing = os.pipe()
    options = ("--script", str(script), "--ready-fd", str(writing))
    process, urls = await started(*options, pass_fds=(writing,))
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert json.loads(pipe.readline()) == urls
        assert pipe.read() == "", "the pipe was left open"
    assert urls["pid"] == process.pid
    assert urls["openai_url"].startswith("http://127.0.0.1:")
    async with AsyncOpenAI(api_key="k", base_url=urls["openai_url"], max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "How is the weather?"}]
        reply = await client.chat.completions.create(model="m", messages=messages)
        assert reply.choices[0].message.content == "It rains."
        with pytest.raises(o.InternalServerError):
            await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "else"}])
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 5) == 0


async def test_it_ends_with_the_pipe_of_its_parent_even_in_mid_stream() -> None:
    process, urls = await started("--until-stdin-closes", stdin=asyncio.subprocess.PIPE)
    async with httpx2.AsyncClient(base_url=urls["url"]) as raw:
        await raw.post("/__script", json={"steps": [{"fault": 38}]})
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        request = raw.build_request("POST", "/v1/chat/completions", json=body, headers={"authorization": "Bearer k"})
        reply = await raw.send(request, stream=True)
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 5) == 0
        await reply.aclose()


async def test_a_script_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perdure_fake", "--script", str(tmp_path / "none.yaml")), stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert (process.returncode, b"none.yaml" in said) == (2, True)


async def test_a_fake_ends_with_its_block() -> None:
    async with FakeProvider.start_process(Script(steps=(Step(reply=Reply(text="from a process")),))) as own:
        assert await say(own) == "from a process"
        os.kill(own.pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(own.pid, 0)
    with pytest.raises(ValueError, match="no fault"):
        async with FakeProvider.start_process(Script(steps=(Step(fault=Fault(row=77)),))):
            pass
