"""Parameters by the rules of a model: converted, refused with what they may be, or left out with a note."""

from __future__ import annotations

from typing import Any

import pytest

from perdure_activities.models.declared.load import Catalog
from perdure_activities.models.declared.schema import ModelDeclaration
from perdure_activities.models.protocol import ModelFault
from perdure_activities.models.rules import Checked, checked

CATALOG = Catalog.load(installed=False)


def for_model(name: str, parameters: dict[str, Any], **options: Any) -> Checked:
    provider, _, model = name.partition("/")
    declared = CATALOG.provider(provider)
    return checked(parameters, CATALOG.model(provider, model), unknown=declared.unknown_parameters, **options)


def model_with(*rules: dict[str, Any], **fields: Any) -> ModelDeclaration:
    return ModelDeclaration.model_validate(
        {"model": "m", "features": ["sampling-params", "stop-words"], "parameter_rules": list(rules), **fields}
    )


def test_text_of_graphs_becomes_what_the_rule_wants() -> None:
    given = {"temperature": "0.7", "top_p": " 1 ", "max_tokens": "512", "seed": 7.0, "logprobs": "true"}
    found = for_model("openai/gpt-4o", given)
    assert found.parameters == {"temperature": 0.7, "top_p": 1, "seed": 7, "logprobs": True}
    assert isinstance(found.parameters["seed"], int)
    assert (found.max_tokens, found.dropped) == (512, ())


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"temperature": 2.5}, "a number from 0 to 2"),
        ({"temperature": -0.1}, "a number from 0 to 2"),
        ({"temperature": "warm"}, "a number from 0 to 2"),
        ({"temperature": True}, "a number from 0 to 2"),
        ({"temperature": "nan"}, "a number from 0 to 2"),
        ({"temperature": "1" + "0" * 350}, "a number from 0 to 2"),
        ({"temperature": 0.123}, "more than 2 decimal places"),
        ({"max_tokens": 0}, "a whole number from 1 to 16,384"),
        ({"max_tokens": 16385}, "a whole number from 1 to 16,384"),
        ({"max_tokens": 1.5}, "a whole number"),
        ({"response_format": "yaml"}, "one of text, json_object, json_schema"),
        ({"seed": [1]}, "a whole number"),
        ({"stop": 3}, "a text or a list of texts"),
        ({"parallel_tool_calls": "maybe"}, "true or false"),
    ],
)
def test_what_is_wrong_is_refused_with_its_range(parameters: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelFault) as raised:
        for_model("openai/gpt-4o", parameters)
    fault = raised.value
    assert (fault.kind, fault.parameter) == ("bad_request", next(iter(parameters)))
    assert said in fault.message
    assert "'gpt-4o'" in fault.message
    assert fault.parameter in fault.message


def test_models_are_not_sent_what_they_do_not_take() -> None:
    found = for_model("anthropic/claude-opus-5-5", {"temperature": 0.2, "top_k": 5, "effort": "high", "stop": ["END"]})
    assert found.parameters == {"effort": "high"}
    assert found.stop == ("END",)
    assert [note.partition(":")[0] for note in found.dropped] == ["temperature", "top_k"]
    assert all("claude-opus-5-5" in note and "sampling-params" in note for note in found.dropped)
    found = for_model("openai/gpt-6-sol", {"temperature": 0.2, "stop": "x", "reasoning_effort": "low"}, stop=("y",))
    assert (found.parameters, found.stop) == ({"reasoning_effort": "low"}, ())
    assert any(note.startswith("stop:") for note in found.dropped)


def test_effort_is_one_thing_under_two_names() -> None:
    assert for_model("anthropic/claude-opus-5", {"reasoning_effort": "low"}).parameters == {"effort": "low"}
    assert for_model("openai/gpt-6-sol", {"effort": "high"}).parameters == {"reasoning_effort": "high"}
    assert for_model("openai/gpt-4o", {"reasoning_effort": "low"}).parameters == {}


def test_unknown_parameters_are_the_servers_business_or_dropped() -> None:
    given = {"guided_regex": "a+", "mirostat": 2}
    assert for_model("vllm/llama", given).parameters == given
    found = for_model("openai/gpt-4o", given)
    assert (found.parameters, len(found.dropped)) == ({}, 2)


def test_no_default_is_sent_that_nobody_asked_for() -> None:
    assert for_model("openai/gpt-4o", {}).parameters == {}
    assert for_model("openai/gpt-4o", {"temperature": None, "max_tokens": None}) == Checked({})


def test_required_parameters_have_their_default_or_are_refused() -> None:
    assert checked({}, model_with({"name": "mode", "type": "string", "required": True, "default": "a"})).parameters == {
        "mode": "a"
    }
    zero = model_with({"name": "temperature", "use_template": "temperature", "required": True, "default": 0})
    assert checked({}, zero).parameters == {"temperature": 0}
    with pytest.raises(ModelFault, match="'mode' of the model 'm' is wrong: it is required and missing"):
        checked({}, model_with({"name": "mode", "type": "string", "required": True}))


def test_claude_always_gets_room_for_an_answer_after_its_thoughts() -> None:
    assert for_model("anthropic/claude-haiku-4-5", {}).max_tokens == 4096
    found = for_model("anthropic/claude-haiku-4-5", {"thinking": True, "thinking_budget": 8000})
    assert found.max_tokens == 12096
    api = {"thinking": {"type": "enabled", "budget_tokens": 2048}}
    assert for_model("anthropic/claude-haiku-4-5", api).max_tokens == 6144
    assert for_model("anthropic/claude-haiku-4-5", {"max_tokens": 100}).max_tokens == 100


def test_the_most_tokens_go_by_any_name() -> None:
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        found = for_model("openai/gpt-6-sol", {name: 10})
        assert (found.max_tokens, found.parameters) == (10, {})


def test_a_parameter_may_come_under_the_name_of_its_template() -> None:
    rules = model_with({"name": "temp", "use_template": "temperature"})
    assert checked({"temperature": 0.5}, rules).parameters == {"temp": 0.5}


def test_for_a_model_that_stands_in_what_is_wrong_is_left_out() -> None:
    given = {"temperature": 1.5, "max_tokens": 64001, "top_p": 0.5}
    with pytest.raises(ModelFault):
        for_model("anthropic/claude-haiku-4-5", given)
    found = for_model("anthropic/claude-haiku-4-5", given, lenient=True)
    assert (found.parameters, found.max_tokens) == ({"top_p": 0.5}, 64000)
    assert len(found.dropped) == 2
