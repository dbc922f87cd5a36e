"""The activities of agents. What they need is loaded with the first call: a worker that runs none starts without it."""

from __future__ import annotations

from temporalio import activity

from perdure_graph.agents.effects import AgentOpened, AskRound, OpenAgent, RoundAnswer

from ..models.activity import attempted
from ..models.failover import Target
from .context import current


@activity.defn(name=OpenAgent.activity)
async def open_agent(effect: OpenAgent) -> AgentOpened:
    """Get an agent ready.

    Raises:
        ApplicationError: nothing declares its model, or the worker has nothing to run agents with.
    """
    async with attempted(Target(effect.config.model.provider, effect.config.model.name)):
        support = current()
        from .opening import opened

        return await opened(support, effect)


@activity.defn(name=AskRound.activity)
async def ask_round(effect: AskRound) -> RoundAnswer:
    """Ask an agent's model for one round.

    Raises:
        ApplicationError: as `invoke_model`; or the run store is away and has what was said before.
    """
    async with attempted(Target(effect.model.provider, effect.model.name)) as attempt:
        support = current()
        from .round import asked

        return await asked(support, effect, attempt)
