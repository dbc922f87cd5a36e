"""Two tools of a shop: one reads its orders, one pays money back."""

from __future__ import annotations

import csv
import hashlib
import json
import time
from pathlib import Path
from typing import Annotated

from pydantic import Field

from perdure_activities.tools import ToolCallContext, ToolFault, tool

ORDERS = Path(__file__).parents[1] / "order-batch" / "orders.csv"
BOOK = "refunds"
# The bank takes a while to confirm what it has booked.
CONFIRMED_AFTER_S = 0.8

Order = Annotated[str, Field(description="Number of the order, like A1001.")]


@tool(provider="orders", label="Find an order", retry="safe")
def find_order(order_id: Order) -> list[dict[str, str]]:
    """Find all charges of an order: date, customer, currency, amount."""
    with ORDERS.open(newline="") as file:
        found = [row for row in csv.DictReader(file) if row["order_id"] == order_id]
    if not found:
        raise ToolFault("bad_arguments", f"there is no order {order_id!r}")
    return found


@tool(provider="orders", label="Refund", retry="keyed", sequential=True)
def refund(
    order_id: Order,
    amount: Annotated[float, Field(description="What to pay back.", gt=0)],
    currency: Annotated[str, Field(description="Of the charge, like EUR.", pattern="^[A-Z]{3}$")],
    context: ToolCallContext,
) -> str:
    """Pay back what an order cost, or a part of it."""
    # The key is the same for every attempt at this call, so a call that is repeated after a crash books nothing.
    entry = context.folder / BOOK / f"{hashlib.sha256(context.key.encode()).hexdigest()[:16]}.json"
    entry.parent.mkdir(parents=True, exist_ok=True)
    try:
        with entry.open("x") as file:
            json.dump({"order_id": order_id, "amount": amount, "currency": currency, "attempt": context.attempt}, file)
    except FileExistsError:
        return f"{amount:.2f} {currency} of order {order_id} had been paid back already, by this same call."
    time.sleep(CONFIRMED_AFTER_S)
    return f"{amount:.2f} {currency} of order {order_id} were paid back."
