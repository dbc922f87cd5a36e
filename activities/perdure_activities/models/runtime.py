"""The model runtime of one worker: the configuration, the ledger, and what calls share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from perdure_graph.errors import PlatformError
from perdure_graph.models.effects import InvokeModel, ModelAnswer
from perdure_store.ledger_records import Settlement
from perdure_store.recorder import now_ms

from .cache import as_cached
from .calling import Calling
from .cooldown import Healths
from .failover import Target
from .invoke import Invocation
from .protocol import ModelFault
from .recent import Recent
from .route import Candidate, Choice
from .settle import cached_row, settle
from .tokens import Counters
from .warming import Warming, usual

if TYPE_CHECKING:
    from perdure_store.ledger import Ledger
    from perdure_store.ledger_records import Also

    from ..files import FileStore
    from .call import Through
    from .config import Deployment, ModelsConfig
    from .credentials import Credentials, Keys
    from .declared.load import Catalog
    from .prepare import Asked
    from .prices import PriceBook
    from .protocol import Adapter, Endpoint, Wire
    from .stream.accumulate import Accumulated

# A server that is changed may take then what it did not.
_LEARNED_S = 3600.0


class Runtime:
    """Asks models on behalf of the activities of one worker; safe to use by many calls at once.

    files: where files are read that graphs keep; None is the store that the environment names.
    """

    def __init__(
        self,
        config: ModelsConfig,
        catalog: Catalog,
        ledger: Ledger,
        credentials: Credentials,
        prices: PriceBook,
        adapters: Mapping[Wire, Adapter],
        files: FileStore | None = None,
    ) -> None:
        self.config = config
        self.catalog = catalog
        self.ledger = ledger
        self.credentials = credentials
        self.prices = prices
        self.adapters = adapters
        self.files = files
        self.counters = Counters(catalog)
        self.warming = Warming(catalog, prices, self.counters)
        self.healths = Healths(ledger)
        self.choice = Choice()
        self._learned: Recent[tuple[str, str], set[str]] = Recent(lasts_s=_LEARNED_S)
        self._telling: set[asyncio.Task[None]] = set()

    async def invoke(
        self,
        effect: InvokeModel,
        attempt: int,
        through: Callable[[], Through] | None = None,
        also: Callable[[ModelAnswer], Also | None] | None = None,
        shorter: Iterator[InvokeModel] | None = None,
    ) -> ModelAnswer:
        """Ask a model. attempt: number of the try, from 1; a later one finds what an earlier one has paid for.

        through: makes what the text of one call goes through on its way to readers; without it, they see all of it.
        also: gives what is written in the transaction that accounts for an answer.
        shorter: gives what is asked in place of a prompt that is too long for its model, shorter each time.

        Raises:
            ModelFault: there is no answer; says whose fault it is, and what to do.
            PlatformError: the run store is away and budgets must be kept, or the configuration is broken.
        """
        calling = Calling(self, effect, attempt, through, also, shorter)
        return await Invocation(self, effect, attempt, calling).perform()

    async def cached(self, effect: InvokeModel, kept: ModelAnswer) -> ModelAnswer:
        """Give the answer kept of an equal request, as one that costs nothing, and account for it so."""
        answer = as_cached(kept)
        if effect.meta is not None:
            row = cached_row(effect, 1, answer, now_ms())
            await settle(self.ledger, Settlement(admission=row.id, money=0, tokens=0, usage=row))
        return answer

    @classmethod
    def open(
        cls,
        config: ModelsConfig,
        ledger: Ledger,
        keys: Keys,
        *,
        files: FileStore | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> Runtime:
        """Make the runtime of a worker. keys: what stored credentials are sealed with."""
        from .anthropic_messages import AnthropicMessages
        from .credentials import Credentials
        from .openai_chat import OpenAIChat
        from .openai_responses import OpenAIResponses
        from .prices import PriceBook

        catalog = config.catalog()
        return cls(
            config,
            catalog,
            ledger,
            Credentials(config, ledger, keys, catalog=catalog, environ=environ),
            PriceBook(config.prices, catalog),
            {
                "openai-chat": OpenAIChat(),
                "openai-responses": OpenAIResponses(),
                "anthropic-messages": AnthropicMessages(),
            },
            files,
        )

    async def warm(self) -> None:
        """Load what calls will need and connect to where models are served once; failing is no matter."""
        await asyncio.gather(*(self._warm(one) for one in self.config.deployments))

    async def _warm(self, one: Deployment) -> None:
        with suppress(PlatformError):
            provider = await asyncio.to_thread(self.catalog.provider, one.provider)
            named: list[tuple[Target, Wire]] = [
                (Target(provider.provider, model), wire) for wire, model in usual(one, provider)
            ]
            await asyncio.gather(
                *(self.warming.load(target, wire) for target, wire in named),
                *(self._connect(one, wire) for _, wire in named),
            )
            await self.warming.count(named[0][0])

    async def _connect(self, one: Deployment, wire: Wire) -> None:
        # What is wrong with its address or its key is said to the calls that need them.
        with suppress(ModelFault, PlatformError):
            endpoint = await self.credentials.endpoint(one, wire=wire)
            if (adapter := self.adapters.get(wire)) is not None:
                await adapter.warm(endpoint)

    async def close(self) -> None:
        """Tell the ledger what it has not been told, and close the connections."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=2.0)
        await self.healths.close()
        await asyncio.gather(*(adapter.close() for adapter in self.adapters.values()), return_exceptions=True)

    async def endpoint(self, one: Candidate) -> Endpoint:
        """Say where and as whom a deployment is called.

        Raises:
            ModelFault: its secret or its address is missing.
        """
        return await self.credentials.endpoint(one.deployment, one.target.model, one.wire)

    def learned(self, deployment: str, model: str) -> set[str]:
        """Give the parameters that a deployment did not take for a model within the last hour; more may be added."""
        return self._learned.setdefault((deployment, model), set())

    def worked(self, one: Candidate, asked: Asked, said: Accumulated) -> None:
        """Learn from an answer: how the deployment is doing, what is left of its limits, how tokens are counted."""
        self.healths.worked(one.name)
        headers, limits = said.headers, one.deployment.limits
        left = headers.remaining_requests, headers.remaining_tokens
        limited = limits.requests_per_minute is not None or limits.tokens_per_minute is not None
        if (limited or 0 in left) and not self.ledger.is_off:
            self.tell(self.ledger.correct(one.name, *left, headers.reset_s))
        if said.tokens is not None and not asked.call.files and asked.counted is not None:
            asked.counter().learn(asked.counted, said.tokens.prompt)

    def tell(self, telling: Coroutine[Any, Any, None]) -> None:
        """Tell the ledger something in the background; one that is away does without."""

        async def tell() -> None:
            with suppress(PlatformError):
                await telling

        task = asyncio.create_task(tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
