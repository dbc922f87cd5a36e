from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from fakes.context import FakeContext
from perdure_graph.errors import CommandRefused
from perdure_graph.nodes import registry
from perdure_graph.nodes.base import Done, Form, FormReply, WaitForm
from perdure_graph.nodes.human_input import check_submission

NODE = registry()["human-input"]
POOL: dict[str, dict[str, Any]] = {"llm": {"draft": "Hello", "list": ["a", "b"]}}


def data(**more: Any) -> Any:
    base = {
        "type": "human-input",
        "form_content": "Draft: {{#llm.draft#}}\n\n{{#$output.note#}} / {{#$output.nope#}}",
        "inputs": [
            {"type": "text_input", "output_variable_name": "note", "default": {"type": "constant", "value": "none"}},
            {
                "type": "paragraph",
                "output_variable_name": "text",
                "default": {"type": "variable", "selector": ["llm", "draft"]},
            },
            {"type": "text_input", "output_variable_name": "free"},
        ],
        "user_actions": [{"id": "yes", "title": "Yes", "button_style": "primary"}, {"id": "no", "title": "No"}],
    }
    return NODE.data.model_validate({**base, **more})


def form(**more: Any) -> Form:
    assert NODE.start is not None
    outcome = NODE.start(data(**more), FakeContext(POOL))
    assert isinstance(outcome, WaitForm)
    return outcome.form


def resume(reply: FormReply, **context: Any) -> Done:
    assert NODE.resume is not None
    outcome = NODE.resume(data(), FakeContext(POOL, **context), reply)
    assert isinstance(outcome, Done)
    return outcome


def test_the_form_shows_variables_and_keeps_the_places_of_its_fields() -> None:
    shown = form()
    assert shown.content == "Draft: Hello\n\n{{#$output.note#}} / {{#$output.nope#}}"
    assert [(f.name, f.type, f.default) for f in shown.inputs] == [
        ("note", "text_input", "none"),
        ("text", "paragraph", "Hello"),
        ("free", "text_input", None),
    ]
    assert [(a.id, a.title, a.style) for a in shown.actions] == [("yes", "Yes", "primary"), ("no", "No", "default")]


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [({}, 36 * 3600), ({"timeout": 2, "timeout_unit": "day"}, 172_800), ({"timeout": 1, "timeout_unit": "hour"}, 3600)],
)
def test_the_timeout_in_seconds(limits: dict[str, Any], seconds: float) -> None:
    assert form(**limits).timeout_s == seconds


def test_a_default_from_a_missing_variable_is_empty() -> None:
    missing = {"type": "variable", "selector": ["llm", "nope"]}
    fields = [{"type": "text_input", "output_variable_name": "x", "default": missing}]
    shown = form(inputs=fields)
    assert shown.inputs[0].default is None
    assert check_submission(shown, "yes", {}).values == {"x": ""}


def test_a_submission_selects_the_branch_and_fills_the_content() -> None:
    done = resume(check_submission(form(), "yes", {"note": "fine"}))
    assert done.handle == "yes"
    assert done.outputs == {
        "note": "fine",
        "text": "Hello",
        "free": "",
        "__action_id": "yes",
        "__rendered_content": "Draft: Hello\n\nfine / {{#$output.nope#}}",
    }


def test_submitted_text_is_never_read_as_a_template() -> None:
    done = resume(check_submission(form(), "yes", {"note": "{{#llm.draft#}} {{#$output.text#}}"}))
    assert "{{#llm.draft#}} {{#$output.text#}} / " in done.outputs["__rendered_content"]


def test_the_text_that_was_shown_wins_over_a_later_value() -> None:
    done = resume(check_submission(form(), "no", {}), memo="Draft: Old")
    assert done.outputs["__rendered_content"] == "Draft: Old"


def test_the_timeout_takes_its_own_branch() -> None:
    done = resume(FormReply(action=None))
    assert (done.handle, done.outputs) == ("__timeout", {"__action_id": ""})


@pytest.mark.parametrize(
    ("action", "values", "message"),
    [
        ("maybe", {}, "the form has no action 'maybe'; its actions: yes, no."),
        ("", {}, "the form has no action ''"),
        ("yes", {"zz": "1", "note": "x"}, "the form has no field 'zz'; its fields: note, text, free."),
        ("yes", {"note": 5}, "field 'note' takes text, got int 5."),
    ],
)
def test_submissions_that_are_refused(action: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandRefused, match=message):
        check_submission(form(), action, values)


def test_fields_of_other_types_take_any_value() -> None:
    shown = form(inputs=[{"type": "select", "output_variable_name": "s"}])
    assert check_submission(shown, "yes", {"s": ["a"]}).values == {"s": ["a"]}
    assert check_submission(shown, "yes", {}).values == {"s": None}


def test_handles_and_outputs() -> None:
    parsed = data()
    assert tuple(NODE.handles(parsed)) == ("yes", "no", "__timeout")
    assert set(NODE.outputs(parsed)) == {"note", "text", "free", "__action_id", "__rendered_content"}


def test_delivery_that_does_not_happen_is_said() -> None:
    assert NODE.differs(data(delivery_methods=[{"type": "webapp", "enabled": True}])) == ()
    (text,) = NODE.differs(data(delivery_methods=[{"type": "email", "enabled": True}]))
    assert "email" in text


@pytest.mark.parametrize(
    "broken",
    [
        {"user_actions": [{"id": "a b", "title": "x"}]},
        {"user_actions": [{"id": "a", "title": "x"}, {"id": "a", "title": "y"}]},
        {"timeout": 0},
        {"timeout_unit": "week"},
    ],
)
def test_forms_that_cannot_work_are_refused_at_load(broken: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        data(**broken)
