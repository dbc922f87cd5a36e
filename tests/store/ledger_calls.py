"""Calls of models as tests need them; and, run as a program, a worker that admits calls until it is killed.

    ledger_calls.py URL NAME COUNT LASTS_S

prints `admitted` or `refused` for each of COUNT calls at once, then waits.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import Any

from perdure_graph.models.faults import FaultKind
from perdure_store.ledger import Ledger
from perdure_store.ledger_records import NANOS, Admission, Admitted, Claim, Rates, Settlement, UsageRow
from perdure_store.recorder import Recorder

MONEY = NANOS // 10
TENANT = "tenant:acme/2026-11"
USAGE = UsageRow(
    id="",
    run_id="r",
    scope="",
    key="llm",
    node_id="llm",
    flow="f",
    user="ann",
    tenant="acme",
    provider="openai",
    model="m",
    deployment="d",
    attempt=1,
    outcome="answer",
    fault=None,
    prompt_tokens=70,
    completion_tokens=30,
    cache_read_tokens=0,
    cache_write_tokens=0,
    reasoning_tokens=0,
    estimated=False,
    price="0.1",
    currency="USD",
    price_source="declared",
    price_version="1",
    latency=0.5,
    first_delta=0.1,
    request_id="req",
    simulated=True,
    at=1000,
)
LOST: FaultKind = "internal"


def usage(id: str, **fields: Any) -> UsageRow:
    return replace(USAGE, id=id, **fields)


def call(id: str, *, limit: int | None = 50 * MONEY, **fields: Any) -> Admission:
    """A call of one unit of money, of which a tenant has `limit`."""
    feared = usage(id, outcome="wasted", fault=LOST, estimated=True)
    made = Admission(
        id=id,
        run_id="r",
        deployment="d",
        rates=Rates(),
        claims=(Claim(TENANT, money=limit), Claim("run:r", tokens=1_000_000)),
        money=MONEY,
        tokens=100,
        lasts_s=600,
        effect_key=id.rpartition("/")[0],
        if_lost=feared,
    )
    return replace(made, **fields)


def over(id: str, **fields: Any) -> Settlement:
    made = Settlement(admission=id, money=MONEY, tokens=100, usage=usage(id))
    return replace(made, **fields)


async def _main(url: str, name: str, count: int, lasts_s: float) -> None:
    recorder = Recorder(url, limit_s=20.0)
    ledger = Ledger(recorder)

    async def one(number: int) -> None:
        told = await ledger.admit(call(f"{name}-{number}/1", lasts_s=lasts_s))
        print("admitted" if isinstance(told, Admitted) else "refused", flush=True)

    await asyncio.gather(*(one(number) for number in range(count)))
    print("done", flush=True)
    await asyncio.sleep(3600)


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
