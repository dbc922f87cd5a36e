"""Environment and conversation variables of a DSL document -> typed variables."""

from __future__ import annotations

import json
from typing import Any, Literal, cast

from .dsl_draft import Draft, Mapping, Part, kind_of, short
from .graph import Variable
from .values import MAX_VARIABLE_BYTES, NUMERIC, ValueType, infer_type, is_number, matches

Scope = Literal["environment", "conversation"]

_DECLARABLE = {
    str(kind): kind
    for kind in (
        ValueType.STRING,
        ValueType.SECRET,
        ValueType.NUMBER,
        ValueType.INTEGER,
        ValueType.FLOAT,
        ValueType.BOOLEAN,
        ValueType.OBJECT,
        ValueType.ARRAY_STRING,
        ValueType.ARRAY_NUMBER,
        ValueType.ARRAY_OBJECT,
        ValueType.ARRAY_BOOLEAN,
    )
}


def read_variables(draft: Draft, scope: Scope) -> tuple[Variable, ...]:
    """Read the variables of one scope; of two with one name the later counts, as in Dify."""
    path = (*draft.section_path, f"{scope}_variables")
    items = draft.section.get(path[-1])
    if items is None:
        return ()
    if not isinstance(items, list):
        draft.note("refused", f"{path[-1]} are {kind_of(items)}: a list is needed.", path)
        return ()
    found: dict[str, Variable] = {}
    for index, item in enumerate(cast("list[Any]", items)):
        variable = _read(draft, scope, item, (*path, index))
        if variable is None:
            continue
        if variable.name in found:
            message = f"the {scope} variable {variable.name!r} is declared twice; the later one counts."
            draft.note("warning", message, (*path, index, "name"), "Delete one of them.")
        found[variable.name] = variable
    return tuple(found.values())


def _read(draft: Draft, scope: Scope, item: Any, path: tuple[Part, ...]) -> Variable | None:
    if not isinstance(item, dict):
        draft.note("refused", f"a variable is {kind_of(item)}: a mapping is needed.", path)
        return None
    variable = cast("Mapping", item)
    name, declared, value = variable.get("name"), variable.get("value_type"), variable.get("value")
    if not isinstance(name, str) or not name:
        draft.note(
            "refused",
            f"the name of the variable is {kind_of(name or None)}: text is needed.",
            (*path, "name"),
        )
        return None
    about = f"the {scope} variable {name!r}"
    kind = _DECLARABLE.get(declared) if isinstance(declared, str) else None
    if kind is None or (kind is ValueType.SECRET and scope != "environment"):
        allowed = ", ".join(t for t in _DECLARABLE if t != "secret" or scope == "environment")
        what = f"{about} has no type." if declared is None else f"{about} cannot be of type {short(declared)}."
        draft.note("refused", what, (*path, "value_type"), f"Use one of: {allowed}.")
        return None
    if value is None:
        draft.note("refused", f"{about} has a missing value.", (*path, "value"), "Give it one.")
        return None
    if not _fits(kind, value):
        what = f"{about} is declared {kind} but its value is {kind_of(value)}"
        step = "Put the value in quotes." if kind is ValueType.STRING else "Correct the value or the type."
        draft.note("refused", f"{what}{_odd_item(kind, value)}.", (*path, "value"), step)
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    size = len(text.encode())
    if size > MAX_VARIABLE_BYTES:
        message = f"{about} has {size} bytes; the limit is {MAX_VARIABLE_BYTES}."
        draft.note("refused", message, (*path, "value"), "Pass it as an input instead.")
        return None
    return Variable(name=name, value_type=infer_type(value) if kind in NUMERIC else kind, value=value)


def _fits(kind: ValueType, value: Any) -> bool:
    return is_number(value) if kind in NUMERIC else matches(kind, value)


def _odd_item(kind: ValueType, value: Any) -> str:
    if not kind.is_array or not isinstance(value, list):
        return ""
    for index, item in enumerate(cast("list[Any]", value)):
        if not matches(kind.item, item):
            return f" in which item {index} is {kind_of(item)}"
    return ""
