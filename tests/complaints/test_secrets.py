"""Complaint 30: secret values in logs, traces, database and export. Canary keys are used for real calls."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import sqlite3
import sys
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from complaints.flows import chain
from google.protobuf.json_format import ParseDict
from temporalio.api.common.v1 import Payload

from fakes.echoing import KINDS, Echoing
from fakes.graphs import node
from fakes.http_server import listening
from fakes.payload_runs import Cli
from perdure import Client, Graph, RunHandle
from perdure_fake import FakeProvider, Match, Reply, Script, Step
from perdure_graph.graph import Variable
from perdure_graph.request import RunResult
from perdure_graph.values import ValueType
from perdure_payloads import PayloadSettings, data_converter
from perdure_worker.embedded import EmbeddedStack
from perdure_worker.settings import WorkerSettings

Kept = Literal["environment", "table"]
WIRES = {"environment": ("openai-chat", "openai-responses"), "table": ("openai-chat", "anthropic-messages")}
# Said by every prompt: where it is not found, a place was not looked at.
MARK = "looked-at-7731"
# Long enough to be a blob; what others are given stays in the history.
LONG = f"{MARK} " * 800
GRAPH_SECRET = "graph-secret-" + secrets.token_hex(12)
# The fake would else repeat what it is told.
SAYS = Script(steps=(Step(match=Match(contains="Remember"), reply=Reply(text=f"I do. {MARK}")),))
_PIECE = 10
# A process for each command, on a machine that may be busy.
pytestmark = [pytest.mark.xdist_group("secrets"), pytest.mark.timeout(400)]


def canary() -> str:
    """A key that is found in part, too."""
    return "sk-" + secrets.token_hex(20)


def leaks(text: str | bytes, *hidden: str) -> list[str]:
    """Pieces of secrets that a text holds, as they are or in base64."""
    data = text.encode() if isinstance(text, str) else text
    found: list[str] = []
    for secret in hidden:
        whole = secret.encode()
        pieces = [whole[at : at + _PIECE] for at in range(3, len(whole) - _PIECE + 1)]
        pieces += [base64.b64encode(b"." * shift + whole)[4:-8][:24] for shift in range(3)]
        found += [piece.decode() for piece in pieces if piece in data]
    return found


@dataclass
class Ran:
    """What is left of the runs of one worker, by place."""

    kept: Kept
    results: dict[str, RunResult]
    hidden: tuple[str, ...]
    echoing: Echoing
    histories: dict[str, str] = field(default_factory=dict[str, str])
    told: dict[str, str] = field(default_factory=dict[str, str])
    printed: dict[str, str] = field(default_factory=dict[str, str])
    exported: dict[str, str] = field(default_factory=dict[str, str])
    store: dict[str, bytes] = field(default_factory=dict[str, bytes])
    blobs: dict[str, bytes] = field(default_factory=dict[str, bytes])
    log: str = ""


def asking(model: str, prompt: str = "{{#start.s#}}", **more: Any) -> Graph:
    """start -> llm -> end."""
    about = {"provider": "generic", "name": model, "mode": "chat", "completion_params": {}}
    say = node(
        "say", "llm", model=about, prompt_template=[{"role": "user", "text": prompt}], context={"enabled": False}
    )
    flow = chain(say, text=["say", "text"])
    return Graph.from_document(flow.document.model_copy(update=more)) if more else flow


def models_file(kept: Kept, fake: FakeProvider, echoing: Echoing) -> dict[str, Any]:
    """A deployment for each wire and each way to fail, and those that work."""
    found: list[dict[str, Any]] = []
    for wire in WIRES[kept]:
        good = fake.anthropic_url if wire == "anthropic-messages" else fake.openai_url
        places = {"good": good, "gone": f"{fake.refused_url}/v1"} | {
            kind: echoing.base(kind) + ("" if wire == "anthropic-messages" else "/v1") for kind in KINDS
        }
        for kind, url in places.items():
            deployment = {"name": f"{wire}.{kind}", "models": [f"{wire}.{kind}"], "provider": "generic", "wire": wire}
            deployment |= {"base_url": url, "allow_private": True, "headers": {"X-Token": {"env": "CANARY_TOKEN"}}}
            credential = {"env": "CANARY_KEY"} if kept == "environment" else {"stored": "canary"}
            found.append(deployment | {"credential": credential})
    return {"deployments": found, "timeouts": {"connect_s": 2}}


@asynccontextmanager
async def working(settings: WorkerSettings, variables: dict[str, str], log: Path) -> AsyncIterator[None]:
    """A worker process with its log in a file."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PERDURE_", "OPENAI_", "ANTHROPIC_"))}
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "perdure_worker.main", "--ready-fd", "1"),
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            env=clean | settings.to_env() | variables,
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(60):
                assert b'"ready": true' in await process.stdout.readline(), log.read_text()
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@pytest.fixture(scope="module", params=["environment", "table"])
async def ran(
    request: pytest.FixtureRequest, stack: EmbeddedStack, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Ran]:
    """Everything that can fail has failed, by a worker whose keys are in its environment or in the encrypted table."""
    kept: Kept = request.param
    folder = tmp_path_factory.mktemp(kept)
    key, token = canary(), canary()
    echoing = Echoing()
    async with FakeProvider.start_process(SAYS) as fake, listening(echoing.handle) as echoing.port:
        file = folder / "models.yaml"
        file.write_text(yaml.safe_dump(models_file(kept, fake, echoing)))
        payload = {"blobs": str(folder / "blobs"), "blob_threshold": 4096, "compress_over": 1 << 30}
        if kept == "table":
            payload["keys"] = f"main:{base64.b64encode(secrets.token_bytes(32)).decode()}"
        given: dict[str, Any] = payload | {"store": f"sqlite:///{folder}/runs.db", "models": file}
        settings = WorkerSettings(
            address=stack.address,
            task_queue=f"secrets-{uuid.uuid4()}",
            graceful_shutdown_s=1.0,
            log_level="debug",
            log_format="json" if kept == "table" else "console",
            **given,
        )
        variables = {"CANARY_TOKEN": f"Bearer {token}"} | ({"CANARY_KEY": key} if kept == "environment" else {})
        cli = Cli(settings.to_env() | variables, folder)
        found = Ran(kept, {}, (key, token), echoing)
        if kept == "table":
            adding = Cli(cli.variables | {"HERE_ONLY": key}, folder)
            argv = ("models", "add-credential", "canary", "--provider", "generic", "--from-env", "HERE_ONLY", "--json")
            assert await printed(found, adding, *argv) == 0, found.printed
        async with working(settings, variables, folder / "worker.log"):
            client = await Client.connect(
                stack.address,
                task_queue=settings.task_queue,
                store=settings.store,
                data_converter=data_converter(PayloadSettings(**payload)),
            )
            handles = await all_runs(client, kept)
            found.results = {name: await handle.result() for name, handle in handles.items()}
            for name, handle in handles.items():
                await looked(found, name, handle, client)
            await commands(found, cli, handles)
        found.log = (folder / "worker.log").read_text()
        found.store = {path.name: path.read_bytes() for path in folder.glob("runs.db*")} | rows(folder / "runs.db")
        found.blobs = {str(path): path.read_bytes() for path in (folder / "blobs").rglob("*") if path.is_file()}
        yield found


