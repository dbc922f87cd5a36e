"""A round of an agent: model and tool answer at once, so what is measured is what lies around them.

The provider is the fake one, in a process of its own, at zero latency; nothing here says anything about a model. The
baseline is the loop of `agents_baseline`, in the same rounds, against the same provider. `python benchmarks/agents.py`
measures this alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import uuid
from dataclasses import dataclass

from agents_baseline import INSTRUCTION, QUERY
from by_hand import baseline_worker
from measure import BASELINE_QUEUE, Measure, Summary, measured, rounds
from temporalio.client import Client as TemporalClient

from perdure import AgentConfig, Client
from perdure_fake import FakeProvider, Script
from perdure_worker.embedded import embedded
from perdure_worker.settings import WorkerSettings

TOOL_ROUNDS = 20
# And the one in which the model answers.
ROUNDS = TOOL_ROUNDS + 1
ANSWER = "It is 42."

AGENT = AgentConfig.model_validate(
    {
        "name": "bench",
        "model": {"provider": "openai", "name": "gpt-5.4-mini"},
        "strategy": "function_calling",
        "instruction": INSTRUCTION,
        "tools": [{"provider_type": "builtin", "provider_id": "calculator", "tool_name": "calculator"}],
        "limits": {"max_iteration": ROUNDS},
    }
)


@dataclass(frozen=True, slots=True)
class Agents:
    """Whole runs of `ROUNDS` rounds each: by hand, with the run store, without one; bytes of history of a run."""

    baseline: Summary
    perdure: Summary
    no_store: Summary
    baseline_bytes: int
    perdure_bytes: int


def script() -> Script:
    """Ask for the tool once in each round, with other arguments each time, then answer."""
    calls = [
        {"match": {"turn": turn}, "reply": {"tool_calls": [{"name": "calculator", "arguments": _arguments(turn)}]}}
        for turn in range(1, TOOL_ROUNDS + 1)
    ]
    return Script.model_validate({"steps": [*calls, {"reply": ANSWER}]})


def _arguments(turn: int) -> dict[str, str]:
    return {"expression": f"{turn} + {turn}"}


def by_hand(client: TemporalClient, worker: int, ids: list[str]) -> Measure:
    """Measure the loop written by hand."""

    async def one() -> str:
        ids.append(f"baseline-{uuid.uuid4()}")
        answer = await client.execute_workflow("BaselineAgent", id=ids[-1], task_queue=BASELINE_QUEUE, result_type=str)
        return _checked(answer, ids[-1])

    return measured(client, worker, one)


def agent(client: Client, worker: int, ids: list[str]) -> Measure:
    """Measure the same as an agent."""

    async def one() -> str:
        handle = await client.start_agent(AGENT, QUERY)
        ids.append(handle.run_id)
        return _checked((await handle.outputs())["answer"], handle.run_id)

    return measured(client.temporal, worker, one)


def _checked(answer: str, run_id: str) -> str:
    if answer != ANSWER:
        raise RuntimeError(f"a measured agent gave {answer!r} instead of {ANSWER!r}; its numbers mean nothing.")
    return run_id


async def _bytes(client: TemporalClient, run_id: str) -> int:
    return sum([event.ByteSize() async for event in client.get_workflow_handle(run_id).fetch_history_events()])


async def measure_agents(count: int) -> Agents:
    """Measure on a stack of its own, one kind of run after another in turn."""
    async with FakeProvider.start_process(script=script()) as fake:
        settings = WorkerSettings(address=None, db=None, demo_model=fake.openai_url, graceful_shutdown_s=1.0)
        async with (
            embedded(settings) as stack,
            embedded(stack.settings.model_copy(update={"task_queue": "no-store", "store": "off"})) as bare,
            baseline_worker(stack.settings) as by_hand_pid,
        ):
            ids: dict[str, list[str]] = {"baseline": [], "perdure": [], "no_store": []}
            kept = Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout, store=stack.store_url)
            unkept = Client(bare.client, bare.task_queue, task_timeout=bare.task_timeout, store="off")
            found = await rounds(
                {
                    "baseline": by_hand(stack.client, by_hand_pid, ids["baseline"]),
                    "perdure": agent(kept, stack.worker_pids[0], ids["perdure"]),
                    "no_store": agent(unkept, bare.worker_pids[0], ids["no_store"]),
                },
                count,
            )
            bytes_ = {name: await _bytes(stack.client, each[-1]) for name, each in ids.items()}
    return Agents(**found, baseline_bytes=bytes_["baseline"], perdure_bytes=bytes_["perdure"])


def agent_numbers(found: Agents) -> dict[str, float]:
    """Give the numbers that are compared from one version to the next."""
    return {
        "agent_round_overhead": found.perdure.seconds / found.baseline.seconds,
        "agent_round_ms": _ms(found.perdure),
        "agent_round_no_store_ms": _ms(found.no_store),
        "agent_baseline_round_ms": _ms(found.baseline),
        "agent_history_bytes_per_round": found.perdure_bytes / ROUNDS,
        "agent_baseline_history_bytes_per_round": found.baseline_bytes / ROUNDS,
    }


def agent_lines(found: Agents) -> str:
    """Write it for people."""
    ratio, cpu = found.perdure.seconds / found.baseline.seconds, found.perdure.cpu / found.baseline.cpu
    return (
        f"a round of an agent: {_ms(found.perdure):.1f} ms, without a run store {_ms(found.no_store):.1f} ms, by hand "
        f"{_ms(found.baseline):.1f} ms; ratio {ratio:.2f}, of the worker's CPU {cpu:.2f}; "
        f"{found.perdure_bytes / ROUNDS:,.0f} bytes of history, by hand {found.baseline_bytes / ROUNDS:,.0f}\n"
        f"Runs of {ROUNDS} rounds, {TOOL_ROUNDS} of them with a call of the calculator, from the start of the run to "
        "its result. The provider is simulated and answers at once; by hand, nothing is recorded."
    )


def _ms(summary: Summary) -> float:
    return summary.seconds / ROUNDS * 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each kind (default 5)")
    found = asyncio.run(measure_agents(max(1, parser.parse_args().rounds)))
    print(agent_lines(found))
    print(json.dumps({name: round(value, 3) for name, value in agent_numbers(found).items()}))


if __name__ == "__main__":
    main()
