"""Complaint 29: one key over its limit stopped everything; another provider never took over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from complaints.conftest import OwnWorker
from complaints.flows import client_of

from fakes.graphs import document, end, node, start
from perdure import Client, Graph
from perdure_fake import Entry, FakeProvider, Script, key_hash
from perdure_store.ledger import Ledger
from perdure_store.ledger_records import Health, UsageRow
from perdure_store.read import Store
from perdure_store.recorder import Recorder
from perdure_worker.embedded import EmbeddedStack

KEYS = {"FIRST_KEY": "sk-failover-first-0001", "SECOND_KEY": "sk-failover-second-0002"}
FIRST, SECOND = (key_hash(key) for key in KEYS.values())
# What is wrong with both keys of the provider, the fault that it is, and what it is called.
WRONG: dict[str, tuple[int, str]] = {
    "limited": (1, "rate_limited"),
    "broken": (13, "server_error"),
    "down": (15, "overloaded"),
    "overloaded": (16, "overloaded"),
    "silent": (19, "timeout"),
}
ONE_WRONG = ("cools", "busy")


@dataclass(frozen=True)
class Shop:
    """A worker whose models are served with two keys of one provider, and by another provider."""

    client: Client
    provider: FakeProvider
    stack: EmbeddedStack

    async def ask(self, model: str) -> tuple[dict[str, Any], list[UsageRow]]:
        """Run a flow that asks a model; give its outputs, and what it used, oldest first."""
        drawn = {"provider": "openai", "name": model, "mode": "chat", "completion_params": {}}
        say = node("say", "llm", model=drawn, prompt_template=[{"role": "user", "text": "hello"}])
        flow = document([start(), say, end(text=["say", "text"])], [("start", "say"), ("say", "end")])
        handle = await self.client.start(Graph.from_document(flow))
        outputs = await handle.outputs()
        async with Store.open(self.stack.store_url) as store:
            rows = (await store.usage(run_id=handle.run_id)).rows
        return outputs, sorted(rows, key=lambda row: (row.at, row.id))

    async def asked(self, model: str) -> list[Entry]:
        """The requests for a model, in order."""
        return await self.provider.journal(model=model)

    async def health(self, deployment: str) -> Health:
        """How a deployment is doing."""
        recorder = Recorder(self.stack.store_url, limit_s=4.0)
        try:
            return (await Ledger(recorder).health([deployment]))[deployment]
        finally:
            await recorder.close()


def models_file(provider: FakeProvider) -> dict[str, Any]:
    """Two keys of one provider, the first much preferred, for each model; another provider for some of them."""
    openai = {"provider": "openai", "wire": "openai-chat", "base_url": provider.openai_url, "allow_private": True}
    claude = {"provider": "anthropic", "base_url": provider.anthropic_url, "allow_private": True}
    deployments: list[dict[str, Any]] = [{"name": "other", "credential": {"env": "FIRST_KEY"}, **claude}]
    for model in (*WRONG, *ONE_WRONG):
        named = openai | {"models": [model]}
        deployments.append(named | {"name": f"{model}-1", "credential": {"env": "FIRST_KEY"}, "weight": 100})
        deployments.append(named | {"name": f"{model}-2", "credential": {"env": "SECOND_KEY"}})
    fallbacks = [{"from": f"openai/{model}", "to": [f"anthropic/claude-for-{model}"]} for model in WRONG]
    timeouts = {"first_token_s": 4}
    return {"deployments": deployments, "fallbacks": fallbacks, "timeouts": timeouts}


def script() -> Script:
    """Both keys have the fault for some models; the first one has had it once for the others."""
    steps: list[dict[str, Any]] = [
        {"match": {"model": model}, "fault": {"row": row}} for model, (row, _kind) in WRONG.items()
    ]
    for model, wait in (("cools", 12), ("busy", 60)):
        fault = {"row": 1, "params": {"retry_after": wait}}
        steps.append({"match": {"model": model, "key": FIRST}, "fault": fault, "times": 1})
    return Script.model_validate({"steps": [*steps, {"reply": {"text": "fine"}}]})


@pytest.fixture(scope="module")
async def shop(own_worker: OwnWorker, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """One for all tests of this file; each has a model of its own."""
    folder: Path = tmp_path_factory.mktemp("failover")
    async with FakeProvider.start_process(script()) as provider:
        path = folder / "models.yaml"
        path.write_text(yaml.safe_dump(models_file(provider)))
        with pytest.MonkeyPatch.context() as patch:
            for name, key in KEYS.items():
                patch.setenv(name, key)
            async with own_worker("complaints-failover", models=path, store=f"sqlite:///{folder}/runs.db") as stack:
                yield Shop(client_of(stack), provider, stack)


@pytest.mark.parametrize("model", WRONG)
async def test_complaint_29_the_next_key_and_then_the_next_provider_takes_over(
    own_worker: OwnWorker, shop: Shop, model: str
) -> None:
    """Over the limit, out of order or silent: the run hears nothing of it, and each try is in the accounts."""
    outputs, rows = await shop.ask(model)
    assert outputs == {"text": "fine"}
    assert [entry.key for entry in await shop.asked(model)] == [FIRST, SECOND]
    (last,) = await shop.asked(f"claude-for-{model}")
    assert (last.wire, last.status) == ("anthropic-messages", 200)
    kind = WRONG[model][1]
    assert [(row.deployment, row.outcome, row.fault) for row in rows] == [
        (f"{model}-1", "wasted", kind),
        (f"{model}-2", "wasted", kind),
        ("other", "answer", None),
    ]
    assert {row.attempt for row in rows} == {1}, "nobody waited for a retry"


async def test_complaint_29_a_key_is_left_alone_for_as_long_as_the_provider_asks(
    own_worker: OwnWorker, shop: Shop
) -> None:
    """Retry-After counts for all runs: the limited key is asked once, not once by each of them."""
    outputs, rows = await shop.ask("busy")
    assert outputs == {"text": "fine"}
    assert [row.deployment for row in rows] == ["busy-1", "busy-2"]
    left_alone = (await shop.health("busy-1")).open_until / 1000 - time.time()
    assert 40 < left_alone <= 60
    for outputs, rows in await asyncio.gather(*(shop.ask("busy") for _ in range(5))):
        assert outputs == {"text": "fine"}
        assert [row.deployment for row in rows] == ["busy-2"]
    assert [entry.key for entry in await shop.asked("busy")].count(FIRST) == 1


async def test_complaint_29_a_key_that_is_well_again_is_asked_again(own_worker: OwnWorker, shop: Shop) -> None:
    """After the time that the provider asked for, calls go to it as before."""
    _outputs, rows = await shop.ask("cools")
    assert [row.deployment for row in rows] == ["cools-1", "cools-2"]
    health = await shop.health("cools-1")
    assert health.kind == "rate_limited"
    await asyncio.sleep(max(0.0, health.open_until / 1000 - time.time()) + 1.5)
    for _ in range(2):
        _outputs, rows = await shop.ask("cools")
        assert [row.deployment for row in rows] == ["cools-1"]
    assert (await shop.health("cools-1")).open_until == 0