async def all_runs(client: Client, kept: Kept) -> dict[str, RunHandle]:
    """Start a run for each deployment, and one whose prompt holds a secret variable of the graph."""
    names = [f"{wire}.{kind}" for wire in WIRES[kept] for kind in ("good", "gone", *KINDS)]
    secret = Variable(name="token", value_type=ValueType.SECRET, value=GRAPH_SECRET)
    flows = {name: asking(name) for name in names}
    prompt = "Remember {{#env.token#}}, and {{#start.s#}}"
    flows["variable"] = asking("openai-chat.good", prompt, environment=(secret,))
    starting = (
        client.start(flow, {"s": LONG if name.endswith("good") else MARK}, run_id=f"canary-{uuid.uuid4()}")
        for name, flow in flows.items()
    )
    return dict(zip(flows, await asyncio.gather(*starting), strict=True))


async def looked(found: Ran, name: str, handle: RunHandle, client: Client) -> None:
    """Read all that the client and the server give of a run."""
    seen: list[Any] = [(await handle.status()).model_dump_json(), found.results[name].model_dump_json()]
    seen += [event.model_dump_json() async for event in handle.events()]
    seen += [entry.event.model_dump_json() async for entry in handle.log(follow=False)]
    # What the run itself knows holds the graph's variables: it is looked at for the keys, as its history is.
    found.histories[f"{name} variables"] = json.dumps(await handle.variables(), default=str)
    found.told[name] = "\n".join(seen)
    history = await client.temporal.get_workflow_handle(handle.run_id).fetch_history()
    found.histories[name] = history.to_json() + "\n" + await decoded(history.to_json_dict(), client)


async def decoded(history: Any, client: Client) -> str:
    """Give every payload of a history in clear text."""
    packed: list[Payload] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if set(value) >= {"metadata", "data"} and isinstance(value["data"], str):
                packed.append(ParseDict(value, Payload(), ignore_unknown_fields=True))
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(history)
    codec = client.temporal.data_converter.payload_codec
    clear = await codec.decode(packed) if codec is not None else packed
    return "\n".join(payload.data.decode("utf-8", "replace") for payload in clear)


async def printed(found: Ran, cli: Cli, *argv: str) -> int:
    """Keep what a command prints; it must know how to end."""
    code, out, err = await cli(*argv)
    assert code in (0, 1) and "Traceback" not in err, (argv, out, err)
    found.printed[" ".join(argv)] = out + err
    return code


