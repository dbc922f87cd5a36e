"""Which deployment is asked: those that serve the model, then the one with the least to do. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from perdure_store.ledger_records import Health

from .config import spoken
from .failover import Target
from .protocol import ModelFault, Wire

if TYPE_CHECKING:
    from collections import Counter

    from .config import Deployment, ModelsConfig
    from .declared.load import Catalog
    from .declared.schema import ModelDeclaration, ProviderDeclaration


@dataclass(frozen=True, slots=True)
class Candidate:
    """A deployment that serves a model. `model` is what its server calls it."""

    target: Target
    deployment: Deployment
    provider: ProviderDeclaration
    declared: ModelDeclaration
    wire: Wire
    model: str

    @property
    def name(self) -> str:
        """Name of the deployment."""
        return self.deployment.name

    @property
    def features(self) -> frozenset[str]:
        """What the model can do."""
        return frozenset(self.declared.features)


def asked(config: ModelsConfig, catalog: Catalog, provider: str, model: str) -> Target:
    """Say which model is asked when a graph names this one."""
    return Target(*config.asked(catalog, provider, model))


def candidates(config: ModelsConfig, catalog: Catalog, target: Target) -> tuple[Candidate, ...]:
    """Find the deployments that serve a model.

    Raises:
        ModelFault: not_found, there is none; says how to add one.
        PlatformError: nothing declares the provider or the model.
    """
    deployments = config.serving(catalog, target.provider, target.model)
    if not deployments:
        raise ModelFault("not_found", config.why_none(catalog, target.provider, target.model))
    provider = catalog.provider(target.provider)
    declared = catalog.model(target.provider, target.model)
    return tuple(
        Candidate(target, one, provider, declared, spoken(one, provider, declared), one.served_as(target.model))
        for one in deployments
    )


class Choice:
    """Chooses the deployment with the least to do of two taken at random; round robin among equals."""

    def __init__(self, luck: Random | None = None) -> None:
        self._luck = luck or Random()  # noqa: S311 - no secret
        self._turn = 0
        self._last: dict[str, int] = {}

    def among(
        self, several: Sequence[Candidate], known: Mapping[str, Health], in_flight: Counter[str], begun: Counter[str]
    ) -> Candidate:
        """Choose one of at least one. in_flight, begun: calls of this process, since the health was read."""
        two = several if len(several) <= 2 else self._luck.sample(list(several), 2)

        def load(one: Candidate) -> tuple[float, float, int]:
            health, weight = known[one.name], one.deployment.weight
            now = max(health.at_once, in_flight[one.name])
            lately = health.load + begun[one.name]
            return now / weight, lately / weight, self._last.get(one.name, 0)

        chosen = min(two, key=load)
        self._turn += 1
        self._last[chosen.name] = self._turn
        return chosen
