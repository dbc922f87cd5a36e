"""An adapter that says what a test tells it to, and a runtime around it with a real ledger in an SQLite file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from perdure_activities.models.config import ModelsConfig
from perdure_activities.models.credentials import Credentials
from perdure_activities.models.prices import PriceBook
from perdure_activities.models.protocol import (
    Delta,
    Endpoint,
    Finished,
    Headers,
    ModelCall,
    ModelFault,
    TextDelta,
    UsageDelta,
)
from perdure_activities.models.runtime import Runtime
from perdure_graph.effects import EffectMeta
from perdure_graph.models.effects import InvokeModel
from perdure_graph.models.messages import user
from perdure_graph.models.usage import Tokens
from perdure_payloads.keys import KeyRing
from perdure_store.ledger import Ledger
from perdure_store.recorder import Recorder

KEY = "sk-canary-1234567890"

# What an adapter does: yield a delta, fail, or wait for so many seconds.
Act = Delta | ModelFault | float
Script = list[Act]


def says(text: str, *, prompt: int = 10, completion: int = 5, **finished: Any) -> Script:
    """An answer in one piece."""
    return [
        Headers("req-1"),
        TextDelta(text),
        UsageDelta(Tokens(prompt=prompt, completion=completion)),
        Finished(**{"finish": "stop", **finished}),
    ]


def fails(kind: Any, **more: Any) -> Script:
    """A call that fails before it is answered; a bad server echoes the key."""
    return [ModelFault(kind, f"the server said {kind} to {KEY}", **more)]


@dataclass
class ScriptedAdapter:
    """Plays scripts: those of a deployment in turn, then its last one again. `asked` is what it was asked, by whom."""

    scripts: dict[str, list[Script]]
    asked: list[tuple[Endpoint, ModelCall]] = field(default_factory=list)
    warmed: list[Endpoint] = field(default_factory=list)
    on_the_way: int = 0
    closed: int = 0

    async def stream(self, endpoint: Endpoint, call: ModelCall) -> AsyncGenerator[Delta]:
        nth = len(self.names([endpoint.deployment]))
        self.asked.append((endpoint, call))
        scripts = self.scripts[endpoint.deployment]
        self.on_the_way += 1
        try:
            for act in scripts[min(nth, len(scripts) - 1)]:
                if isinstance(act, float):
                    await asyncio.sleep(act)
                elif isinstance(act, ModelFault):
                    raise act
                else:
                    yield act
        finally:
            self.on_the_way -= 1
            self.closed += 1

    async def warm(self, endpoint: Endpoint) -> None:
        self.warmed.append(endpoint)

    async def close(self) -> None:
        pass

    def names(self, only: list[str] | None = None) -> list[str]:
        """The deployments asked, in order."""
        names = [endpoint.deployment for endpoint, _ in self.asked]
        return [name for name in names if only is None or name in only]


@dataclass
class Bench:
    """A runtime and what is around it."""

    runtime: Runtime
    adapter: ScriptedAdapter
    ledger: Ledger

    def names(self) -> list[str]:
        return self.adapter.names()

    async def rows(self) -> list[Any]:
        """Usage, oldest first."""
        report = await self.ledger.usage()
        return sorted(report.rows, key=lambda row: (row.key, row.attempt, row.id))


def deployment(name: str, provider: str = "openai", **more: Any) -> dict[str, Any]:
    """One deployment of a configuration; its key is in the environment of the bench."""
    given = {"name": name, "provider": provider, "wire": "openai-chat", "base_url": f"http://{name}.test/v1"}
    return given | {"credential": {"env": "CANARY"}} | more


def ask(
    text: str = "hello", key: str = "k", *, run: str = "run-1", meta: dict[str, Any] | None = None, **more: Any
) -> Any:
    """An effect."""
    about = {"run_id": run, "key": key, "idempotency_key": f"{run}/{key}", "flow": "flow", "tenant": "acme"}
    given = {"provider": "openai", "model": "gpt-x", "messages": (user(text),)} | more
    return InvokeModel(meta=EffectMeta(**about | (meta or {})), **given)


Open = Callable[..., Any]


@asynccontextmanager
async def bench(
    folder: Path, scripts: dict[str, list[Script]], config: dict[str, Any] | None = None, *, store: str | None = None
) -> AsyncIterator[Bench]:
    """Open a runtime whose deployments are those of the scripts, unless the configuration names others."""
    given = {"deployments": [deployment(name) for name in scripts], "wait_s": 0.3} | (config or {})
    parsed = ModelsConfig.model_validate(given)
    recorder = Recorder(store or f"sqlite:///{folder}/runs.db", limit_s=4.0)
    ledger = Ledger(recorder)
    adapter = ScriptedAdapter(scripts)
    catalog = parsed.catalog()
    runtime = Runtime(
        parsed,
        catalog,
        ledger,
        Credentials(parsed, ledger, KeyRing(), catalog=catalog, environ={"CANARY": KEY}),
        PriceBook(parsed.prices, catalog),
        {"openai-chat": adapter, "openai-responses": adapter, "anthropic-messages": adapter},
    )
    try:
        yield Bench(runtime, adapter, ledger)
    finally:
        await runtime.close()
        await recorder.close()
