"""The embedded stack with real processes: started, killed, restarted, left behind by nobody."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest
from temporalio.client import Client

from perdure_graph.errors import PlatformError
from perdure_graph.naming import SEARCH_ATTRIBUTES, WORKFLOW_TYPE
from perdure_graph.request import RunResult
from perdure_worker import tether
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.processes import start_process
from perdure_worker.server import LOOPBACK, free_port, missing_attributes, start_server
from perdure_worker.settings import WorkerSettings
from perdure_worker.smoke import smoke, smoke_worker, trivial_request

GONE_LIMIT_S = 15.0


async def run_trivial(client: Client, queue: str, run_id: str | None = None) -> RunResult:
    return await client.execute_workflow(
        WORKFLOW_TYPE,
        trivial_request(),
        id=run_id or f"test-{uuid.uuid4()}",
        task_queue=queue,
        result_type=RunResult,
    )


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def left_after_wait(pids: list[int]) -> list[int]:
    """Give the processes that do not go away by themselves, after making them go."""
    deadline = time.monotonic() + GONE_LIMIT_S
    while time.monotonic() < deadline and any(map(alive, pids)):
        time.sleep(0.02)
    left = [pid for pid in pids if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return left


def program(tmp_path: Path, body: str) -> list[str]:
    path = tmp_path / "program.py"
    path.write_text(
        "import asyncio, json, os, sys, time\n"
        "from perdure_worker.embedded import embedded\n"
        "from perdure_worker.settings import WorkerSettings\n"
        "settings = WorkerSettings(address=None, task_queue='program')\n"
        f"{body}\n"
    )
    return [sys.executable, str(path)]


async def test_server_knows_every_search_attribute_under_its_type(stack: EmbeddedStack) -> None:
    assert await missing_attributes(stack.client) == {}
    assert "PerdureStatus" in SEARCH_ATTRIBUTES


async def test_a_run_succeeds_on_the_worker_process(stack: EmbeddedStack) -> None:
    assert stack.worker_pids and os.getpid() not in stack.worker_pids
    assert (await run_trivial(stack.client, stack.task_queue)).status == "succeeded"


async def test_smoke_run_uses_a_queue_of_its_own(stack: EmbeddedStack, worker_settings: WorkerSettings) -> None:
    unpolled = worker_settings.model_copy(update={"address": stack.address, "task_queue": "nobody-polls-this"})
    await smoke_worker(stack.client, unpolled)


async def test_smoke_run_that_hangs_is_an_error(stack: EmbeddedStack) -> None:
    queue = f"unpolled-{uuid.uuid4()}"
    with pytest.raises(PlatformError, match=r"not done after 1 s\. No worker finished its first task"):
        await smoke(stack.client, queue, limit_s=1)


async def test_worker_inside_this_process_serves_runs_and_cannot_be_killed(stack: EmbeddedStack) -> None:
    here = WorkerSettings(address=stack.address, task_queue=f"here-{uuid.uuid4()}", graceful_shutdown_s=0)
    async with embedded(here, worker_process=False) as inner:
        assert inner.server_pid is None
        assert inner.worker_pids == (os.getpid(),)
        assert (await run_trivial(inner.client, inner.task_queue)).status == "succeeded"
        await inner.restart_worker()
        assert (await run_trivial(inner.client, inner.task_queue)).status == "succeeded"
        with pytest.raises(PlatformError, match="worker_process=True"):
            await inner.kill_worker()


async def test_killed_and_restarted_workers_are_new_processes_that_serve_runs(stack: EmbeddedStack) -> None:
    own = WorkerSettings(address=stack.address, task_queue=f"own-{uuid.uuid4()}", graceful_shutdown_s=1)
    async with embedded(own) as inner:
        (first,) = inner.worker_pids
        await inner.kill_worker()
        assert not alive(first)
        assert inner.worker_pids == ()
        waiting = asyncio.create_task(run_trivial(inner.client, inner.task_queue))
        await inner.restart_worker()
        assert (await waiting).status == "succeeded"
        (second,) = inner.worker_pids
        await inner.restart_worker()
        assert not alive(second)
        assert (await run_trivial(inner.client, inner.task_queue)).status == "succeeded"
        (third,) = inner.worker_pids
    assert len({first, second, third}) == 3
    assert not alive(third)


async def test_file_database_keeps_runs_across_a_restart_of_everything(tmp_path: Path) -> None:
    settings = WorkerSettings(address=None, task_queue="kept", graceful_shutdown_s=0)
    db = tmp_path / "deep" / "runs.db"
    async with embedded(settings, db=db, worker_process=False) as stack:
        await run_trivial(stack.client, stack.task_queue, "kept-run")
        first_server = stack.server_pid
    assert first_server is not None and not alive(first_server)
    async with embedded(settings, db=db, workers=0) as stack:
        kept = await stack.client.get_workflow_handle("kept-run", result_type=RunResult).result()
        assert await missing_attributes(stack.client) == {}
    assert kept.status == "succeeded"


async def test_web_ui_answers_on_loopback_when_asked_for() -> None:
    async with embedded(WorkerSettings(address=None), ui=True, workers=0) as stack:
        assert stack.ui_url is not None
        host, port = stack.ui_url.removeprefix("http://").split(":")
        assert host == LOOPBACK
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        assert (await reader.readline()).split()[1] == b"200"
        writer.close()


@pytest.mark.crash
def test_kill_9_of_the_program_leaves_no_process(tmp_path: Path) -> None:
    body = """
