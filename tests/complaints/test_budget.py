"""Budgets hold whatever asks at once and whatever dies: what a call may cost is set aside before it is sent."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from complaints.conftest import OwnWorker
from complaints.flows import client_of

from fakes import till
from fakes.till import UNIT, Books, asking, books, deployment, write_models
from perdure import Client, Graph, RunHandle, RunResult
from perdure_fake import FakeProvider, Script
from perdure_store.ledger_records import UsageRow
from perdure_worker.embedded import EmbeddedStack

MONEY_FOR = 10
RUNS = 40
# Each test spends the money of users, or runs, of its own.
BUDGETS: list[dict[str, Any]] = [
    {"name": "ten", "per": "user", "match": "ten-*", "money": till.money(MONEY_FOR)},
    {"name": "two", "per": "user", "match": "two-*", "money": till.money(2)},
    {"name": "all", "per": "tenant", "match": "shared", "money": till.money(MONEY_FOR)},
    {"name": "three", "per": "run", "match": "three-*", "money": till.money(3.5)},
]


@dataclass(frozen=True)
class Shop:
    """Two workers, the provider that serves their models, and the books of their store."""

    stack: EmbeddedStack
    client: Client
    provider: FakeProvider
    books: Books

    async def says(self, *steps: dict[str, Any], first: float = 0.05) -> None:
        """Script the provider: some steps before its usual answer, and how long that takes."""
        latency = {"first": {"median": first, "sigma": 0.5}, "chunk": 0.01}
        usual: dict[str, Any] = {"reply": till.REPLY}
        await self.provider.script(Script.model_validate({"steps": [*steps, usual], "latency": latency}))
        await self.provider.reset()
        await self.books.ledger.forgive(["only"])

    async def started(self, runs: int, user: str, graph: Graph | None = None, **more: Any) -> list[RunHandle]:
        """Start runs, all at once."""
        flow = graph or asking()
        starting = (self.client.start(flow, {"n": number}, user=user, **more) for number in range(runs))
        return await asyncio.gather(*starting)

    async def bodies(self) -> list[dict[str, Any]]:
        """Give what the provider was asked."""
        return [entry.body for entry in await self.provider.journal() if isinstance(entry.body, dict)]

    async def rows(self, runs: list[RunHandle]) -> list[UsageRow]:
        """Give what calls of some runs are accounted as, the first attempts first."""
        ids = {run.run_id for run in runs}
        return sorted((row for row in await self.books.rows() if row.run_id in ids), key=lambda row: row.attempt)


@pytest.fixture(scope="module")
async def shop(own_worker: OwnWorker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """One for all tests of this file."""
    folder = tmp_path_factory.mktemp("budgets")
    async with FakeProvider.start_process() as provider, books(f"sqlite:///{folder}/runs.db") as opened:
        file = write_models(folder / "models.yaml", deployment("only", provider), budgets=BUDGETS)
        given: dict[str, Any] = {"models": file, "store": opened.recorder.url, "store_limit_s": 4.0}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(till.KEY, "sk-simulated")
            async with own_worker(f"budget-{uuid.uuid4()}", workers=2, **given) as mine:
                yield Shop(mine, client_of(mine), provider, opened)


async def ended(runs: list[RunHandle]) -> tuple[int, list[str]]:
    """Wait for the end of runs; how many succeeded, and why the others did not."""
    async with asyncio.timeout(90):
        results: list[RunResult] = await asyncio.gather(*(run.result() for run in runs))
    failed = [result.error for result in results if result.status != "succeeded"]
    assert {error.type for error in failed if error} <= {"BudgetExceededError"}
    return len(results) - len(failed), [error.message for error in failed if error]


async def test_complaint_28_calls_at_once_spend_what_there_is_and_no_more(own_worker: OwnWorker, shop: Shop) -> None:
    await shop.says(first=0.3)
    succeeded, why = await ended(await shop.started(RUNS, "ten-1"))
    assert succeeded == len(await shop.provider.journal()) == MONEY_FOR
    assert len(why) == RUNS - MONEY_FOR
    for message in why:
        assert "the budget 'ten' of user 'ten-1' (0.20 USD) does not allow this call" in message
        assert "Raise the budget" in message
    spent = await shop.books.look("ten/user:ten-1")
    assert (spent.money, spent.reserved_money, await shop.books.reserved()) == (MONEY_FOR * UNIT, 0, 0)


async def test_complaint_28_what_was_set_aside_and_not_used_comes_back(own_worker: OwnWorker, shop: Shop) -> None:
    # Each sets aside four times what it costs: five at once fit beside what the waves before have spent.
    await shop.says({"reply": {"text": "short", "usage": {"prompt": 12, "completion": till.TOKENS // 4}}})
    wave = MONEY_FOR // 2
    for number in range(1, 5):
        assert await ended(await shop.started(wave, "ten-2")) == (wave, [])
        spent = await shop.books.look("ten/user:ten-2")
        assert (spent.money, spent.reserved_money) == (number * wave * UNIT // 4, 0)
    assert till.billed(await shop.provider.journal()) == spent.money


async def test_complaint_28_attempts_that_fail_count_for_what_may_be_charged(own_worker: OwnWorker, shop: Shop) -> None:
    busy = {"fault": {"row": "server_error"}, "reply": till.REPLY, "times": 1}
    broken = {"fault": {"row": "cut", "params": {"after": 20}}, "reply": till.REPLY, "times": 1}
    await shop.says(busy, broken)
    runs = await shop.started(1, "ten-3")
    assert await ended(runs) == (1, [])
    rows = await shop.rows(runs)
    assert [(row.outcome, row.fault) for row in rows] == [
        ("wasted", "server_error"),
        ("wasted", "stream_broken"),
        ("answer", None),
    ]
    refused, cut, whole = (till.cost([row]) for row in rows)
    assert (refused, whole) == (0, UNIT)
    assert UNIT // 2 == till.billed([(await shop.provider.journal())[1]]) <= cut <= UNIT
    spent = await shop.books.look("ten/user:ten-3")
    assert (spent.money, spent.reserved_money) == (cut + whole, 0)


async def test_complaint_28_retries_do_not_get_past_a_budget(own_worker: OwnWorker, shop: Shop) -> None:
    # All of each answer is sent, and charged, but it never says that it has ended.
    await shop.says({"fault": {"row": "unfinished"}, "reply": till.REPLY})
    retries = {"retry_enabled": True, "max_retries": 10, "retry_interval": 100}
    runs = await shop.started(1, "anybody", asking(retry_config=retries), run_id=f"three-{uuid.uuid4()}")
    succeeded, why = await ended(runs)
    assert succeeded == 0 and "the budget 'three' of run" in why[0]
    journal = await shop.provider.journal()
    spent = await shop.books.look(f"three/run:{runs[0].run_id}")
    assert len(journal) == 3
    assert (spent.money, spent.reserved_money) == (till.billed(journal), 0) == (3 * UNIT, 0)


async def test_complaint_28_what_is_set_aside_is_what_the_server_is_told(own_worker: OwnWorker, shop: Shop) -> None:
    # A server that knows the limit of an answer by its older name only: the second request says it so.
    refuses = {"fault": {"row": "bad_parameter", "params": {"param": "max_completion_tokens"}}, "reply": till.REPLY}
    await shop.says(refuses)
    runs = await shop.started(2, "two-old")
    assert await ended(runs) == (2, [])
    limits = [(body.get("max_completion_tokens"), body.get("max_tokens")) for body in await shop.bodies()]
    assert set(limits) == {(till.TOKENS, None), (None, till.TOKENS)}
    assert (await shop.books.look("two/user:two-old")).money == 2 * UNIT


async def test_complaint_28_every_budget_that_a_call_counts_against_holds(own_worker: OwnWorker, shop: Shop) -> None:
    await shop.says()
    users = ("two-ann", "two-bob", "two-eve")
    runs = await asyncio.gather(*(shop.started(4, user, tenant="shared") for user in users))
    succeeded, why = await ended([run for each in runs for run in each])
    assert succeeded == len(await shop.provider.journal()) == 6
    assert [sum(f"the budget 'two' of user {user!r}" in message for message in why) for user in users] == [2, 2, 2]
    # What one budget refused holds nothing of the other.
    spent = await shop.books.look("all/tenant:shared")
    assert (spent.money, spent.reserved_money, await shop.books.reserved()) == (6 * UNIT, 0, 0)
    succeeded, why = await ended(await shop.started(8, "anybody", tenant="shared"))
    assert succeeded == 4
    assert all("the budget 'all' of tenant 'shared'" in message for message in why)


async def test_complaint_28_a_worker_that_dies_frees_nothing_that_may_be_charged(
    own_worker: OwnWorker, shop: Shop
) -> None:
    await shop.says(first=1.5)
    runs = await shop.started(RUNS, "ten-4")
    async with asyncio.timeout(60):
        while len(await shop.provider.journal()) < MONEY_FOR:
            await shop.books.look("ten/user:ten-4")
            await asyncio.sleep(0.02)
    await shop.stack.kill_worker(0)
    await shop.stack.restart_worker(0)
    succeeded, why = await ended(runs)
    outcomes = Counter(row.outcome for row in await shop.rows(runs))
    assert (succeeded, len(why)) == (outcomes["answer"], RUNS - outcomes["answer"])
    assert outcomes["wasted"] > 0, "the kill must hit calls on their way"
    assert len(await shop.provider.journal()) == outcomes.total() == MONEY_FOR
    spent = await shop.books.look("ten/user:ten-4")
    assert (spent.money, spent.reserved_money, await shop.books.reserved()) == (MONEY_FOR * UNIT, 0, 0)
    assert shop.books.most["ten/user:ten-4"] <= MONEY_FOR * UNIT
    assert till.billed(await shop.provider.journal()) <= spent.money
