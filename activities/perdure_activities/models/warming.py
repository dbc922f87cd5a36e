"""What the first call would else wait for: libraries, tokenizers and price lists."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING

from perdure_graph.errors import PlatformError

from .deployed import spoken
from .openai_client import MODULES
from .recent import Recent

if TYPE_CHECKING:
    from .declared.load import Catalog
    from .declared.schema import ProviderDeclaration
    from .deployed import Deployment
    from .failover import Target
    from .prices import PriceBook
    from .protocol import Wire
    from .tokens import Counters

_SDKS: dict[Wire, tuple[str, ...]] = {
    "openai-chat": MODULES,
    "openai-responses": MODULES,
    "anthropic-messages": ("anthropic", "anthropic.resources.messages"),
}


class Warming:
    """Loads what calls of a model need, each once and in a thread: some of it takes a second."""

    def __init__(self, catalog: Catalog, prices: PriceBook, counters: Counters) -> None:
        self._catalog = catalog
        self._prices = prices
        self._counters = counters
        self._loading: Recent[tuple[Target, Wire], asyncio.Task[None]] = Recent()
        # One thread: imports in many would take their turns with the event loop, whose heartbeats cannot wait.
        self._turn = asyncio.Lock()

    async def load(self, target: Target, wire: Wire) -> None:
        """Load what asking a model over a wire needs; what cannot be loaded fails the call that needs it."""
        task = self._loading.get((target, wire))
        if task is None:
            task = asyncio.create_task(self._in_turn(target, wire), name="perdure-models-load")
            self._loading.setdefault((target, wire), task)
        if not task.done():
            # A caller that is cancelled leaves it to the others.
            await asyncio.shield(task)

    async def count(self, target: Target) -> None:
        """Load the tokenizer of a model, which most calls do without."""
        with suppress(PlatformError):
            await asyncio.to_thread(lambda: self._counters.counter_for(target.provider, target.model).text("one two"))

    async def _in_turn(self, target: Target, wire: Wire) -> None:
        async with self._turn:
            await asyncio.to_thread(self._load, target, wire)

    def _load(self, target: Target, wire: Wire) -> None:
        with suppress(ImportError, PlatformError):
            self._prices.listed(target.provider, target.model, datetime.now(UTC))
            for name in _SDKS[wire]:
                import_module(name)


def usual(deployment: Deployment, provider: ProviderDeclaration) -> list[tuple[Wire, str]]:
    """Name a model for each wire that a deployment is asked over, for what is the same for many of them."""
    models = [model for model in provider.models if model.model_type == "llm" and deployment.serves(model.model)]
    named: dict[Wire, str] = {spoken(deployment, provider, model): model.model for model in reversed(models)}
    return list(named.items())[::-1] or [(deployment.wire or provider.wire, "any")]
