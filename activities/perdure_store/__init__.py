"""The run store: runs, node executions, events and waits in SQL, for readers that need no worker.

    worker    Recorder.record(meta) -> Writer -> one transaction: events and what is derived from them
    readers   Store.open(url) -> runs, nodes, waits, events, follow

Events are the truth; rows of runs, nodes and waits are derived from them in the transaction that inserts them, and come
out the same in whatever order, split or repetition batches arrive.
"""

from __future__ import annotations
