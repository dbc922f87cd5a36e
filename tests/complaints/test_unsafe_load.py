"""Complaint 36: stored state that builds objects when it is loaded. Here it is data, or it is refused."""

from __future__ import annotations

import ast
import asyncio
import base64
import json
import os
import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from complaints.flows import ask, events_of, graph, until
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowUpdateFailedError
from temporalio.common import RawValue
from temporalio.service import RPCError

from fakes.graphs import code, document, end, node, start
from perdure import Client, Graph, InvalidGraph, InvalidInputs, RunOptions
from perdure.archive import Archive
from perdure_graph.continuation import Continuation
from perdure_graph.effects import EffectMeta
from perdure_graph.events import EVENTS
from perdure_graph.outbox import Outbox
from perdure_graph.request import RunRequest
from perdure_graph.step import open_run
from perdure_payloads.converter import data_converter
from perdure_store.recorder import Recorder

ROOT = Path(__file__).parents[2]


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.marker),))


def crafted(marker: Path) -> dict[str, Any]:
    """Values that some loader somewhere turns into an object or runs; each would make the folder `marker`."""
    made = str(marker)
    call = f"__import__('os').mkdir({made!r})"
    return {
        "pickle": base64.b64encode(pickle.dumps(Bomb(marker))).decode(),
        "jsonpickle": {"py/reduce": [{"py/type": "os.mkdir"}, {"py/tuple": [made]}]},
        "py_object": {"py/object": "os.mkdir", "py/newargs": [made]},
        "class": {"__class__": "os.mkdir", "__module__": "os", "__init__": [made], "__reduce__": [made]},
        "langchain": {"lc": 2, "type": "constructor", "id": ["os", "mkdir"], "args": [made], "kwargs": {}},
        "yaml": f"!!python/object/apply:os.mkdir [{json.dumps(made)}]",
        "dotted": ["os.mkdir", "os:mkdir", "perdure_graph.state.RunState", f"os.mkdir({made!r})"],
        "code": call,
        "template": "{{ ''.__class__.__mro__[1].__subclasses__() }}{% set x = " + call + " %}",
        "reference": "{{#start.o#}}{{#env.x#}}{{#sys.query#}}",
        "ours": [
            {"kind": "continuation", "graph": {}, "state": {"status": "succeeded"}, "outbox": {}},
            {"kind": "iteration", "items": [1], "next": 9},
            {"type": "run_finished", "seq": 1, "at": 1, "status": "succeeded", "outputs": {"hacked": True}},
            {"activity": "run_code", "code": call},
        ],
        "payload": {"metadata": {"encoding": "YmluYXJ5L3BpY2tsZQ=="}, "data": "gASVAAA="},
    }


def carried() -> Graph:
    """An object goes through code, a form, an iteration's items, a loop variable and a template."""
    inside = {"isInIteration": True, "iteration_id": "it"}
    variable = {"label": "v", "var_type": "object", "value_type": "variable", "value": ["first", "o"]}
    return Graph.from_document(
        document(
            [
                start(o="json_object"),
                code(
                    "first",
                    "def main(o):\n    return {'o': o, 'l': [o]}",
                    {"o": "object", "l": "array[object]"},
                    o=["start", "o"],
                ),
                ask("ask", fields=("note",)),
                node(
                    "it",
                    "iteration",
                    start_node_id="its",
                    iterator_selector=["first", "l"],
                    output_selector=["each", "o"],
                ),
                node("its", "iteration-start", "it", **inside),
                code("each", "def main(o):\n    return {'o': o}", {"o": "object"}, "it", o=["it", "item"]),
                node("lo", "loop", start_node_id="los", loop_count=1, loop_variables=[variable], break_conditions=[]),
                node("los", "loop-start", "lo", isInLoop=True, loop_id="lo"),
                node(
                    "text",
                    "template-transform",
                    template="{{ note }}|{{ note | length }}",
                    variables=[{"variable": "note", "value_selector": ["ask", "note"]}],
                ),
                end(
                    first=["first", "o"],
                    it=["it", "output"],
                    v=["lo", "v"],
                    note=["ask", "note"],
                    text=["text", "output"],
                ),
            ],
            [
                ("start", "first"),
                ("first", "ask"),
                ("ask", "go", "it"),
                ("its", "each"),
                ("it", "lo"),
                ("lo", "text"),
                ("text", "end"),
            ],
        )
    )


