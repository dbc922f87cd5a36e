"""Measure Perdure at scale: `make scale`, or `python benchmarks/scale.py [--rounds N] [--items N] [--runs N]`.

Writes tables to stderr and one JSON object to stdout, the last line.

Everything runs on this machine: the embedded server (in memory, tuned), the workers, the baseline's worker and this
process with the client. The activity does nothing, so what is measured is the engine and the server alone. Ratios are
of medians over interleaved rounds of the same call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys

from measure import Summary, rounds
from run import baseline_worker
from scale_items import MARKS, WINDOW, Large, baseline_items, large, perdure_items
from scale_runs import Throughput, one_and_two

from perdure import Client
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

PARALLEL = (1, 4, 16)
# Multiples of window and lanes, so that no lane ends early; one item at a time is slow, and fewer say as much.
SPEED_ITEMS = {1: 200, 4: 600, 16: 1_200}
MOST_EVENTS = 10_000

Speeds = dict[int, tuple[Summary, Summary]]


async def measure_speeds(stack: EmbeddedStack, baseline_pid: int, count: int) -> Speeds:
    """Measure iterations side by side with those written by hand; gives (baseline, perdure) by parallelism."""
    client, worker = Client(stack.client, stack.task_queue), stack.worker_pids[0]
    found: Speeds = {}
    for parallel, items in SPEED_ITEMS.items():
        kinds = {
            "baseline": baseline_items(stack.client, baseline_pid, items, parallel),
            "perdure": perdure_items(client, worker, items, parallel),
        }
        summaries = await rounds(kinds, count)
        found[parallel] = summaries["baseline"], summaries["perdure"]
    return found


def table(iteration: Large, speeds: Speeds, one: Throughput, two: Throughput) -> str:
    """Write all that was measured for people."""
    memory = ", ".join(f"{iteration.memory[mark] / 2**20:.0f} MB at {mark:.0%}" for mark in MARKS)
    lines = [
        f"iteration over {iteration.items:,} items, {PARALLEL[-1]} at once: {iteration.items_per_s:.0f} items/s",
        f"  {len(iteration.histories)} histories, the largest of {max(iteration.histories):,} events"
        f" (limit {MOST_EVENTS:,})",
        f"  memory of the worker: {memory}; end / {MARKS[0]:.0%} = {iteration.memory_ratio:.2f}",
        "",
        _row("items at once (items)", "by hand", "perdure", "ratio", "speed-up", "CPU/item", "ratio"),
    ]
    slowest = _per_second(speeds, PARALLEL[0])
    for parallel, (baseline, perdure) in speeds.items():
        items = SPEED_ITEMS[parallel]
        lines.append(
            _row(
                f"{parallel} ({items:,})",
                f"{items / baseline.seconds:.0f} /s",
                f"{items / perdure.seconds:.0f} /s",
                f"{perdure.seconds / baseline.seconds:.2f}",
                f"{_per_second(speeds, parallel) / slowest:.2f}",
                f"{1000 * baseline.cpu / items:.1f}, {1000 * perdure.cpu / items:.1f} ms",
                f"{perdure.cpu / baseline.cpu:.2f}",
            )
        )
    lines += ["", _row(f"{one.runs} runs at once", "runs/s", "activity p95", "task p95", "", "cores: w, s", "")]
    for name, found in (("1 worker process", one), ("2 worker processes", two)):
        lines.append(
            _row(
                name,
                f"{found.runs_per_s:.1f}",
                f"{1000 * found.activity_p95:.0f} ms",
                f"{1000 * found.workflow_p95:.0f} ms",
                "",
                f"{found.worker_cores:.2f}, {found.server_cores:.2f}",
                "",
            )
        )
    lines.append(f"the second worker process: {two.runs_per_s / one.runs_per_s:.2f} times the runs per second")
    lines.append("p95: wait of a task for a worker. cores: used by the workers, by the server; all on this machine.")
    return "\n".join(lines)


def _row(title: str, *cells: str) -> str:
    widths = (10, 14, 10, 10, 16, 8)
    return (f"{title:24}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))).rstrip()


def _per_second(speeds: Speeds, parallel: int) -> float:
    return SPEED_ITEMS[parallel] / speeds[parallel][1].seconds


def report(iteration: Large, speeds: Speeds, one: Throughput, two: Throughput) -> dict[str, float]:
    """Give the numbers that are compared from one version to the next."""
    numbers: dict[str, float] = {
        "items": iteration.items,
        "items_per_s": iteration.items_per_s,
        "largest_history_events": max(iteration.histories),
        "histories": len(iteration.histories),
        "worker_memory_mb": iteration.memory[MARKS[-1]] / 2**20,
        "worker_memory_ratio": iteration.memory_ratio,
    }
    for parallel, (baseline, perdure) in speeds.items():
        numbers[f"items_per_s_p{parallel}_over_{SPEED_ITEMS[parallel]}"] = _per_second(speeds, parallel)
        numbers[f"speedup_p{parallel}"] = _per_second(speeds, parallel) / _per_second(speeds, PARALLEL[0])
        numbers[f"items_ratio_p{parallel}"] = perdure.seconds / baseline.seconds
        numbers[f"items_cpu_ratio_p{parallel}"] = perdure.cpu / baseline.cpu
    numbers |= {
        "runs": one.runs,
        "runs_per_s": one.runs_per_s,
        "activity_queueing_p95_s": one.activity_p95,
        "workflow_queueing_p95_s": one.workflow_p95,
        "runs_per_s_two_workers": two.runs_per_s,
        "second_worker_ratio": two.runs_per_s / one.runs_per_s,
    }
    return {name: round(value, 3) for name, value in numbers.items()}


async def measure_all(items: int, runs: int, count: int) -> tuple[Large, Speeds, Throughput, Throughput]:
    """Measure everything on one stack."""
    settings = WorkerSettings(address=None, db=None, graceful_shutdown_s=1.0)
    async with embedded(settings) as stack:
        async with baseline_worker(stack.settings) as baseline_pid:
            speeds = await measure_speeds(stack, baseline_pid, count)
        client = Client(stack.client, stack.task_queue)
        iteration = await large(client, stack.worker_pids[0], items, PARALLEL[-1])
        one, two = await one_and_two(stack, runs, count)
    return iteration, speeds, one, two


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
    sys.stderr.write(table(*found) + "\n")
    print(json.dumps(report(*found)))
    longest = max(found[0].histories)
    if longest >= MOST_EVENTS:
        sys.exit(f"a history has {longest:,} events; {MOST_EVENTS:,} is the limit")


if __name__ == "__main__":
    main()
