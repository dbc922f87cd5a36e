"""`perdure memories`: what agents remember of their users for long, and its deletion."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from .arguments import Json
from .store_cmd import Url, store_url

if TYPE_CHECKING:
    from perdure_store.memories import Memories

    from .output import Output

_LIMIT_S = 10.0

User = Annotated[str, typer.Option("--user", help="Of whom.")]
Tenant = Annotated[str, typer.Option("--tenant", help="Of which tenant the user is.")]

memories = typer.Typer(
    name="memories",
    help="Long-term memory of agents: facts about users.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@memories.command("list")
def list_memories(
    user: User,
    agent: Annotated[str, typer.Option("--agent", help="Name of the agent that knows them.")],
    tenant: Tenant = "",
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List what an agent knows of a user, newest first."""
    _finish(lambda out: _list(user, agent, tenant, url, out), as_json)


@memories.command()
def delete(
    user: User,
    facts: Annotated[list[str] | None, typer.Argument(metavar="FACT...", help="Ids; without them all facts.")] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Only what this agent knows; by default all do.")] = None,
    tenant: Tenant = "",
    yes: Annotated[bool, typer.Option("--yes", help="Delete all facts, those of --agent or of every one.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Delete facts about a user; runs that have begun may have been told of them."""
    _finish(lambda out: _delete(user, facts or [], agent, tenant, url, out, sure=yes), as_json)


@asynccontextmanager
async def _opened(url: str | None) -> AsyncGenerator[Memories]:
    """Open the store that is there; one is never made.

    Raises:
        PlatformError: there is none.
    """
    found = store_url(url)
    from perdure_store.memories import Memories
    from perdure_store.read import Store
    from perdure_store.recorder import Recorder

    async with Store.open(found):
        recorder = Recorder(found, limit_s=_LIMIT_S)
        try:
            yield Memories(recorder)
        finally:
            await recorder.close()


async def _list(user: str, agent: str, tenant: str, url: str | None, out: Output) -> int:
    from perdure_store.memories import MOST_FACTS, Owner

    from .output import OK

    async with _opened(url) as kept:
        facts = await kept.facts(Owner(tenant, user, agent), 2 * MOST_FACTS)
    for fact in facts:
        out.say(f"{fact.id}  {_time(fact.told_at)}  {fact.text}")
    if not facts:
        out.say(f"{agent!r} knows nothing of {user!r}")
    if out.as_json:
        out.json({"facts": [{"id": fact.id, "text": fact.text, "told_at": fact.told_at} for fact in facts]})
    return OK


async def _delete(
    user: str, facts: list[str], agent: str | None, tenant: str, url: str | None, out: Output, *, sure: bool
) -> int:
    from perdure_graph.errors import InvalidInputs
    from perdure_store.memories import Owner

    from .output import FAILED, OK

    if facts and agent is None:
        raise InvalidInputs("facts belong to an agent: say which with --agent.", field="agent")
    if not facts and not sure:
        whose = f"the agent {agent!r}" if agent is not None else "any agent"
        raise InvalidInputs(f"this deletes all that {whose} knows of {user!r}. Say --yes to do it.", field="yes")
    missing: list[str] = []
    async with _opened(url) as kept:
        if facts:
            owner = Owner(tenant, user, agent or "")
            missing = [fact for fact in dict.fromkeys(facts) if not await kept.delete(owner, fact)]
            deleted = len(set(facts)) - len(missing)
        else:
            deleted = await kept.delete_user(tenant, user, agent)
    out.say(f"deleted: {deleted:,} facts")
    for fact in missing:
        out.note(f"warning: there is no fact {fact!r} that {agent!r} knows of {user!r}")
    if out.as_json:
        out.json({"deleted": deleted, "missing": missing})
    return FAILED if missing else OK


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _finish(work: Callable[[Output], Coroutine[Any, Any, int]], as_json: bool) -> NoReturn:
    from .output import Output, execute

    out = Output(as_json=as_json)
    raise typer.Exit(execute(lambda: work(out), out))
