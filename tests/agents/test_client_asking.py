"""The command line and agents: what is shown of them, and how people are asked; without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from fakes.command_line import perdure
from perdure import InvalidAgent, InvalidInputs, read_agent
from perdure.agents import agent_request
from perdure.approvals import approval_of, asks_for_call
from perdure.cli.approving import ask_approval
from perdure.cli.forms import Answers, command, option
from perdure.cli.given import Answer
from perdure.cli.thought_lines import ThoughtLines
from perdure_graph.agents.config import ApprovalPolicy
from perdure_graph.agents.loop_forms import approval
from perdure_graph.events import AgentLog, AgentThought
from perdure_graph.nodes.base import Form, FormAction
from perdure_graph.view import FormView

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "agents"
PAY = approval("desk", "pay", {"amount": 20, "to": "two  spaces"}, ApprovalPolicy(timeout_s=60))
VIEW = FormView(key="k/agent#1", node_id="k", title="desk", form=PAY)
APP = {
    "app": {"mode": "agent-chat", "name": "desk"},
    "kind": "app",
    "version": "0.5.0",
    "model_config": {
        "model": {"provider": "openai", "name": "gpt-4o"},
        "agent_mode": {"enabled": True, "strategy": "react", "tools": []},
        "user_input_form": [
            {"text-input": {"variable": "customer", "required": True}},
            {"paragraph": {"variable": "note"}},
            {"number": {"variable": "age"}},
        ],
    },
}


def test_the_examples_are_those_of_the_docs_and_load() -> None:
    page = (ROOT / "docs" / "agents.md").read_text()
    for file in sorted(EXAMPLES.glob("*.yml")):
        text = file.read_text()
        assert text[text.index("name:") :] in page, f"{file.name} is shown in docs/agents.md as it is"
        assert read_agent(file).config.tools
    (finding,) = read_agent(EXAMPLES / "knowledge.yml").findings
    assert "'search_handbook'" in finding.message
    knowledge = read_agent(EXAMPLES / "knowledge.yml").config.tools[0]
    assert knowledge.parameters == {"top_k": 3, "score_threshold": 0.7}


def test_an_agent_is_read_from_path_text_and_config() -> None:
    path = EXAMPLES / "knowledge.yml"
    loaded = read_agent(path)
    for source in (str(path), path.read_text(), loaded, loaded.config):
        assert read_agent(source).config == loaded.config
    with pytest.raises(InvalidAgent, match=r"gone\.yml"):
        read_agent("gone.yml")


def test_the_form_of_an_app_is_checked() -> None:
    loaded = read_agent(yaml.safe_dump(APP))
    with pytest.raises(InvalidInputs, match="customer is required"):
        agent_request(loaded, "hi")
    request = agent_request(loaded, "h\0i", inputs={"customer": "Ada", "age": "7", "stranger": 1})
    assert request.inputs == {"customer": "Ada", "note": "", "age": 7}
    assert request.query == "hi"


@pytest.mark.parametrize("file", [{}, {"type": "image", "transfer_method": "remote_url", "url": "ftp://x"}])
def test_what_is_no_file_is_refused(file: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputs, match="file 0 must be"):
        agent_request(read_agent(EXAMPLES / "knowledge.yml"), "hi", files=[file])


def test_an_approval_names_tool_agent_and_arguments() -> None:
    found = approval_of(VIEW)
    assert (found.key, found.tool, found.agent) == ("k/agent#1", "pay", "desk")
    assert (found.arguments, found.timeout_s) == ({"amount": 20, "to": "two  spaces"}, 60)
    assert command("run-1", VIEW) == "perdure approve run-1 'k/agent#1'"
    assert option(VIEW) == "--approve-all"


def test_a_question_with_the_same_buttons_is_no_approval() -> None:
    actions = (FormAction(id="approve", title="Yes"), FormAction(id="deny", title="No"))
    question = FormView(key="q", node_id="q", title="Q", form=Form(content="ok?", actions=actions))
    assert not asks_for_call(question.form)
    assert command("run-1", question) == "perdure submit run-1 q approve"
    everything = Answers({}, approve_all=True)
    assert (everything.answer(question), everything.answer(VIEW)) == (None, Answer("approve"))
    assert Answers({}).answer(VIEW) is None


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (["y"], ("approve", {})),
        (["No", "too much"], ("deny", {"reason": "too much"})),
        (["n", ""], ("deny", {})),
        (["what", "e", '{"amount": 1}'], ("approve", {"arguments": '{"amount": 1}'})),
        (["e", "no json", "e", "[1]", "yes"], ("approve", {})),
        ([], None),
    ],
)
def test_a_person_says_yes_no_or_otherwise(monkeypatch: pytest.MonkeyPatch, said: list[str], answer: object) -> None:
    offered: list[Any] = []

    def prompt(_text: str, **options: Any) -> str:
        offered.append(options.get("default"))
        if not said:
            raise typer.Abort
        return said.pop(0)

    monkeypatch.setattr(typer, "prompt", prompt)
    assert ask_approval(PAY) == answer
    edits = [one for one in offered if one]
    assert edits == ['{"amount": 20, "to": "two  spaces"}'] * len(edits)


def told(position: int, status: str, **more: Any) -> AgentThought:
    call = {"id": "c", "name": "pay", "arguments": {"amount": 20}, "status": status, "elapsed": 1.5, **more}
    return AgentThought(
        seq=1,
        at=1,
        node_id="a",
        title="desk",
        node_type="agent-loop",
        thread="t",
        id=f"r{position}",
        position=position,
        thought="I pay\nnow",
        calls=[call],
    )


def test_rounds_are_shown_once() -> None:
    lines = ThoughtLines()
    shown = [
        line
        for event in (told(1, "asked"), told(1, "running"), told(1, "done", observation="paid " * 99), told(1, "done"))
        for line in lines.take(event)
    ]
    assert shown[:2] == ["  desk, round 1: I pay now", '  desk, round 1: pay({"amount": 20})']
    assert shown[2].startswith("  desk, round 1: pay gave after 1.5 s: paid paid")
    assert len(shown) == 3
    assert len(shown[2]) < 300
    assert lines.take(told(2, "failed", error="no money"))[-1].endswith("pay failed after 1.5 s: no money")


def test_tools_that_are_missing_are_told() -> None:
    data = {"strategy": "react", "fallback": "it calls no tools", "skipped_tools": {"kb": "there are none"}}
    log = AgentLog(
        seq=1,
        at=1,
        node_id="a",
        title="desk",
        node_type="agent-loop",
        id="r0",
        label="STRATEGY",
        status="success",
        data=data,
    )
    assert ThoughtLines().take(log) == ["  desk: it calls no tools", "  desk: without tool 'kb': there are none"]


async def test_check_says_what_a_file_has_and_lacks(tmp_path: Path) -> None:
    good = tmp_path / "app.yml"
    good.write_text(yaml.safe_dump(APP))
    code, shown, said = await perdure("agent", "check", str(good))
    assert (code, shown["valid"], shown["name"], [one["variable"] for one in shown["inputs"]]) == (
        0,
        True,
        "desk",
        ["customer", "note", "age"],
    )
    assert "input customer (text-input), required" in said
    bad = tmp_path / "bad.yml"
    bad.write_text("model: {provider: openai, name: gpt-4o}\nstratagy: react\n")
    code, shown, said = await perdure("agent", "check", str(bad))
    assert (code, shown["valid"], shown["findings"][0]["line"]) == (2, False, 2)
    assert "Did you mean 'strategy'?" in said
    code, shown, _ = await perdure("agent", "run", str(bad), "-q", "hi")
    assert (code, shown["status"], shown["error"]["type"]) == (2, "invalid", "InvalidAgent")
