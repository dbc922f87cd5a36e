"""The agent of the examples, as `make demo` runs it: it asks before it pays, and pays once though its worker dies."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType

import pytest

from fakes.command_line import COMMAND, LIMIT_S, Done
from perdure import Client, read_agent
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.xdist_group("order-agent")


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("example_demo", EXAMPLES / "demo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLES))
        sys.modules[module.__name__] = module
        spec.loader.exec_module(module)
    return module


@pytest.fixture
async def shop(
    stack: EmbeddedStack, worker_settings: WorkerSettings, demo: ModuleType, tmp_path: Path
) -> AsyncIterator[EmbeddedStack]:
    """A worker with the tools of the example, and the fake provider with its script."""
    chosen = worker_settings.model_copy(
        update={
            "address": stack.address,
            "task_queue": f"order-agent-{tmp_path.name}",
            "demo_model": "start",
            "demo_script": demo.script(tmp_path),
            "tools": EXAMPLES / "order-agent" / "tools.yml",
            "runs_dir": tmp_path / "runs",
        }
    )
    async with embedded(chosen) as running:
        yield running


@pytest.mark.crash
async def test_the_refund_is_booked_once_though_its_worker_is_killed(shop: EmbeddedStack, demo: ModuleType) -> None:
    killed = shop.worker_pids
    row = await demo.refund(shop, Client(shop.client, shop.task_queue, store=shop.store_url))
    assert row.wrong == ""
    assert shop.worker_pids != killed, "the worker is another one"


async def test_nothing_is_booked_without_a_yes(shop: EmbeddedStack, demo: ModuleType) -> None:
    client = Client(shop.client, shop.task_queue, store=shop.store_url)
    run = await client.start_agent(EXAMPLES / "order-agent" / "agent.yml", demo.CLAIM)
    async with asyncio.timeout(60):
        while not (calls := await run.approvals()):
            await asyncio.sleep(0.05)
    assert [(call.tool, call.arguments) for call in calls] == [
        ("Refund", {"order_id": "A1090", "amount": 100.79, "currency": "GBP"})
    ]
    assert not list((shop.settings.runs_dir).glob("*/refunds/*"))
    await run.deny(calls[0].key, "not without the invoice")
    assert (await run.result()).status == "succeeded"
    thoughts = await run.thoughts()
    found, denied = thoughts[0].calls[0], thoughts[1].calls[0]
    assert (found["status"], found["observation"].count("A1090")) == ("done", 2)
    assert (denied["status"], denied["error_kind"]) == ("failed", "denied")
    assert not list((shop.settings.runs_dir).glob("*/refunds/*"))
    assert all(thought.simulated for thought in thoughts)


async def test_one_line_of_shell_runs_it_without_a_server(tmp_path: Path) -> None:
    """As agent.yml says: on a stack of its own, whose worker is in the process of the command."""
    folder = EXAMPLES / "order-agent"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, "agent", "run", str(folder / "agent.yml"), "-q", "Refund the one in pounds"),
        *("--demo-script", str(folder / "model.yml"), "--approve-all", "--json"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        env=clean | {"PERDURE_TOOLS": str(folder / "tools.yml")},
    )
    out, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
    done = Done(process.returncode or 0, out.decode(), "")
    assert (done.code, done.json["simulated"]) == (0, True)
    assert done.json["outputs"]["answer"].startswith("[simulated]")
    assert len(list(tmp_path.glob(f".perdure/runs/{done.json['run_id']}/refunds/*.json"))) == 1


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("**/agent.yml")) + sorted((EXAMPLES / "agents").glob("*.yml")))
def test_the_files_of_agents_load(file: Path) -> None:
    assert not [finding for finding in read_agent(file).findings if finding.level == "refused"]
