"""`perdure replay`: the gate before a deployment. May this code take over the runs that are open?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from perdure_graph.errors import InvalidInputs

from .connect import connect, lacks_worker, payload_settings, required
from .output import FAILED, OK, Output

if TYPE_CHECKING:
    from temporalio.client import WorkflowHistory

    from perdure_worker.replay import Replayed


async def replay_open(limit: int, task_queue: str | None, address: str | None, out: Output) -> int:
    """Replay the newest open histories of a server; the exit code is 1 when this code cannot take one over."""
    try:
        from perdure_worker.replay import open_histories, replay
    except ImportError as error:
        raise lacks_worker(error) from error
    server = required(address)
    client = (await connect(server)).temporal
    histories = open_histories(client, limit=limit, task_queue=task_queue)
    return await _report(replay(histories, client.data_converter, namespace=server.namespace), out)


async def replay_files(paths: list[Path], out: Output) -> int:
    """Replay histories from files, or from all `*.json` of folders; exits as `replay_open` does.

    Raises:
        InvalidInputs: names the file that holds none.
    """
    try:
        from perdure_worker.replay import read_histories, replay
    except ImportError as error:
        raise lacks_worker(error) from error
    from perdure_payloads import data_converter

    files = [file for path in paths for file in (sorted(path.rglob("*.json")) if path.is_dir() else [path])]
    if not files:
        raise InvalidInputs("there are no histories: name files or folders of them, or give --open.", field="paths")
    histories = read_histories(files)

    async def given() -> AsyncIterator[WorkflowHistory]:
        for history in histories:
            yield history

    return await _report(replay(given(), data_converter(payload_settings(None))), out)


async def _report(replays: AsyncIterator[Replayed], out: Output) -> int:
    done: list[Replayed] = []
    async for replayed in replays:
        done.append(replayed)
        if replayed.error is not None:
            out.say(f"refused: {replayed.run_id} ({replayed.workflow_type}, {replayed.events} events)")
            out.say(f"  {replayed.error}")
    refused = [replayed for replayed in done if replayed.error is not None]
    if not done:
        out.say("no run is open, so there is nothing that this code could break")
    elif refused:
        out.say(f"{len(refused)} of {len(done)} histories cannot be taken over by this code; do not deploy it for them")
    else:
        out.say(f"{len(done)} histories replayed; this code can take them over")
    if out.as_json:
        out.json({"replayed": len(done), "refused": [replayed.model_dump() for replayed in refused]})
    return FAILED if refused else OK
