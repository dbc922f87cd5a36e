"""Hold an answer against a JSON Schema, and take out the nulls that strict modes put into it."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

if TYPE_CHECKING:
    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

Schema = dict[str, Any]

_MAX_SHOWN = 300
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a value is not valid: where, and what is wrong there; `in_schema` where the schema itself is.

    rule: the keyword of the schema that says so.
    """

    path: str
    why: str
    in_schema: bool = False
    rule: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


def misfit(value: Any, schema: Schema) -> Misfit | None:
    """Hold a value against a schema; gives the first difference, in the alternative that comes closest."""
    from jsonschema import SchemaError
    from jsonschema.exceptions import best_match  # pyright: ignore[reportUnknownVariableType]
    from referencing.exceptions import Unresolvable

    try:
        validator = _checked(schema)
        # The first will do: a long list can be wrong in each of its items.
        errors = islice(validator.iter_errors(value), 1)
        error = cast("Callable[..., ValidationError | None]", best_match)(errors)
    except SchemaError as error:
        return Misfit(_path(list(error.path)), error.message[:_MAX_SHOWN], in_schema=True)
    except Unresolvable as error:
        return Misfit("$", f"the reference {error.ref!r} leads nowhere", in_schema=True)
    except re.error as error:
        return Misfit("$", f"a pattern is no regular expression: {error}", in_schema=True)
    except RecursionError:
        return Misfit("$", "its references run in a circle", in_schema=True)
    if error is None:
        return None
    return Misfit(_path(list(error.absolute_path)), error.message[:_MAX_SHOWN], rule=str(error.validator))


def _validator(schema: Any) -> Validator:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    # Without a registry of its own a validator fetches remote references, past the guarded door.
    kind = validator_for(schema, default=Draft202012Validator)
    return kind(schema, registry=Registry())


def _checked(schema: Schema) -> Validator:
    """Hold a schema against that of schemas. That takes longer than all else here, and tools keep theirs."""
    try:
        return _checked_once(json.dumps(schema))
    except (TypeError, ValueError):
        return _right(schema)


@functools.lru_cache(512)
def _checked_once(text: str) -> Validator:
    return _right(json.loads(text))


def _right(schema: Any) -> Validator:
    validator = _validator(schema)
    validator.check_schema(schema)
    return validator


def _path(parts: list[str | int]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def without_nulls(value: dict[str, JsonValue], schema: Schema) -> dict[str, JsonValue]:
    """Leave out optional properties that are null where the schema allows no null: they mean nothing was said."""
    from jsonschema import SchemaError
    from referencing.exceptions import Unresolvable

    try:
        return cast("dict[str, JsonValue]", _Pruning(schema).prune(value, schema, 0))
    except (SchemaError, Unresolvable, re.error, RecursionError):
        return value


class _Pruning:
    """Walks a value along a schema; `root` is what references lead into."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._validator = cast("Any", _validator(root))

    def prune(self, value: Any, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > _MAX_DEPTH:
            return value
        schema = cast("Schema", schema)
        if isinstance(reference := schema.get("$ref"), str):
            value = self.prune(value, self._resolve(reference), depth + 1)
        for part in _schemas(schema.get("allOf")):
            value = self.prune(value, part, depth + 1)
        for branch in (*_schemas(schema.get("anyOf")), *_schemas(schema.get("oneOf"))):
            candidate = self.prune(value, branch, depth + 1)
            if self._fits(candidate, branch):
                value = candidate
                break
        if isinstance(value, dict):
            return self._object(cast("dict[str, Any]", value), schema, depth)
        if isinstance(value, list):
            return [self.prune(item, schema.get("items"), depth + 1) for item in cast("list[Any]", value)]
        return value

    def _object(self, value: dict[str, Any], schema: Schema, depth: int) -> dict[str, Any]:
        properties = cast("dict[str, Any]", found) if isinstance(found := schema.get("properties"), dict) else {}
        required = _schemas(schema.get("required"))
        kept: dict[str, Any] = {}
        for name, item in value.items():
            inner = properties.get(name)
            if item is None and inner is not None and name not in required and not self._fits(None, inner):
                continue
            kept[name] = self.prune(item, inner, depth + 1)
        return kept

    def _fits(self, value: Any, schema: Any) -> bool:
        return self._validator.evolve(schema=schema).is_valid(value)

    def _resolve(self, reference: str) -> Any:
        place: Any = self._root
        if not reference.startswith("#"):
            return None
        for part in reference.removeprefix("#").split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            place = cast("dict[str, Any]", place).get(key) if isinstance(place, dict) else None
        return place


def _schemas(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
