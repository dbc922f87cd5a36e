"""Which value each parameter of a tool gets, and who may say it.

What the model says is never more than its own parameters: what is set where the tool is used, settings and secrets are
out of its reach. The author of a graph may say all but the secrets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import JsonValue

from perdure_graph.agents.config import ToolUse
from perdure_graph.values import is_file

from .arguments import Problem, fit, read
from .protocol import ToolDeclaration, ToolFault, ToolParameter
from .schema import schema_of, value_schema

Values = dict[str, JsonValue]

_FILES = ("file", "files")


@dataclass(frozen=True, slots=True)
class Bound:
    """Values of all parameters: those of the model, and those of form `form`."""

    arguments: Values
    settings: Values


def bind(declaration: ToolDeclaration, use: ToolUse, given: Mapping[str, JsonValue], *, by_author: bool) -> Bound:
    """Give each parameter its value, converted and valid.

    given: what the model said, or somebody in its place; what the author said where `by_author`.

    Raises:
        ToolFault: `bad_arguments`, a value is wrong or missing; `credentials`, a secret is written out.
    """
    fixed = {name: value for name, value in use.parameters.items() if value is not None}
    files: Values = {}
    if by_author:
        fixed |= {name: value for name, value in given.items() if value is not None}
        files = _files(declaration, fixed)
        said: Values = {}
    else:
        said = _checked(read(schema_of(declaration, fixed), dict(given), kept=fixed))
    mine = {one.name: one for one in declaration.parameters if one.form == "llm" and one.type not in _FILES}
    set_here = {name: value for name, value in fixed.items() if name in mine and not _is_unset(mine[name], value)}
    if declaration.open and by_author:
        known = {one.name for one in declaration.parameters}
        set_here |= {name: value for name, value in given.items() if name not in known}
    arguments = _checked(fit(schema_of(declaration), {**said, **set_here}))
    defaults = {name: one.default for name, one in mine.items() if one.default is not None and name not in arguments}
    return Bound({**defaults, **arguments, **files}, _settings(declaration, fixed))


def _checked(value: Values | Problem) -> Values:
    if isinstance(value, Problem):
        raise ToolFault("bad_arguments", value.text)
    return value


def _settings(declaration: ToolDeclaration, fixed: Mapping[str, JsonValue]) -> Values:
    forms = {one.name: one for one in declaration.parameters if one.form == "form" and one.type not in _FILES}
    for name, one in forms.items():
        if one.type == "secret-input" and fixed.get(name) not in (None, ""):
            raise ToolFault(
                "credentials",
                f"{name!r} of {declaration.name!r} is a secret, which does not belong here. Give it as a field of a "
                "credential in the worker's tools file, and name that credential.",
            )
    forms = {name: one for name, one in forms.items() if one.type != "secret-input"}
    given = {
        name: fixed[name] if name in fixed and not _is_unset(one, fixed[name]) else one.default
        for name, one in forms.items()
    }
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: value_schema(one) for name, one in forms.items()},
        "required": [name for name, one in forms.items() if one.required],
    }
    definitions = {key: value for one in schema["properties"].values() for key, value in one.pop("$defs", {}).items()}
    if definitions:
        schema["$defs"] = definitions
    return _checked(fit(schema, {name: value for name, value in given.items() if value is not None}))


def _is_unset(parameter: ToolParameter, value: JsonValue) -> bool:
    """Whether an editor left a field empty."""
    return value is None or (value == "" and parameter.type not in ("string", "any"))


def _files(declaration: ToolDeclaration, fixed: Mapping[str, JsonValue]) -> Values:
    found: Values = {}
    for one in declaration.parameters:
        if one.type not in _FILES:
            continue
        value = fixed.get(one.name)
        listed = cast("list[JsonValue]", value if isinstance(value, list) else [value] if value else [])
        if not all(is_file(each) for each in listed):
            raise ToolFault("bad_arguments", f"tool parameters validation error: {one.name!r} must be a file.")
        if not listed and one.required:
            raise ToolFault("bad_arguments", f"tool parameters validation error: the file {one.name!r} is required.")
        if listed:
            found[one.name] = listed if one.type == "files" else listed[0]
    return found
