"""The command line as people and scripts use it: real processes, exit codes, the last line on stdout."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from fakes.command_line import COMMAND, LIMIT_S, Done
from perdure.cli.board import Board
from perdure.cli.forms import Answers
from perdure.cli.given import Answer, read_answers
from perdure.dev_state import DevStack, announced, running
from perdure_graph.errors import InvalidInputs
from perdure_graph.events import NodeFinished, NodeRetry, NodeStarted
from perdure_worker import temporal_cli

# Each test starts a dozen interpreters at most, which takes its time on a busy machine.
pytestmark = [pytest.mark.xdist_group("cli"), pytest.mark.timeout(400)]


def flow(folder: Path, name: str, nodes: list[dict[str, Any]], edges: list[tuple[str, ...]]) -> Path:
    """Write a flow file; edges are (source, target) or (source, handle, target)."""
    drawn = [{"source": e[0], "target": e[-1], "sourceHandle": e[1] if len(e) == 3 else "source"} for e in edges]
    graph = {
        "nodes": [{"id": data["title"], "data": data} for data in nodes],
        "edges": [{"id": f"e{number}", **edge} for number, edge in enumerate(drawn)],
    }
    path = folder / f"{name}.yml"
    document = {
        "kind": "app",
        "version": "0.6.0",
        "app": {"name": name, "mode": "workflow"},
        "workflow": {"graph": graph},
    }
    path.write_text(json.dumps(document))
    return path


def start(**variables: str) -> dict[str, Any]:
    listed = [
        {"variable": name, "label": name, "type": kind, "required": name == "who"} for name, kind in variables.items()
    ]
    return {"type": "start", "title": "start", "variables": listed}


def end(title: str, **outputs: list[str]) -> dict[str, Any]:
    listed = [{"variable": name, "value_selector": selector} for name, selector in outputs.items()]
    return {"type": "end", "title": title, "outputs": listed}


def greet(folder: Path) -> Path:
    say = {
        "type": "template-transform",
        "title": "say",
        "template": "hello {{ who }} {{ n }}",
        "variables": [{"variable": name, "value_selector": ["start", name]} for name in ("who", "n")],
    }
    first = start(who="text-input", n="number", o="json_object")
    last = end("end", text=["say", "output"], o=["start", "o"])
    return flow(folder, "greet", [first, say, last], [("start", "say"), ("say", "end")])


def bad(folder: Path, name: str, **retry: int) -> Path:
    """A flow whose code raises."""
    code = {
        "type": "code",
        "title": "bad",
        "code_language": "python3",
        "code": "def main():\n    return {'r': 1 / 0}",
        "variables": [],
        "outputs": {"r": {"type": "number", "children": None}},
        "retry_config": {"retry_enabled": bool(retry), **retry},
    }
    nodes = [start(), code, end("end", r=["bad", "r"])]
    return flow(folder, name, nodes, [("start", "bad"), ("bad", "end")])


def asking(folder: Path) -> Path:
    ask = {
        "type": "human-input",
        "title": "ask",
        "form_content": "Pay {{#start.x#}}?",
        "inputs": [{"type": "text_input", "output_variable_name": "note"}],
        "user_actions": [{"id": "approve", "title": "Yes"}, {"id": "reject", "title": "No"}],
        "timeout": 1,
        "timeout_unit": "day",
    }
    nodes = [start(x="number"), ask, end("paid", by=["ask", "__action_id"], note=["ask", "note"]), end("kept")]
    return flow(folder, "asking", nodes, [("start", "ask"), ("ask", "approve", "paid"), ("ask", "reject", "kept")])


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which nobody's server and no other `perdure dev` is seen."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    cache = tmp_path_factory.mktemp("cache")
    return {
        **clean,
        "PERDURE_TEMPORAL_CLI": str(temporal_cli.ensure()),
        "PERDURE_CACHE_DIR": str(cache),
        "COLUMNS": "200",
    }


class Cli:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)

    def __call__(self, *args: object) -> Done:
        argv = [*COMMAND, *map(str, args)]
        ran = subprocess.run(
            argv, capture_output=True, text=True, env=self.environment, timeout=LIMIT_S, stdin=subprocess.DEVNULL
        )
        return Done(ran.returncode, ran.stdout, ran.stderr)

    def interrupted(self, line: str, *args: object) -> Done:
        """Press Ctrl-C as soon as stderr holds a line with this text."""
        with subprocess.Popen(
            [*COMMAND, *map(str, args)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        ) as process:
            assert process.stderr is not None
            watchdog = threading.Timer(LIMIT_S, process.kill)
            watchdog.start()
            heard = ""
            for text in process.stderr:
                heard += text
                if line in text:
                    process.send_signal(signal.SIGINT)
                    break
            out, rest = process.communicate()
            watchdog.cancel()
            return Done(process.returncode, out, heard + rest)


@pytest.fixture(scope="module")
def cli(environment: dict[str, str]) -> Cli:
    return Cli(environment)


def test_validate_reports_each_node_and_refuses_with_2(cli: Cli, tmp_path: Path) -> None:
    good = cli("validate", greet(tmp_path), "--json")
    assert good.code == 0
    assert good.json["valid"] is True
    assert [finding["node"] for finding in good.json["findings"]] == ["start", "say", "end"]
    odd = flow(tmp_path, "odd", [start(), {"type": "no-such-type", "title": "what"}], [("start", "what")])
    refused = cli("validate", odd)
    assert refused.code == 2
    assert "no-such-type" in refused.out
    assert "cannot run: 1 refused" in refused.out


def test_what_is_wrong_is_said_before_anything_is_started(cli: Cli, tmp_path: Path) -> None:
    missing = cli("run", greet(tmp_path), "--run-id", "mine", "--json")
    assert missing.code == 2
    assert missing.json["status"] == "invalid"
    assert missing.json["run_id"] == "mine"
    assert missing.json["error"]["field"] == "who"
    assert missing.err.startswith("error: node 'start', input 'who': who is required")
    no_object = cli("run", greet(tmp_path), "-i", "who=Ann", "-i", "o={a: 1")
    assert no_object.code == 2
    assert "o is a json_object and must be given as JSON" in no_object.err
    nobody = cli("run", asking(tmp_path), "--submit", "ask=maybe")
    assert nobody.code == 2
    assert "no action 'maybe'. Its actions: approve, reject" in nobody.err
    no_file = cli("run", tmp_path / "none.yml", "--json")
    assert (no_file.code, no_file.json["error"]["type"]) == (2, "InvalidGraph")
    assert cli("run", greet(tmp_path), "--no-such-option").code == 2


def test_run_takes_inputs_from_everywhere_and_ends_with_one_object(cli: Cli, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs.yml"
    inputs.write_text("who: Bob\nn: 1\nsurplus: 3\n")
    (tmp_path / "o.json").write_text('{"a": [1]}')
    arguments = ("--inputs", inputs, "-i", "n=2.5", "-i", f"o=@{tmp_path / 'o.json'}", "--run-id", "mine", "--json")
    done = cli("run", greet(tmp_path), *arguments)
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 1
    assert set(done.json) == {"run_id", "status", "outputs", "error", "elapsed", "steps", "simulated"}
    assert (done.json["run_id"], done.json["status"], done.json["steps"]) == ("mine", "succeeded", 3)
    assert done.json["outputs"] == {"text": "hello Bob 2.5", "o": {"a": [1]}}
    assert "declares no input 'surplus'" in done.err
    shown = [line.split()[1] for line in done.err.splitlines() if line.startswith("  succeeded")]
    assert shown == ["start", "say", "end"]


def test_a_failing_run_exits_1_and_shows_attempts(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", bad(tmp_path, "bad", max_retries=1, retry_interval=100), "--json")
    assert done.code == 1
    assert (done.json["status"], done.json["error"]["node"]) == ("failed", "bad")
    assert "ZeroDivisionError" in done.json["error"]["message"]
    failed = [line for line in done.err.splitlines() if line.startswith("  failed")]
    assert len(failed) == 1
    assert "2 attempts" in failed[0]


def test_pinned_nodes_answer_as_told(cli: Cli, tmp_path: Path) -> None:
    pins = tmp_path / "pins.yml"
    pins.write_text("bad: {outputs: {r: 7}}\nnobody: {outputs: {}}\n")
    done = cli("run", bad(tmp_path, "bad"), "--pins", pins)
    assert done.code == 0, done.err
    assert done.out.endswith("r: 7\n")
    assert "pin 'nobody' names no node" in done.err


def test_ctrl_c_stops_a_run_of_our_own(cli: Cli, tmp_path: Path) -> None:
    slow = bad(tmp_path, "slow", max_retries=3, retry_interval=600_000)
    done = cli.interrupted("retrying", "run", slow, "--json")
    assert (done.code, done.json["status"]) == (1, "stopped"), done.err


def test_a_form_is_answered_by_submit_or_the_run_is_left_paused(cli: Cli, tmp_path: Path) -> None:
    answered = cli("run", asking(tmp_path), "-i", "x=5", "--submit", "ask=approve,note=fine, go", "--json")
    assert answered.code == 0, answered.err
    assert answered.json["outputs"] == {"by": "approve", "note": "fine, go"}
    left = cli("run", asking(tmp_path), "-i", "x=5", "--json")
    assert (left.code, left.json["status"], left.json["error"]["node"]) == (1, "paused", "ask")
    assert "Pay 5?" in left.err
    assert "--submit ask=approve" in left.err


def test_a_form_is_asked_on_the_terminal(cli: Cli, tmp_path: Path) -> None:
    terminal, slave = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "run", str(asking(tmp_path)), "-i", "x=5", "--json"],
        stdin=slave,
        stderr=slave,
        stdout=subprocess.PIPE,
        text=True,
        env=cli.environment,
    ) as process:
        os.close(slave)
        watchdog = threading.Timer(LIMIT_S, process.kill)
        watchdog.start()
        typed = iter(
            [("note []:", "hi\n"), ("action [approve, reject]:", "maybe\n"), ("none of the actions", "approve\n")]
        )
        awaited, text = next(typed)
        seen = ""
        # The terminal answers with an error once the process has closed it.
        with contextlib.suppress(OSError):
            while chunk := os.read(terminal, 4096):
                seen += chunk.decode(errors="replace")
                if awaited and awaited in seen:
                    os.write(terminal, text.encode())
                    awaited, text = next(typed, ("", ""))
        out = process.communicate()[0]
        watchdog.cancel()
    os.close(terminal)
    assert process.returncode == 0, seen
    assert json.loads(out)["outputs"] == {"by": "approve", "note": "hi"}
    assert "Pay 5?" in seen


def test_the_test_command_shows_a_diff_and_exits_1(cli: Cli, tmp_path: Path) -> None:
    greet(tmp_path)

    def case(name: str, expected: str) -> dict[str, Any]:
        outputs = {"text": expected, "o": None}
        return {"name": name, "inputs": {"who": name, "n": 1}, "expect": {"status": "succeeded", "outputs": outputs}}

    cases = {"file": "greet.yml", "cases": [case("Ann", "hello Ann 1"), case("Bob", "hello Bobby 1")]}
    (tmp_path / "greet.cases.json").write_text(json.dumps(cases))
    done = cli("test", tmp_path, "-j", 2, "--json")
    assert done.code == 1
    assert (done.json["passed"], done.json["failed"], done.json["skipped"]) == (1, 1, 0)
    [failure] = done.json["failures"]
    assert failure["case"] == "Bob"
    assert failure["file"].endswith("greet.yml")
    assert '- "text": "hello Bobby 1"' in failure["why"]
    assert "FAILED" in done.err
    assert "1 passed, 1 failed" in done.err
    assert cli("test", tmp_path / "nothing").code == 2


@dataclass(frozen=True)
class Dev:
    process: subprocess.Popen[str]
    address: str


@pytest.fixture(scope="module")
def dev(cli: Cli) -> Iterator[Dev]:
    """A running `perdure dev` that the other commands find by themselves."""
    with subprocess.Popen([*COMMAND, "dev"], stdout=subprocess.PIPE, text=True, env=cli.environment) as process:
        watchdog = threading.Timer(LIMIT_S, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            told: dict[str, str] = {}
            for line in process.stdout:
                name, _, value = line.partition(":")
                told[name] = value.strip()
                if "Ctrl-C" in line:
                    break
            watchdog.cancel()
            assert told["web UI"].startswith("http://127.0.0.1:")
            assert told["task queue"] == "perdure"
            yield Dev(process, told["address"])
        finally:
            watchdog.cancel()
            process.send_signal(signal.SIGINT)
            assert process.wait(LIMIT_S) == 0
            assert not list(Path(cli.environment["PERDURE_CACHE_DIR"], "dev").iterdir())


def test_a_run_on_a_server_is_watched_and_commanded(cli: Cli, dev: Dev, tmp_path: Path) -> None:
    started = cli("start", asking(tmp_path), "-i", "x=7", "--run-id", "asks", "--json")
    assert (started.code, started.json["run_id"], started.json["status"]) == (0, "asks", "running"), started.err
    left = cli("run", asking(tmp_path), "-i", "x=7", "--run-id", "asks", "--address", dev.address)
    assert left.code == 1
    assert "perdure submit asks ask approve -i note=..." in left.err

    shown = cli("status", "asks", "--json").json
    assert (shown["status"], [form["key"] for form in shown["forms"]]) == ("paused", ["ask"])
    assert "answer: perdure submit asks ask approve" in cli("status", "asks").out
    assert cli("pause", "asks", "--reason", "lunch", "--json").json["reasons"][0]["message"] == "lunch"
    again = cli("pause", "asks", "--json")
    assert (again.code, again.json["status"], again.json["run_id"]) == (1, "refused", "asks")
    assert cli("resume", "asks").code == 0
    unknown = cli("submit", "asks", "ask", "approve", "-i", "what=1")
    assert unknown.code == 1
    assert "its fields: note" in unknown.err
    assert cli("submit", "asks", "ask", "approve", "-i", "note=5").code == 0

    ended = cli("result", "asks", "--json")
    assert (ended.code, ended.json["outputs"]) == (0, {"by": "approve", "note": "5"})
    numbers = [json.loads(line)["seq"] for line in cli("events", "asks", "--json").out.splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))
    rest = cli("events", "asks", "--after", len(numbers) - 1, "--follow").out.splitlines()
    assert len(rest) == 1
    assert "run_finished" in rest[0]


def test_ctrl_c_leaves_a_run_on_a_server_alone(cli: Cli, dev: Dev, tmp_path: Path) -> None:
    slow = bad(tmp_path, "slow", max_retries=3, retry_interval=600_000)
    arguments = ("run", slow, "--run-id", "slow", "--address", dev.address, "--json")
    left = cli.interrupted("retrying", *arguments)
    assert (left.code, left.json["status"]) == (130, "running"), left.err
    assert "perdure events slow --follow" in left.err
    assert cli("status", "slow", "--json").json["status"] == "running"
    assert cli("stop", "slow", "--reason", "enough").code == 0
    ended = cli("result", "slow", "--json")
    assert (ended.code, ended.json["status"]) == (1, "stopped")
    listed = {run["run_id"]: run["status"] for run in cli("list", "--json").json["runs"]}
    assert listed["slow"] == "stopped"
    assert cli("list", "--status", "succeeded").out.count("slow") == 0
    absent = cli("status", "nobody", "--json")
    assert (absent.code, absent.json["status"]) == (1, "not-found")


def test_dev_replaces_a_worker_that_dies(cli: Cli, dev: Dev, tmp_path: Path) -> None:
    def workers() -> set[int]:
        found: set[int] = set()
        for child in psutil.Process(dev.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # a zombie, or gone since
                if "perdure_worker.main" in child.cmdline():
                    found.add(child.pid)
        return found

    [first] = workers()
    os.kill(first, signal.SIGKILL)
    deadline = time.monotonic() + LIMIT_S
    while workers() <= {first} and time.monotonic() < deadline:
        time.sleep(0.1)
    assert cli("run", greet(tmp_path), "-i", "who=Ann", "--address", dev.address).code == 0


def test_without_a_server_the_next_step_is_said(environment: dict[str, str], tmp_path: Path) -> None:
    alone = Cli({**environment, "PERDURE_CACHE_DIR": str(tmp_path)})
    for arguments in (["list", "--json"], ["run", str(greet(tmp_path)), "-i", "who=Ann", "--detach", "--json"]):
        done = alone(*arguments)
        assert (done.code, done.json["error"]["code"]) == (1, "platform_error")
        assert "Start `perdure dev`" in done.err
    assert "Start one with `perdure dev`" in alone("list", "--address", "127.0.0.1:1").err


def test_doctor_exits_1_only_for_what_is_required(cli: Cli) -> None:
    done = cli("doctor", "--json")
    missing = [check for check in done.json["checks"] if check["required"] and not check["ok"]]
    assert done.code == (1 if missing else 0)
    lost = cli("doctor", "--address", "127.0.0.1:1")
    assert lost.code == 1
    assert "MISSING  temporal server" in lost.out


def test_the_file_of_a_dead_dev_is_not_believed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PERDURE_CACHE_DIR", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = DevStack(ended.pid, "127.0.0.1:1", "default", "perdure", None)
    alive = DevStack(os.getpid(), "127.0.0.1:2", "default", "perdure", None)
    with announced(dead) as left, announced(alive):
        assert running() == [alive]
        assert not left.exists()
    assert running() == []


def test_answers_may_hold_commas_and_follow_each_other() -> None:
    given = read_answers(["ask=approve,note=a, b,who=c", "ask=reject"])
    assert given == {"ask": [Answer("approve", {"note": "a, b", "who": "c"}), Answer("reject", {})]}
    answers = Answers(given)
    taken = [answers.take("it[0].ask", "ask", "Ask") for _ in range(3)]
    assert [answer.action if answer else None for answer in taken] == ["approve", "reject", "reject"]
    assert answers.take("other", "other", "Other") is None
    with pytest.raises(InvalidInputs, match="NODE=ACTION"):
        read_answers(["ask"])


def test_a_row_stands_for_all_runs_of_a_node_in_a_container() -> None:
    board = Board()

    def at(frame: str) -> dict[str, Any]:
        return {"seq": 1, "at": 0, "node_id": "n", "title": "n", "node_type": "code", "frame": frame}

    board.apply(NodeStarted(**at("it[0].")))
    board.apply(NodeStarted(**at("it[1].")))
    board.apply(NodeFinished(**at("it[0]."), status="succeeded", elapsed=1.0))
    row = board.rows["n"]
    assert (row.state, row.runs, row.depth) == ("running", 1, 1)
    board.apply(NodeRetry(**at("it[1]."), retry_index=1, error="no", error_type="E"))
    assert row.state == "retrying"
    board.apply(NodeFinished(**at("it[1]."), status="failed", error="no", attempts=2, elapsed=2.0))
    assert (row.state, row.runs, row.attempts, row.elapsed, row.note) == ("failed", 2, 2, 3.0, "no")
