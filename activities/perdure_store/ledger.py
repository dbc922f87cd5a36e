"""The ledger of model calls: answers already paid for, budgets, limits of deployments and their health, usage.

Every method is one short transaction; workers that share a store share all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from perdure_graph.models.faults import FaultKind

from .items import Deltas
from .ledger_records import (
    Admission,
    Admitted,
    Answered,
    CredentialRow,
    DeltaRow,
    Health,
    NotAdmitted,
    Refused,
    Settlement,
    Spent,
    UsageReport,
)
from .transactions import Transactions

if TYPE_CHECKING:
    from sqlalchemy import Connection


class Ledger(Transactions):
    """Keeps the books in the store of a recorder.

    Every method but `write_deltas` raises `LedgerAway` when the store is off, away or too slow.
    """

    _called: ClassVar[str] = "the ledger of model calls"
    _unknown: ClassVar[str] = "nothing is known of model calls"

    async def answer(self, key: str) -> dict[str, Any] | None:
        """Find the answer that was kept under a key."""

        def work(connection: Connection) -> dict[str, Any] | None:
            from .journal import answer

            return answer(connection, key)

        return await self._do(work, writes=False)

    async def admit(self, asked: Admission) -> Admitted | Answered | Refused:
        """Let a call begin: reserve what it may use of all its budgets and limits, or of none.

        Calls that lost their worker are settled first.
        """

        def work(connection: Connection) -> Admitted | Answered | Refused | None:
            from .admission import admit

            return admit(connection, asked, self._now())

        try:
            while (told := await self._do(work)) is None:
                await self.sweep(asked)
        except NotAdmitted as refusal:
            return refusal.told
        return told

    async def sweep(self, asked: Admission | None = None) -> int:
        """Settle calls that lost their worker: those whose time is over, and of the effect of a call that begins."""

        def work(connection: Connection) -> int:
            from .settle import sweep

            return sweep(connection, asked, self._now())

        return await self._do(work)

    async def settle(self, over: Settlement) -> None:
        """Account for a call that is over, keep its answer, and free what it had reserved. Twice is as once."""

        def work(connection: Connection) -> None:
            from .settle import settle

            settle(connection, over, self._now())

        await self._do(work)
        if over.also is not None:
            over.also.committed()

    async def release(self, admission: str) -> None:
        """Free what a call had reserved that was never sent."""

        def work(connection: Connection) -> None:
            from .settle import release

            release(connection, admission)

        await self._do(work)

    async def spent(self, scopes: Iterable[str]) -> dict[str, Spent]:
        """Say how budgets stand."""
        asked = tuple(scopes)

        def work(connection: Connection) -> dict[str, Spent]:
            from .usage_rows import spent

            return spent(connection, asked)

        return await self._do(work, writes=False)

    async def health(self, deployments: Iterable[str]) -> dict[str, Health]:
        """Say what is known of deployments; of each something is."""
        asked = tuple(deployments)

        def work(connection: Connection) -> dict[str, Health]:
            from .health import health

            return health(connection, asked, self._now())

        return await self._do(work, writes=False)

    async def note(
        self, deployment: str, fault: FaultKind | None, retry_after_s: float | None = None, calls: int = 1
    ) -> Health:
        """Note how a call of a deployment ended, or several alike; None is well. Gives what is known then."""

        def work(connection: Connection) -> Health:
            from .health import note

            return note(connection, deployment, fault, retry_after_s, self._now(), calls)

        return await self._do(work)

    async def probe(self, deployment: str, lasts_s: float) -> bool:
        """Ask to be the one who tries whether a deployment is well again, for `lasts_s`; True where it is well."""

        def work(connection: Connection) -> bool:
            from .health import probe

            return probe(connection, deployment, lasts_s, self._now())

        return await self._do(work)

    async def forgive(self, deployments: Iterable[str]) -> None:
        """Forget what is known of deployments: their credential or address has changed."""
        asked = tuple(deployments)

        def work(connection: Connection) -> None:
            from .health import forgive

            forgive(connection, asked)

        await self._do(work)

    async def correct(
        self,
        deployment: str,
        remaining_requests: int | None,
        remaining_tokens: int | None,
        reset_s: float | None,
    ) -> None:
        """Lower what is left of a deployment's requests and tokens to what the provider says is."""
        if remaining_requests is None and remaining_tokens is None:
            return
        remaining = {"requests": remaining_requests, "tokens": remaining_tokens}

        def work(connection: Connection) -> None:
            from .rates import correct

            correct(connection, deployment, remaining, reset_s, self._now())

        await self._do(work)

    async def write_deltas(self, rows: Sequence[DeltaRow]) -> bool:
        """Write pieces of an answer for those who read along; False when that did not work. Never raises."""
        if self.is_off or not rows:
            return not rows
        return await self._recorder.write(Deltas(tuple(rows), self._now()))

    async def deltas(
        self, run_id: str, scope: str, key: str, min_epoch: int = 1, after_n: int = -1, limit: int = 500
    ) -> list[DeltaRow]:
        """Give pieces of an answer in their order: of `min_epoch` those after number `after_n`, of later ones all."""

        def work(connection: Connection) -> list[DeltaRow]:
            from .delta_rows import deltas

            return deltas(connection, run_id, scope, key, min_epoch, after_n, limit)

        return await self._do(work, writes=False)

    async def usage(
        self,
        *,
        run_id: str | None = None,
        tenant: str | None = None,
        since: int | None = None,
        limit: int = 1000,
    ) -> UsageReport:
        """Give what calls used: of a run, of a tenant, since a time, or of all; at most `limit` of them one by one."""

        def work(connection: Connection) -> UsageReport:
            from .usage_rows import usage

            return usage(connection, run_id, tenant, since, limit)

        return await self._do(work, writes=False)

    async def turns(
        self, conversation_id: str, before_run: str, most: int | None = None, *, tenant: str | None = None
    ) -> list[tuple[str, str]]:
        """Give (query, answer) of the last `most` turns of a conversation that began before a run, the newest last.

        tenant: whose conversation it is; that of the run, where it is not said.
        """

        def work(connection: Connection) -> list[tuple[str, str]]:
            from .conversations import turns

            found = turns(connection, conversation_id, before_run, most, tenant)
            return [(turn.query, turn.answer) for turn in found]

        return await self._do(work, writes=False)

    async def put_credential(self, row: CredentialRow) -> None:
        """Store a credential, in place of the one of that name."""

        def work(connection: Connection) -> None:
            from .credential_rows import put

            put(connection, row, self._now())

        await self._do(work)

    async def credential(self, name: str) -> CredentialRow | None:
        """Find a credential."""

        def work(connection: Connection) -> CredentialRow | None:
            from .credential_rows import find

            return find(connection, name)

        return await self._do(work, writes=False)

    async def credentials(self, provider: str | None = None) -> list[CredentialRow]:
        """Give all credentials, or those of a provider, by name."""

        def work(connection: Connection) -> list[CredentialRow]:
            from .credential_rows import listed

            return listed(connection, provider)

        return await self._do(work, writes=False)

    async def delete_credential(self, name: str) -> bool:
        """Delete a credential; whether there was one."""

        def work(connection: Connection) -> bool:
            from .credential_rows import delete

            return delete(connection, name)

        return await self._do(work)
