"""What follows from a fault: the next deployment, another model, or the end of the attempt. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure_graph.models.faults import FaultKind

from .protocol import ModelFault

if TYPE_CHECKING:
    from .config import Reason

# Models asked in place of the one that the graph names, at most.
DEPTH = 3

# Faults of a deployment, not of the request: another one that serves the same model may do better.
OF_DEPLOYMENT: frozenset[FaultKind] = frozenset(
    {
        "auth",
        "permission",
        "quota_exhausted",
        "rate_limited",
        "overloaded",
        "server_error",
        "timeout",
        "connection",
    }
)

# Why another model is asked. What is not here is the fault of the request or of a key: only `any` takes it.
_REASONS: dict[FaultKind, Reason] = {
    "rate_limited": "rate_limited",
    "overloaded": "unavailable",
    "server_error": "unavailable",
    "timeout": "unavailable",
    "connection": "unavailable",
    "quota_exhausted": "unavailable",
    "not_found": "unavailable",
    "context_overflow": "context_overflow",
    "content_refused": "content_refused",
}

# Nothing that another model could mend.
_FINAL: frozenset[FaultKind] = frozenset({"cancelled", "internal", "budget_exceeded"})

NEXT_STEPS: dict[FaultKind, str] = {
    "bad_request": "Correct the node's prompt or its parameters.",
    "context_overflow": "Shorten the prompt or the memory window, or name a model with a larger window as a fallback.",
    "content_refused": "Change the prompt, or name a fallback for `content_refused`.",
    "auth": "Correct the credential of the deployment (`perdure models check` tries it).",
    "permission": "Let the credential of the deployment use this model.",
    "not_found": "Correct the model's name in the node, or `rename` it in the deployment.",
    "quota_exhausted": "Add credit to the provider's account, or another deployment.",
    "rate_limited": "It is tried again by itself; add a deployment or raise the provider's limits.",
    "overloaded": "It is tried again by itself; name a fallback to be independent of this provider.",
    "server_error": "It is tried again by itself; name a fallback to be independent of this provider.",
    "timeout": "It is tried again by itself; raise the timeouts of the models file where the model is slow.",
    "connection": "Check the deployment's base_url and the network of the worker.",
    "stream_broken": "It is tried again by itself.",
    "protocol_error": "Check the deployment's base_url and wire, and that the server speaks it.",
    "cancelled": "",
    "internal": "This is a bug of Perdure; report it.",
    "budget_exceeded": "Raise the budget in the models file, or wait for its next period.",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A model of a provider, as a graph or a fallback list names it."""

    provider: str
    model: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


Fallbacks = Callable[[Target, "Reason"], Sequence[Target]]


class LocatedFault(ModelFault):
    """A fault that says whose it is, and what to do.

    hold: whether the run is to wait for an operator. because: the kind by which fallbacks are chosen.
    """

    def __init__(
        self,
        fault: ModelFault,
        target: Target,
        deployment: str = "",
        *,
        hold: bool = False,
        because: FaultKind | None = None,
    ) -> None:
        where = f"The model {str(target)!r}" + (f" (deployment {deployment!r})" if deployment else "")
        said = fault.message.strip().rstrip(".") or "gave no reason"
        super().__init__(
            fault.kind,
            f"{where} failed ({fault.kind}): {said}. {NEXT_STEPS[fault.kind]}".strip(),
            retry_after_s=fault.retry_after_s,
            status=fault.status,
            provider_code=fault.provider_code,
            parameter=fault.parameter,
            maybe_billed=fault.maybe_billed,
        )
        self.target = target
        self.deployment = deployment
        self.hold = hold
        self.because: FaultKind = because or fault.kind


class Plan:
    """Which models one attempt asks: the one that the graph names, then fallbacks by the reason of each fault."""

    def __init__(self, asked: Target, fallbacks: Fallbacks) -> None:
        self._asked = asked
        self._fallbacks = fallbacks
        self._tried = [asked]

    def following(self, kind: FaultKind) -> Target | None:
        """Tell which model would be asked after a fault of this kind; None where that is the end."""
        if kind in _FINAL or len(self._tried) > DEPTH:
            return None
        reason = _REASONS.get(kind, "any")
        for source in dict.fromkeys((self._asked, self._tried[-1])):
            for target in self._fallbacks(source, reason):
                if target not in self._tried:
                    return target
        return None

    def go_on(self, kind: FaultKind) -> Target | None:
        """Take the model to be asked after a fault of this kind."""
        target = self.following(kind)
        if target is not None:
            self._tried.append(target)
        return target


def to_report(faults: Sequence[LocatedFault]) -> LocatedFault:
    """Choose, of all that went wrong in an attempt, what is told: what may soon be over, else what came first."""
    soon = [fault for fault in faults if fault.retryable]
    if not soon:
        return faults[0]
    return min(soon, key=lambda fault: fault.retry_after_s or 0.0)