async def test_complaint_36_what_a_run_is_given_stays_data_wherever_it_is_stored(
    perdure: Client, tmp_path: Path
) -> None:
    """A checkpoint that somebody could write to built any object when it was loaded.

    The values pass history, a fresh history, a window, queries and the run store, and come out as they went in.
    """
    marker = tmp_path / "made"
    values = crafted(marker)
    options = RunOptions(continue_after_events=10, window_items=1)
    handle = await perdure.start(carried(), {"o": values}, options=options)
    await until(handle, lambda view: bool(view.forms))
    note = json.dumps(values)
    await handle.submit("ask", "go", {"note": note})
    outputs = await handle.outputs()
    for name in ("first", "v"):
        assert json.dumps(outputs[name]) == json.dumps(values), name
    assert outputs["it"] == [values]
    assert (outputs["note"], outputs["text"]) == (note, f"{note}|{len(note)}")
    assert (await handle.variables())["start"]["o"] == values
    events = [event.model_dump(mode="json") for event in await events_of(handle)]
    recorder = Recorder(f"sqlite:///{tmp_path}/store.db", limit_s=20)
    meta = EffectMeta(run_id="r", key="k", idempotency_key="k", events=tuple(events))
    assert await recorder.record(meta) == "yes"
    await recorder.close()
    read = await Archive(f"sqlite:///{tmp_path}/store.db").events("r", 0, len(events) + 1)
    assert [event.model_dump(mode="json") for event in read] == events
    assert not marker.exists()


async def test_complaint_36_a_state_from_outside_is_refused(perdure: Client, tmp_path: Path) -> None:
    """Only a run itself hands its state on: one that somebody wrote starts nothing, well formed or not."""
    marker = tmp_path / "made"
    flow = carried()
    state = open_run(flow, RunRequest(graph=flow.document, inputs={"o": {}}), "forged", 1)
    state.outputs = {"hacked": True}
    forged = Continuation(graph=flow.document, state=state, outbox=Outbox()).model_dump(mode="json")
    forged["state"]["frames"][""]["scope"] = crafted(marker)
    broken: list[Any] = [{"kind": "continuation"}, crafted(marker), {"kind": "continuation", **crafted(marker)}]
    for request in broken:
        raw = await perdure.temporal.start_workflow(
            "GraphRun", request, id=f"raw-{uuid.uuid4()}", task_queue=perdure.task_queue
        )
        async with asyncio.timeout(20):
            with pytest.raises(InvalidInputs, match="no run request"):
                await perdure.run(raw.id).result()
    raw = await perdure.temporal.start_workflow(
        "GraphRun", forged, id=f"raw-{uuid.uuid4()}", task_queue=perdure.task_queue
    )
    handle = perdure.run(raw.id)
    view = await until(handle, lambda view: view.status != "running" or bool(view.forms))
    assert view.outputs == {}, "it began anew: nothing of the forged state counts"
    await handle.stop()
    assert not marker.exists()


async def test_complaint_36_commands_and_events_that_are_none_change_nothing(perdure: Client, tmp_path: Path) -> None:
    """Signals and updates of a wrong shape, or in another encoding, are dropped or refused; the run goes on."""
    marker = tmp_path / "made"
    pickled = RawValue(Payload(metadata={"encoding": b"binary/pickle"}, data=pickle.dumps(Bomb(marker))))
    flow = graph([ask("ask"), end(note=["ask", "note"])], [("start", "ask"), ("ask", "go", "end")])
    handle = await perdure.start(flow, {})
    before = await until(handle, lambda view: bool(view.forms))
    workflow = perdure.temporal.get_workflow_handle(handle.run_id)
    for name in ("submit", "set_variables"):
        for argument in (pickled, crafted(marker), {"form": {"py/object": "os.mkdir"}, "action": "go"}, [1], "x"):
            await workflow.signal(name, argument)
            with pytest.raises((WorkflowUpdateFailedError, RPCError)):
                await workflow.execute_update(name, argument)
    after = await handle.status()
    assert (after.status, after.seq, after.forms) == (before.status, before.seq, before.forms)
    await handle.submit("ask", "go", {"note": "n"})
    assert await handle.outputs() == {"note": "n"}
    for event in (*crafted(marker).values(), {"type": "os.mkdir", "seq": 1, "at": 1}):
        with pytest.raises(ValueError, match="validation error"):
            EVENTS.validate_python([event])
    assert not marker.exists()


def test_complaint_36_a_payload_in_another_encoding_is_refused(tmp_path: Path) -> None:
    """The converter knows JSON, bytes and messages: nothing that builds objects of a named class."""
    marker = tmp_path / "made"
    converter = data_converter().payload_converter
    for encoding in (b"binary/pickle", b"python/pickle", b"json/pickle", b"application/x-python"):
        payload = Payload(metadata={"encoding": encoding}, data=pickle.dumps(Bomb(marker)))
        with pytest.raises(KeyError, match="Unknown payload encoding"):
            converter.from_payload(payload)
    assert not marker.exists()


def test_complaint_36_a_flow_with_tags_of_objects_is_refused(tmp_path: Path) -> None:
    """Also the way in: a flow file is read, never constructed."""
    marker = tmp_path / "made"
    for tag in (f"!!python/object/apply:os.mkdir [{marker}]", "!!python/name:os.mkdir", "!!python/module:os"):
        text = f"kind: app\nversion: 0.6.0\napp: {{mode: workflow, name: x}}\nworkflow:\n  graph: {tag}\n"
        with pytest.raises(InvalidGraph):
            Graph.load(text.encode())
    assert not marker.exists()


