"""Long-term memory: facts that an agent is told of a user, found again by their words."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .ranking import ranked
from .transactions import Transactions

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Of one user of one agent; the oldest are not looked at, and go when there are twice as many.
MOST_FACTS = 500
MOST_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose facts: those that an agent knows of a user of a tenant. Nobody else is told of them."""

    tenant: str
    user: str
    agent: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact. told_at: when it was last told, milliseconds since the epoch."""

    id: str
    text: str
    told_at: int


class Memories(Transactions):
    """Keeps facts in the store of a recorder; each method raises `LedgerAway` when that is off, away or too slow."""

    _called: ClassVar[str] = "long-term memories"
    _unknown: ClassVar[str] = "nothing is remembered for long"

    async def add(self, owner: Owner, text: str) -> Fact:
        """Remember a fact; one that is known is told again. Cut to `MOST_CHARS`.

        Raises:
            ValueError: it is empty.
        """
        text = text.strip()[:MOST_CHARS]
        if not text:
            raise ValueError("a fact must not be empty")
        fact = Fact(_id_of(owner, text), text, self._now())

        def work(connection: Connection) -> None:
            from .memory_rows import add

            add(connection, owner, fact, 2 * MOST_FACTS)

        await self._do(work)
        return fact

    async def facts(self, owner: Owner, most: int = MOST_FACTS) -> list[Fact]:
        """Give the newest facts, newest first."""

        def work(connection: Connection) -> list[Fact]:
            from .memory_rows import newest

            return newest(connection, owner, most)

        return await self._do(work, writes=False)

    async def search(self, owner: Owner, query: str, most: int) -> list[Fact]:
        """Give the facts that share words with the query, best first, then others, newest first."""
        known = await self.facts(owner)
        return [known[place] for place in ranked(query, [fact.text for fact in known])[:most]]

    async def delete(self, owner: Owner, fact_id: str) -> bool:
        """Forget a fact; whether there was one."""

        def work(connection: Connection) -> int:
            from .memory_rows import delete

            return delete(connection, owner.tenant, owner.user, owner.agent, fact_id)

        return await self._do(work) > 0

    async def delete_user(self, tenant: str, user: str, agent: str | None = None) -> int:
        """Forget all of a user, for one agent or for all; gives how many facts there were."""

        def work(connection: Connection) -> int:
            from .memory_rows import delete

            return delete(connection, tenant, user, agent, None)

        return await self._do(work)


def _id_of(owner: Owner, text: str) -> str:
    """Name a fact by what it says and whose it is: told twice, as by a call that is repeated, it is one."""
    whole = "".join(f"{len(part)}:{part}" for part in (owner.tenant, owner.user, owner.agent, text))
    return f"fact_{hashlib.sha256(whole.encode('utf-8', 'surrogatepass')).hexdigest()[:20]}"
