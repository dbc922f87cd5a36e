"""The model runtime of a worker: made when a model is first asked, or beside the start where deployments are known."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import structlog
from pydantic import ValidationError

from perdure_graph.errors import PlatformError
from perdure_store.recorder import Recorder

from .once import Once
from .settings import START_DEMO, WorkerSettings

if TYPE_CHECKING:
    from perdure_activities.models.config import ModelsConfig
    from perdure_activities.models.runtime import Runtime

_SIGNS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL")

log = structlog.stdlib.get_logger("perdure.worker")


class Models:
    """Gives the activities of one worker their model runtime."""

    def __init__(self, settings: WorkerSettings, recorder: Recorder) -> None:
        self._settings = settings
        self._recorder = recorder
        self._made = Once(self._make, "perdure-models")
        self._warming: asyncio.Task[None] | None = None

    async def runtime(self) -> Runtime:
        """Give the runtime; the first caller has it made.

        Raises:
            PlatformError: the configuration of models is wrong.
        """
        return await self._made.get()

    def warm(self) -> None:
        """Begin to make the runtime and to connect to its deployments, where there are any; nobody waits for that."""
        if not _is_configured(self._settings):
            return
        self._warming = asyncio.create_task(self._warm(), name="perdure-models-warm")

    async def close(self) -> None:
        """Close its connections."""
        if self._warming is not None:
            self._warming.cancel()
            with suppress(asyncio.CancelledError):
                await self._warming
        await self._made.close(lambda runtime: runtime.close())

    async def _make(self) -> Runtime:
        # In a thread, because the worker takes work already: the libraries take a while to load.
        config = await asyncio.to_thread(configuration, self._settings)
        from perdure_activities.models.runtime import Runtime
        from perdure_store.ledger import Ledger

        return Runtime.open(config, Ledger(self._recorder), self._settings.key_ring())

    async def _warm(self) -> None:
        try:
            await (await self.runtime()).warm()
        except Exception as error:
            # A run that asks a model hears it; one that does not is not held up.
            log.warning("the model runtime is not ready", reason=str(error))


def configuration(settings: WorkerSettings) -> ModelsConfig:
    """Read which models are served where.

    Raises:
        PlatformError: the file cannot be read, or is wrong; says where. Or the demo model has no address.
    """
    import_module("perdure_activities.models.runtime")
    from perdure_activities.models.config import ModelsConfig

    if settings.demo_model is not None:
        try:
            return ModelsConfig.demo(settings.demo_model)
        except ValidationError:
            raise PlatformError(
                f"PERDURE_DEMO_MODEL is {settings.demo_model!r}, which is no base URL like http://127.0.0.1:8000/v1. "
                "Start a fake provider with `python -m perdure_fake`, which prints its own, or use "
                "`perdure dev --demo-model`."
            ) from None
    if settings.models is not None:
        return ModelsConfig.of_file(settings.models.expanduser())
    return ModelsConfig.read()


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment as an operator sees it. variables: of the environment, which hold its secrets."""

    name: str
    provider: str
    address: str
    sdk: str
    variables: tuple[str, ...]


def deployed(settings: WorkerSettings) -> list[Deployed]:
    """List where models are served, without asking anybody.

    Raises:
        PlatformError: the configuration is wrong; says where.
    """
    if settings.demo_model == START_DEMO:
        return []
    config = configuration(settings)
    from perdure_activities.models.deployed import FromEnv

    catalog = config.catalog()
    found: list[Deployed] = []
    for one in config.deployments:
        provider = catalog.provider(one.provider)
        wire = one.wire or provider.wire
        named = [value for value in (one.credential, *one.headers.values()) if isinstance(value, FromEnv)]
        found.append(
            Deployed(
                one.name,
                provider.provider,
                one.base_url or provider.base_url,
                "anthropic" if wire == "anthropic-messages" else "openai",
                tuple(dict.fromkeys(value.env for value in named)),
            )
        )
    return found


def _is_configured(settings: WorkerSettings) -> bool:
    """Whether models are served anywhere, as far as that can be told without loading anything."""
    return bool(settings.demo_model or settings.models or any(os.environ.get(name) for name in _SIGNS))


@asynccontextmanager
async def asking(settings: WorkerSettings, recorder: Recorder) -> AsyncGenerator[Models]:
    """Have a model runtime for the length of the block."""
    models = Models(settings, recorder)
    try:
        yield models
    finally:
        await models.close()
