"""Arguments as models write them: read, converted, held against the schema; and which are the model's to say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure_activities.tools.arguments import Problem, read
from perdure_activities.tools.binding import bind
from perdure_activities.tools.protocol import ToolDeclaration, ToolFault, ToolParameter
from perdure_graph.agents.config import ToolUse
from perdure_graph.values import FILE_IDENTITY


def schema(required: list[str] | None = None, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or [], "additionalProperties": False}


TEXT = schema(["q"], q={"type": "string"})
MANY = schema(
    n={"type": "integer"},
    x={"type": "number"},
    on={"type": "boolean"},
    tags={"type": "array", "items": {"type": "integer"}},
    place={"type": "object", "properties": {"lat": {"type": "number"}}},
    unit={"type": "string", "enum": ["c", "f"]},
    maybe={"anyOf": [{"type": "integer"}, {"type": "null"}]},
    either={"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]},
)


def text(value: Any) -> str:
    assert isinstance(value, Problem), value
    return value.text


@pytest.mark.parametrize("nothing", ["", "  ", "null", None, "{}", {}, '""'])
def test_nothing_is_no_arguments(nothing: Any) -> None:
    assert read(MANY, nothing) == {}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"n": "3"}, {"n": 3}),
        ({"n": "3.0"}, {"n": 3}),
        ({"x": "2.5"}, {"x": 2.5}),
        ({"on": "yes"}, {"on": True}),
        ({"on": "False"}, {"on": False}),
        ({"on": 1}, {"on": True}),
        ({"on": 0}, {"on": False}),
        ({"tags": '["1", 2]'}, {"tags": [1, 2]}),
        ({"place": '{"lat": "1.5"}'}, {"place": {"lat": 1.5}}),
        ({"n": None, "unit": None}, {}),
        ({"maybe": None}, {"maybe": None}),
        ({"maybe": "7"}, {"maybe": 7}),
        ({"either": ["7"]}, {"either": [7]}),
    ],
)
def test_conversions(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert read(MANY, given) == wanted


def test_references_are_followed() -> None:
    tree = {
        **schema(a={"$ref": "#/$defs/N"}),
        "$defs": {"N": {"type": "object", "properties": {"v": {"type": "integer"}}}},
    }
    assert read(tree, '{"a": {"v": "1"}}') == {"a": {"v": 1}}


@pytest.mark.parametrize(
    ("given", "path", "rule"),
    [
        ({"n": "three"}, "$.n", "type"),
        ({"n": 3.5}, "$.n", "type"),
        ({"on": "maybe"}, "$.on", "type"),
        ({"unit": "k"}, "$.unit", "enum"),
        ({"tags": [1, "x"]}, "$.tags[1]", "type"),
        ({"place": {"lat": "north"}}, "$.place.lat", "type"),
        ({"x": "NaN"}, "$.x", "type"),
    ],
)
def test_a_problem_names_path_and_rule(given: dict[str, Any], path: str, rule: str) -> None:
    said = text(read(MANY, given))
    assert path in said
    assert f"({rule})" in said


def test_what_is_missing_is_named() -> None:
    assert "'q' must be given" in text(read(TEXT, "{}"))
    assert "'q' must be given" not in str(read(TEXT, '{"q": ""}'))


def test_text_that_is_no_json_is_told_where() -> None:
    said = text(read(TEXT, '{"q": "a",\n "b": }'))
    assert "line 2, column 7" in said
    assert "one JSON object" in said


@pytest.mark.parametrize("broken", ['{"q": NaN}', "[" * 100_000, '{"q": "\\ud800"}', '{"q": 1e999}'])
def test_json_that_nobody_can_send(broken: str) -> None:
    text(read(TEXT, broken))


def test_a_bare_value_goes_to_the_only_parameter() -> None:
    assert read(TEXT, '"hello"') == {"q": "hello"}
    assert read(TEXT, "3") == {"q": "3"}
    assert read(TEXT, '"{\\"q\\": \\"twice\\"}"') == {"q": "twice"}
    assert "one JSON object" in text(read(MANY, "[1, 2]"))


def test_plain_text_is_for_react() -> None:
    assert read(TEXT, "Paris in spring", plain=True) == {"q": "Paris in spring"}
    assert "one JSON object" in text(read(MANY, "Paris in spring", plain=True))
    assert read(TEXT, {"q": "as it is"}, plain=True) == {"q": "as it is"}


def test_foreign_keys_are_refused_where_the_schema_is_closed() -> None:
    assert "'mode' cannot be set" in text(read(TEXT, '{"q": "a", "mode": "root"}'))
    opened = {**TEXT, "additionalProperties": True}
    assert read(opened, '{"q": "a", "mode": "root"}') == {"q": "a", "mode": "root"}
    assert "'mode' cannot be set" in text(read(opened, '{"q": "a", "mode": "root"}', kept=["mode"]))


@given(st.text(max_size=60) | st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_nothing_that_a_model_writes_raises(given: Any) -> None:
    for one in (TEXT, MANY):
        assert isinstance(read(one, given), dict | Problem)
        assert isinstance(read(one, given, plain=True), dict | Problem)


DECLARED = ToolDeclaration(
    provider_type="custom",
    provider_id="p",
    name="t",
    parameters=(
        ToolParameter(name="q", required=True),
        ToolParameter(name="count", type="integer", default=5),
        ToolParameter(name="path", form="form", default="/public"),
        ToolParameter(name="level", type="number", form="form", required=True),
        ToolParameter(name="key", type="secret-input", form="form", required=True),
        ToolParameter(name="picture", type="file"),
    ),
)
PICTURE = {"dify_model_identity": FILE_IDENTITY, "type": "image"}


def use(**parameters: Any) -> ToolUse:
    return ToolUse(provider_type="custom", provider_id="p", tool_name="t", parameters=parameters)


def test_values_come_from_where_they_belong() -> None:
    bound = bind(DECLARED, use(level="3"), {"q": "a"}, by_author=False)
    assert bound.arguments == {"q": "a", "count": 5}
    assert bound.settings == {"path": "/public", "level": 3}


@pytest.mark.parametrize("name", ["path", "level", "key", "picture"])
def test_a_model_sets_nothing_but_its_own(name: str) -> None:
    for declaration in (DECLARED, DECLARED.model_copy(update={"open": True})):
        settings = {"level": 1, "path": "/a"}
        if name in ("key", "picture") and declaration.open:
            continue
        with pytest.raises(ToolFault, match=name) as caught:
            bind(declaration, use(**settings), {"q": "a", name: "/etc"}, by_author=False)
        assert caught.value.kind == "bad_arguments"


def test_a_parameter_that_is_set_is_not_the_model_s_any_more() -> None:
    assert bind(DECLARED, use(level=1, q="mine"), {}, by_author=False).arguments["q"] == "mine"
    with pytest.raises(ToolFault, match="'q' cannot be set"):
        bind(DECLARED, use(level=1, q="mine"), {"q": "yours"}, by_author=False)


def test_the_author_of_a_graph_sets_all_but_secrets() -> None:
    given = {"q": "a", "path": "/b", "level": "2", "count": "7", "picture": PICTURE}
    bound = bind(DECLARED, use(), given, by_author=True)
    assert bound.arguments == {"q": "a", "count": 7, "picture": PICTURE}
    assert bound.settings == {"path": "/b", "level": 2}
    with pytest.raises(ToolFault, match="is a secret"):
        bind(DECLARED, use(level=1, key="s3cret"), {"q": "a"}, by_author=True)


def test_what_is_missing_or_wrong_of_the_author_is_told() -> None:
    with pytest.raises(ToolFault, match="'level' must be given"):
        bind(DECLARED, use(), {"q": "a"}, by_author=True)
    with pytest.raises(ToolFault, match="'q' must be given"):
        bind(DECLARED, use(level=1), {"q": None}, by_author=True)
    with pytest.raises(ToolFault, match="'picture' must be a file"):
        bind(DECLARED, use(level=1), {"q": "a", "picture": "x.png"}, by_author=True)
