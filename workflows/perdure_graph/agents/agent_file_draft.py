"""An agent's document while it is read, and what is known of it afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NoReturn, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from ..dsl_draft import Draft, Part, kind_of, short
from ..errors import InvalidAgent
from ..nodes.start import StartVariable
from ..report import Finding
from .config import AgentConfig

T = TypeVar("T")

_NEEDED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}


@dataclass(frozen=True, slots=True)
class LoadedAgent:
    """An agent from a file.

    form: the inputs that it takes; None takes any.
    opening: what an app says before the first question; `suggestions` are questions that it proposes.
    findings: what is worth knowing about it: mostly what an app had that is not taken over.
    """

    config: AgentConfig
    form: tuple[StartVariable, ...] | None = None
    opening: str = ""
    suggestions: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()


class AgentDraft(Draft):
    """A draft of an agent; `name` is that of its file, until the document gives it one."""

    def refuse(self) -> NoReturn:
        """Raise what was found."""
        refused = [finding for finding in self.located() if finding.level == "refused"]
        raise InvalidAgent(f"{self.name or 'The document'} cannot be loaded as an agent:", refused)

    def config(self, data: Any) -> AgentConfig:
        """Check an agent as our own format has it; every problem becomes a finding.

        Raises:
            InvalidAgent: there are problems, these or earlier ones.
        """
        try:
            config = AgentConfig.model_validate(data)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                message, step = _said(detail, AgentConfig)
                self.note("refused", message, detail["loc"], step)
            self.refuse()
        if self.refused:
            self.refuse()
        return config

    def checked(self, kind: type[T], data: Any, path: Sequence[Part]) -> T | None:
        """Check a part; None, with findings, where it is wrong."""
        try:
            return TypeAdapter(kind).validate_python(data)
        except ValidationError as error:
            for detail in error.errors(include_url=False):
                message, step = _said(detail, None)
                self.note("refused", message, (*path, *detail["loc"]), step)
        return None


def _said(detail: Any, model: type[BaseModel] | None) -> tuple[str, str]:
    """Say in words what is wrong with a value, and the next step."""
    kind, given, where = detail["type"], detail["input"], detail["loc"]
    name = str(where[-1]) if where else ""
    match kind:
        case "extra_forbidden":
            return f"there is no key {name!r} here.", _instead(name, where[:-1], model)
        case "missing":
            return f"{name!r} is missing.", "Add it."
        case "literal_error":
            return _none_of(given, detail["ctx"]["expected"])
        case _ if needed := _NEEDED.get(kind):
            return f"it is {kind_of(given)}: {needed} is needed.", ""
        case "value_error":
            return f"{detail['ctx']['error']}.", ""
        case _:
            message = detail["msg"]
            return f"{short(given)} does not fit: {message[:1].lower()}{message[1:]}.", ""


def _none_of(given: Any, expected: str) -> tuple[str, str]:
    words = expected.replace(" or ", ", ").replace("'", "").split(", ")
    near = get_close_matches(str(given).lower().replace("-", "_"), words, 1)
    return f"{short(given)} is none of {expected}.", f"Did you mean {near[0]!r}?" if near else ""


def _instead(name: str, where: Sequence[Part], model: type[BaseModel] | None) -> str:
    """Name the key that was probably meant: one here, or one of that very name elsewhere."""
    here = None if model is None else _model_at(model, where)
    if here is None or model is None:
        return "Delete it."
    elsewhere = [path for path, other in _parts(here) if name in other.model_fields]
    if elsewhere:
        return f"Did you mean '{elsewhere[0]}.{name}'?"
    if near := get_close_matches(name, here.model_fields, 1):
        return f"Did you mean {near[0]!r}?"
    return f"Known here: {', '.join(here.model_fields)}."


def _model_at(model: type[BaseModel], where: Sequence[Part]) -> type[BaseModel] | None:
    found: type[BaseModel] | None = model
    for part in where:
        if isinstance(part, str):
            field = None if found is None else found.model_fields.get(part)
            found = None if field is None else _inner(field.annotation)
    return found


def _parts(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        inner = _inner(field.annotation)
        if inner is not None and inner is not model:
            yield name, inner


def _inner(annotation: Any) -> type[BaseModel] | None:
    """Find the model that a field holds, by itself, optionally or in a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _inner(part)) is not None), None)
