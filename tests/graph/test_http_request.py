"""The http-request node: which request a drawing means, and what an answer becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from perdure_graph import templates
from perdure_graph.effects import HttpAuth, HttpBody, HttpPart, HttpReply, SendHttp
from perdure_graph.errors import NodeError
from perdure_graph.nodes.base import MISSING, Done, Perform
from perdure_graph.nodes.http_request import NODE, HttpRequestData, differs, outputs, resume, start
from perdure_graph.values import FILE_IDENTITY, ValueType, infer_type, matches

PICTURE = {"dify_model_identity": FILE_IDENTITY, "filename": "a.png", "related_id": "a" * 64}
NOTE = {**PICTURE, "filename": "b.txt"}

VARIABLES: dict[tuple[str, str], Any] = {
    ("s", "host"): "api.example",
    ("s", "lines"): "X-A: 1\nX-B: 2",
    ("s", "text"): 'say "hi"\nüber: all',
    ("s", "n"): 3,
    ("s", "obj"): {"a": [1]},
    ("s", "empty"): "",
    ("s", "name"): "field",
    ("s", "picture"): PICTURE,
    ("s", "both"): [PICTURE, NOTE],
    ("env", "KEY"): "s3cret",
}


class FakeContext:
    """A pool of fixed variables."""

    node_id = "http"

    def __init__(self, memo: Any = None) -> None:
        self.memo = memo

    def get(self, selector: Sequence[str]) -> Any:
        return VARIABLES.get((selector[0], selector[1]), MISSING)

    def type_of(self, selector: Sequence[str]) -> ValueType:
        return ValueType.SECRET if selector[0] == "env" else infer_type(self.get(selector))

    def render(self, template: str) -> str:
        return templates.render(template, self.get, MISSING)

    def render_markdown(self, template: str) -> str:
        raise AssertionError("requests are not markdown")

    def all_variables(self, scope: str) -> Mapping[str, Any]:
        return {name: value for (node, name), value in VARIABLES.items() if node == scope}


def _data(**fields: Any) -> HttpRequestData:
    return HttpRequestData.model_validate({"type": "http-request", "url": "http://api.example/", **fields})


def _request(**fields: Any) -> SendHttp:
    outcome = start(_data(**fields), FakeContext())
    assert isinstance(outcome, Perform)
    assert isinstance(outcome.effect, SendHttp)
    return outcome.effect


def _body(kind: str, data: Any) -> HttpBody:
    return _request(method="post", body={"type": kind, "data": data}).body


def _fails(**fields: Any) -> tuple[str, str]:
    with pytest.raises(NodeError) as caught:
        start(_data(**fields), FakeContext())
    return caught.value.error_type, caught.value.message


def _key(kind: str, key: Any = "k", header: Any = "") -> dict[str, Any]:
    return {"type": "api-key", "config": {"type": kind, "api_key": key, "header": header}}


def test_the_plainest_request() -> None:
    assert _request() == SendHttp(method="GET", url="http://api.example/")


def test_the_url_is_a_template() -> None:
    request = _request(method="PUT", url="https://{{#s.host#}}/{{#s.n#}}?k={{#env.KEY#}}")
    assert (request.method, request.url) == ("PUT", "https://api.example/3?k=s3cret")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "url is required"),
        (None, "url is required"),
        ("{{#s.empty#}}", "url is required"),
        ("api.example", "url should start with http:// or https://"),
        ("{{#s.host#}}/x", "url should start with http:// or https://"),
        ("file:///etc/passwd", "url should start with http:// or https://"),
        (" http://api.example", "url should start with http:// or https://"),
    ],
)
def test_urls_that_are_refused(url: str | None, message: str) -> None:
    assert _fails(url=url) == ("InvalidURLError", message)


@pytest.mark.parametrize("method", ["options", "OPTIONS"])
def test_options_loads_and_does_not_run(method: str) -> None:
    assert _fails(method=method) == ("InvalidHttpMethodError", "Invalid http method: options")


def test_an_unknown_method_does_not_load() -> None:
    with pytest.raises(ValidationError):
        _data(method="brew")


@pytest.mark.parametrize(
    ("drawn", "pairs"),
    [
        ("a:1\n b : x:y \n\nc\n:lost", (("a", "1"), ("b", "x:y"), ("c", ""))),
        ("{{#s.lines#}}\nX-C:{{#s.n#}}", (("X-A", "1"), ("X-B", "2"), ("X-C", "3"))),
        ("a:1\na:2", (("a", "2"),)),
        (None, ()),
    ],
)
def test_headers_are_filled_and_then_split(drawn: str | None, pairs: tuple[tuple[str, str], ...]) -> None:
    assert _request(headers=drawn).headers == pairs


@pytest.mark.parametrize(
    ("drawn", "pairs"),
    [
        ("a:1\na:2\nb", (("a", "1"), ("a", "2"), ("b", ""))),
        ("q:{{#s.text#}}\n{{#s.name#}}:{{#s.obj#}}", (("q", 'say "hi"\nüber: all'), ("field", '{"a": [1]}'))),
        ("  \n:lost\n", ()),
        (None, ()),
    ],
)
def test_params_are_split_and_then_filled(drawn: str | None, pairs: tuple[tuple[str, str], ...]) -> None:
    assert _request(params=drawn).params == pairs


@pytest.mark.parametrize(
    ("drawn", "auth"),
    [
        (None, HttpAuth()),
        ({"type": "no-auth", "config": {"type": "junk"}}, HttpAuth()),
        ({"type": "no-auth", "config": None}, HttpAuth()),
        (_key("bearer", "{{#env.KEY#}}"), HttpAuth(scheme="bearer", secret="s3cret")),
        (_key("basic", "u:p"), HttpAuth(scheme="basic", secret="u:p")),
        (_key("custom", "k", "X-Key"), HttpAuth(scheme="custom", header="X-Key", secret="k")),
        (_key("bearer", "k", None), HttpAuth(scheme="bearer", secret="k")),
    ],
)
def test_authentication(drawn: Any, auth: HttpAuth) -> None:
    assert _request(authorization=drawn).auth == auth


@pytest.mark.parametrize("key", ["", None, "  ", "{{#s.empty#}}"])
def test_a_key_must_not_be_empty(key: Any) -> None:
    kind, message = _fails(authorization=_key("bearer", key))
    assert (kind, "API key is required" in message) == ("AuthorizationConfigError", True)


def test_a_key_needs_a_configuration() -> None:
    kind, _ = _fails(authorization={"type": "api-key", "config": None})
    assert kind == "AuthorizationConfigError"


@pytest.mark.parametrize(
    "body", [None, {}, {"type": "none", "data": ""}, {"type": None, "data": []}, {"type": "none", "data": [{"x": 1}]}]
)
def test_no_body(body: Any) -> None:
    assert _request(body=body).body == HttpBody()


@pytest.mark.parametrize("data", ["n={{#s.n#}}", [{"type": "text", "value": "n={{#s.n#}}", "key": ""}]])
def test_text_bodies(data: Any) -> None:
    assert _body("raw-text", data) == HttpBody(kind="text", text="n=3")


@pytest.mark.parametrize(
    ("drawn", "value"),
    [
        ('{"n": {{#s.n#}}, "o": {{#s.obj#}}}', {"n": 3, "o": {"a": [1]}}),
        ("{n: 3, 'm': True,}", {"n": 3, "m": True}),
        ('{"a": "x\ny"}', {"a": "x\ny"}),
        ("[1, 2", [1, 2]),
        ("null", None),
        ('"text"', "text"),
        ('{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
    ],
)
def test_json_bodies_are_filled_and_then_repaired(drawn: str, value: Any) -> None:
    assert _body("json", drawn or [{}]) == HttpBody(kind="json", json_value=value)


@pytest.mark.parametrize(
    "drawn",
    [
        "no json at all",
        "{{#s.empty#}}",
        "[NaN]",
        '["\\ud800"]',
        pytest.param("[" * 100_000, id="deep"),
        pytest.param("{'" * 50_000, id="costly to repair"),
        pytest.param("{a: " + "x" * 100_000, id="long"),
        pytest.param("1" * 5000, id="number without end"),
    ],
)
def test_json_bodies_that_are_none(drawn: str) -> None:
    kind, message = _fails(body={"type": "json", "data": drawn})
    assert (kind, message.startswith("Failed to parse JSON: ")) == ("RequestBodyError", True)
    assert len(message) < 600


def test_a_broken_body_keeps_its_secrets() -> None:
    _, message = _fails(body={"type": "json", "data": "no json {{#env.KEY#}}"})
    assert "s3cret" not in message


@pytest.mark.parametrize("kind", ["json", "raw-text", "binary"])
@pytest.mark.parametrize("data", [None, "", [], [{"value": "1"}, {"value": "2"}]])
def test_bodies_of_one_item(kind: str, data: Any) -> None:
    message = f"{kind} body type should have exactly one item"
    assert _fails(body={"type": kind, "data": data}) == ("RequestBodyError", message)


def test_urlencoded_bodies() -> None:
    data = [
        {"id": "1", "key": "a", "type": "text", "value": "1"},
        {"key": "{{#s.name#}}", "value": "{{#s.text#}}", "file": None},
        {"key": "a", "value": 2},
        {"key": "", "value": "", "type": ""},
    ]
    parts = (HttpPart(key="a", text="2"), HttpPart(key="field", text='say "hi"\nüber: all'))
    assert _body("x-www-form-urlencoded", data) == HttpBody(kind="urlencoded", parts=parts)


def test_form_bodies() -> None:
    data = [
        {"key": "t", "type": "text", "value": "{{#s.n#}}", "file": []},
        {"key": "{{#s.name#}}", "type": "file", "value": None, "file": ["s", "picture"]},
        {"key": "all", "type": "file", "file": ["s", "both"]},
        {"key": "not a file", "type": "file", "file": ["s", "n"]},
        {"key": "missing", "type": "file", "file": ["s", "gone"]},
        {"key": "unset", "type": "file", "file": None},
    ]
    parts = (
        HttpPart(key="t", text="3"),
        HttpPart(key="field", files=(PICTURE,)),
        HttpPart(key="all", files=(PICTURE, NOTE)),
    )
    assert _body("form-data", data) == HttpBody(kind="form", parts=parts)


def test_binary_bodies() -> None:
    assert _body("binary", [{"type": "file", "file": ["s", "picture"]}]) == HttpBody(kind="binary", files=(PICTURE,))


@pytest.mark.parametrize("selector", [["s", "gone"], ["s", "n"], ["s"], [], None])
def test_binary_bodies_need_a_file(selector: Any) -> None:
    kind, message = _fails(body={"type": "binary", "data": [{"type": "file", "file": selector}]})
    assert (kind, message) == ("FileFetchError", f"cannot fetch file with selector {selector or []}")


@pytest.mark.parametrize(
    ("drawn", "limits"),
    [
        (None, (10, 600, 600)),
        ({"connect": 0, "read": None, "write": ""}, (10, 600, 600)),
        ({"connect": 1, "read": "2", "write": 3.5}, (1, 2, 3.5)),
        ({"max_connect_timeout": 0, "max_read_timeout": 30, "max_write_timeout": None}, (10, 30, 600)),
        ({"connect": 1, "max_connect_timeout": 300, "read": -1}, (1, 600, 600)),
    ],
)
def test_timeouts(drawn: Any, limits: tuple[float, float, float]) -> None:
    request = _request(timeout=drawn)
    assert (request.connect_s, request.read_s, request.write_s) == limits


@pytest.mark.parametrize(("drawn", "verify"), [(None, True), (True, True), (False, False)])
def test_tls(drawn: bool | None, verify: bool) -> None:
    assert _request(ssl_verify=drawn).verify_tls is verify


def test_what_editors_leave_behind_is_no_matter() -> None:
    data = HttpRequestData.model_validate(
        {
            "type": "http-request",
            "title": None,
            "variables": [],
            "selected": False,
            "url": "http://a.example",
            "isInIteration": False,
            "retry_config": {"max_retries": 3, "retry_enabled": None, "retry_interval": 100},
            "error_strategy": "none",
            "default_value": None,
        }
    )
    assert start(data, FakeContext())


def test_what_is_shown_holds_no_secret() -> None:
    data = _data(
        method="post", url="http://{{#s.host#}}/?k={{#env.KEY#}}", authorization=_key("bearer", "{{#env.KEY#}}")
    )
    begun = start(data, FakeContext())
    assert isinstance(begun, Perform)
    assert begun.inputs == {"method": "POST", "url": "http://api.example/?k=********"}
    done = resume(data, FakeContext(begun.memo), HttpReply(status_code=200, headers={}, body=""))
    assert isinstance(done, Done)
    assert done.process_data == {"request": begun.inputs}
    assert "s3cret" not in repr((begun.inputs, begun.memo, done))


def test_the_answer() -> None:
    reply = HttpReply(status_code=404, headers={"a": "1"}, body="no", files=(PICTURE,))
    done = resume(_data(), FakeContext(), reply)
    assert isinstance(done, Done)
    assert done.outputs == {"status_code": 404, "body": "no", "headers": {"a": "1"}, "files": [PICTURE]}
    assert done.handle is None


@pytest.mark.parametrize(
    "plan",
    [{"error_strategy": "fail-branch"}, {"error_strategy": "default-value"}, {"retry_config": {"retry_enabled": True}}],
)
@pytest.mark.parametrize(("status", "fails"), [(199, True), (200, False), (299, False), (304, True), (500, True)])
def test_a_status_fails_where_failure_is_planned(plan: dict[str, Any], status: int, fails: bool) -> None:
    reply = HttpReply(status_code=status, headers={}, body="")
    if not fails:
        assert isinstance(resume(_data(**plan), FakeContext(), reply), Done)
        return
    with pytest.raises(NodeError) as caught:
        resume(_data(**plan), FakeContext(), reply)
    assert caught.value.error_type == "HTTPResponseCodeError"
    assert caught.value.message == f"Request failed with status code {status}"


def test_the_declared_outputs_fit_the_pin_and_the_answer() -> None:
    declared = outputs(_data())
    assert NODE.default_pin is not None
    done = resume(_data(), FakeContext(), HttpReply(status_code=200, headers={}, body="", files=(PICTURE,)))
    assert isinstance(done, Done)
    for values in (NODE.default_pin, done.outputs):
        assert values.keys() == declared.keys()
        assert all(matches(declared[name], value) for name, value in values.items())


def test_where_it_differs_from_dify() -> None:
    assert differs(_data(url="http://a.example/?x=1", params="y:2"))
    assert not differs(_data(url="http://a.example/?x=1", params=" \n"))
    assert not differs(_data(url="http://a.example/", params="y:2"))


def test_the_effect_survives_the_wire() -> None:
    request = _request(
        method="post",
        headers="a:1",
        params="b:2\nb:3",
        authorization=_key("custom", "k", "X"),
        body={"type": "form-data", "data": [{"key": "f", "type": "file", "file": ["s", "picture"]}]},
    )
    assert SendHttp.model_validate_json(request.model_dump_json()) == request
