"""What an operator asks of the models a worker would serve: which there are, whether they work, their credentials."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from pydantic import SecretStr

from perdure_activities.models.config import MODELS_SETTING, ModelsConfig
from perdure_activities.models.credential_fields import KEEP, is_secret
from perdure_activities.models.credentials import Credentials, Shown
from perdure_activities.models.declared.load import Catalog
from perdure_activities.models.verify import Verified, verify
from perdure_graph.errors import InvalidInputs, PlatformError
from perdure_payloads.settings import read_settings
from perdure_store.ledger import Ledger
from perdure_store.recorder import Recorder

if TYPE_CHECKING:
    from perdure_activities.models.declared.schema import ModelDeclaration, ProviderDeclaration

_AT_ONCE = 8
_STORE_LIMIT_S = 10.0
_MOST_SECRET_CHARS = 64 * 1024


@dataclass(frozen=True, slots=True)
class ListedModel:
    """A declared model. Prices are decimals per million tokens; deployments are those that would serve it."""

    provider: str
    model: str
    model_type: str
    features: tuple[str, ...]
    context_size: int | None
    max_output: int | None
    input_price: str | None
    output_price: str | None
    currency: str | None
    deprecated: bool
    retires: str | None
    deployments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Models:
    """The declared models, and where the configuration was read."""

    source: str
    models: tuple[ListedModel, ...]
    deployments: tuple[str, ...]


class Admin:
    """The models of a configuration, with the credentials in a store."""

    def __init__(self, config: ModelsConfig, catalog: Catalog, credentials: Credentials, ledger: Ledger) -> None:
        self.config = config
        self.catalog = catalog
        self._credentials = credentials
        self._ledger = ledger

    def models(self, provider_id: str | None = None) -> Models:
        """List the declared models, those of one provider or all; a profile has one line for any model.

        Raises:
            UnknownProvider: nothing declares the provider.
        """
        providers = self.catalog.providers() if provider_id is None else (self.catalog.provider(provider_id),)
        found = [
            self._listed(provider, model)
            for provider in providers
            if not provider.simulated or provider_id is not None
            for model in (*provider.models, *_any_of(provider))
        ]
        return Models(self.config.source, tuple(found), tuple(one.name for one in self.config.deployments))

    def _listed(self, provider: ProviderDeclaration, model: ModelDeclaration) -> ListedModel:
        price = model.price_at(_today())
        serving = self.config.serving(self.catalog, provider.provider, model.model) if model.known else ()
        return ListedModel(
            provider=provider.provider,
            model=model.model,
            model_type=model.model_type,
            features=tuple(sorted(model.features)),
            context_size=model.model_properties.context_size,
            max_output=model.model_properties.max_output,
            input_price=_per_million(price.input * price.unit) if price else None,
            output_price=_per_million(price.output * price.unit) if price else None,
            currency=price.currency if price else None,
            deprecated=model.deprecated,
            retires=model.retires.isoformat() if model.retires else None,
            deployments=tuple(one.name for one in serving),
        )

    async def check(self, names: Sequence[str] = ()) -> list[Verified]:
        """Check deployments, those named or all: statically, then by one cheap request each.

        Raises:
            InvalidInputs: there is no deployment of a name.
            PlatformError: there is none at all.
        """
        known = {one.name: one for one in self.config.deployments}
        if unknown := [name for name in names if name not in known]:
            have = ", ".join(known) or "none"
            raise InvalidInputs(
                f"there is no deployment {unknown[0]!r} in {self.config.source}; there are: {have}.", field="deployment"
            )
        if not known:
            raise PlatformError(
                "no deployment of a model is configured. Set OPENAI_API_KEY or ANTHROPIC_API_KEY, or write a file and "
                f"name it in {MODELS_SETTING} (docs/models.md)."
            )
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(name: str) -> Verified:
            async with turns:
                return await verify(known[name], self._credentials, self.catalog)

        found = await asyncio.gather(*(one(name) for name in names or known))
        await self._forgive([result.deployment for result in found if result.verdict == "valid"])
        return list(found)

    async def add(
        self, name: str, provider_id: str, secret: SecretStr | None, fields: Mapping[str, str], *, keep: bool = False
    ) -> Shown:
        """Store a credential, in place of that of the same name. keep: leave its secrets as they are.

        Raises:
            InvalidInputs: a field is wrong, or is a secret that was given among the others.
            PlatformError: there is no key to encrypt with, or the store does not answer.
        """
        provider = self.catalog.provider(provider_id)
        for field in fields:
            if is_secret(provider, field):
                raise InvalidInputs(
                    f"`{field}` is no plain field of a credential for {provider.provider!r}. A secret is read from "
                    "stdin, a prompt or --from-env, never from an argument.",
                    field=field,
                )
        given: dict[str, SecretStr | str | bool] = dict(fields)
        if keep:
            given |= {field.variable: KEEP for field in provider.fields if is_secret(provider, field.variable)}
        elif secret is None or not secret.get_secret_value():
            raise InvalidInputs("the secret is empty.", field=provider.api_key)
        elif len(secret) > _MOST_SECRET_CHARS:
            raise InvalidInputs("the secret is too long.", field=provider.api_key)
        else:
            given[provider.api_key] = secret
        shown = await self._credentials.put(name, provider.provider, given)
        await self._forgive(shown.used_by)
        return shown

    async def credentials(self) -> list[Shown]:
        """List the stored credentials, without their secrets."""
        return await self._credentials.listed()

    async def remove(self, name: str) -> tuple[str, ...]:
        """Delete a stored credential; gives the deployments that still name it.

        Raises:
            InvalidInputs: there is none of that name.
        """
        return await self._credentials.remove(name)

    async def _forgive(self, deployments: Sequence[str]) -> None:
        # What was wrong with their credential is over: workers need not wait for the cooldown.
        if deployments and not self._ledger.is_off and any(one.credential for one in self.config.deployments):
            try:
                await self._ledger.forgive(deployments)
            except PlatformError:
                return


@asynccontextmanager
async def administering(store: str) -> AsyncGenerator[Admin]:
    """Read the configuration, and open the store when it is needed.

    Raises:
        BadModelsFile: the configuration is wrong.
        PlatformError: a `PERDURE_*` variable is wrong.
    """
    config = ModelsConfig.read()
    keys = read_settings().key_ring()
    recorder = Recorder(store, limit_s=_STORE_LIMIT_S)
    ledger = Ledger(recorder)
    catalog = config.catalog()
    try:
        yield Admin(config, catalog, Credentials(config, ledger, keys, catalog=catalog), ledger)
    finally:
        await recorder.close()


def _any_of(provider: ProviderDeclaration) -> list[ModelDeclaration]:
    if provider.default_model is None:
        return []
    name = "(any other)" if provider.models else "(any)"
    return [provider.default_model.model_copy(update={"model": name, "known": False})]


def _per_million(price: Decimal) -> str:
    return format((price * 1_000_000).normalize(), "f")


def _today() -> date:
    return datetime.now(UTC).date()
