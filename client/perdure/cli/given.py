"""What the caller gives on the command line: `-i k=v`, input files, pins, answers to forms."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from perdure_graph.errors import InvalidGraph, InvalidInputs
from perdure_graph.graph import Graph
from perdure_graph.request import Pin
from perdure_graph.yaml_reader import MAX_BYTES, read

_JSON_TYPES = frozenset({"json_object", "file", "file-list"})
_TEXT_FIELDS = frozenset({"text_input", "text-input", "paragraph"})
# A comma ends a value only where the next field begins, so that values may hold commas.
_NEXT_FIELD = re.compile(r",(?=[A-Za-z_][A-Za-z0-9_]*=)")


@dataclass(frozen=True, slots=True)
class Answer:
    """How to answer a form."""

    action: str
    values: Mapping[str, str] = field(default_factory=dict[str, str])


def read_mapping(path: Path | None, what: str) -> dict[str, Any]:
    """Read a JSON or YAML file that holds an object; no file is an empty one.

    Raises:
        InvalidInputs: it cannot be read or holds something else.
    """
    if path is None:
        return {}
    try:
        data = read(_bytes(path)).data
    except InvalidGraph as error:
        raise InvalidInputs(f"{what} file {str(path)!r} is neither JSON nor YAML: {error}", field=what) from error
    if not isinstance(data, dict):
        raise InvalidInputs(f"{what} file {str(path)!r} must hold an object of names and values.", field=what)
    return cast("dict[str, Any]", data)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInputs(f"{str(path)!r} cannot be read: {error.strerror}. Check the path.") from error


def read_pairs(pairs: Iterable[str], option: str = "-i") -> dict[str, str]:
    """Read `k=v`, `k=@file` (the text of a file) and `k=@@v` (the text `@v`).

    Raises:
        InvalidInputs: there is no `=`, or the file cannot be read as text.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInputs(f"{option} {pair!r} is not of the form name=value.", field=name)
        found[name] = _text(name, value)
    return found


def _text(name: str, value: str) -> str:
    if value.startswith("@@"):
        return value[1:]
    if not value.startswith("@"):
        return value
    try:
        return _bytes(Path(value[1:])).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputs(f"{value[1:]!r} is not UTF-8 text.", field=name) from error
    except InvalidInputs as error:
        hint = "(To give text that begins with @, write @@.)"
        raise InvalidInputs(f"{name}: {error} {hint}", field=name) from error


