"""Measure Perdure at scale: `make scale`, or `python benchmarks/scale.py [--rounds N] [--items N] [--runs N]`.

Writes tables to stderr and one JSON object to stdout, the last line. docs/scale.md says what the numbers mean.

Everything runs on this machine: the embedded server (in memory, tuned), the workers, the baseline's worker and this
process with the client. But for the large iteration, which runs code nodes, the activity does nothing: what is
measured is the engine and the server alone. Ratios are of medians over interleaved rounds of the same call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time

from by_hand import baseline_worker
from measure import rounds
from scale_items import WINDOW, baseline_items, large, perdure_items
from scale_report import MOST_EVENTS, PARALLEL, SPEED_ITEMS, Found, Speeds, report, table
from scale_runs import SLOTS, WAIT_S, Throughput, one_and_two

from perdure import Client
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

# Each of them waits ten times, in few slots.
SLOT_RUNS = 0.2


async def measure_speeds(stack: EmbeddedStack, baseline_pid: int, count: int) -> Speeds:
    """Measure iterations side by side with those written by hand; at the widest also without a run store."""
    client, worker = Client(stack.client, stack.task_queue), stack.worker_pids[0]
    changes = {"task_queue": "scale-unrecorded", "store": "off"}
    found: Speeds = {}
    async with embedded(stack.settings.model_copy(update=changes)) as silent:
        for parallel, items in SPEED_ITEMS.items():
            kinds = {
                "baseline": baseline_items(stack.client, baseline_pid, items, parallel),
                "perdure": perdure_items(client, worker, items, parallel),
                "unrecorded": perdure_items(
                    Client(silent.client, silent.task_queue), silent.worker_pids[0], items, parallel
                ),
            }
            found[parallel] = await rounds(kinds, count)
    return found


async def measure_slots(stack: EmbeddedStack, runs: int) -> tuple[Throughput, Throughput]:
    """Measure one worker and two where workers are the bottleneck: few slots each, nodes that wait for others."""
    changes = {"task_queue": "scale-slots", "max_concurrent_activities": SLOTS}
    async with embedded(stack.settings.model_copy(update=changes)) as narrow:
        return await one_and_two(narrow, stack.server_pid, runs, 1, WAIT_S)


async def measure_all(items: int, runs: int, count: int) -> Found:
    """Measure everything on one server."""
    began = time.perf_counter()
    settings = WorkerSettings(address=None, db=None, graceful_shutdown_s=1.0)
    async with embedded(settings) as stack:
        async with baseline_worker(stack.settings) as baseline_pid:
            speeds = await measure_speeds(stack, baseline_pid, count)
        client = Client(stack.client, stack.task_queue)
        iteration = await large(client, stack.worker_pids[0], items, PARALLEL[-1])
        idle = await one_and_two(stack, stack.server_pid, runs, count)
        slots = await measure_slots(stack, max(10, round(runs * SLOT_RUNS)))
    return Found(iteration, speeds, idle, slots, time.perf_counter() - began)


def main() -> None:
    """Measure and print; exit with 1 where a history is over the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2, help="measured rounds of each comparison (default 2)")
    parser.add_argument("--items", type=int, default=10_000, help="items of the large iteration (default 10000)")
    parser.add_argument("--runs", type=int, default=200, help="concurrent runs (default 200)")
    given = parser.parse_args()
    if given.items <= WINDOW:
        parser.error(f"--items must be over {WINDOW}: fewer need no windows")
    load = os.getloadavg()[0]
    sys.stderr.write(f"{os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}\n")
    found = asyncio.run(measure_all(given.items, max(20, given.runs), max(1, given.rounds)))
    sys.stderr.write(table(found) + "\n")
    print(json.dumps(report(found)))
    longest = max(found.iteration.histories)
    if longest >= MOST_EVENTS:
        sys.exit(f"a history has {longest:,} events; {MOST_EVENTS:,} is the limit")


if __name__ == "__main__":
    main()
