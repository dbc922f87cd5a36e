"""Agent apps that Dify exported: what becomes of each part, and that nothing is left out in silence."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from perdure_graph import dsl
from perdure_graph.agents.agent_file import load
from perdure_graph.errors import InvalidAgent, InvalidGraph

EXPORT = """
app:
  description: Answers questions about orders
  icon: robot
  mode: agent-chat
  name: Order desk
dependencies: []
kind: app
model_config:
  agent_mode:
    enabled: true
    max_iteration: 8
    prompt: null
    strategy: function_call
    tools:
      - enabled: true
        isDeleted: false
        notAuthor: false
        provider_id: langgenius/google/google
        provider_name: langgenius/google/google
        provider_type: builtin
        tool_label: GoogleSearch
        tool_name: google_search
        tool_parameters: {query: '', country: de}
      - enabled: false
        provider_id: time
        provider_name: time
        provider_type: builtin
        tool_label: Current Time
        tool_name: current_time
        tool_parameters: {}
  annotation_reply: {enabled: false}
  chat_prompt_config: {}
  completion_prompt_config: {}
  dataset_configs:
    datasets:
      datasets:
        - dataset: {enabled: true, id: 8d2f-11}
    reranking_enable: false
    retrieval_model: multiple
    score_threshold: 0.7
    score_threshold_enabled: true
    top_k: 3
  dataset_query_variable: ''
  external_data_tools: []
  file_upload:
    image: {detail: high, enabled: true, number_limits: 3, transfer_methods: [remote_url]}
  model:
    completion_params: {temperature: 0.1, stop: []}
    mode: chat
    name: gpt-4o
    provider: langgenius/openai/openai
  more_like_this: {enabled: false}
  opening_statement: Hello
  pre_prompt: Help {{customer}} with orders.
  prompt_type: simple
  retriever_resource: {enabled: true}
  sensitive_word_avoidance: {configs: [], enabled: false, type: ''}
  speech_to_text: {enabled: false}
  suggested_questions: ['Where is it?']
  suggested_questions_after_answer: {enabled: false}
  text_to_speech: {enabled: false, language: '', voice: ''}
  user_input_form:
    - text-input: {default: '', label: Customer, max_length: 40, required: true, variable: customer}
    - select: {label: Tone, options: [kind, short], required: false, variable: tone, default: kind}
