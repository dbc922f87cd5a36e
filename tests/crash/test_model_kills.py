"""Workers that are killed while models answer: no budget is passed, nothing is paid for twice, no text is doubled."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fakes import till
from fakes.mute_wire import MuteWire, mute_wire
from fakes.postgres import Postgres, binaries, postgres
from fakes.till import TOLD, UNIT, Books, Screen, asking, books, deployment, question, telling, write_models
from perdure import Client, RunHandle, RunResult
from perdure_fake import Entry, FakeProvider, Script
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

pytestmark = [pytest.mark.crash, pytest.mark.xdist_group("crash-models"), pytest.mark.timeout(300)]

CALLS = 200
MONEY_FOR = 50
FIFTY = "fifty/all"
# Some answers are there soon, some are on their way at every kill.
SPREAD = {"first": {"median": 1.0, "sigma": 1.0}, "chunk": 0.03}
STREAM = {"first": 0.1, "chunk": 0.08}


@dataclass
class Shop:
    """Workers on a store of their own, all of whose models a fake provider serves, and the books of that store."""

    stack: EmbeddedStack
    client: Client
    provider: FakeProvider
    books: Books

    async def strike(self, worker: int = 0) -> None:
        """Kill a worker, and start another in its place."""
        await self.stack.kill_worker(worker)
        await self.stack.restart_worker(worker)

    async def journal(self) -> list[Entry]:
        """Give the requests to the provider, once none of them goes on."""
        async with asyncio.timeout(30):
            while True:
                found = await self.provider.journal()
                if all(entry.done for entry in found):
                    return found
                await asyncio.sleep(0.05)

    async def started(self, requests: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(60):
            while len(await self.provider.journal()) < requests:
                await asyncio.sleep(0.02)

    async def answered(self, answers: int) -> None:
        """Wait until so many answers are kept."""
        async with asyncio.timeout(60):
            while len(await self.books.answers()) < answers:
                await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[EmbeddedStack]:
    """A Temporal server without workers."""
    settings = WorkerSettings(address=None, db=None, ui_port=None, task_queue="model-kills", graceful_shutdown_s=1.0)
    async with embedded(settings, workers=0) as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed here, or there is no user to run it as")
    with postgres() as running:
        yield running


# Only where the two databases go different ways; the rest is played on one of them.
on_both = pytest.mark.parametrize("store", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path}/runs.db"
    return await request.getfixturevalue("database").new_database()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(till.KEY, "sk-simulated")


@asynccontextmanager
async def shop(
    server: EmbeddedStack,
    store: str,
    file: Path,
    latency: dict[str, Any],
    *steps: dict[str, Any],
    workers: int = 1,
    address: str | None = None,
    **models: Any,
) -> AsyncGenerator[Shop]:
    """Open one. steps: what the provider says before its usual answer."""
    script = Script.model_validate({"steps": [*steps, {"reply": till.REPLY}], "latency": latency, "seed": 5})
    async with FakeProvider.start_process(script) as provider, books(store) as opened:
        given: dict[str, Any] = {"task_queue": f"till-{uuid.uuid4()}", "store": store, "store_limit_s": 4.0}
        given["models"] = write_models(file, deployment("only", provider), **models)
        given |= {"address": address or server.address, "blobs_create": False}
        async with embedded(server.settings.model_copy(update=given), workers=workers) as stack:
            client = Client(server.client, stack.task_queue, task_timeout=stack.task_timeout, store=store)
            yield Shop(stack, client, provider, opened)


async def ended(handles: list[RunHandle], seconds: float = 180) -> list[RunResult]:
    async with asyncio.timeout(seconds):
        return await asyncio.gather(*(handle.result() for handle in handles))


async def check_books(shop: Shop, handles: dict[int, RunHandle]) -> Counter[str]:
    """Compare the journal of the provider with the books, call by call; gives how many calls had which outcome."""
    journal, rows = await shop.journal(), await shop.books.rows()
    by_request = {entry.request_id: entry for entry in journal}
    number_of = {handle.run_id: number for number, handle in handles.items()}
    answers = [row for row in rows if row.outcome == "answer"]
    wasted = Counter(number_of[row.run_id] for row in rows if row.outcome == "wasted")
    assert len(answers) + wasted.total() == len(rows)

    # Every answer is one request that the provider has finished, and costs what the provider charges for it.
    assert len({row.request_id for row in answers}) == len(answers)
    answered = [by_request[row.request_id] for row in answers]
    assert all(entry.finished and entry.status == 200 for entry in answered)
    assert till.cost(answers) == till.billed(answered)
    assert [till.asked(entry) for entry in answered] == [question(number_of[row.run_id]) for row in answers]
    assert max(Counter(row.run_id for row in answers).values(), default=0) <= 1

    # Every other request is accounted as wasted, at no less than the provider charges for it.
    others = [entry for entry in journal if entry not in answered]
    failed = Counter(till.asked(entry) for entry in others)
    for number in handles:
        assert failed[question(number)] <= wasted[number], f"run {number}: a request is not accounted"
    assert till.billed(others) <= till.cost(row for row in rows if row.outcome == "wasted")

    # What was paid for is never asked again.
    kept = {answer.run_id: answer.created_at for answer in await shop.books.answers()}
    assert kept.keys() == {row.run_id for row in answers}
    for entry in journal:
        number = int(till.asked(entry).removeprefix("question ").removesuffix("."))
        assert entry.time * 1000 <= kept.get(handles[number].run_id, float("inf"))
    assert await shop.books.reserved() == 0
    return Counter(row.outcome for row in rows)


@on_both
async def test_workers_killed_at_random_never_pass_a_budget_and_leak_nothing(
    server: EmbeddedStack, store: str, tmp_path: Path
) -> None:
    chance, over = random.Random(3), asyncio.Event()
    fails = {"fault": {"row": 13}, "reply": till.REPLY, "times": 6}
    budget = {"name": "fifty", "money": till.money(MONEY_FOR)}
    async with shop(server, store, tmp_path / "models.yaml", SPREAD, fails, workers=2, budgets=[budget]) as it:

        async def watch() -> None:
            while not over.is_set():
                await it.books.look(FIFTY)
                await asyncio.sleep(0.05)

        watching = asyncio.create_task(watch())
        graph = asking()
        started = await asyncio.gather(*(it.client.start(graph, {"n": number}) for number in range(CALLS)))
        await it.answered(3)
        for _ in range(4):
            await asyncio.sleep(chance.uniform(0.0, 0.5))
            await it.strike(chance.randrange(2))
        results = await ended(started)
        spent = await it.books.look(FIFTY)
        over.set()
        await watching
        outcomes = await check_books(it, dict(enumerate(started)))

        assert it.books.looks > 50
        assert it.books.most[FIFTY] <= MONEY_FOR * UNIT
        # All of it was used, by answers or by calls that lost their worker, and nothing is held for ever.
        assert (spent.money, spent.reserved_money) == (MONEY_FOR * UNIT, 0)
        assert till.cost(await it.books.rows()) == spent.money
        assert till.billed(await it.journal()) <= spent.money
        succeeded = [result for result in results if result.status == "succeeded"]
        assert len(succeeded) == outcomes["answer"] > 0
        assert outcomes["wasted"] > 6, "the kills must hit calls on their way"
        for result in results:
            if result.status == "succeeded":
                assert result.outputs == {"text": till.TEXT}
                continue
            assert result.error is not None
            assert result.error.type == "BudgetExceededError", result.error
            assert "the budget 'fifty'" in result.error.message


async def test_runs_over_a_budget_wait_for_an_operator_whatever_dies(
    server: EmbeddedStack, store: str, tmp_path: Path
) -> None:
    runs, money_for, file = 24, 8, tmp_path / "models.yaml"
    budget: dict[str, Any] = {"name": "small", "when_over": "wait", "money": till.money(money_for)}
    async with shop(server, store, file, {"first": 1.0, "chunk": 0.02}, workers=2, budgets=[budget]) as it:
        graph = asking()
        started = await asyncio.gather(*(it.client.start(graph, {"n": number}) for number in range(runs)))
        await it.started(money_for // 2)
        await it.strike(0)
        held = await waiting(started)
        # The kill may hit all calls that there was money for: what was on its way is taken for spent.
        assert runs - money_for <= len(held) <= runs
        view = (await held[0].status()).held[0]
        assert (view.reason, view.error_type, view.key) == ("refused", "BudgetExceededError", "ask")
        assert "the budget 'small'" in view.error
        # Asked again it is refused again, and holds nothing meanwhile.
        await held[0].retry("ask")
        assert await waiting(held) == held
        assert (await it.books.look("small/all")).reserved_money == 0

        raised = budget | {"money": till.money(2 * runs)}
        write_models(file, deployment("only", it.provider), budgets=[raised])
        await asyncio.gather(it.strike(0), it.strike(1))
        await asyncio.gather(*(handle.retry("ask") for handle in held))
        results = await ended(started)
        assert {result.status for result in results} == {"succeeded"}
        outcomes = await check_books(it, dict(enumerate(started)))
        assert outcomes["answer"] == runs
        spent = await it.books.look("small/all")
        assert (spent.money, spent.reserved_money) == (outcomes.total() * UNIT, 0)


async def waiting(handles: list[RunHandle]) -> list[RunHandle]:
    """Wait until each of some runs has ended or holds, and give those that hold."""
    async with asyncio.timeout(60):
        while True:
            views = await asyncio.gather(*(handle.status() for handle in handles))
            if all(view.status == "succeeded" or view.held for view in views):
                return [handle for handle, view in zip(handles, views, strict=True) if view.held]
            await asyncio.sleep(0.2)


async def test_who_reads_along_ends_with_the_stored_answer_however_often_the_worker_dies(
    server: EmbeddedStack, store: str, tmp_path: Path
) -> None:
    async with shop(server, store, tmp_path / "models.yaml", STREAM) as it:
        handle = await it.client.start(telling(), query=question(1))
        screens = [Screen(), Screen()]
        reading = [asyncio.create_task(screen.read(handle)) for screen in screens]
        for kills in range(3):
            seen = screens[0].live
            async with asyncio.timeout(60):
                while screens[0].live < seen + 5 + 2 * kills:
                    await asyncio.sleep(0.01)
            await it.strike()
        late = asyncio.create_task(Screen().read(handle))
        async with asyncio.timeout(60):
            texts = await asyncio.gather(*reading, late)
        stored = (await handle.outputs())["answer"]
        assert [*texts, await Screen().read(handle)] == [stored] * 4
        assert stored == TOLD
        assert [screen.rewinds for screen in screens] == [3, 3]
        assert max(screen.longest for screen in screens) <= len(stored)
        outcomes = await check_books(it, {1: handle})
        assert outcomes == {"answer": 1, "wasted": 3}
        assert [entry.finished for entry in await it.journal()] == [False, False, False, True]
        assert sum(entry.aborted_by_client for entry in await it.journal()) == 3


@on_both
async def test_an_answer_that_was_kept_but_not_reported_is_not_paid_for_again(
    server: EmbeddedStack, store: str, tmp_path: Path
) -> None:
    async with mute_wire(server.address) as wire:
        latency = {"first": 0.3, "chunk": 0.02}
        async with shop(server, store, tmp_path / "models.yaml", latency, address=wire.address) as it:
            handle = await it.client.start(telling(), query=question(1))
            screen = Screen()
            reading = asyncio.create_task(screen.read(handle))
            await it.started(1)
            await dies_before_it_reports(it, wire)
            assert await completions(it, handle) == []
            await it.stack.restart_worker()
            async with asyncio.timeout(60):
                assert await reading == (await handle.outputs())["answer"] == TOLD
            assert await check_books(it, {1: handle}) == {"answer": 1}
            assert len(await it.journal()) == 1
            assert await completions(it, handle) == [2], "the second attempt reports what the first has paid for"
            assert screen.rewinds == 0


async def dies_before_it_reports(it: Shop, wire: MuteWire) -> None:
    """Let the worker finish its call, and kill it before anybody hears of that."""
    wire.mute()
    await it.answered(1)
    await it.stack.kill_worker()


async def completions(it: Shop, handle: RunHandle) -> list[int]:
    """Give by which attempt each call of a model was completed, as the history has it."""
    history = await it.client.temporal.get_workflow_handle(handle.run_id).fetch_history()
    asked = {
        event.event_id
        for event in history.events
        if event.activity_task_scheduled_event_attributes.activity_type.name == "invoke_model"
    }
    attempts = {
        event.event_id: event.activity_task_started_event_attributes.attempt
        for event in history.events
        if event.activity_task_started_event_attributes.scheduled_event_id in asked
    }
    return [
        attempts[event.activity_task_completed_event_attributes.started_event_id]
        for event in history.events
        if event.activity_task_completed_event_attributes.scheduled_event_id in asked
    ]


async def test_an_answer_that_came_but_was_not_kept_is_accounted_as_wasted(
    server: EmbeddedStack, store: str, tmp_path: Path
) -> None:
    budget = {"name": "fifty", "money": till.money(MONEY_FOR)}
    async with shop(server, store, tmp_path / "models.yaml", STREAM, budgets=[budget]) as it:
        handle = await it.client.start(telling(), query=question(1))
        screen = Screen()
        reading = asyncio.create_task(screen.read(handle))
        async with asyncio.timeout(60):
            while screen.live < 5:
                await asyncio.sleep(0.01)
        (pid,) = it.stack.worker_pids
        os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(60):
            while not (await it.provider.journal())[0].finished:
                await asyncio.sleep(0.05)
        assert await it.books.answers() == []
        await it.strike()
        async with asyncio.timeout(60):
            assert await reading == (await handle.outputs())["answer"] == TOLD
        # The one kill before the commit costs one call, and the budget knows of it.
        assert await check_books(it, {1: handle}) == {"answer": 1, "wasted": 1}
        assert [entry.finished for entry in await it.journal()] == [True, True]
        assert (await it.books.look(FIFTY)).money == 2 * UNIT == till.billed(await it.journal())


async def test_what_is_paid_for_under_random_kills_is_bounded_by_the_kills_that_came_before_the_commit(
    server: EmbeddedStack, store: str, tmp_path: Path
) -> None:
    chance, runs = random.Random(11), 30
    latency = {"first": {"median": 0.5, "sigma": 1.0}, "chunk": {"median": 0.03, "sigma": 1.0}}
    async with shop(server, store, tmp_path / "models.yaml", latency, workers=2) as it:
        graph = telling()
        started = await asyncio.gather(*(it.client.start(graph, query=question(number)) for number in range(runs)))
        handles = dict(enumerate(started))
        reading = [asyncio.create_task(Screen().read(handle)) for handle in started]
        open_at_kills = Counter[int]()
        await it.started(runs // 2)
        for _ in range(3):
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            worker = chance.randrange(2)
            await it.stack.kill_worker(worker)
            kept = {answer.run_id for answer in await it.books.answers()}
            open_at_kills.update(number for number, handle in handles.items() if handle.run_id not in kept)
            await it.stack.restart_worker(worker)
        results = await ended(started)
        async with asyncio.timeout(60):
            texts = await asyncio.gather(*reading)
        assert texts == [result.outputs["answer"] for result in results] == [TOLD] * runs
        outcomes = await check_books(it, handles)
        assert outcomes["answer"] == runs
        assert outcomes["wasted"] > 0, "the kills must hit calls on their way"
        completed = Counter(till.asked(entry) for entry in await it.journal() if entry.finished)
        for number in handles:
            assert 1 <= completed[question(number)] <= 1 + open_at_kills[number]
