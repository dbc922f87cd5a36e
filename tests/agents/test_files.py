"""Agents from files of our own format: what loads, what is refused and where, which files may be put in."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure_graph.agents.agent_file import load
from perdure_graph.agents.config import MOST_DEPTH, AgentConfig
from perdure_graph.errors import InvalidAgent, InvalidGraph
from perdure_graph.report import Finding

MODEL = "model: {provider: openai, name: gpt-4o}\n"
FULL = """
name: desk
description: answers
model:
  provider: langgenius/openai/openai
  name: gpt-4o
  completion_params: {temperature: 0.2}
strategy: react
instruction: Help {{customer}}.
tools:
  - provider_type: builtin
    provider_id: time
    tool_name: current_time
    parameters: {timezone: UTC}
    approval: required
limits: {max_iteration: 7, on_oscillation: ask}
approval: {timeout_s: 60, on_timeout: stop}
memory: {enabled: true, size: 4}
long_term: {enabled: true}
"""
FLOW = """
app: {name: totals, mode: workflow}
kind: app
version: 0.5.0
workflow:
  graph:
    nodes:
      - {id: s, data: {type: start, title: Start, variables: []}}
      - {id: e, data: {type: end, title: End, outputs: []}}
    edges:
      - {source: s, target: e}
"""


def findings(source: str | Path) -> list[Finding]:
    with pytest.raises(InvalidAgent) as caught:
        load(source)
    return list(caught.value.findings)


def tool(kind: str, **more: str) -> str:
    extra = "".join(f", {name}: {value}" for name, value in more.items())
    return f"tools:\n  - {{provider_type: {kind}, tool_name: helper{extra}}}\n"


def test_every_part_is_taken() -> None:
    loaded = load(FULL)
    config = loaded.config
    assert (config.name, config.strategy, config.limits.max_iteration) == ("desk", "react", 7)
    assert config.model.completion_params == {"temperature": 0.2}
    assert config.tools[0].parameters == {"timezone": "UTC"}
    assert config.tools[0].approval == "required"
    assert (config.approval.on_timeout, config.memory.size, config.long_term.top_k) == ("stop", 4, 5)
    assert loaded.form is None
    assert loaded.findings == ()


def test_what_the_format_writes_it_reads() -> None:
    config = load(FULL).config
    assert load(config.model_dump_json()).config == config


@pytest.mark.parametrize(
    ("text", "field", "line", "says"),
    [
        (MODEL + "stratagy: react\n", "stratagy", 2, "Did you mean 'strategy'?"),
        (MODEL + "max_iteration: 3\n", "max_iteration", 2, "Did you mean 'limits.max_iteration'?"),
        (MODEL + "zzz: 3\n", "zzz", 2, "Known here: name, description, model"),
        (MODEL + "limits:\n  max_iterations: 3\n", "limits.max_iterations", 3, "Did you mean 'max_iteration'?"),
        (MODEL + "limits:\n  max_iteration: 100\n", "limits.max_iteration", 3, "less than or equal to 99"),
        (MODEL + "limits:\n  cycles: 1\n", "limits.cycles", 3, "once is no repetition"),
        (MODEL + "limits: {max_iteration: many}\n", "limits.max_iteration", 2, "a whole number is needed"),
        (MODEL + "strategy: function-calling\n", "strategy", 2, "Did you mean 'function_calling'?"),
        (MODEL + "tools: {}\n", "tools", 2, "a list is needed"),
        (MODEL + tool("builtin", tool_paramters="{}"), "tools.0.tool_paramters", 3, "Did you mean 'parameters'?"),
        (MODEL + tool("bultin"), "tools.0.provider_type", 3, "Did you mean 'builtin'?"),
        (MODEL + tool("builtin", approval="always"), "tools.0.approval", 3, "'never', 'required' or 'policy'"),
        ("name: x\n", "model", None, "'model' is missing. Add it."),
        ("model: gpt-4o\n", "model", 1, "a mapping is needed"),
        (MODEL + "approval: {timeout_s: 0}\n", "approval.timeout_s", 2, "greater than 0"),
    ],
)
def test_a_problem_is_located(text: str, field: str, line: int | None, says: str) -> None:
    (finding,) = findings(text)
    assert (finding.field, finding.line) == (field, line)
    assert says in str(finding)


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "bad.yml"
    file.write_text(MODEL + "stratagy: react\nlimits: {repeats: -1}\n" + tool("builtin", flow="x.yml"))
    with pytest.raises(InvalidAgent, match=r"bad\.yml cannot be loaded as an agent") as caught:
        load(file)
    assert {finding.field for finding in caught.value.findings} == {"stratagy", "limits.repeats", "tools.0.flow"}


@pytest.mark.parametrize("text", ["- a\n", "", "just text", "a: [", "x: !!python/object/apply:os.system [id]"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(InvalidGraph):
        load(text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidAgent, match=r"'gone\.yml': No such file"):
        load(tmp_path / "gone.yml")


def test_graphs_and_agents_are_put_in(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "totals.yml").write_text(FLOW)
    (tmp_path / "parts" / "writer.yml").write_text(MODEL + tool("workflow", flow="./totals.yml"))
    main = tmp_path / "main.yml"
    main.write_text(MODEL + tool("agent", agent="parts/writer.yml"))
    config = load(main).config
    inner = config.tools[0].agent
    assert inner is not None
    flow = inner.tools[0].flow
    assert flow is not None
    assert (flow.name, [node.id for node in flow.nodes]) == ("totals", ["s", "e"])
    assert AgentConfig.model_validate_json(config.model_dump_json()) == config


def test_an_agent_may_stand_in_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "totals.yml").write_text(FLOW)
    inner = "{model: {provider: p, name: n}, tools: [{provider_type: workflow, tool_name: t, flow: totals.yml}]}"
    main = tmp_path / "main.yml"
    main.write_text(MODEL + tool("agent", agent=inner))
    agent = load(main).config.tools[0].agent
    assert agent is not None
    assert agent.tools[0].flow is not None


@pytest.mark.parametrize("name", ["../secret.yml", "/etc/hostname", "link.yml", "parts/../../secret.yml"])
def test_no_file_outside_of_the_folder_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.yml").write_text(FLOW)
    folder = tmp_path / "agent"
    (folder / "parts").mkdir(parents=True)
    (folder / "link.yml").symlink_to(tmp_path / "secret.yml")
    main = folder / "main.yml"
    main.write_text(MODEL + tool("workflow", flow=name))
    (finding,) = findings(main)
    assert (finding.field, finding.line) == ("tools.0.flow", 3)
    assert "outside of the agent's folder" in finding.message


def test_a_file_below_may_not_leave_the_folder_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "secret.yml").write_text(FLOW)
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "writer.yml").write_text(MODEL + tool("workflow", flow="../secret.yml"))
    (folder / "main.yml").write_text(MODEL + tool("agent", agent="writer.yml"))
    (finding,) = findings(folder / "main.yml")
    assert finding.field == "tools.0.agent"
    assert "outside of the agent's folder" in finding.message


def test_agents_that_name_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(MODEL + tool("agent", agent="b.yml"))
    (tmp_path / "b.yml").write_text(MODEL + tool("agent", agent="./a.yml"))
    (finding,) = findings(tmp_path / "a.yml")
    assert "a.yml -> b.yml -> a.yml" in finding.message


@pytest.mark.parametrize("inline", [False, True])
def test_agents_are_only_so_deep(tmp_path: Path, inline: bool) -> None:
    def chain(depth: int) -> Path:
        text = "{model: {provider: p, name: n}}"
        for number in reversed(range(depth)):
            (tmp_path / f"{number}.yml").write_text(text)
            inner = text if inline else f"{number}.yml"
            text = (
                f"{{model: {{provider: p, name: n}}, tools: [{{provider_type: agent, tool_name: t, agent: {inner}}}]}}"
            )
        return tmp_path / "0.yml"

    assert load(chain(MOST_DEPTH)).config.tools
    (finding,) = findings(chain(MOST_DEPTH + 1))
    assert f"{MOST_DEPTH} deep at most" in finding.message


def test_files_are_counted(tmp_path: Path) -> None:
    (tmp_path / "totals.yml").write_text(FLOW)
    one = "  - {provider_type: workflow, tool_name: t, flow: totals.yml}\n"
    main = tmp_path / "main.yml"
    main.write_text(MODEL + "tools:\n" + one * 101)
    (finding,) = findings(main)
    assert finding.field == "tools.100.flow"


@pytest.mark.parametrize(
    ("kind", "more", "says"),
    [
        ("builtin", {"flow": "totals.yml"}, "only a tool of provider_type 'workflow'"),
        ("workflow", {"agent": "totals.yml"}, "only a tool of provider_type 'agent'"),
        ("workflow", {"flow": "[a]"}, "a list: the path of a file is needed"),
        ("workflow", {"flow": "gone.yml"}, "is no file"),
        ("workflow", {"flow": "bad.yml"}, "file 'bad.yml' cannot be put in"),
        ("agent", {"agent": "totals.yml"}, "Run it with `perdure run`"),
    ],
)
def test_a_file_that_does_not_fit(tmp_path: Path, kind: str, more: dict[str, str], says: str) -> None:
    (tmp_path / "totals.yml").write_text(FLOW)
    (tmp_path / "bad.yml").write_text("app: {mode: workflow}\n")
    main = tmp_path / "main.yml"
    main.write_text(MODEL + tool(kind, **more))
    (finding,) = findings(main)
    assert says in str(finding)


def test_a_text_names_no_files() -> None:
    (finding,) = findings(MODEL + tool("workflow", flow="totals.yml"))
    assert "a text has no folder" in finding.message


def test_knowledge_is_refused_by_name() -> None:
    loaded = load(MODEL + tool("dataset-retrieval", provider_id="kb", parameters="{top_k: 3, score_threshold: 0.7}"))
    (finding,) = loaded.findings
    assert (finding.level, finding.field, finding.line) == ("warning", "tools.0", 3)
    assert "'helper'" in finding.message