version: 0.5.0
"""


def changed(*path: str, to: Any) -> str:
    """The export with one part changed."""
    document: Any = yaml.safe_load(EXPORT)
    part = document
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = to
    return yaml.safe_dump(document, sort_keys=False)


def warnings(text: str) -> dict[str, str]:
    """Field and text of the warnings that the plain export does not have."""
    usual = {finding.field for finding in load(EXPORT).findings}
    found = load(text).findings
    assert all(finding.level == "warning" for finding in found)
    return {finding.field: finding.message for finding in found if finding.field not in usual}


def test_every_part_of_an_export_is_taken() -> None:
    loaded = load(EXPORT)
    config = loaded.config
    assert (config.name, config.description) == ("Order desk", "Answers questions about orders")
    assert (config.model.provider, config.model.name, config.model.mode) == (
        "langgenius/openai/openai",
        "gpt-4o",
        "chat",
    )
    assert config.model.completion_params == {"temperature": 0.1, "stop": []}
    assert (config.strategy, config.limits.max_iteration) == ("function_calling", 8)
    assert config.instruction == "Help {{customer}} with orders."
    assert (config.vision, config.memory.enabled) == ("high", True)
    search, clock, dataset = config.tools
    assert (search.provider_type, search.provider_id) == ("builtin", "langgenius/google/google")
    assert (search.tool_name, search.parameters) == ("google_search", {"country": "de"})
    assert (clock.tool_name, clock.enabled) == ("current_time", False)
    assert (dataset.provider_type, dataset.provider_id, dataset.tool_name) == (
        "dataset-retrieval",
        "8d2f-11",
        "dataset_8d2f_11",
    )
    assert dataset.parameters == {"top_k": 3, "score_threshold": 0.7, "retrieval_model": "multiple"}
    assert (loaded.opening, loaded.suggestions) == ("Hello", ("Where is it?",))
    assert loaded.form is not None
    assert [(field.variable, field.type, field.required) for field in loaded.form] == [
        ("customer", "text-input", True),
        ("tone", "select", False),
    ]
    assert [finding.field for finding in loaded.findings] == ["model_config.dataset_configs.datasets"]


@pytest.mark.parametrize(
    ("given", "provider", "strategy", "warned"),
    [
        ("function_call", "anthropic", "function_calling", False),
        ("react", "openai", "react", False),
        ("cot", "openai", "react", False),
        ("router", "openai", "function_calling", True),
        ("router", "langgenius/openai/openai", "function_calling", True),
        ("router", "anthropic", "react", True),
        (None, "anthropic", "react", True),
    ],
)
def test_strategies_are_those_of_dify(given: Any, provider: str, strategy: str, warned: bool) -> None:
    document: Any = yaml.safe_load(changed("model_config", "agent_mode", "strategy", to=given))
    document["model_config"]["model"]["provider"] = provider
    text = yaml.safe_dump(document)
    assert load(text).config.strategy == strategy
    assert ("model_config.agent_mode.strategy" in warnings(text)) is warned


@pytest.mark.parametrize(("given", "taken"), [(None, 10), (1, 1), (99, 99), (500, 99), (0, 1)])
def test_rounds_are_bounded(given: Any, taken: int) -> None:
    text = changed("model_config", "agent_mode", "max_iteration", to=given)
    assert load(text).config.limits.max_iteration == taken
    assert bool(warnings(text)) is (given is not None and given != taken)


@pytest.mark.parametrize(
    ("path", "to", "field"),
    [
        (("sensitive_word_avoidance",), {"enabled": True}, "sensitive_word_avoidance"),
        (("annotation_reply",), {"enabled": True}, "annotation_reply"),
        (("text_to_speech",), {"enabled": True}, "text_to_speech"),
        (("speech_to_text",), {"enabled": True}, "speech_to_text"),
        (("suggested_questions_after_answer",), {"enabled": True}, "suggested_questions_after_answer"),
        (("external_data_tools",), [{"enabled": True, "type": "api"}], "external_data_tools"),
        (("agent_mode", "enabled"), False, "agent_mode.enabled"),
        (("agent_mode", "prompt"), {"first_prompt": "a", "next_iteration": "b"}, "agent_mode.prompt.next_iteration"),
        (("agent_mode", "clear_history_tool_response"), True, "agent_mode.clear_history_tool_response"),
        (("agent_mode", "tools"), [{"wikipedia": {"enabled": True}}], "agent_mode.tools.0"),
        (("dataset_configs", "metadata_filtering_mode"), "automatic", "dataset_configs.metadata_filtering_mode"),
        (("dataset_query_variable",), "q", "dataset_query_variable"),
        (("brand_new",), {"a": 1}, "brand_new"),
        (("user_input_form",), [{"external_data_tool": {"variable": "x"}}], "user_input_form.0.external_data_tool"),
        (("file_upload",), {"enabled": True, "allowed_file_types": ["document"]}, "file_upload.allowed_file_types"),
    ],
)
def test_what_is_not_taken_over_is_said(path: tuple[str, ...], to: Any, field: str) -> None:
    assert set(warnings(changed("model_config", *path, to=to))) == {f"model_config.{field}"}


@pytest.mark.parametrize(
    ("tool", "fields"),
    [
        ({"provider_type": "api", "provider_id": "0a-1"}, {"provider_id"}),
        ({"provider_type": "workflow", "provider_id": "0a-1"}, {"provider_id"}),
        ({"provider_type": "mcp", "provider_id": "notes"}, {"provider_id"}),
        ({"provider_type": "builtin", "provider_id": "time", "credential_id": "c"}, {"credential_id"}),
        ({"provider_type": "builtin", "provider_id": "time", "colour": "red"}, {"colour"}),
        ({"provider_type": "app", "provider_id": "x"}, {"provider_type"}),
    ],
)
def test_what_an_export_does_not_carry_of_a_tool_is_said(tool: dict[str, Any], fields: set[str]) -> None:
    full = {"enabled": True, "tool_name": "t", "tool_parameters": {}, **tool}
    text = changed("model_config", "agent_mode", "tools", to=[full])
    assert set(warnings(text)) == {f"model_config.agent_mode.tools.0.{field}" for field in fields}
    kept = [one.tool_name for one in load(text).config.tools]
    assert kept == (["dataset_8d2f_11"] if tool["provider_type"] == "app" else ["t", "dataset_8d2f_11"])


@pytest.mark.parametrize(
    ("configs", "parameters"),
    [
        ({}, {"top_k": 4}),
        ({"top_k": 2, "score_threshold": 0.5, "score_threshold_enabled": False}, {"top_k": 2}),
        ({"top_k": 2, "score_threshold": 0.5}, {"top_k": 2, "score_threshold": 0.5}),
        ({"score_threshold": None, "score_threshold_enabled": True}, {"top_k": 4}),
    ],
)
def test_how_knowledge_is_searched(configs: dict[str, Any], parameters: dict[str, Any]) -> None:
    listed = {"datasets": {"datasets": [{"dataset": {"enabled": True, "id": "kb"}}]}}
    loaded = load(changed("model_config", "dataset_configs", to={**listed, **configs}))
    assert loaded.config.tools[-1].parameters == parameters


def test_knowledge_in_its_old_place_is_found_once() -> None:
    old = [{"dataset": {"enabled": True, "id": "8d2f-11"}}, {"dataset": {"enabled": False, "id": "other"}}]
    tools = load(changed("model_config", "agent_mode", "tools", to=old)).config.tools
    assert [(tool.provider_id, tool.enabled) for tool in tools] == [("8d2f-11", True), ("other", False)]


def test_an_advanced_prompt_gives_the_instruction() -> None:
    prompt = {"prompt": [{"role": "system", "text": "Be brief."}, {"role": "user", "text": "Hi"}]}
    document: Any = yaml.safe_load(changed("model_config", "chat_prompt_config", to=prompt))
    document["model_config"]["prompt_type"] = "advanced"
    text = yaml.safe_dump(document)
    assert load(text).config.instruction == "Be brief."
    assert set(warnings(text)) == {"model_config.chat_prompt_config.prompt.1"}


@pytest.mark.parametrize(
    ("path", "to", "field"),
    [
        (("model_config",), None, "model_config"),
        (("model_config", "model"), {"name": "gpt-4o"}, "model_config.model.provider"),
        (("model_config", "model"), [], "model_config.model"),
        (("model_config", "agent_mode"), "on", "model_config.agent_mode"),
        (("model_config", "agent_mode", "tools"), {}, "model_config.agent_mode.tools"),
        (("model_config", "agent_mode", "tools"), ["x"], "model_config.agent_mode.tools.0"),
        (("model_config", "agent_mode", "max_iteration"), "many", "model_config.agent_mode.max_iteration"),
        (("model_config", "user_input_form"), [{"slider": {}}], "model_config.user_input_form.0"),
        (
            ("model_config", "user_input_form"),
            [{"text-input": {}}],
            "model_config.user_input_form.0.text-input.variable",
        ),
        (("version",), 0.5, "version"),
        (("kind",), "rag_pipeline", "kind"),
    ],
)
def test_what_is_wrong_is_located(path: tuple[str, ...], to: Any, field: str) -> None:
    with pytest.raises(InvalidAgent) as caught:
        load(changed(*path, to=to))
    assert field in {finding.field for finding in caught.value.findings}
    assert all(finding.level == "refused" and finding.line for finding in caught.value.findings)


@pytest.mark.parametrize("mode", ["chat", "completion", "workflow", "advanced-chat", "agent", None])
def test_other_apps_are_refused(mode: str | None) -> None:
    with pytest.raises(InvalidAgent) as caught:
        load(changed("app", "mode", to=mode))
    (finding,) = caught.value.findings
    assert (finding.field, finding.line) == ("app.mode", 4)
    assert finding.next_step


def test_an_agent_app_is_no_graph_and_says_how_it_runs() -> None:
    with pytest.raises(InvalidGraph, match="perdure agent run"):
        dsl.load(EXPORT)