async def commands(found: Ran, cli: Cli, handles: dict[str, RunHandle]) -> None:
    """Ask every command that shows something of a run or of models."""
    good, bad, variable = (
        handles[name].run_id for name in ("openai-chat.good", "openai-chat.unauthorized", "variable")
    )
    asked: list[tuple[str, ...]] = [("result", good), ("status", bad), ("events", bad), ("events", variable, "--all")]
    asked += [("status", variable), ("store", "show", variable)]
    asked += [("test", "--from-run", run, "-o", f"{run}.cases.json") for run in (good, variable)]
    asked += [("models", "list", "--provider", "generic", "--json"), ("models", "check", "--json")]
    asked += [("models", "credentials", "--json"), ("doctor", "--json")]
    turns = asyncio.Semaphore(3)

    async def ask(argv: tuple[str, ...]) -> None:
        async with turns:
            await printed(found, cli, *argv)

    await asyncio.gather(*map(ask, asked))
    found.exported = {path.name: path.read_text() for path in cli.folder.glob("*.json")}


def rows(path: Path) -> dict[str, bytes]:
    """Every row of a store, as text."""
    with sqlite3.connect(path) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: repr(connection.execute(f'SELECT * FROM "{name}"').fetchall()).encode() for name in tables}


def leaking(places: Iterable[tuple[str, str | bytes]], *hidden: str) -> dict[str, list[str]]:
    """Which places hold some of a secret."""
    return {name: found for name, text in places if (found := leaks(text, *hidden))}


def test_complaint_30_the_keys_were_used_and_what_failed_says_so_without_them(ran: Ran, stack: EmbeddedStack) -> None:
    assert stack.worker_pids
    for name, result in ran.results.items():
        if name.endswith(".good") or name == "variable":
            assert result.status == "succeeded" and MARK in result.outputs["text"], (name, result.error)
            continue
        assert result.status == "failed" and result.error is not None, name
        assert not leaks(result.error.message, *ran.hidden, GRAPH_SECRET), name
    # The server did get them, and what it said of them reached the error: there was something to take out.
    sent = repr([request.headers for request in ran.echoing.requests])
    assert all(key in sent for key in ran.hidden)
    for kind in ("unauthorized", "refused", "broken", "spent"):
        said = [r.error.message for name, r in ran.results.items() if name.endswith(kind) and r.error]
        assert said and all("***" in message for message in said), (kind, said)


def test_complaint_30_a_key_is_not_sent_on_to_another_place(ran: Ran) -> None:
    assert [r for r in ran.echoing.requests if r.target.startswith("/redirect")]
    assert ran.echoing.elsewhere == 0


def test_complaint_30_no_key_is_in_a_history(ran: Ran) -> None:
    assert len(ran.histories) == 2 * len(ran.results)
    assert all(MARK in text for name, text in ran.histories.items() if ".good" not in name)
    assert leaking(ran.histories.items(), *ran.hidden) == {}


def test_complaint_30_no_key_is_in_events_and_states(ran: Ran) -> None:
    assert all(MARK in text for text in ran.told.values())
    assert leaking(ran.told.items(), *ran.hidden) == {}


def test_complaint_30_no_key_is_in_the_run_store_or_the_blobs(ran: Ran) -> None:
    assert {"events", "model_usage", "model_answers", "model_health", "credentials", "runs.db"} <= set(ran.store)
    assert MARK.encode() in ran.store["events"] and b"openai-chat.refused" in ran.store["model_usage"]
    assert ran.blobs and (ran.kept == "table" or any(MARK.encode() in blob for blob in ran.blobs.values()))
    assert leaking(ran.store.items(), *ran.hidden) == {}
    assert leaking(ran.blobs.items(), *ran.hidden) == {}


def test_complaint_30_no_key_is_in_a_log_at_any_level(ran: Ran) -> None:
    assert "a call of a model failed" in ran.log and "debug" in ran.log and "openai-chat.page" in ran.log
    assert leaks(ran.log, *ran.hidden, GRAPH_SECRET) == []


def test_complaint_30_no_key_is_in_what_commands_print_or_export(ran: Ran) -> None:
    assert len(ran.exported) == 4 and all(MARK in text for name, text in ran.exported.items() if ".cases." in name)
    assert sum(MARK in text for text in ran.printed.values()) >= 2
    assert any("openai-chat.unauthorized" in text and "invalid" in text for text in ran.printed.values())
    assert leaking(ran.printed.items(), *ran.hidden, GRAPH_SECRET) == {}
    assert leaking(ran.exported.items(), *ran.hidden, GRAPH_SECRET) == {}


def test_complaint_30_a_secret_variable_in_a_prompt_is_masked_wherever_people_read(ran: Ran) -> None:
    # It travels in the request to the model, so the history has it: with PERDURE_KEYS that is encrypted.
    assert leaks(ran.histories["variable"], GRAPH_SECRET)
    assert "Remember" in ran.told["variable"] and MARK in ran.told["variable"]
    assert leaking(ran.told.items(), GRAPH_SECRET) == {}
    assert leaking(ran.store.items(), GRAPH_SECRET) == {}
