from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fakes.context import FakeContext, file
from perdure_graph.errors import InvalidInputs
from perdure_graph.inputs import check_inputs
from perdure_graph.nodes import registry
from perdure_graph.nodes.base import Done
from perdure_graph.nodes.start import StartVariable


def variable(kind: str, **more: Any) -> StartVariable:
    return StartVariable.model_validate({"variable": "v", "label": "V", "type": kind, **more})


def check(kind: str, value: Any = None, **more: Any) -> Any:
    inputs = {} if value is None else {"v": value}
    return check_inputs([variable(kind, **more)], inputs, "start")["v"]


@pytest.mark.parametrize(
    ("kind", "value", "more", "expected"),
    [
        ("text-input", "hi", {}, "hi"),
        ("text-input", "a\x00b", {}, "ab"),
        ("text-input", "", {}, ""),
        ("text-input", None, {}, None),
        ("text-input", None, {"default": "d"}, "d"),
        ("text-input", "12345", {"max_length": 5}, "12345"),
        ("paragraph", "x" * 1000, {"max_length": None}, "x" * 1000),
        ("select", "a", {"options": ["a", "b"]}, "a"),
        ("select", "", {"options": ["a", "b"]}, None),
        ("number", 3, {}, 3),
        ("number", "3", {}, 3),
        ("number", "3.0", {}, 3.0),
        ("number", "-2.5", {}, -2.5),
        ("number", " ", {}, None),
        ("number", None, {"default": "7"}, 7),
        ("checkbox", True, {}, True),
        ("checkbox", "Yes", {}, True),
        ("checkbox", 0, {}, False),
        ("checkbox", "off", {}, False),
        ("json_object", {"a": "b\x00"}, {}, {"a": "b"}),
        ("file", "", {}, None),
        ("file-list", [], {}, []),
        ("external_data_tool", 5, {}, 5),
    ],
)
def test_values_that_pass(kind: str, value: Any, more: dict[str, Any], expected: Any) -> None:
    checked = check(kind, value, **more)
    assert checked == expected
    assert type(checked) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value", "more", "message"),
    [
        ("text-input", None, {"required": True}, "v is required in input form: expected text-input"),
        (
            "select",
            "",
            {"required": True, "options": ["a"]},
            r"v is required in input form: expected select of \['a'\]",
        ),
        ("number", " ", {"required": True}, "v is required in input form: expected number, nothing was given"),
        ("text-input", 5, {}, "v in input form must be a string, got int 5"),
        ("text-input", "123456", {"max_length": 5}, "v in input form must be at most 5 characters, got 6 characters"),
        ("select", "c", {"options": ["a", "b"]}, r"must be one of the following: \['a', 'b'\], got str 'c'"),
        ("number", "x", {}, "v in input form must be a valid number, got str 'x'"),
        ("number", True, {}, "v in input form must be a number, got bool True"),
        ("number", [1], {}, r"v in input form must be a number, got list \[1\]"),
        ("number", float("nan"), {}, "must be a number, got float nan"),
        ("checkbox", "perhaps", {}, "v in input form must be true or false .* got str 'perhaps'"),
        ("file", "a.pdf", {}, "v in input form must be a file, got str 'a.pdf'"),
        ("file-list", {"type": "image"}, {}, "v in input form must be a list of files, got dict"),
        ("json_object", "{}", {}, "v in input form must be a JSON object, got str '{}'"),
        ("text-input", None, {"default": 5}, "must be a string, got int 5"),
    ],
)
def test_values_that_fail(kind: str, value: Any, more: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputs, match=message) as caught:
        check(kind, value, **more)
    assert (caught.value.node, caught.value.field) == ("start", "v")


def test_what_nobody_declared_is_dropped_and_what_is_left_out_is_null() -> None:
    variables = [variable("text-input"), StartVariable(variable="w", type="number")]
    assert check_inputs(variables, {"v": "x", "other": 1}, "start") == {"v": "x", "w": None}


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(InvalidInputs) as caught:
        check("number", "x" * 10_000)
    assert len(str(caught.value)) < 200


