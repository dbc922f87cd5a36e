"""llm: from the drawn prompt to what the model is asked, and from its answer to outputs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.context import file
from fakes.driver import Driver
from fakes.graphs import document, end, node, start
from fakes.scripted_model import MODEL, USAGE, ScriptedModel, answer, finished, run
from perdure_graph.commands import Begin, Pause, Resume
from perdure_graph.effects import RenderTemplate
from perdure_graph.graph import Graph, NodeSpec
from perdure_graph.models.effects import InvokeModel, ModelAnswer
from perdure_graph.models.messages import FilePart, UserMessage
from perdure_graph.request import RunOptions, RunRequest
from perdure_graph.state import RunState

SCHEMA = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}


def llm(*messages: dict[str, Any] | str, **data: Any) -> NodeSpec:
    """An llm node; a text is a message of the user."""
    drawn = [{"role": "user", "text": m} if isinstance(m, str) else m for m in messages]
    return node("say", "llm", **{"model": MODEL, "prompt_template": drawn, "context": {"enabled": False}, **data})


def jinja(text: str, role: str = "user") -> dict[str, Any]:
    """A message with a Jinja2 template."""
    return {"role": role, "text": "not this", "edition_type": "jinja2", "jinja2_text": text}


def say(
    said: NodeSpec, *replies: ModelAnswer, start_with: dict[str, str] | None = None, **request: Any
) -> tuple[ScriptedModel, RunState]:
    """Run start -> say -> end."""
    model = ScriptedModel(*replies)
    nodes = [start(**(start_with or {"q": "json_object"})), said, end(text=["say", "text"])]
    return model, run(model, *nodes, edges=[("start", "say"), ("say", "end")], **request)


def failed(state: RunState) -> tuple[str, str]:
    """Type and text of the failure that ended a run."""
    assert state.status == "failed" and state.error is not None, state.outputs
    return state.error.type, state.error.message


def parts(model: ScriptedModel) -> list[FilePart]:
    """All files that a model was shown."""
    users = [m for m in model.asked[0].messages if isinstance(m, UserMessage)]
    return [part for m in users for part in m.content if isinstance(part, FilePart)]


def test_references_are_filled_as_text_and_null_is_empty() -> None:
    drawn = llm(
        {"role": "system", "text": "be {{#start.q.how#}}"},
        "{{#start.q.list#}} {{#start.q.object#}} [{{#start.q.none#}}] {{#not-a-reference#}}",
        {"role": "assistant", "text": "{{#start.q.n#}}"},
    )
    value = {"how": "kind", "list": ["a", "é"], "object": {"k": 1}, "none": None, "n": 2.5}
    model, state = say(drawn, inputs={"q": value})
    assert model.texts() == [
        ("system", "be kind"),
        ("user", '["a", "é"] {"k": 1} [] {{#not-a-reference#}}'),
        ("assistant", "2.5"),
    ]
    assert state.outputs == {"text": "fine"}
    inputs = finished(state, "say").inputs
    assert inputs["#start.q.none#"] == ""
    assert inputs["#start.q.n#"] == 2.5
    assert (inputs["model_provider"], inputs["model_name"]) == ("openai", "gpt")


def test_a_variable_that_does_not_exist_fails_the_node_by_its_name() -> None:
    model, state = say(llm("hi {{#start.nope#}}"))
    kind, message = failed(state)
    assert kind == "VariableNotFoundError"
    assert message.startswith("Variable #start.nope# not found")
    assert model.asked == []


def test_empty_messages_are_left_out_and_a_prompt_of_nothing_is_refused() -> None:
    model, _ = say(llm({"role": "system", "text": ""}, "hi", "{{#start.q.none#}}"), inputs={"q": {"none": None}})
    assert model.texts() == [("user", "hi")]
    model, state = say(llm({"role": "system", "text": ""}, {"role": "user", "text": None}))
    kind, message = failed(state)
    assert kind == "NoPromptFoundError"
    assert message.startswith("No prompt found in the LLM configuration")
    assert "'say'" in message
    assert model.asked == []


def test_files_named_in_a_text_become_attachments() -> None:
    one, other = file("a.png", "image"), file("b.bin", "custom")
    drawn = llm(
        {"role": "system", "text": "look"},
        "what is {{#start.q.f#}} and {{#sys.files#}}?",
        vision={"enabled": False, "configs": {"detail": "low"}},
    )
    model, _ = say(drawn, inputs={"q": {"f": one}}, files=[file("c.mp3", "audio"), other])
    assert model.texts() == [("system", "look"), ("user", "what is  and ?")]
    assert [(p.kind, p.file["filename"], p.detail) for p in parts(model)] == [
        ("image", "a.png", "low"),
        ("audio", "c.mp3", "low"),
    ]


@pytest.mark.parametrize("last", ["user", "assistant"])
def test_vision_shows_images_and_documents_in_the_last_user_message(last: str) -> None:
    files = [file("a.png", "image"), file("b.mp4", "video"), file("c.pdf", "document")]
    vision = {"enabled": True, "configs": {"variable_selector": ["sys", "files"], "detail": "high"}}
    model, state = say(llm("first", {"role": last, "text": "last"}, vision=vision), files=files)
    assert [p.file["filename"] for p in parts(model)] == ["a.png", "c.pdf"]
    assert [m.role for m in model.asked[0].messages] == (["user"] * 2 if last == "user" else ["user", last, "user"])
    assert len(finished(state, "say").inputs["#files#"]) == 3


def test_vision_of_what_holds_no_files() -> None:
    vision: dict[str, Any] = {"enabled": True, "configs": {"variable_selector": ["start", "q"]}}
    model, _ = say(llm("hi", vision=vision))
    assert parts(model) == []
    _, state = say(llm("hi", vision=vision), inputs={"q": {"no": "file"}})
    assert failed(state)[0] == "InvalidVariableTypeError"


KNOWN = {
    "content": "Paris is large.",
    "summary": "Cities",
    "title": "t",
    "metadata": {"_source": "knowledge", "document_name": "cities.md", "segment_hit_count": 3, "score": 0.5},
}


@pytest.mark.parametrize(
    ("value", "text", "cited"),
    [
        ("as it is ", "as it is ", 0),
        (["a", "b"], "a\nb", 0),
        ([KNOWN, "more", {"content": "plain"}], "Cities\nParis is large.\nmore\nplain", 1),
        ([], "", 0),
        (7, "", 0),
        (None, "", 0),
    ],
)
def test_context_goes_in_where_the_prompt_wants_it(value: object, text: str, cited: int) -> None:
    context = {"enabled": True, "variable_selector": ["start", "q", "c"]}
    model, state = say(llm("<{{#context#}}>", context=context), inputs={"q": {"c": value}})
    assert model.texts() == [("user", f"<{text}>")]
    process = finished(state, "say").process_data
    assert len(process.get("retriever_resources", [])) == cited
    if cited:
        [one] = process["retriever_resources"]
        assert (one["document_name"], one["hit_count"], one["content"]) == ("cities.md", 3, "Paris is large.")


def test_context_that_is_off_or_missing_is_empty_and_of_other_shape_is_refused() -> None:
    off = {"enabled": False, "variable_selector": ["start", "q"]}
    assert say(llm("<{{#context#}}>", context=off))[0].texts() == [("user", "<>")]
    missing = {"enabled": True, "variable_selector": ["start", "q", "nope"]}
    assert say(llm("<{{#context#}}>", context=missing))[0].texts() == [("user", "<>")]
    bad = {"enabled": True, "variable_selector": ["start", "q", "c"]}
    for item in ({"text": "?"}, 3):
        _, state = say(llm("{{#context#}}", context=bad), inputs={"q": {"c": [item]}})
        assert failed(state)[0] == "InvalidContextStructureError"


def test_references_that_stand_in_values_are_not_filled() -> None:
    secret: dict[str, Any] = {"name": "key", "value_type": "secret", "value": "sk-1"}
    context = {"enabled": True, "variable_selector": ["sys", "query"]}
    drawn = llm("{{#context#}}", "{{#sys.query#}}", context=context, memory={"window": {"enabled": False}})
    model, _ = say(drawn, query="tell {{#env.key#}} {{#context#}}", document={"environment": (secret,)})
    assert {text for _, text in model.texts()} == {"tell {{#env.key#}} {{#context#}}"}


def test_secrets_reach_the_model_and_nobody_else() -> None:
    secret: dict[str, Any] = {"name": "key", "value_type": "secret", "value": "sk-canary"}
    config = {"jinja2_variables": [{"variable": "k", "value_selector": ["env", "key"]}]}
    for message in ("use {{#env.key#}}", jinja("use {{ k }}"), jinja("use {{ k | trim }}")):
        model, state = say(llm(message, prompt_config=config), document={"environment": (secret,)})
        assert model.texts() == [("user", "use sk-canary")]
        told = finished(state, "say").model_dump_json()
        assert "********" in told and "sk-canary" not in told


def test_plain_jinja_is_filled_in_place_and_other_templates_one_after_another() -> None:
    variables = [{"variable": "q", "value_selector": ["start", "q"]}]
    drawn = llm(
        jinja("{{ q.a }}", "system"),
        jinja("{% for x in q.l %}{{ x }};{% endfor %}"),
        "{{#start.q.a#}}",
        jinja("{{ q.l | length }}"),
        prompt_config={"jinja2_variables": variables},
    )
    doc = document([start(q="json_object"), drawn, end(t=["say", "text"])], [("start", "say"), ("say", "end")])
    model = ScriptedModel()
    driver = Driver(
        Graph.from_document(doc),
        RunRequest(graph=doc, inputs={"q": {"a": "A", "l": [1, 2]}}),
        performer=model,
        round_trip=True,
    )
    assert driver.run().status == "succeeded"
    assert model.texts() == [("system", "A"), ("user", "1;2;"), ("user", "A"), ("user", "2")]
    assert [type(call.effect) for call in driver.calls] == [RenderTemplate, RenderTemplate, InvokeModel]


def test_jinja_variables_must_exist_where_a_message_uses_them() -> None:
    config = {"jinja2_variables": [{"variable": "x", "value_selector": ["start", "nope"]}]}
    _, state = say(llm(jinja("{{ x }}"), prompt_config=config))
    assert failed(state)[0] == "VariableNotFoundError"
    assert say(llm("hi", prompt_config=config))[1].status == "succeeded"


def test_a_pause_between_template_and_model_keeps_the_question() -> None:
    config = {"jinja2_variables": [{"variable": "q", "value_selector": ["start", "q"]}]}
    drawn = llm(
        jinja("{{ q | upper }}"),
        prompt_config=config,
        structured_output_enabled=True,
        structured_output={"schema": SCHEMA},
    )
    doc = document([start(q="paragraph"), drawn, end(t=["say", "text"])], [("start", "say"), ("say", "end")])
    model = ScriptedModel(answer(structured={"n": 1}))
    asked = RunRequest(graph=doc, inputs={"q": "hi"})
    driver = Driver(Graph.from_document(doc), asked, performer=model, round_trip=True)
    driver.send(Begin())
    driver.send(Pause())
    assert driver.tick() and not driver.tick()
    assert driver.state.status == "paused" and model.asked == []
    driver.send(Resume())
    while driver.tick():
        pass
    assert model.texts() == [("user", "HI")]
    assert model.asked[0].answer is not None and model.asked[0].answer.schema_ == SCHEMA
    assert driver.state.outputs == {"t": '{"n": 1}'}


COMPLETION = MODEL | {"mode": "completion"}


def test_a_completion_prompt_is_one_text() -> None:
    text = {"text": "<{{#histories#}}>\n{{#context#}}\nHuman: {{#query#}} {{#sys.query#}}\n"}
    context = {"enabled": True, "variable_selector": ["start", "q", "c"]}
    drawn = llm(model=COMPLETION, prompt_template=text, context=context)
    model, _ = say(drawn, query="why?", inputs={"q": {"c": "facts"}})
    assert model.texts() == [("user", "<>\nfacts\nHuman: why? why?\n")]
    assert (model.asked[0].mode, model.asked[0].remember) == ("completion", None)
    prefixes = {"user": "Q", "assistant": "A"}
    drawn = llm(model=COMPLETION, prompt_template=text, memory={"role_prefix": prefixes})
    model, _ = say(drawn, query="why?", sysvars={"conversation_id": "c"})
    # The runtime puts the past where the placeholder is left.
    assert model.texts() == [("user", "<{{#histories#}}>\n\nHuman: why? why?\n")]
    past = model.asked[0].remember
    assert past is not None and (past.user_prefix, past.assistant_prefix) == ("Q", "A")


def test_memory_names_the_conversation_and_ends_with_the_query() -> None:
    memory = {"window": {"enabled": True, "size": 3}, "role_prefix": {"user": "U", "assistant": "A"}}
    drawn = llm({"role": "system", "text": "be kind"}, memory=memory)
    model, _ = say(drawn, query="and now?", sysvars={"conversation_id": "c1"})
    assert model.texts() == [("system", "be kind"), ("user", "and now?")]
    past = model.asked[0].remember
    assert past is not None
    # Three turns are six messages; prefixes are for completion models only, as in Dify.
    assert past.model_dump() == {
        "conversation_id": "c1",
        "before": "run",
        "most_messages": 6,
        "user_prefix": "",
        "assistant_prefix": "",
    }


@pytest.mark.parametrize(
    ("memory", "request_", "texts", "remembers"),
    [
        ({"query_prompt_template": "Q: {{#sys.query#}}"}, {"sysvars": {"conversation_id": "c"}}, ["hi", "Q: x"], True),
        ({"query_prompt_template": None, "window": None}, {"sysvars": {"conversation_id": "c"}}, ["hi", "x"], True),
        ({}, {}, ["hi", "x"], False),
        ({}, {"chat": False}, ["hi", "x"], False),
        (None, {"sysvars": {"conversation_id": "c"}}, ["hi"], False),
    ],
)
def test_memory_is_for_later_turns_of_a_conversation(
    memory: Any, request_: dict[str, Any], texts: list[str], remembers: bool
) -> None:
    model, _ = say(llm("hi", memory=memory), query="x", **request_)
    assert [text for _, text in model.texts()] == texts
    assert (model.asked[0].remember is not None) is remembers
    if model.asked[0].remember is not None:
        assert model.asked[0].remember.most_messages is None


def test_a_missing_variable_in_the_query_of_memory_fails_the_node() -> None:
    _, state = say(llm("hi", memory={"query_prompt_template": "{{#start.nope#}}"}))
    assert failed(state)[0] == "VariableNotFoundError"


def test_parameters_may_name_variables_and_give_up_what_is_no_parameter() -> None:
    parameters = {
        "temperature": "{{#start.q.t#}}",
        "top_p": 0.5,
        "stop": ["END", "{{#start.q.s#}}", ""],
        "effort": "{{#start.q.s#}}",
        "on": "{{#start.q.b#}}",
        "response_format": "json_schema",
        "json_schema": '{"name": "n", "schema": {"type": "object"}, "strict": true}',
    }
    values = {"t": 0.7, "s": "high", "b": "true"}
    model, _ = say(llm("hi", model=MODEL | {"completion_params": parameters}), inputs={"q": values})
    asked = model.asked[0]
    assert asked.parameters == {"temperature": 0.7, "top_p": 0.5, "effort": "high", "on": True}
    assert asked.stop == ("END", "high")
    assert asked.answer is not None and (asked.answer.name, asked.answer.schema_) == ("n", {"type": "object"})
    _, state = say(llm("hi", model=MODEL | {"completion_params": {"json_schema": "not json"}}))
    assert failed(state)[0] == "LLMNodeError"


def test_other_response_formats_and_single_stop_words_go_through() -> None:
    parameters = {"response_format": "text", "json_schema": '{"type": "object"}', "stop": "END"}
    asked = say(llm("hi", model=MODEL | {"completion_params": parameters}))[0].asked[0]
    assert (asked.parameters, asked.stop, asked.answer) == ({"response_format": "text"}, ("END",), None)


def test_structured_output_is_asked_for_and_given() -> None:
    drawn = llm("hi", structured_output_enabled=True, structured_output={"schema": SCHEMA})
    model, state = say(drawn, answer('{"n": 3}', structured={"n": 3}))
    assert model.asked[0].answer is not None and model.asked[0].answer.schema_ == SCHEMA
    assert finished(state, "say").outputs["structured_output"] == {"n": 3}
    _, state = say(drawn, answer(refusal="I must not.", finish="refusal"))
    kind, message = failed(state)
    assert kind == "LLMNodeError" and "I must not." in message
    for broken in ({}, {"schema": "no json"}):
        _, state = say(llm("hi", structured_output_switch_on=True, structured_output=broken))
        assert failed(state)[0] == "LLMNodeError"
    assert say(llm("hi", structured_output_enabled=True, structured_output=None))[0].asked[0].answer is None


def test_outputs_and_what_is_shown_of_the_call() -> None:
    reply = answer(
        "42", reasoning="hm", model="gpt-6", deployment="main", simulated=True, files=(file("o.png", "image"),)
    )
    _, state = say(llm("{{#sys.query#}}", reasoning_format="separated"), reply, query="x" * 9_000)
    event = finished(state, "say")
    assert event.outputs == {
        "text": "42",
        "reasoning_content": "hm",
        "usage": USAGE.as_dify(),
        "finish_reason": "stop",
        "files": [file("o.png", "image")],
    }
    process = event.process_data
    assert (process["model_name"], process["deployment"], process["simulated"]) == ("gpt-6", "main", True)
    assert (process["model_provider"], process["model_mode"], process["finish_reason"]) == ("openai", "chat", "stop")
    [prompt] = process["prompts"]
    assert prompt["text"].endswith("(5000 more characters)")


def test_thinking_is_in_the_text_unless_separated_and_a_refusal_is_the_text() -> None:
    model, state = say(llm("hi"), answer("<think>a</think>b", reasoning="a"))
    assert model.asked[0].think == "tagged"
    outputs = finished(state, "say").outputs
    assert (outputs["text"], outputs["reasoning_content"], "files" in outputs) == ("<think>a</think>b", "", False)
    _, state = say(llm("hi"), answer(refusal="No.", finish="refusal"))
    outputs = finished(state, "say").outputs
    assert (outputs["text"], outputs["finish_reason"]) == ("No.", "refusal")


TEXTS = st.text(alphabet=st.sampled_from("ab{}#% \n"), max_size=30)


@given(TEXTS, TEXTS)
def test_text_without_references_reaches_the_model_unchanged(text: str, value: str) -> None:
    model, state = say(llm(f"x{text}y{{{{#start.q#}}}}"), inputs={"q": value}, start_with={"q": "paragraph"})
    assert state.status == "succeeded"
    assert model.texts() == [("user", f"x{text}y{value}")]


def test_a_model_is_told_whether_anybody_waits() -> None:
    for priority in ("interactive", "batch"):
        model, _ = say(llm("hello"), answer("hi"), options=RunOptions(priority=priority))
        assert [asked.priority for asked in model.asked] == [priority]
