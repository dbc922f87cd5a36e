"""What `scale.py` found: a table for people, numbers for comparison."""

from __future__ import annotations

from dataclasses import dataclass

from measure import Summary
from scale_items import MARKS, Large
from scale_runs import SLOTS, WAIT_S, Throughput

PARALLEL = (1, 4, 16)
# Multiples of window and lanes, so that no lane ends early; one item at a time is slow, and fewer say as much.
SPEED_ITEMS = {1: 100, 4: 400, 16: 800}
MOST_EVENTS = 10_000

# By parallelism, then by `baseline`, `perdure` and `unrecorded`.
Speeds = dict[int, dict[str, Summary]]


@dataclass(frozen=True, slots=True)
class Found:
    """All that was measured; the pairs are with one worker process and with two. `seconds` that it took."""

    iteration: Large
    speeds: Speeds
    idle: tuple[Throughput, Throughput]
    slots: tuple[Throughput, Throughput]
    seconds: float


def table(found: Found) -> str:
    """Write all that was measured for people."""
    iteration = found.iteration
    memory = ", ".join(f"{iteration.memory[mark] / 2**20:.0f} MB at {mark:.0%}" for mark in MARKS)
    lines = [
        f"iteration over {iteration.items:,} items, a code node each, {PARALLEL[-1]} at once: "
        f"{iteration.items_per_s:.0f} items/s",
        f"  {len(iteration.histories)} histories, the largest of {max(iteration.histories):,} events"
        f" (limit {MOST_EVENTS:,})",
        f"  memory of the worker: {memory}; end / {MARKS[0]:.0%} = {iteration.memory_ratio:.2f}",
        "",
        _row("items at once (items)", "by hand", "perdure", "ratio", "speed-up", "CPU/item", "ratio", "no store"),
    ]
    for parallel, kinds in found.speeds.items():
        items, baseline, perdure = SPEED_ITEMS[parallel], kinds["baseline"], kinds["perdure"]
        lines.append(
            _row(
                f"{parallel} ({items:,})",
                f"{items / baseline.seconds:.0f} /s",
                f"{items / perdure.seconds:.0f} /s",
                f"{perdure.seconds / baseline.seconds:.2f}",
                f"{_speed_up(found.speeds, parallel):.2f}",
                f"{1000 * baseline.cpu / items:.1f}, {1000 * perdure.cpu / items:.1f} ms",
                f"{perdure.cpu / baseline.cpu:.2f}",
                f"{kinds['unrecorded'].cpu / baseline.cpu:.2f}",
            )
        )
    lines.append("CPU is that of the worker; no store: its ratio to by hand with PERDURE_STORE=off.")
    lines += ["", *_workers(f"{found.idle[0].runs} runs at once", found.idle)]
    lines += [
        "The nodes do nothing: the server is at work as much as a worker, and the cores are few.",
        "",
        *_workers(f"{found.slots[0].runs} runs, {SLOTS} slots each", found.slots),
        f"Here workers are the bottleneck: each node takes {WAIT_S * 1000:.0f} ms, a worker has {SLOTS} slots.",
        "",
        "p95: wait of a task for a worker. cores: used by the workers, by the server; all on this machine.",
        f"all of it took {found.seconds:.0f} s",
    ]
    return "\n".join(lines)


def _workers(title: str, found: tuple[Throughput, Throughput]) -> list[str]:
    lines = [_row(title, "runs/s", "activity p95", "task p95", "", "cores: w, s", "", "")]
    for name, each in zip(("1 worker process", "2 worker processes"), found, strict=True):
        lines.append(
            _row(
                name,
                f"{each.runs_per_s:.1f}",
                f"{1000 * each.activity_p95:.0f} ms",
                f"{1000 * each.workflow_p95:.0f} ms",
                "",
                f"{each.worker_cores:.2f}, {each.server_cores:.2f}",
                "",
                "",
            )
        )
    return [*lines, f"the second worker process: {found[1].runs_per_s / found[0].runs_per_s:.2f} times the runs/s"]


def _row(title: str, *cells: str) -> str:
    widths = (10, 14, 10, 10, 16, 8, 10)
    return (f"{title:24}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))).rstrip()


def _per_second(speeds: Speeds, parallel: int) -> float:
    return SPEED_ITEMS[parallel] / speeds[parallel]["perdure"].seconds


def _speed_up(speeds: Speeds, parallel: int) -> float:
    return _per_second(speeds, parallel) / _per_second(speeds, PARALLEL[0])


def report(found: Found) -> dict[str, float]:
    """Give the numbers that are compared from one version to the next."""
    iteration, speeds = found.iteration, found.speeds
    numbers: dict[str, float] = {
        "items": iteration.items,
        "items_per_s": iteration.items_per_s,
        "largest_history_events": max(iteration.histories),
        "histories": len(iteration.histories),
        "worker_memory_ratio": iteration.memory_ratio,
    }
    for name, mark in zip(("start", "middle", "end"), MARKS, strict=True):
        numbers[f"worker_memory_mb_{name}"] = iteration.memory[mark] / 2**20
    for parallel, kinds in speeds.items():
        baseline, perdure, unrecorded = kinds["baseline"], kinds["perdure"], kinds["unrecorded"]
        numbers[f"items_per_s_p{parallel}"] = _per_second(speeds, parallel)
        numbers[f"speedup_p{parallel}"] = _speed_up(speeds, parallel)
        numbers[f"items_ratio_p{parallel}"] = perdure.seconds / baseline.seconds
        numbers[f"items_cpu_ratio_p{parallel}"] = perdure.cpu / baseline.cpu
        numbers[f"recording_ratio_p{parallel}"] = perdure.seconds / unrecorded.seconds
        numbers[f"recording_cpu_ratio_p{parallel}"] = perdure.cpu / unrecorded.cpu
    (one, two), (narrow, wide) = found.idle, found.slots
    numbers |= {
        "runs": one.runs,
        "runs_per_s": one.runs_per_s,
        "activity_queueing_p95_s": one.activity_p95,
        "workflow_queueing_p95_s": one.workflow_p95,
        "runs_per_s_two_workers": two.runs_per_s,
        "second_worker_ratio_idle_nodes": two.runs_per_s / one.runs_per_s,
        "runs_per_s_few_slots": narrow.runs_per_s,
        "second_worker_ratio": wide.runs_per_s / narrow.runs_per_s,
        "seconds": found.seconds,
    }
    return {name: round(value, 3) for name, value in numbers.items()}
