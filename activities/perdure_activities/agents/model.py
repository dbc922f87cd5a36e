"""The model of an agent: what it can do, how long a prompt it takes, how its tokens are counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from perdure_graph.agents.config import AgentModel, Strategy

from ..models.declared.load import UnknownModel
from ..models.declared.problems import UnknownProvider
from ..models.failover import LocatedFault, Target
from ..models.protocol import ModelFault
from ..models.remember import ANSWER
from ..models.route import asked
from ..models.rules import MAX_TOKENS

if TYPE_CHECKING:
    from ..models.declared.schema import ModelDeclaration
    from ..models.runtime import Runtime

CALLS_TOOLS = frozenset({"tool-call", "multi-tool-call"})

# Shortest limit of an answer that a prompt which leaves no room still gets.
_LEAST_ANSWER = 16


@dataclass(frozen=True, slots=True)
class Model:
    """What is known of a model before it is asked. answer: tokens that its answer may have; None leaves it open."""

    target: Target
    declared: ModelDeclaration
    mode: Literal["chat", "completion"] = "chat"
    answer: int | None = None

    @property
    def calls_tools(self) -> bool:
        """Whether it calls tools itself."""
        return bool(CALLS_TOOLS & self.declared.features) and self.mode == "chat"

    @property
    def features(self) -> frozenset[str]:
        """What it can do."""
        return frozenset(self.declared.features)

    @property
    def window(self) -> int | None:
        """Tokens of prompt and answer together; None where nobody says."""
        return self.declared.model_properties.context_size

    @property
    def reserved(self) -> int:
        """Tokens to keep free for the answer."""
        return ANSWER if self.answer is None else self.answer


def model_of(runtime: Runtime, model: AgentModel) -> Model:
    """Find the model that is asked when an agent names this one.

    Raises:
        LocatedFault: not_found, nothing declares it.
    """
    target = asked(runtime.config, runtime.catalog, model.provider, model.name)
    try:
        declared = runtime.catalog.model(target.provider, target.model)
    except (UnknownProvider, UnknownModel) as error:
        raise LocatedFault(ModelFault("not_found", str(error)), target) from None
    given = next((most for name in MAX_TOKENS if isinstance(most := model.completion_params.get(name), int)), None)
    completes = "completion" in (model.mode, declared.model_properties.mode)
    return Model(target, declared, "completion" if completes else "chat", given)


def strategy_for(model: Model, wanted: Strategy | None) -> tuple[Strategy, str]:
    """Choose how the agent works with its model; and say why, where it is not as wanted."""
    if model.calls_tools:
        return wanted or "function_calling", ""
    if wanted != "function_calling":
        return "react", ""
    return "react", (
        f"The model {str(model.target)!r} calls no tools (it completes text, or its declaration has neither "
        "'tool-call' nor 'multi-tool-call'), so the agent works by ReAct. Choose another model for function calling."
    )


def fitted(parameters: dict[str, JsonValue], model: Model, prompt: int) -> dict[str, JsonValue]:
    """Lower the limit of the answer to what a prompt of so many tokens leaves of the window."""
    if model.window is None or model.answer is None or prompt + model.answer <= model.window:
        return parameters
    most = max(model.window - prompt, _LEAST_ANSWER)
    return {name: most if name in MAX_TOKENS else value for name, value in parameters.items()}
