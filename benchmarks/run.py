"""Measure Perdure: `make bench`, or `python benchmarks/run.py [--rounds N]`.

Prints a table, then one line of JSON: `*_ratio` is Perdure over the same workflow written by hand, `*_s` is seconds.

Everything runs on this machine: the embedded server (in memory, tuned), one worker process for Perdure, one for the
baseline, and this process with the client. The activity does nothing, so what is measured is the engine alone; a
real activity takes seconds and makes every ratio smaller. Ratios are of medians over interleaved rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics

from agents import Agents, agent_lines, agent_numbers, measure_agents
from by_hand import baseline_worker
from cold_start import cold_start
from graphs import bench, chain, fan_out, jinja, template
from measure import Measure, Summary, baseline_runs, perdure_runs, rounds
from streams import Streams, lines, measure_streams

from perdure import Client
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

CHAIN, FAN_OUT, RUNS, RUN_LENGTH, TEMPLATES = 100, 500, 100, 5, 100
COLD_STARTS = 3

Pairs = dict[str, tuple[Summary, Summary]]


async def measure_pairs(stack: EmbeddedStack, baseline_pid: int, count: int) -> Pairs:
    """Measure chain, fan-out and many runs; gives (baseline, perdure) by name."""
    client, worker = Client(stack.client, stack.task_queue), stack.worker_pids[0]

    def by_hand(workflow: str, size: int, runs: int = 1) -> Measure:
        return baseline_runs(stack.client, baseline_pid, workflow, size, runs=runs)

    kinds: dict[str, tuple[Measure, Measure]] = {
        "chain": (by_hand("BaselineChain", CHAIN), perdure_runs(client, worker, chain(CHAIN, bench))),
        "fanout": (by_hand("BaselineFanOut", FAN_OUT), perdure_runs(client, worker, fan_out(FAN_OUT, bench))),
        "runs": (
            by_hand("BaselineChain", RUN_LENGTH, RUNS),
            perdure_runs(client, worker, chain(RUN_LENGTH, bench), runs=RUNS),
        ),
    }
    found: Pairs = {}
    for name, (baseline, perdure) in kinds.items():
        summaries = await rounds({"baseline": baseline, "perdure": perdure}, count)
        found[name] = summaries["baseline"], summaries["perdure"]
    return found


async def measure_templates(stack: EmbeddedStack, count: int) -> dict[str, Summary]:
    """Measure chains and fan-outs of template nodes: plain ones are filled in place, others are activities."""
    client, worker = Client(stack.client, stack.task_queue), stack.worker_pids[0]
    return await rounds(
        {
            "template_chain": perdure_runs(client, worker, chain(TEMPLATES, template, "output")),
            "template_fanout": perdure_runs(client, worker, fan_out(TEMPLATES, template, "output")),
            "jinja_chain": perdure_runs(client, worker, chain(TEMPLATES, jinja, "output")),
            "jinja_fanout": perdure_runs(client, worker, fan_out(TEMPLATES, jinja, "output")),
        },
        count,
    )


def table(pairs: Pairs, templates: dict[str, Summary], cold: float) -> str:
    """Write all that was measured for people."""
    sizes = {
        "chain": f"chain of {CHAIN} activities",
        "fanout": f"fan-out of {FAN_OUT} activities",
        "runs": f"{RUNS} runs of {RUN_LENGTH} activities",
        "template_chain": f"chain of {TEMPLATES} plain templates",
        "template_fanout": f"fan-out of {TEMPLATES} plain templates",
        "jinja_chain": f"chain of {TEMPLATES} templates, filter",
        "jinja_fanout": f"fan-out of {TEMPLATES}, filter",
    }
    lines = [_row("", "by hand", "perdure", "ratio", "worker CPU", "ratio", "events", "ratio")]
    for name, (baseline, perdure) in pairs.items():
        lines.append(
            _row(
                sizes[name],
                _times(baseline),
                _times(perdure),
                f"{_ratio(perdure, baseline):.2f}",
                f"{baseline.cpu:.2f}, {perdure.cpu:.2f} s",
                f"{perdure.cpu / baseline.cpu:.2f}",
                f"{baseline.events}, {perdure.events}",
                f"{perdure.events / baseline.events:.3f}",
            )
        )
    for name, found in templates.items():
        lines.append(_row(sizes[name], "", _times(found), "", f"{found.cpu:.2f} s", "", str(found.events), ""))
    lines.append(_row("perdure run, to its first node", "", f"{cold:.2f} s", "", "", "", "", ""))
    lines.append("Medians, (best); events are those of one run; all on this machine, the activity does nothing.")
    return "\n".join(lines)


def _row(title: str, *cells: str) -> str:
    widths = (16, 16, 8, 15, 8, 13, 8)
    return (f"{title:32}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))).rstrip()


def _times(summary: Summary) -> str:
    return f"{summary.seconds:.2f} ({summary.best:.2f}) s"


def _ratio(perdure: Summary, baseline: Summary) -> float:
    return perdure.seconds / baseline.seconds


def report(
    pairs: Pairs, templates: dict[str, Summary], cold: float, streams: Streams, agents: Agents
) -> dict[str, float]:
    """Give the numbers that are compared from one version to the next."""
    events = {name: perdure.events / baseline.events for name, (baseline, perdure) in pairs.items()}
    wall = {name: _ratio(perdure, baseline) for name, (baseline, perdure) in pairs.items()}
    numbers = {
        "chain_ratio": wall["chain"],
        "chain_events_ratio": events["chain"],
        "fanout_ratio": wall["fanout"],
        "runs_ratio": wall["runs"],
        "template_chain_s": templates["template_chain"].seconds,
        "template_fanout_s": templates["template_fanout"].seconds,
        "jinja_chain_s": templates["jinja_chain"].seconds,
        "jinja_fanout_s": templates["jinja_fanout"].seconds,
        "cold_start_s": cold,
        "first_delta_overhead_ms_p50": streams.overhead_ms[0],
        "first_delta_overhead_ms_p95": streams.overhead_ms[1],
        "streams_pieces_per_s": streams.pieces_per_s,
        **agent_numbers(agents),
    }
    return {name: round(value, 3) for name, value in numbers.items()}


async def measure_all(count: int) -> tuple[Pairs, dict[str, Summary], float, Streams, Agents]:
    """Measure the warm numbers on one stack, then the cold start on an otherwise idle machine."""
    settings = WorkerSettings(address=None, db=None, graceful_shutdown_s=1.0)
    async with embedded(settings) as stack, baseline_worker(stack.settings) as baseline_pid:
        pairs = await measure_pairs(stack, baseline_pid, count)
        templates = await measure_templates(stack, count)
    streams = await measure_streams()
    agents = await measure_agents(count)
    cold = statistics.median([await cold_start() for _ in range(COLD_STARTS)])
    return pairs, templates, cold, streams, agents


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measured rounds of each kind (default 5)")
    count = max(1, parser.parse_args().rounds)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}, {count} rounds", flush=True)
    pairs, templates, cold, streams, agents = asyncio.run(measure_all(count))
    print(table(pairs, templates, cold))
    print(lines(streams))
    print(agent_lines(agents))
    print(json.dumps(report(pairs, templates, cold, streams, agents)))


if __name__ == "__main__":
    main()
