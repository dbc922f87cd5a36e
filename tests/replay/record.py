"""Record the histories that `test_golden.py` replays: `python tests/replay/record.py [VERSION]`.

It plays the scenarios of `golden.py` on a stack of its own, and replaces the folder of the version (by default that
of the installed distribution). Those of older versions stay: they are what open runs may hold.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from temporalio.client import Client as TemporalClient

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from golden import SCENARIOS

from fakes.http_server import http_server
from perdure import Client
from perdure_graph import naming
from perdure_worker.embedded import embedded
from perdure_worker.main import leave
from perdure_worker.settings import WorkerSettings, package_version

HISTORIES = Path(__file__).parent / "histories"
MOST_BYTES = 2 * 1024 * 1024
LIMIT_S = 110.0
_OF_THE_MACHINE = ("identity", "stackTrace")


async def record(version: str) -> None:
    """Play all scenarios and put their histories in place of those of the version."""
    with tempfile.TemporaryDirectory(dir=HISTORIES.parent, prefix=".recording-") as name:
        folder = Path(name)
        async with asyncio.timeout(LIMIT_S), http_server() as server:
            os.environ["PERDURE_HTTP_ALLOW"] = f"127.0.0.1:{server.port}"
            settings = WorkerSettings(
                address=None, db=None, ui_port=None, task_queue="golden", build_id=version, graceful_shutdown_s=1.0
            )
            async with embedded(settings) as stack:
                client = Client(stack.client, stack.task_queue, store=stack.store_url)
                for scenario, play in SCENARIOS.items():
                    runs = await play(client, server.url("/json"))
                    ids = deque(run.run_id for run in runs)
                    await write(stack.client, ids, folder / scenario)
        size = sum(file.stat().st_size for file in folder.rglob("*.json"))
        if size > MOST_BYTES:
            raise SystemExit(f"the histories have {size:,} bytes, more than {MOST_BYTES:,}: make the flows smaller")
        target = HISTORIES / version
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(folder, target)
    sys.stdout.write(f"{len(list(target.rglob('*.json')))} histories, {size:,} bytes, in {target}\n")


async def write(client: TemporalClient, ids: deque[str], folder: Path) -> None:
    """Write every history of these workflows and of their children as JSON."""
    folder.mkdir()
    seen: set[str] = set()
    count = 0
    while ids:
        workflow_id = ids.popleft()
        run_id: str | None = None
        while run_id != "" and workflow_id not in seen:
            history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
            begun = history.events[0].workflow_execution_started_event_attributes
            count += 1
            lines = ",\n".join(json.dumps(_plain(MessageToDict(event))) for event in history.events)
            file = folder / f"{count:02}-{begun.workflow_type.name}.json"
            file.write_text(f'{{"events": [\n{lines}\n]}}\n', encoding="utf-8")
            for event in history.events:
                child = event.start_child_workflow_execution_initiated_event_attributes
                if child.workflow_type.name in (naming.WINDOW_TYPE, naming.LOG_TYPE):
                    ids.append(child.workflow_id)
            run_id = begun.continued_execution_run_id
        seen.add(workflow_id)


def _plain(value: Any) -> Any:
    """Leave out what tells of the machine: `identity` is pid and host, stack traces hold the paths of its files."""
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items() if key not in _OF_THE_MACHINE}
        case list():
            return [_plain(inner) for inner in value]
        case _:
            return value


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1] if len(sys.argv) > 1 else package_version()))
    leave(0)
