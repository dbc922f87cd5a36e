"""Credentials: named in the configuration, their secrets read when a call is made, from the environment or the store.

No secret is part of any error, log line or repr.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import SecretStr

from perdure_graph.errors import InvalidInputs, PlatformError
from perdure_store.ledger_records import CredentialRow

from .config import Deployment, FromEnv, ModelsConfig, Stored, spoken
from .credential_fields import KEEP, is_secret, obfuscated, validated
from .declared.load import Catalog
from .declared.schema import ModelDeclaration, ProviderDeclaration
from .protocol import Endpoint, ModelFault, Wire
from .sealing import Keys, opened, sealed

# A server that wants no key still gets one: the SDKs insist.
NO_KEY = "none"

# A row is read again after so long; while the store is away the last one is used.
_AGE_S = 30.0
_MAKE_KEYS = (
    "Set PERDURE_KEYS for workers and for this command, like `main:BASE64` with a key from `openssl rand -base64 32`."
)


class Rows(Protocol):
    """Where sealed credentials are kept (`perdure_store.ledger.Ledger`)."""

    async def put_credential(self, row: CredentialRow) -> None:
        """Store one, in place of that of the same name."""
        ...

    async def credential(self, name: str) -> CredentialRow | None:
        """Find one."""
        ...

    async def credentials(self, provider: str | None = None) -> list[CredentialRow]:
        """Give all."""
        ...

    async def delete_credential(self, name: str) -> bool:
        """Delete one."""
        ...


@dataclass(frozen=True, slots=True)
class Shown:
    """A stored credential, as it may be shown. used_by: deployments that name it."""

    name: str
    provider: str
    shown: str
    updated_at: int
    used_by: tuple[str, ...] = ()


class Credentials:
    """Gives deployments their secrets."""

    def __init__(
        self,
        config: ModelsConfig,
        rows: Rows,
        key_ring: Keys,
        *,
        catalog: Catalog | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._config = config
        self._rows = rows
        self._keys = key_ring
        self._catalog = catalog or config.catalog()
        self._environ = os.environ if environ is None else environ
        self._read: dict[str, tuple[float, CredentialRow]] = {}

    async def endpoint(self, deployment: Deployment, model: str = "", wire: Wire | None = None) -> Endpoint:
        """Say where and as whom a deployment is called for a model that it serves.

        Raises:
            ModelFault: `auth`, its secret is missing; `bad_request`, its address is.
            UnknownProvider, UnknownModel: nothing declares them.
        """
        provider = self._catalog.provider(deployment.provider)
        declared = self._catalog.model(deployment.provider, model) if model else ModelDeclaration(model="")
        wire = wire or spoken(deployment, provider, declared)
        values = await self.values(deployment)
        base_url = deployment.base_url or values.get("base_url") or provider.base_url
        if not base_url:
            raise ModelFault(
                "bad_request",
                f"the deployment {deployment.name!r} has no address. Give its `base_url` in {self._config.source}.",
            )
        key = values.get(provider.api_key, "")
        if not key and provider.needs_key and base_url == provider.base_url:
            raise ModelFault("auth", self._no_credential(deployment, provider))
        headers = [(name, self._header(deployment, name, value)) for name, value in deployment.headers.items()]
        if organization := values.get("organization"):
            headers.append(("OpenAI-Organization", organization))
        times = self._config.timeouts
        private = deployment.allow_private
        return Endpoint(
            deployment=deployment.name,
            provider=provider.provider,
            wire=wire,
            base_url=_rooted(base_url, wire),
            api_key=key or NO_KEY,
            headers=tuple(headers),
            profile=deployment.profile or provider.profile,
            connect_s=times.connect_s,
            first_token_s=times.first_token_s,
            between_s=times.between_s,
            allow_private=provider.allow_private if private is None else private,
        )

    async def values(self, deployment: Deployment) -> dict[str, str]:
        """Give the fields of a deployment's credential, in clear text.

        Raises:
            ModelFault: `auth`: the secret is not where the configuration says.
        """
        provider = self._catalog.provider(deployment.provider)
        match deployment.credential:
            case FromEnv(env=variable):
                return {provider.api_key: self._variable(deployment, variable)}
            case Stored(stored=name):
                return await self._stored(deployment, provider, name)
            case None:
                # The custom variable holds the key for the provider itself: no other address may be sent it.
                own = self._environ.get(provider.api_key_env or "") if deployment.base_url is None else None
                return {provider.api_key: own.strip()} if own and own.strip() else {}

    async def put(self, name: str, provider_id: str, given: Mapping[str, SecretStr | str | bool]) -> Shown:
        """Store a credential, in place of that of the same name; `KEEP` in a field keeps what is stored there.

        Raises:
            InvalidInputs: a field is wrong by the provider's schema, or nothing is stored to be kept.
            PlatformError: there is no key to encrypt with.
        """
        provider = self._catalog.provider(provider_id)
        if not self._keys.keys:
            raise PlatformError(f"there is no key to encrypt credentials with. {_MAKE_KEYS}")
        values = {key: v.get_secret_value() if isinstance(v, SecretStr) else v for key, v in given.items()}
        if KEEP in values.values():
            old = await self._kept(name, provider)
            values = {key: old.get(key, "") if value == KEEP else value for key, value in values.items()}
        fields = validated(provider, values)
        shown = obfuscated(fields.get(provider.api_key, ""))
        secret = sealed(self._keys, name, provider.provider, fields)
        await self._rows.put_credential(CredentialRow(name, provider.provider, secret, shown))
        self._read.pop(name, None)
        return Shown(name, provider.provider, shown, 0, self._users(name))

    async def listed(self, provider_id: str | None = None) -> list[Shown]:
        """Give what is stored, without secrets."""
        provider = None if provider_id is None else self._catalog.provider(provider_id).provider
        rows = await self._rows.credentials(provider)
        return [Shown(row.name, row.provider, row.shown, row.updated_at, self._users(row.name)) for row in rows]

    async def fields(self, name: str) -> dict[str, str]:
        """Give the fields of a stored credential as they may be shown: secrets only in part.

        Raises:
            InvalidInputs: there is no such credential.
            PlatformError: this process does not have its key.
        """
        row = await self._rows.credential(name)
        if row is None:
            raise InvalidInputs(f"no credential {name!r} is stored. `perdure models credentials` lists them.")
        provider = self._catalog.provider(row.provider)
        values = opened(self._keys, row)
        return {key: obfuscated(value) if is_secret(provider, key) else value for key, value in values.items()}

    async def remove(self, name: str) -> tuple[str, ...]:
        """Delete a stored credential; gives the deployments that still name it.

        Raises:
            InvalidInputs: there is none of that name.
        """
        if not await self._rows.delete_credential(name):
            raise InvalidInputs(
                f"no credential {name!r} is stored. `perdure models credentials` lists those that are.", field="name"
            )
        self._read.pop(name, None)
        return self._users(name)

    def _users(self, name: str) -> tuple[str, ...]:
        return tuple(one.name for one in self._config.deployments if one.credential == Stored(stored=name))

    async def _kept(self, name: str, provider: ProviderDeclaration) -> dict[str, str]:
        row = await self._rows.credential(name)
        if row is None or row.provider != provider.provider:
            raise InvalidInputs(f"no credential {name!r} of {provider.provider!r} is stored that could be kept.")
        return opened(self._keys, row)

    async def _stored(self, deployment: Deployment, provider: ProviderDeclaration, name: str) -> dict[str, str]:
        row = await self._row(name)
        add = f"Add it: perdure models add-credential {name} --provider {provider.provider}"
        if row is None:
            raise ModelFault("auth", f"the credential {name!r} of deployment {deployment.name!r} is not stored. {add}")
        if row.provider != provider.provider:
            raise ModelFault(
                "auth",
                f"the credential {name!r} is one of {row.provider!r}; the deployment {deployment.name!r} is one of "
                f"{provider.provider!r}, which must not see it. Name another in {self._config.source}.",
            )
        try:
            return opened(self._keys, row)
        except PlatformError as error:
            raise ModelFault("auth", str(error)) from None

    async def _row(self, name: str) -> CredentialRow | None:
        at, row = self._read.get(name, (float("-inf"), None))
        if row is not None and time.monotonic() - at < _AGE_S:
            return row
        try:
            found = await self._rows.credential(name)
        except PlatformError:
            if row is None:
                raise ModelFault(
                    "connection", f"the credential {name!r} cannot be read: the run store does not answer."
                ) from None
            return row
        if found is None:
            self._read.pop(name, None)
        else:
            self._read[name] = (time.monotonic(), found)
        return found

    def _variable(self, deployment: Deployment, variable: str) -> str:
        value = self._environ.get(variable, "").strip()
        if not value:
            raise ModelFault(
                "auth",
                f"the variable {variable} that deployment {deployment.name!r} takes a secret from is not set. Set it "
                "in the environment of the worker.",
            )
        return value

    def _header(self, deployment: Deployment, name: str, value: FromEnv | SecretStr) -> str:
        text = self._variable(deployment, value.env) if isinstance(value, FromEnv) else value.get_secret_value()
        if not text.isprintable() or not text.isascii():
            raise ModelFault("bad_request", f"the header {name!r} of deployment {deployment.name!r} cannot be sent.")
        return text

    def _no_credential(self, deployment: Deployment, provider: ProviderDeclaration) -> str:
        variable = f"set {provider.api_key_env} for the worker, or " if provider.api_key_env else ""
        return (
            f"the deployment {deployment.name!r} has no credential for {provider.provider!r}: {variable}give it "
            f"`credential: {{env: VARIABLE}}` or `credential: {{stored: NAME}}` in {self._config.source}."
        )


def _rooted(base_url: str, wire: Wire) -> str:
    # Anthropic's own SDK adds the version to the path, everybody else's base URL has it.
    return base_url.rstrip("/").removesuffix("/v1") if wire == "anthropic-messages" else base_url.rstrip("/")