class TestFiles:
    given: ClassVar[dict[str, Any]] = {
        "type": "document",
        "transfer_method": "remote_url",
        "url": "https://example.com/a%20b.PDF?x=1",
    }

    def test_the_form_of_the_api_becomes_a_file_object(self) -> None:
        made = check("file", self.given)
        assert made["dify_model_identity"] == "__dify__file__"
        assert (made["filename"], made["extension"]) == ("a b.PDF", ".pdf")
        assert made["url"] == made["remote_url"] == self.given["url"]

    def test_an_upload_keeps_its_id(self) -> None:
        upload = {"type": "image", "transfer_method": "local_file", "upload_file_id": "u1"}
        assert check("file-list", [upload])[0]["related_id"] == "u1"

    def test_a_file_object_passes_as_it_is(self) -> None:
        assert check("file", file("a.pdf")) == file("a.pdf")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"type": "hologram"}, "type one of image, document"),
            ({"transfer_method": "fax"}, "transfer_method one of remote_url"),
            ({"url": "file:///etc/passwd"}, r"an http\(s\) url, got 'file:///etc/passwd'"),
            ({"transfer_method": "local_file"}, "with upload_file_id"),
        ],
    )
    def test_broken_files(self, change: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidInputs, match=message):
            check("file", {**self.given, **change})

    def test_only_what_is_allowed(self) -> None:
        with pytest.raises(InvalidInputs, match="takes files of type image, got 'document'"):
            check("file", self.given, allowed_file_types=["image"])
        with pytest.raises(InvalidInputs, match="takes files by local_file, got 'remote_url'"):
            check("file", self.given, allowed_file_upload_methods=["local_file"])
        custom = {**self.given, "type": "custom"}
        assert check("file", custom, allowed_file_types=["custom"], allowed_file_extensions=["PDF"])
        with pytest.raises(InvalidInputs, match=r"takes files that end in \.txt, got '\.pdf'"):
            check("file", custom, allowed_file_types=["custom"], allowed_file_extensions=[".txt"])

    def test_too_many(self) -> None:
        with pytest.raises(InvalidInputs, match="at most 1 files, got 2 files"):
            check("file-list", [self.given, self.given], max_length=1)


class TestSchema:
    schema: ClassVar[dict[str, Any]] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}

    def test_objects_are_checked(self) -> None:
        assert check("json_object", {"n": 1}, json_schema=self.schema) == {"n": 1}
        with pytest.raises(InvalidInputs, match=r"does not match its JSON schema: 'x' is not of type 'integer'.*'n'"):
            check("json_object", {"n": "x"}, json_schema=self.schema)

    def test_the_schema_may_be_text(self) -> None:
        with pytest.raises(InvalidInputs, match="'n' is a required property"):
            check("json_object", {}, json_schema='{"type": "object", "required": ["n"]}')

    def test_references_are_never_fetched(self) -> None:
        with pytest.raises(InvalidInputs, match="its JSON schema is invalid"):
            check("json_object", {}, json_schema={"$ref": "http://127.0.0.1:1/schema.json"})

    def test_text_that_is_no_json_is_refused_at_load(self) -> None:
        with pytest.raises(ValidationError, match="json_schema"):
            variable("json_object", json_schema="{")


def test_start_puts_out_what_was_declared_and_given() -> None:
    node = registry()["start"]
    variables = [{"variable": "q", "type": "paragraph"}, {"variable": "w", "type": "number"}]
    data = node.data.model_validate({"type": "start", "variables": variables})
    assert node.start is not None
    done = node.start(data, FakeContext({"me": {"q": "x", "hidden": 1}}))
    assert isinstance(done, Done)
    assert done.outputs == {"q": "x"}


def test_unknown_kinds_are_refused_at_load() -> None:
    with pytest.raises(ValidationError, match="type"):
        variable("colour")


@given(
    st.sampled_from(["text-input", "paragraph", "number", "checkbox", "json_object", "file", "file-list", "select"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    ),
)
def test_any_value_passes_or_names_its_field(kind: str, value: Any) -> None:
    try:
        checked = check(kind, value)
    except InvalidInputs as error:
        assert error.field == "v"
        return
    assert check(kind, checked) == checked
    assert "\x00" not in str(checked)
