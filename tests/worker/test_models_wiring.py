"""Models in workers and commands: where they are configured, what is said when they are not, the demo model."""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes.payload_runs import Cli
from perdure import Client, Graph
from perdure_graph.errors import PlatformError
from perdure_graph.request import RunResult
from perdure_worker import temporal_cli
from perdure_worker.doctor import examine
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.models import configuration
from perdure_worker.settings import WorkerSettings

# Each of several commands starts a server and a worker, on a machine that may be busy.
pytestmark = pytest.mark.timeout(400)
KEYS = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "PERDURE_MODELS")


@pytest.fixture(autouse=True)
def keyless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without keys."""
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


def alone(folder: Path) -> Cli:
    """The command line without a server, with the Temporal CLI that is there."""
    found = temporal_cli.find(WorkerSettings())
    return Cli({} if found is None else {"PERDURE_TEMPORAL_CLI": str(found)}, folder)


def flow_file(folder: Path, *, asks: bool = True) -> Path:
    """A flow with an llm, or without."""
    model = {"provider": "langgenius/openai/openai", "name": "gpt-4o", "mode": "chat", "completion_params": {}}
    say = {"type": "llm", "title": "Say", "model": model, "context": {"enabled": False}}
    say["prompt_template"] = [{"role": "user", "text": "{{#start.s#}}"}]
    plain = {"type": "template-transform", "title": "Say", "template": "{{ s }}"}
    plain["variables"] = [{"variable": "s", "value_selector": ["start", "s"]}]
    asked = [{"variable": "s", "label": "s", "type": "paragraph", "required": True}]
    shown = [{"variable": "text", "value_selector": ["say", "text" if asks else "output"]}]
    nodes = [
        {"id": "start", "data": {"type": "start", "title": "Start", "variables": asked}},
        {"id": "say", "data": say if asks else plain},
        {"id": "end", "data": {"type": "end", "title": "End", "outputs": shown}},
    ]
    edges = [{"source": "start", "target": "say"}, {"source": "say", "target": "end"}]
    app = {"name": "wired", "mode": "workflow"}
    document = {"kind": "app", "version": "0.6.0", "app": app, "workflow": {"graph": {"nodes": nodes, "edges": edges}}}
    path = folder / ("asks.yml" if asks else "plain.yml")
    path.write_text(yaml.safe_dump(document))
    return path


@asynccontextmanager
async def worker(stack: EmbeddedStack, **given: Any) -> AsyncIterator[EmbeddedStack]:
    """A worker with settings of its own on the server of the session."""
    chosen = stack.settings.model_copy(update={"task_queue": f"wiring-{uuid.uuid4()}", "store": "off", **given})
    async with embedded(chosen, worker_process=False) as own:
        yield own


async def outcome(own: EmbeddedStack, folder: Path) -> RunResult:
    """How a run of the flow ends there."""
    async with asyncio.timeout(60):
        client = Client(own.client, own.task_queue)
        return await (await client.start(Graph.load(flow_file(folder)), {"s": "hi"})).result()


async def test_a_wrong_models_file_fails_the_node_that_asks_by_line_and_field(
    stack: EmbeddedStack, tmp_path: Path
) -> None:
    file = tmp_path / "models.yaml"
    file.write_text("deployments:\n  - name: a\n    provider: openai\n    wieght: 2\n")
    async with worker(stack, models=file) as own:
        ended = await outcome(own, tmp_path)
        assert (ended.status, ended.error and ended.error.node) == ("failed", "say")
        assert ended.error is not None
        assert f"{file}:4: `deployments[0].wieght`" in ended.error.message
        # Once it is corrected, the next run finds it so: nothing has to be restarted.
        file.write_text("deployments: []\n")
        again = await outcome(own, tmp_path)
        assert again.error is not None and "wieght" not in again.error.message


async def test_a_file_that_is_not_there_fails_the_node_too(stack: EmbeddedStack, tmp_path: Path) -> None:
    async with worker(stack, models=tmp_path / "nowhere.yaml") as own:
        ended = await outcome(own, tmp_path)
    assert ended.error is not None and "nowhere.yaml" in ended.error.message and "read" in ended.error.message


async def test_without_a_deployment_the_run_says_what_to_set_and_names_the_demo_model(
    stack: EmbeddedStack, tmp_path: Path
) -> None:
    async with worker(stack) as own:
        cli = Cli({"PERDURE_ADDRESS": own.address, "PERDURE_TASK_QUEUE": own.task_queue}, tmp_path)
        cli.variables["PERDURE_BLOBS"] = own.blobs
        code, out, err = await cli("run", flow_file(tmp_path), "-i", "s=hi", "--json")
    told = json.loads(out.splitlines()[-1])
    assert (code, told["status"], told["error"]["node"], told["simulated"]) == (1, "failed", "say", False)
    for named in ("OPENAI_API_KEY", "PERDURE_MODELS", "provider: openai", "--demo-model"):
        assert named in told["error"]["message"] and named in err


async def test_a_run_with_the_demo_model_says_that_it_is_simulated(tmp_path: Path) -> None:
    cli = alone(tmp_path)
    code, out, err = await cli("run", flow_file(tmp_path), "-i", "s=hello there", "--demo-model", "--json")
    told = json.loads(out.splitlines()[-1])
    assert (code, told["status"], told["simulated"]) == (0, "succeeded", True), err
    assert "hello there" in told["outputs"]["text"] and "[simulated]" in told["outputs"]["text"]
    assert "simulated: no real model was asked by 'Say'" in err


async def test_cases_run_against_the_demo_model_with_a_script(tmp_path: Path) -> None:
    flow_file(tmp_path)
    script = tmp_path / "says.yaml"
    script.write_text("steps:\n  - {match: {contains: hello}, reply: Good day}\n  - {fault: 8}\n")
    good = {
        "name": "greets",
        "inputs": {"s": "hello"},
        "expect": {"status": "succeeded", "outputs": {"text": "Good day"}},
    }
    bad = {"name": "fails", "inputs": {"s": "other"}, "expect": {"status": "failed"}}
    cases = tmp_path / "asks.cases.json"
    cases.write_text(json.dumps({"file": "asks.yml", "cases": [good, bad]}))
    cli = alone(tmp_path)
    code, out, err = await cli("test", cases, "--demo-model", "--demo-script", script, "--json")
    assert (code, json.loads(out.splitlines()[-1])["passed"]) == (0, 2), (out, err)
    script.write_text("steps:\n  - {reply: Good day, fault: no-such-fault}\n")
    code, out, err = await cli("test", cases, "--demo-script", script)
    assert code == 1 and "no-such-fault" in err and "Traceback" not in err


async def test_dev_with_the_demo_model_serves_runs_that_others_start(tmp_path: Path) -> None:
    cli = alone(tmp_path)
    dev = await cli.start("dev", "--demo-model")
    try:
        assert dev.stdout is not None
        lines: list[str] = []
        async with asyncio.timeout(120):
            while not any("Ctrl-C" in line for line in lines):
                lines.append((await dev.stdout.readline()).decode())
        assert any("models:" in line and "simulated" in line for line in lines)
        code, out, err = await cli("start", flow_file(tmp_path), "-i", "s=hi", "--json")
        assert code == 0, err
        code, out, err = await cli("result", json.loads(out.splitlines()[-1])["run_id"], "--json")
        assert code == 0 and "[simulated]" in json.loads(out.splitlines()[-1])["outputs"]["text"], err
    finally:
        dev.terminate()
        await dev.communicate()


async def test_the_demo_model_and_the_server_of_somebody_else_do_not_go_together(tmp_path: Path) -> None:
    cli = Cli({"PERDURE_ADDRESS": "127.0.0.1:1"}, tmp_path)
    code, _, err = await cli("run", flow_file(tmp_path), "-i", "s=hi", "--demo-model")
    assert code == 2 and "127.0.0.1:1" in err and "perdure dev --demo-model" in err


def test_settings_of_models_survive_the_way_through_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, script = tmp_path / "m.yaml", tmp_path / "s.yaml"
    settings = WorkerSettings(models=file, demo_model="http://127.0.0.1:1/v1", demo_script=script)
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    again = WorkerSettings()
    assert again == settings
    assert (again.models, again.demo_model, again.demo_script) == (file, "http://127.0.0.1:1/v1", script)
    for name in ("PERDURE_MODELS", "PERDURE_DEMO_MODEL", "PERDURE_DEMO_SCRIPT"):
        monkeypatch.setenv(name, "")
    emptied = WorkerSettings()
    assert (emptied.models, emptied.demo_model, emptied.demo_script) == (None, None, None)


def test_a_demo_model_that_is_no_address_is_refused_by_name() -> None:
    with pytest.raises(PlatformError, match=r"PERDURE_DEMO_MODEL is 'start'.*perdure dev --demo-model"):
        configuration(WorkerSettings(demo_model="start"))


def checks(**given: Any) -> dict[str, Any]:
    """What the examination says of models."""
    return {check.name: check for check in examine(WorkerSettings(**given)) if check.name.startswith("model")}


def test_the_examination_of_the_machine_shows_deployments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    none = checks()["models"]
    assert not none.ok and not none.required and "OPENAI_API_KEY" in none.how_to_get
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-to-be-shown")
    (key,) = checks().values()
    assert key.ok and key.name == "model deployment openai" and "api.openai.com" in key.detail and "SDK" in key.detail
    assert "not-to-be-shown" not in repr(key)
    file = tmp_path / "models.yaml"
    file.write_text("deployments:\n  - {name: team, provider: anthropic, credential: {env: TEAM_KEY}}\n")
    (unset,) = checks(models=file).values()
    assert not unset.ok and not unset.required and "TEAM_KEY is not set" in unset.detail
    file.write_text("deployments:\n  - {name: team, provider: nobody}\n")
    wrong = checks(models=file)["models"]
    assert not wrong.ok and wrong.required and "nobody" in wrong.detail
    monkeypatch.setitem(sys.modules, "openai", None)
    (lost,) = checks().values()
    assert not lost.ok and "openai cannot be imported" in lost.detail
