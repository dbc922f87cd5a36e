"""What the cases are played at: one fake provider, one stack whose worker is told of a deployment for each case."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fakes.graphs import document, node, start
from fakes.http_server import HttpServer, listening
from perdure import Client, Graph
from perdure_activities.models.config import ModelsConfig
from perdure_activities.models.runtime import Runtime
from perdure_fake import Entry, FakeProvider, Script, key_hash
from perdure_payloads.keys import KeyRing
from perdure_store.ledger import Ledger
from perdure_store.recorder import Recorder
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

from .case import Case, Played

FIRST, SECOND = "FAULT_TABLE_KEY_1", "FAULT_TABLE_KEY_2"
KEYS = {FIRST: "sk-fault-table-0001", SECOND: "sk-fault-table-0002"}
TIMEOUTS = {"connect_s": 5, "first_token_s": 5, "between_s": 4}


@dataclass
class Desk:
    """All that a case is played with."""

    client: Client
    provider: FakeProvider
    stack: EmbeddedStack
    ledger: Ledger
    runtime: Runtime
    elsewhere: HttpServer

    async def requests(self, played: Played) -> list[Entry]:
        """The provider's requests of a case, oldest first."""
        return await self.provider.journal(model=f"{played.id}*")


def stand_in(played: Played) -> str:
    """The model that stands in for that of a case."""
    return f"{played.id}-b"


def deployments(all_played: Sequence[Played], fake: FakeProvider) -> list[dict[str, Any]]:
    """One deployment for each case, or two."""
    made: list[dict[str, Any]] = []
    # What is learned of an address holds for all its deployments; this one is of the same server.
    alias = fake.openai_url.replace("127.0.0.1", "localhost")
    urls = {"": fake.openai_url, "refused": f"{fake.refused_url}/v1", "alias": alias}
    for played in all_played:
        case = played.case
        url = urls.get(case.base_url, case.base_url)
        given = {"provider": played.provider, "wire": played.wire, "allow_private": True, "credential": {"env": FIRST}}
        one = given | {"name": played.id, "models": [played.id], "base_url": url}
        made.append(one | ({"weight": 100} if case.another == "key" else {}))
        second = one | {"name": stand_in(played), "base_url": fake.openai_url}
        if case.another == "key":
            made.append(second | {"credential": {"env": SECOND}})
        elif case.another == "model":
            made.append(second | {"models": [stand_in(played)]})
    return made


def configuration(all_played: Sequence[Played], fake: FakeProvider) -> dict[str, Any]:
    """The models file."""
    fallbacks = [
        {
            "from": f"{played.provider}/{played.id}",
            "to": [f"{played.provider}/{stand_in(played)}"],
            "on": ["rate_limited" if played.case.row == 2 else played.case.reason],
        }
        for played in all_played
        if played.case.another == "model"
    ]
    return {"deployments": deployments(all_played, fake), "fallbacks": fallbacks, "timeouts": TIMEOUTS}


def script(all_played: Sequence[Played], elsewhere: str) -> Script:
    """What the provider does: the fault of each case by the name of its model, then what it says without it."""
    steps: list[dict[str, Any]] = []
    for played in all_played:
        case = played.case
        match: dict[str, Any] = {"model": played.id}
        if case.another == "key":
            match["key"] = key_hash(KEYS[FIRST])
        if case.nth is not None:
            match["nth"] = case.nth
        params = {name: elsewhere if value == "elsewhere" else value for name, value in case.params.items()}
        step: dict[str, Any] = {"match": match, "reply": case.reply, "fault": {"row": case.row, "params": params}}
        steps.append(step | ({"times": case.times} if case.times else {}))
        steps.append({"match": {"model": f"{played.id}*"}, "reply": case.reply})
    return Script.model_validate({"steps": steps})


def flow(played: Played, *, memory: bool = False) -> Graph:
    """A chat whose one llm asks the model of the case; its answer is what the model says."""
    case: Case = played.case
    model = {"provider": played.provider, "name": played.id, "mode": "chat", "completion_params": case.asks}
    more: dict[str, Any] = {"memory": {"query_prompt_template": ""}} if memory else {}
    prompt = {"role": "system", "text": "talk"} if memory else {"role": "user", "text": "say it"}
    say = node(
        "say",
        "llm",
        model=model,
        prompt_template=[prompt],
        reasoning_format="separated",
        perdure=case.perdure,
        **more,
    )
    parts = [start(), say, node("answer", "answer", answer="{{#say.text#}}")]
    return Graph.from_document(document(parts, [("start", "say"), ("say", "answer")], mode="advanced-chat"))


@asynccontextmanager
async def at_desk(
    all_played: Sequence[Played], settings: WorkerSettings, folder: Path, **given: Any
) -> AsyncIterator[Desk]:
    """Open a desk for these cases."""
    async with AsyncExitStack() as opened:
        opened.callback(_restore, {name: os.environ.get(name) for name in KEYS})
        os.environ.update(KEYS)
        elsewhere = HttpServer()
        elsewhere.port = await opened.enter_async_context(listening(elsewhere.handle))
        fake = await opened.enter_async_context(FakeProvider.start_process())
        await fake.script(script(all_played, f"http://localhost:{elsewhere.port}/v1/taken"))
        config = configuration(all_played, fake)
        path = folder / "models.yaml"
        path.write_text(yaml.safe_dump(config))
        changed = {"models": path, "store": f"sqlite:///{folder}/runs.db", "heartbeat_interval_s": 0.5} | given
        changed |= {"task_queue": f"faults-{uuid.uuid4()}"}
        stack = await opened.enter_async_context(embedded(settings.model_copy(update=changed)))
        recorder = Recorder(stack.store_url, limit_s=4.0)
        opened.push_async_callback(recorder.close)
        ledger = Ledger(recorder)
        runtime = Runtime.open(ModelsConfig.model_validate(config), ledger, KeyRing(), environ=KEYS)
        opened.push_async_callback(runtime.close)
        client = Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout, store=stack.store_url)
        yield Desk(client, fake, stack, ledger, runtime, elsewhere)


def _restore(environ: Mapping[str, str | None]) -> None:
    for name, value in environ.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
