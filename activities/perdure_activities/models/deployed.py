"""One deployment of the configuration: where models of a provider are asked, as whom, within which limits."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from perdure_store.ledger_records import Rates as LedgerRates

from .declared.schema import ModelDeclaration, Profile, ProviderDeclaration
from .protocol import Wire

Glob = Annotated[str, Field(min_length=1)]


class Part(BaseModel):
    """Base of all parts of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True)


class FromEnv(Part):
    """A secret that is in a variable of the worker's environment."""

    env: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")


class Stored(Part):
    """A secret that is in the encrypted table, put there by `perdure models add-credential`."""

    stored: str = Field(min_length=1, max_length=200)


class Limits(Part):
    """What a deployment may be asked, by all workers together."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    at_once: int | None = Field(default=None, ge=1)


class Deployment(Part):
    """One way to reach models: a provider, an address, a credential.

    wire, base_url, profile: where they are not those of the provider's declaration.
    models: names that it serves, as globs. rename: what a model is called there, by the name that graphs use.
    weight: how much of the load it takes beside others that serve the same model.
    allow_private: whether its address may be on this machine or in a private network.
    headers: sent with each request; a value may be `{env: VARIABLE}`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$", max_length=100)
    provider: str = Field(min_length=1)
    wire: Wire | None = None
    base_url: str | None = None
    profile: Profile | None = None
    credential: FromEnv | Stored | None = None
    models: tuple[Glob, ...] = ("*",)
    rename: dict[str, str] = Field(default_factory=dict[str, str])
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    limits: Limits = Limits()
    allow_private: bool | None = None
    headers: dict[str, FromEnv | SecretStr] = Field(default_factory=dict[str, FromEnv | SecretStr])
    tags: tuple[str, ...] = ()

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.username or parts.password:
            raise ValueError("the address holds a user or password; name the key under `credential` instead")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("it must be like https://host/v1, without a query")
        return value.rstrip("/")

    def serves(self, model: str) -> bool:
        """Whether it serves a model of its provider."""
        return model in self.rename or any(fnmatchcase(model, glob) for glob in self.models)

    def served_as(self, model: str) -> str:
        """Give the server's name of a model."""
        return self.rename.get(model, model)

    def rates(self) -> LedgerRates:
        """Give its limits as the ledger takes them."""
        limits = self.limits
        return LedgerRates(limits.requests_per_minute, limits.tokens_per_minute, limits.at_once)


def spoken(deployment: Deployment, provider: ProviderDeclaration, model: ModelDeclaration) -> Wire:
    """Choose the protocol: the deployment's, the model's, the provider's.

    Models of OpenAI itself that think are asked by Responses: only there their thinking can be given back.
    """
    if deployment.wire or model.wire:
        return deployment.wire or model.wire or provider.wire
    at_home = deployment.base_url is None and provider.profile == "openai"
    if at_home and {"responses-api", "reasoning-effort"} <= model.features:
        return "openai-responses"
    return provider.wire
