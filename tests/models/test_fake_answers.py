"""Answers that no script gives: they say that they are simulated, and have the form that the request asks for."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import jsonschema
import pytest
from anthropic import AsyncAnthropic
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI

from perdure_fake import FakeProvider
from perdure_fake.instances import instance
from perdure_graph.models import extract
from perdure_graph.models.classify import QuestionClass, chosen, question
from perdure_graph.models.extract import Parameter
from perdure_graph.models.messages import ToolCall, text_of

CLASSES = [
    {"category_id": "1", "category_name": "Billing and invoices"},
    {"category_id": "2", "category_name": "Technical problems"},
    {"category_id": "3", "category_name": "Something else"},
]
NAMES = ("Billing and invoices", "Technical problems", "Delivery of parcels")
ORDER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "count": {"type": "integer"},
        "urgent": {"type": "boolean"},
        "size": {"type": "string", "enum": ["small", "medium", "large"]},
        "email": {"type": "string"},
    },
    "required": ["city", "count", "urgent", "size", "email"],
    "additionalProperties": False,
}
ORDERED = "Please send 12 large boxes to our shop in Bern, it is urgent, and write to ada@example.org"
FOUND = {"city": "Bern", "count": 12, "urgent": True, "size": "large", "email": "ada@example.org"}


@pytest.fixture(scope="module")
async def openai() -> AsyncIterator[AsyncOpenAI]:
    async with (
        FakeProvider.start_here() as fake,
        AsyncOpenAI(api_key="k", base_url=fake.openai_url, max_retries=0) as client,
    ):
        yield client


@pytest.fixture(scope="module")
async def anthropic() -> AsyncIterator[AsyncAnthropic]:
    async with (
        FakeProvider.start_here() as fake,
        AsyncAnthropic(api_key="k", base_url=fake.anthropic_url, max_retries=0) as client,
    ):
        yield client


async def ask(client: AsyncOpenAI, user: str, system: str = "", **more: Any) -> Any:
    messages: list[Any] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": user})
    return (await client.chat.completions.create(model="m", messages=messages, **more)).choices[0]


async def test_an_answer_says_that_it_is_simulated(openai: AsyncOpenAI, anthropic: AsyncAnthropic) -> None:
    said = (await ask(openai, "Who wrote Faust?")).message.content
    assert said == "[simulated] No model was asked. You said: Who wrote Faust?"
    assert said == (await ask(openai, "Who wrote Faust?")).message.content
    message: Any = await anthropic.messages.create(
        model="m", max_tokens=99, messages=[{"role": "user", "content": "Who?"}]
    )
    assert message.content[0].text == "[simulated] No model was asked. You said: Who?"


async def test_limits_and_stop_words_cut_it(openai: AsyncOpenAI) -> None:
    short = await ask(openai, "one two three", max_tokens=4)
    assert (short.finish_reason, short.message.content) == ("length", "[simulated]")
    stopped = await ask(openai, "one two three", stop=["two"])
    assert (stopped.finish_reason, stopped.message.content[-4:]) == ("stop", "one ")


@pytest.mark.parametrize(
    ("text", "expected"), [("My invoice is wrong", "1"), ("a technical problem", "2"), ("completely different", "1")]
)
async def test_classes_named_in_a_prompt_are_chosen_by_their_words(
    openai: AsyncOpenAI, text: str, expected: str
) -> None:
    prompt = json.dumps({"input_text": [text], "categories": CLASSES, "classification_instructions": ["Be exact"]})
    chosen = json.loads((await ask(openai, prompt, "Classify. Answer in JSON only.")).message.content)
    assert chosen["category_id"] == expected
    assert chosen["category_name"] == CLASSES[int(expected) - 1]["category_name"]
    listed = f"Answer with JSON. The classes are:\n{json.dumps(CLASSES)}"
    assert json.loads((await ask(openai, text, listed)).message.content)["category_id"] == expected


async def test_a_schema_is_filled_from_the_text_on_every_way(openai: AsyncOpenAI, anthropic: AsyncAnthropic) -> None:
    native = {"type": "json_schema", "json_schema": {"name": "order", "schema": ORDER, "strict": True}}
    assert json.loads((await ask(openai, ORDERED, response_format=native)).message.content) == FOUND

    tools = [{"type": "function", "function": {"name": "extract", "parameters": ORDER}}]
    for choice in ("required", {"type": "function", "function": {"name": "extract"}}):
        called = await ask(openai, ORDERED, tools=tools, tool_choice=choice)
        assert json.loads(called.message.tool_calls[0].function.arguments) == FOUND

    prompt = f"Answer with a JSON object of this schema:\n```json\n{json.dumps(ORDER, indent=2)}\n```"
    assert json.loads((await ask(openai, ORDERED, prompt)).message.content) == FOUND

    user: Any = [{"role": "user", "content": ORDERED}]
    own: Any = {"format": {"type": "json_schema", "schema": ORDER}}
    message: Any = await anthropic.messages.create(model="m", max_tokens=500, messages=user, output_config=own)
    assert json.loads(message.content[0].text) == FOUND
    tool: Any = [{"name": "extract", "input_schema": ORDER}]
    message = await anthropic.messages.create(
        model="m", max_tokens=500, messages=user, tools=tool, tool_choice={"type": "tool", "name": "extract"}
    )
    assert (message.content[0].input, message.stop_reason) == (FOUND, "tool_use")
    wanted: Any = {"format": {"type": "json_schema", "name": "order", "schema": ORDER}}
    answer: Any = await openai.responses.create(model="m", input=ORDERED, text=wanted)
    assert json.loads(answer.output_text) == FOUND


@pytest.mark.parametrize("one_text", [False, True])
async def test_the_prompts_of_our_own_nodes_are_understood(openai: AsyncOpenAI, one_text: bool) -> None:
    """A classifier takes the class that fits, an extractor finds its values: with messages, and as one text."""

    async def told(prompt: list[Any], **more: Any) -> Any:
        messages: Any = [{"role": one.role, "content": text_of(one)} for one in prompt]
        return (await openai.chat.completions.create(model="m", messages=messages, **more)).choices[0].message

    classes = [QuestionClass(id=str(place), name=name) for place, name in enumerate(NAMES)]
    for place, text in enumerate(
        ("I was billed twice on this invoice", "There is a technical problem", "Where is my parcel?")
    ):
        asked = question(text, classes, NAMES, "Mind the tone.\nBe exact.", one_text=one_text)
        assert chosen((await told(asked)).content, classes, NAMES).name == NAMES[place]

    parameters = [Parameter(name="city", type="string", required=True), Parameter(name="count", type="number")]
    parameters += [
        Parameter(name="size", type="select", options=("small", "large")),
        Parameter(name="tags", type="array[string]"),
    ]
    asked = extract.question(ORDERED, parameters, "Only what it says.", by_tool=False, one_text=one_text)
    found = extract.read(parameters, (await told(asked)).content, ())
    assert (found.problem, found.values["city"], found.values["count"], found.values["size"]) == (
        None,
        "Bern",
        12,
        "large",
    )
    asked = extract.question(ORDERED, parameters, "", by_tool=True, one_text=one_text)
    tools = [{"type": "function", "function": {"name": extract.TOOL, "parameters": extract.schema_of(parameters)}}]
    call = (await told(asked, tools=tools)).tool_calls[0]
    found = extract.read(
        parameters, "", [ToolCall(id=call.id, name=call.function.name, arguments=call.function.arguments)]
    )
    assert (found.problem, found.values["city"]) == (None, "Bern")


async def test_a_tool_that_is_named_is_called_once(openai: AsyncOpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    names = ("get_weather", "send_mail")
    tools: Any = [{"type": "function", "function": {"name": name, "parameters": schema}} for name in names]
    messages: Any = [{"role": "user", "content": "What is the weather in Paris like?"}]
    first: Any = (await openai.chat.completions.create(model="m", messages=messages, tools=tools)).choices[0].message
    assert [(c.function.name, c.function.arguments) for c in first.tool_calls] == [("get_weather", '{"city": "Paris"}')]
    messages += [first.to_dict(), {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "18 degrees"}]
    second: Any = (await openai.chat.completions.create(model="m", messages=messages, tools=tools)).choices[0]
    assert second.message.tool_calls is None
    assert "18 degrees" in second.message.content
    plain = await ask(openai, "Tell me a joke", tools=tools)
    assert plain.message.tool_calls is None
    assert (await ask(openai, "weather in Paris", tools=tools, tool_choice="none")).message.tool_calls is None


NUMBERS = st.integers(-50, 50)


@st.composite
def ranges(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(NUMBERS)
    return {
        "type": draw(st.sampled_from(["integer", "number"])),
        "minimum": low,
        "maximum": low + draw(st.integers(0, 9)),
    }


LEAVES = st.one_of(
    st.sampled_from(
        [{"type": "string"}, {"type": "boolean"}, {"type": "integer"}, {"type": "number"}, {"type": "null"}]
    ),
    ranges(),
    NUMBERS.map(lambda n: {"type": "integer", "exclusiveMinimum": n}),
    NUMBERS.map(lambda n: {"type": "integer", "exclusiveMaximum": n}),
    st.integers(0, 9).map(lambda n: {"type": "string", "minLength": n, "maxLength": n + 3}),
    st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True).map(lambda options: {"enum": options}),
    st.sampled_from([{"type": ["string", "null"]}, {"const": 7}, {"type": "string", "format": "email"}]),
)


def wider(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(["city", "age", "tags", "is_open", "nested_part"])
    properties = st.dictionaries(names, inner, max_size=4)
    return st.one_of(
        properties.map(lambda p: {"type": "object", "properties": p, "required": [*p], "additionalProperties": False}),
        st.tuples(inner, st.integers(0, 3)).map(lambda p: {"type": "array", "items": p[0], "minItems": p[1]}),
        st.lists(inner, min_size=1, max_size=3).map(lambda options: {"anyOf": options}),
    )


@settings(max_examples=300, deadline=None)
@given(
    schema=st.recursive(LEAVES, wider, max_leaves=12),
    text=st.sampled_from([ORDERED, "", "no -3.5 and 7, 'quoted' Text"]),
)
def test_instances_are_valid(schema: dict[str, Any], text: str) -> None:
    jsonschema.validate(instance(schema, text), schema)


def test_instances_of_schemas_with_references() -> None:
    tree: dict[str, Any] = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                },
                "required": ["name"],
            }
        },
        "allOf": [{"$ref": "#/$defs/node"}, {"properties": {"size": {"type": "integer"}}, "required": ["size"]}],
    }
    made = instance(tree, "the tree called 'Root' has 3 parts")
    jsonschema.validate(made, tree)
    assert (made["name"], made["size"]) == ("Root", 3)