async def main():
    async with embedded(settings, workers=2) as stack:
        print(json.dumps([stack.server_pid, *stack.worker_pids]), flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
"""
    with subprocess.Popen(program(tmp_path, body), stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = json.loads(parent.stdout.readline())
        below = [child.pid for child in psutil.Process(parent.pid).children(recursive=True)]
        assert len(pids) == 3 and set(pids) <= set(below)
        assert all(map(alive, below))
        parent.kill()
        parent.wait()
        assert left_after_wait(below) == []


@pytest.mark.parametrize("worker_process", [True, False])
def test_exit_code_of_a_program_is_its_own_and_nothing_is_left(tmp_path: Path, worker_process: bool) -> None:
    body = f"""
async def main():
    async with embedded(settings, worker_process={worker_process}) as stack:
        print(json.dumps([stack.server_pid, *stack.worker_pids]), flush=True)
asyncio.run(main())
sys.exit(7)
"""
    done = subprocess.run(program(tmp_path, body), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 7, done.stderr
    assert left_after_wait(json.loads(done.stdout)) == []


def test_failure_inside_the_block_leaves_no_process(tmp_path: Path) -> None:
    body = """
async def main():
    async with embedded(settings) as stack:
        print(json.dumps([stack.server_pid, *stack.worker_pids]), flush=True)
        raise LookupError("mine")
asyncio.run(main())
"""
    done = subprocess.run(program(tmp_path, body), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "LookupError: mine" in done.stderr
    assert left_after_wait(json.loads(done.stdout)) == []


async def test_sigterm_drains_a_worker_process_and_ends_it_with_code_zero(stack: EmbeddedStack) -> None:
    env = {**os.environ, **WorkerSettings(address=stack.address, task_queue=f"term-{uuid.uuid4()}").to_env()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "perdure_worker.main", "--ready-fd", "1", stdout=subprocess.PIPE, env=env
    )
    assert process.stdout is not None
    assert json.loads(await process.stdout.readline())["ready"] is True
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_worker_process_says_why_it_cannot_start(capfd: pytest.CaptureFixture[str]) -> None:
    nowhere = WorkerSettings(address=f"{LOOPBACK}:{free_port()}")
    with pytest.raises(PlatformError, match="No Temporal server answers at"):
        await start_process(nowhere)
    assert "error: No Temporal server answers" in capfd.readouterr().err


async def test_worker_process_names_a_missing_namespace(stack: EmbeddedStack) -> None:
    with pytest.raises(PlatformError, match="Check that the namespace exists"):
        await start_process(WorkerSettings(address=stack.address, namespace="no-such-namespace"))


async def test_server_that_cannot_bind_shows_its_own_words() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PlatformError, match="address already in use"):
            await start_server(ui=True, ui_port=port)


@pytest.mark.crash
def test_watching_tether_kills_the_command_when_its_parent_dies(tmp_path: Path) -> None:
    command = tether.command(1, [sys.executable, "-c", "import time; time.sleep(600)"], mode="watch")
    parent_code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen({command!r}, stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        watcher = psutil.Process(int(parent.stdout.readline()))
        deadline = time.monotonic() + GONE_LIMIT_S
        while not watcher.children() and time.monotonic() < deadline:
            time.sleep(0.02)
        tree = [watcher.pid, *(child.pid for child in watcher.children())]
        assert len(tree) == 2
        parent.kill()
        parent.wait()
        assert left_after_wait(tree) == []


def test_watching_tether_passes_sigterm_and_the_exit_code_on() -> None:
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(5)); print(1, flush=True); time.sleep(600)"
    argv = tether.command(os.getpid(), [sys.executable, "-c", code], mode="watch")
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None and watcher.stdout.readline() == "1\n"
        watcher.terminate()
        assert watcher.wait(30) == 5