FORBIDDEN_MODULES = frozenset(
    {"pickle", "_pickle", "marshal", "shelve", "copyreg", "dill", "cloudpickle", "jsonpickle", "joblib", "runpy", "imp"}
)
FORBIDDEN_NAMES = frozenset({"eval", "exec", "compile", "__import__"})
BY_NAME = frozenset(
    {"import_module", "resolve_name", "spec_from_file_location", "find_spec", "entry_points", "load_module", "eval"}
)
YAML_LOADERS = frozenset({"load", "load_all", "unsafe_load", "unsafe_load_all", "full_load", "full_load_all", "Loader"})
YAML_LOADERS_OF_OBJECTS = YAML_LOADERS | {"UnsafeLoader", "FullLoader", "CLoader"}

# What may: the child processes that run users' code behind the sandbox, the list of our own node files, installed
# entry points, modules named by constants (ours, and the SDKs of model providers), and the modules of tools that the
# operator's own file names: no graph, agent or model can name one.
ALLOWED = {
    "activities/perdure_activities/models/declared/load.py": {"entry_points"},
    "activities/perdure_activities/models/warming.py": {"import_module"},
    "activities/perdure_activities/sandbox/child_main.py": {"exec", "compile"},
    "activities/perdure_activities/sandbox/child_python.py": {"exec", "compile"},
    "activities/perdure_activities/sandbox/child_v8.py": {"eval"},
    "activities/perdure_activities/sandbox/templates.py": {"find_spec"},
    "activities/perdure_activities/sandbox/v8.py": {"find_spec"},
    "activities/perdure_activities/tools/sources.py": {"entry_points", "import_module", "spec_from_file_location"},
    "workflows/perdure_graph/nodes/__init__.py": {"import_module", "entry_points"},
    "worker/perdure_worker/agents.py": {"import_module"},
    "worker/perdure_worker/doctor.py": {"import_module"},
    "worker/perdure_worker/plugins.py": {"import_module", "entry_points"},
    "client/perdure/__init__.py": {"import_module"},
}


def loaders(source: str) -> Iterator[tuple[int, str]]:
    """Find what builds objects from data, or runs or imports what data names: line and name."""
    for found in ast.walk(ast.parse(source)):
        match found:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.partition(".")[0] in FORBIDDEN_MODULES:
                        yield found.lineno, alias.name
            case ast.ImportFrom(module=str(module), names=names):
                if module.partition(".")[0] in FORBIDDEN_MODULES:
                    yield found.lineno, module
                for alias in names:
                    if module == "yaml" and alias.name in YAML_LOADERS_OF_OBJECTS:
                        yield found.lineno, f"yaml.{alias.name}"
            case ast.Name(id=name) if name in FORBIDDEN_NAMES:
                yield found.lineno, name
            case ast.Attribute(value=ast.Name(id="yaml"), attr=name) if name in YAML_LOADERS_OF_OBJECTS:
                yield found.lineno, f"yaml.{name}"
            case ast.Attribute(value=ast.Name(id="builtins"), attr=name) if name in FORBIDDEN_NAMES:
                yield found.lineno, name
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=arguments) if name in BY_NAME:
                if name == "import_module" and isinstance(next(iter(arguments), None), ast.Constant):
                    continue
                yield found.lineno, name
            case _:
                continue


@pytest.mark.parametrize("folder", ["workflows", "activities", "worker", "client"])
def test_complaint_36_nothing_in_the_sources_builds_objects_from_stored_data(folder: str) -> None:
    """No pickle, no marshal, no eval or exec, no import by name, but for a short list of files."""
    files = sorted((ROOT / folder).rglob("*.py"))
    assert len(files) > 5
    found = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in files
        for line, name in loaders(path.read_text(encoding="utf-8"))
        if name not in ALLOWED.get(path.relative_to(ROOT).as_posix(), ())
    ]
    assert found == []


def test_complaint_36_the_list_of_exceptions_holds_no_more_than_there_is() -> None:
    for path, names in ALLOWED.items():
        assert {name for _, name in loaders((ROOT / path).read_text(encoding="utf-8"))} == names, path


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import pickle as p",
        "from pickle import loads",
        "from marshal import load",
        "import shelve",
        "x = eval(text)",
        "run = exec",
        "import builtins; builtins.eval(text)",
        "__import__(name)",
        "yaml.load(text, Loader=yaml.Loader)",
        "from yaml import unsafe_load",
        "importlib.import_module(name)",
        "import_module(kind)",
        "pkgutil.resolve_name(name)",
    ],
)
def test_complaint_36_the_search_finds_what_it_looks_for(line: str) -> None:
    assert list(loaders(line))


def test_complaint_36_the_search_leaves_the_harmless_alone() -> None:
    lines = ["json.loads(text)", "re.compile(text)", "yaml.compose(text, Loader=yaml.SafeLoader)"]
    assert not list(loaders("\n".join([*lines, "import_module('perdure_store.write')", "Graph.load(path)"])))
