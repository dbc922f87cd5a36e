"""Which models are served where, as the operator says it: the file named by `PERDURE_MODELS`, else the environment.

Globs are those of file names (`*`, `?`, `[...]`) and tell letters' case apart. A model is named `provider/model`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import ROUND_DOWN
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, field_validator, model_validator

from perdure_store.ledger_records import NANOS

from .declared.load import Catalog
from .declared.problems import BadModelsFile, read_mapping, validated
from .declared.schema import Money, Pricing
from .deployed import Deployment, FromEnv, Glob, Limits, Part, Stored, spoken

MODELS_SETTING = "PERDURE_MODELS"
DEMO = "demo"

Reason = Literal["unavailable", "rate_limited", "context_overflow", "content_refused", "any"]

_BY_CUSTOM = (
    ("openai", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    ("anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
)


class Fallback(Part):
    """Which models to ask when those that match `from` fail for one of the reasons."""

    from_: Glob = Field(alias="from")
    to: tuple[str, ...] = Field(min_length=1)
    on: tuple[Reason, ...] = ("unavailable", "rate_limited", "context_overflow")

    @field_validator("to")
    @classmethod
    def _named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            _named(name)
        return value


class Budget(Part):
    """What may be spent by each run, flow, user or tenant that matches, or by all, in a period (UTC).

    when_over: whether a node that would spend more fails, or waits for an operator.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    per: Literal["run", "flow", "user", "tenant", "all"] = "all"
    match: Glob = "*"
    period: Literal["total", "day", "month"] = "total"
    money: Money | None = None
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")
    tokens: int | None = Field(default=None, ge=0)
    when_over: Literal["fail", "wait"] = "fail"

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.money is None and self.tokens is None:
            raise ValueError("it limits nothing: say `money` or `tokens`")
        return self

    def covers(self, subject: str) -> bool:
        """Whether it counts for this run, flow, user or tenant."""
        return self.per == "all" or fnmatchcase(subject, self.match)

    def scope(self, subject: str, at: datetime) -> str:
        """Name what is counted together: this budget, whose, and in which period."""
        whose = self.per if self.per == "all" else f"{self.per}:{subject}"
        period = {"total": "", "day": f"/{at:%Y-%m-%d}", "month": f"/{at:%Y-%m}"}[self.period]
        return f"{self.name}/{whose}{period}"

    def ends_at(self, at: datetime) -> int | None:
        """Say when the period is over, in milliseconds since the epoch; None for one that never is."""
        if self.period == "total":
            return None
        end = at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        if self.period == "month":
            # 31 days after its first day is always in the next.
            end = (at.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=31)).replace(day=1)
        return round(end.timestamp() * 1000)

    @property
    def nanos(self) -> int | None:
        """The money, in 10^-9 of the currency's unit."""
        return None if self.money is None else int((self.money * NANOS).to_integral_value(ROUND_DOWN))


class Timeouts(Part):
    """Longest waits in seconds: for a connection, for the first bytes of an answer, between two."""

    connect_s: float = Field(default=5.0, gt=0, le=300)
    first_token_s: float = Field(default=60.0, gt=0, le=3600)
    between_s: float = Field(default=30.0, gt=0, le=3600)


