"""Tool schemas and reference calls of the public BFCL data: every schema converts, and the calls validate."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from perdure_activities.tools.arguments import Problem, read
from perdure_activities.tools.names import is_allowed, safe_names
from perdure_activities.tools.protocol import ToolDeclaration
from perdure_activities.tools.schema import declared, spec_of

BFCL = Path(__file__).parents[2].parent / "shared" / "tools" / "bfcl"
FOUND = sorted(BFCL.glob("*.jsonl")) if BFCL.exists() else []
FILES = FOUND or [Path("absent")]

pytestmark = pytest.mark.skipif(not FOUND, reason="the BFCL data is not beside this clone")


def entries(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def declaration(function: dict[str, Any]) -> ToolDeclaration:
    return ToolDeclaration(
        provider_type="custom",
        provider_id="bfcl",
        name=function["name"],
        description=function["description"],
        parameters=declared(function["parameters"]),
    )


def accepted(values: list[Any]) -> Any:
    """The first of the accepted values that says something; objects hold accepted values in their turn."""
    said = [value for value in values if value != ""]
    return plain(said[0] if said else "")


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: accepted(inner) if isinstance(inner, list) else inner
            for name, inner in value.items()
            if not (isinstance(inner, list) and inner and all(each == "" for each in inner))
        }
    return [plain(item) for item in value] if isinstance(value, list) else value


def reference(call: dict[str, list[Any]]) -> dict[str, Any]:
    """Arguments of a reference call; those that may be left out are, where nothing else is accepted.

    No accepted value at all is written for an empty list.
    """
    return {
        name: accepted(values) if values else []
        for name, values in call.items()
        if not values or any(value != "" for value in values)
    }


def keys_below(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from keys_below(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from keys_below(item)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_function_has_a_valid_schema(file: Path) -> None:
    for entry in entries(file):
        for function in entry["functions"]:
            spec = spec_of(declaration(function), "name")
            Draft202012Validator.check_schema(spec.parameters)
            assert set(spec.parameters["properties"]) == set(function["parameters"].get("properties", {})), entry["id"]
            for schema in keys_below(spec.parameters["properties"]):
                assert "optional" not in schema or isinstance(schema["optional"], dict), entry["id"]
                if schema.get("type") == "array":
                    assert "items" in schema, entry["id"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_reference_calls_validate(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = 0, list[str]()
    for entry in entries(file):
        tools = {function["name"]: declaration(function) for function in entry["functions"]}
        for call in entry["possible_calls"]:
            ((name, arguments),) = call.items()
            given = read(spec_of(tools[name], "name").parameters, json.dumps(reference(arguments)))
            if isinstance(given, Problem):
                bad.append(f"{entry['id']}: {given}")
            else:
                good += 1
    rate = good / (good + len(bad))
    with capsys.disabled():
        print(f"\n{file.stem}: {good} of {good + len(bad)} reference calls validate ({rate:.2%})")
        print("\n".join(itertools.islice(bad, 5)))
    assert rate >= 0.99, bad


def test_all_names_map_and_back() -> None:
    names = list(dict.fromkeys(f["name"] for file in FILES for entry in entries(file) for f in entry["functions"]))
    safe = safe_names(names)
    assert all(is_allowed(name) for name in safe)
    original = dict(zip(safe, names, strict=True))
    assert [original[name] for name in safe] == names
    assert len(original) == len(names)
    assert safe_names(names) == safe