def read_variables(pairs: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read `node.name=value`, by node; a value is JSON where it is JSON, else text, and may be `@file`.

    Raises:
        InvalidInputs: one is malformed.
    """
    found: dict[str, dict[str, Any]] = {}
    for place, text in read_pairs(pairs, "variable").items():
        node, dot, name = place.partition(".")
        if not (node and dot and name):
            raise InvalidInputs(f"variable {place!r} is not of the form node.name=value.", field=place)
        found.setdefault(node, {})[name] = _json_or_text(text)
    return found


def read_object(text: str, option: str) -> dict[str, Any]:
    """Read a JSON object, or with `@FILE` the JSON or YAML object of a file.

    Raises:
        InvalidInputs: it is none.
    """
    if text.startswith("@"):
        return read_mapping(Path(text[1:]), option)
    value = _json_or_text(text)
    if not isinstance(value, dict):
        raise InvalidInputs(f"{option} {text!r} is no JSON object; give one, or @FILE.", field=option)
    return cast("dict[str, Any]", value)


def declared(graph: Graph) -> dict[str, str] | None:
    """Give name and type of the inputs that a graph declares; None when it takes any."""
    root = graph.nodes[graph.root]
    variables: Sequence[Any] | None = getattr(root.data, "variables", None)
    if root.type.name != "start" or variables is None:
        return None
    return {variable.variable: variable.type for variable in variables}


def convert(graph: Graph, pairs: Mapping[str, str]) -> dict[str, Any]:
    """Turn the texts of `-i` into values of the declared types; numbers and checkboxes are converted by the run.

    Raises:
        InvalidInputs: a value that must be JSON is not.
    """
    return typed(declared(graph), pairs)


def typed(types: Mapping[str, str] | None, pairs: Mapping[str, str]) -> dict[str, Any]:
    """Turn the texts of `-i` into values of these types; without any, JSON where it is JSON, else text.

    Raises:
        InvalidInputs: a value that must be JSON is not.
    """
    if types is None:
        return {name: _json_or_text(value) for name, value in pairs.items()}
    return {
        name: _json(name, types[name], value) if types.get(name) in _JSON_TYPES and value.strip() else value
        for name, value in pairs.items()
    }


def undeclared(graph: Graph, inputs: Mapping[str, Any]) -> list[str]:
    """Give one note for each input that the graph does not declare: the run drops it, as Dify does."""
    return unknown_inputs(declared(graph), inputs, "flow")


def unknown_inputs(types: Mapping[str, str] | None, inputs: Mapping[str, Any], what: str) -> list[str]:
    """Give one note for each input that is not declared."""
    if types is None:
        return []
    notes: list[str] = []
    for name in inputs:
        if name not in types:
            near = get_close_matches(name, types, 1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Declared: {', '.join(types) or 'none'}."
            notes.append(f"note: the {what} declares no input {name!r}; it is ignored.{hint}")
    return notes


def _json(name: str, kind: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInputs(f"{name} is a {kind} and must be given as JSON: {error}.", field=name) from error


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_pins(path: Path | None) -> dict[str, Pin]:
    """Read a JSON or YAML file of pins, keyed by node id or `type:<node type>`.

    Raises:
        InvalidInputs: a pin is malformed.
    """
    pins: dict[str, Pin] = {}
    for name, value in read_mapping(path, "pins").items():
        try:
            pins[name] = Pin.model_validate(value)
        except ValidationError as error:
            detail = error.errors()[0]
            place = ".".join([name, *map(str, detail["loc"])])
            raise InvalidInputs(f"pins file {str(path)!r}, {place}: {detail['msg']}.", field=place) from error
    return pins


def unknown_pins(graph: Graph, pins: Iterable[str]) -> list[str]:
    """Give one note for each pin that names no node of the graph."""
    notes: list[str] = []
    for name in pins:
        if name not in graph.nodes and not name.startswith("type:"):
            near = get_close_matches(name, graph.nodes, 1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            notes.append(f"note: pin {name!r} names no node of the flow.{hint}")
    return notes


def read_answers(texts: Iterable[str]) -> dict[str, list[Answer]]:
    """Read `NODE=ACTION[,field=value...]`, by node; several for one node are used one after the other.

    Raises:
        InvalidInputs: one is malformed.
    """
    found: dict[str, list[Answer]] = {}
    for text in texts:
        node, equals, rest = text.partition("=")
        action, *fields = _NEXT_FIELD.split(rest)
        if not equals or not node or not action:
            raise InvalidInputs(f"--submit {text!r} is not of the form NODE=ACTION[,field=value...].", field=node)
        found.setdefault(node, []).append(Answer(action, read_pairs(fields, "--submit field")))
    return found


def check_answers(graph: Graph, answers: Mapping[str, Sequence[Answer]]) -> None:
    """Check that each answer is for a form that the graph can show, and presses one of its buttons.

    Raises:
        InvalidInputs: names what there is instead.
    """
    asks = {node.id: node for node in graph.nodes.values() if node.type.name == "human-input"}
    titles = {node.title: node for node in asks.values()}
    for name, given in answers.items():
        node = asks.get(name) or titles.get(name) or asks.get(name.rsplit(".", 1)[-1])
        if node is None:
            known = f"Those of this flow: {', '.join(asks)}." if asks else "This flow has none."
            raise InvalidInputs(f"--submit {name!r} names no human-input node. {known}", field=name)
        actions = [action.id for action in getattr(node.data, "user_actions", ())]
        for answer in given:
            if answer.action not in actions:
                raise InvalidInputs(
                    f"--submit: node {node.id!r} has no action {answer.action!r}. Its actions: {', '.join(actions)}.",
                    node=node.id,
                    field=name,
                )


def form_values(types: Mapping[str, str], values: Mapping[str, str]) -> dict[str, Any]:
    """Turn the texts of form fields into values: text for text fields, else JSON where it is JSON."""
    return {
        name: value if types.get(name, "text_input") in _TEXT_FIELDS else _json_or_text(value)
        for name, value in values.items()
    }