class ModelsConfig(Part):
    """All of it.

    declarations: further files of providers and models. prices: per million tokens, by `provider/model` or a glob.
    wait_s: how long a call may wait for a deployment that is about to be free, before it is retried later.
    substitute: what is asked in place of models that match a glob, by `provider/model`.
    """

    declarations: tuple[Path, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    budgets: tuple[Budget, ...] = ()
    prices: dict[Glob, Pricing] = Field(default_factory=dict[str, Pricing])
    timeouts: Timeouts = Timeouts()
    wait_s: float = Field(default=2.0, ge=0, le=60)
    substitute: dict[Glob, str] = Field(default_factory=dict[str, str])

    _source: str = PrivateAttr(default="the environment")

    @field_validator("deployments", "budgets")
    @classmethod
    def _once(cls, value: tuple[Deployment, ...] | tuple[Budget, ...]) -> tuple[Deployment, ...] | tuple[Budget, ...]:
        names = [one.name for one in value]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"the name {twice[0]!r} comes twice; give one of them another")
        return value

    @field_validator("substitute")
    @classmethod
    def _substitutes(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value.values():
            _named(name)
        return value

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> ModelsConfig:
        """Read the file named by `PERDURE_MODELS`; without one make a deployment of each key in the environment.

        Raises:
            BadModelsFile: the file cannot be read, or is wrong; says where.
        """
        environ = os.environ if environ is None else environ
        if path := environ.get(MODELS_SETTING, "").strip():
            return cls.of_file(Path(path).expanduser())
        return cls.of_environment(environ)

    @classmethod
    def of_file(cls, path: Path) -> ModelsConfig:
        """Read a file; its `declarations` are found beside it.

        Raises:
            BadModelsFile: it cannot be read, or is wrong; says where.
        """
        reading = read_mapping(path)
        data = {key: value for key, value in reading.data.items() if not key.startswith("x-")}
        found = validated(cls, data, path, reading)
        files = tuple(path.parent / file.expanduser() for file in found.declarations)
        config = found.model_copy(update={"declarations": files})
        config._source = str(path)
        return config

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> ModelsConfig:
        """Make a deployment of each provider whose key or base URL the environment has."""
        made: list[Deployment] = []
        for name, key, url in _BY_CUSTOM:
            base_url = environ.get(url, "").strip() or None
            if not environ.get(key) and base_url is None:
                continue
            given = {
                "name": name,
                "provider": name,
                "base_url": base_url,
                "credential": {"env": key} if environ.get(key) else None,
                # Whoever writes the address of this very machine into its environment means it.
                "allow_private": _is_private(base_url) if base_url else None,
            }
            made.append(validated(Deployment, given, Path(url), None))
        return cls(deployments=tuple(made))

    @classmethod
    def demo(cls, url: str) -> ModelsConfig:
        """Have every model answered by the fake provider at a base URL (`http://host:port/v1`)."""
        deployment = Deployment(name=DEMO, provider=DEMO, base_url=url, allow_private=True)
        config = cls(deployments=(deployment,), substitute={"*": f"{DEMO}/{DEMO}"})
        config._source = "the demo model"
        return config

    @property
    def source(self) -> str:
        """Where it was read."""
        return self._source

    def catalog(self) -> Catalog:
        """Make the catalog with its declarations."""
        return Catalog.load(self.declarations)

    def asked(self, catalog: Catalog, provider: str, model: str) -> tuple[str, str]:
        """Say which provider (its plain id) and model are asked when a graph names these."""
        name = f"{catalog.id_of(provider)}/{model}"
        for glob, other in self.substitute.items():
            if fnmatchcase(name, glob):
                return _named(other)
        return catalog.id_of(provider), model

    def serving(self, catalog: Catalog, provider: str, model: str) -> tuple[Deployment, ...]:
        """Give the deployments that serve a model, in their order."""
        return tuple(one for one in self.deployments if one.serves(model) and catalog.same(one.provider, provider))

    def why_none(self, catalog: Catalog, provider: str, model: str) -> str:
        """Say why no deployment serves a model, and what to do."""
        of_it = [one for one in self.deployments if catalog.same(one.provider, provider)]
        if of_it:
            names = ", ".join(repr(one.name) for one in of_it)
            return (
                f"no deployment of {provider!r} serves {model!r}. Add the name to `models` of {names} in {self.source}."
            )
        declared = catalog.provider(provider)
        variable = f"Set {declared.api_key_env}, or add" if declared.api_key_env and not self._is_file else "Add"
        file = self.source if self._is_file else f"a file named by {MODELS_SETTING}"
        return (
            f"no deployment serves models of {declared.provider!r}, so {model!r} cannot be asked. {variable} a "
            f"deployment with `provider: {declared.provider}` to {file} (docs/models.md). To try the flow without a "
            "provider, use --demo-model."
        )

    @property
    def _is_file(self) -> bool:
        return self._source != "the environment"

    def fallbacks_for(self, catalog: Catalog, provider: str, model: str, reason: Reason) -> tuple[tuple[str, str], ...]:
        """Give what to ask next when a model fails for a reason, in order and each once: provider and model."""
        name = f"{catalog.id_of(provider)}/{model}"
        found = [
            _named(other)
            for fallback in self.fallbacks
            if fnmatchcase(name, fallback.from_) and {reason, "any"} & {*fallback.on}
            for other in fallback.to
            if other != name
        ]
        return tuple(dict.fromkeys(found))


def _named(name: str) -> tuple[str, str]:
    provider, slash, model = name.partition("/")
    if not (provider and slash and model):
        raise ValueError(f"{name!r} is not `provider/model`")
    return provider, model


def _is_private(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost") or "." not in host


__all__ = [
    "MODELS_SETTING",
    "BadModelsFile",
    "Budget",
    "Deployment",
    "Fallback",
    "FromEnv",
    "Limits",
    "ModelsConfig",
    "Reason",
    "Stored",
    "Timeouts",
    "spoken",
]
