"""Getting an agent ready: its strategy, its tools, what it knows of the user."""

from __future__ import annotations

import re
from collections.abc import Mapping

import structlog
from pydantic import JsonValue

from perdure_graph.agents.effects import AgentOpened, OpenAgent, Opening
from perdure_graph.agents.tools import Toolset
from perdure_graph.models.messages import UserMessage, text_of
from perdure_graph.values import to_text
from perdure_store.ledger_records import LedgerAway
from perdure_store.memories import Owner
from perdure_store.threads import OPENING

from ..models.settle import NO_RUN
from .context import AgentSupport
from .model import model_of, strategy_for
from .toolset import load

_log = structlog.stdlib.get_logger("perdure.agents")

_INPUT = re.compile(r"\{\{([^{}]+)\}\}")


async def opened(support: AgentSupport, effect: OpenAgent) -> AgentOpened:
    """Get an agent ready; what an earlier attempt kept of it is taken as it is.

    Raises:
        LocatedFault: nothing declares its model.
    """
    config = effect.config
    model = model_of(support.models, config.model)
    strategy, fallback = strategy_for(model, config.strategy)
    opening = Opening(
        strategy=strategy,
        fallback=fallback,
        features=tuple(sorted(model.features)),
        instruction=filled(config.instruction, effect.inputs),
        prompt_template=config.prompt_template,
        toolset=await load(support.registry, config, effect.depth),
        facts=await _facts(support, effect),
        query=effect.query,
    )
    return await _kept(support, effect, opening)


def filled(instruction: str, inputs: Mapping[str, JsonValue]) -> str:
    """Put inputs in where an instruction names them, once: what they say is never read for names. Others stay."""

    def value(found: re.Match[str]) -> str:
        name = found[1].strip()
        return to_text(inputs[name]) if name in inputs else found[0]

    return _INPUT.sub(value, instruction)


async def _facts(support: AgentSupport, effect: OpenAgent) -> tuple[str, ...]:
    """Find what is known of the user. An agent that cannot remember works all the same."""
    config = effect.config
    if not config.long_term.enabled or not effect.user or support.memories.is_off:
        return ()
    owner = Owner(effect.tenant, effect.user, config.name)
    try:
        found = await support.memories.search(owner, text_of(effect.query), config.long_term.top_k)
    except LedgerAway as away:
        _log.warning("an agent begins without its long-term memory", agent=config.name, reason=str(away))
        return ()
    return tuple(fact.text for fact in found)


async def _kept(support: AgentSupport, effect: OpenAgent, opening: Opening) -> AgentOpened:
    """Keep what stays the same for all rounds, and the query, and leave what is long of it out of the reply."""
    run_id = (effect.meta or NO_RUN).run_id
    if support.threads.is_off or not run_id:
        return AgentOpened(opening=opening)
    whole = opening.model_dump(mode="json")
    try:
        there = await support.threads.write(effect.thread, run_id, {0: whole["query"]}, whole)
    except LedgerAway as away:
        _log.warning("the run keeps the messages of an agent itself", thread=effect.thread, reason=str(away))
        return AgentOpened(opening=opening)
    if OPENING in there:
        # What an earlier attempt found is what the rounds will read.
        opening = Opening.model_validate(there[OPENING])
    toolset: Toolset = opening.toolset.model_copy(update={"specs": ()})
    return AgentOpened(
        opening=opening.model_copy(update={"toolset": toolset, "query": UserMessage(content=())}), kept=True
    )
